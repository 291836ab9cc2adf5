"""Location: a place for the index file on a local disk, since SQLite needs one."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

_NETWORK = {
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs",
}  # fmt: skip


def mounts_of_this_machine() -> str:
    """Return the kernel's table of mounts; "" where there is none."""
    try:
        return Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return ""


def network_file_system(path: Path) -> str:
    """Return the type of network file system that a path is on; "" for a disk of this machine."""
    kind = _file_system(path, mounts_of_this_machine())
    return kind if kind in _NETWORK else ""


def locate(path: Path, *, mounts: Callable[[], str]) -> tuple[Path | None, str | None]:
    """Return a usable path for the index at `path`, and a warning if it is another.

    None for the path means that no directory will do: keep it in memory.
    """
    kind = _file_system(path, mounts())
    if kind in _NETWORK:
        reason = f"it is on {kind}, where SQLite loses data"
    elif not _usable(path):
        reason = "it cannot be written there"
    else:
        return path, None
    private = private_directory()
    if private is None:
        return None, f"the index cannot be at {path} ({reason}); using memory"
    return private / path.name, f"the index cannot be at {path} ({reason}); using {private}"


def private_directory() -> Path | None:
    """Return a directory for temporary files that nobody else can write to, or None."""
    directory = Path(tempfile.gettempdir()) / f"memoflow-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        info = directory.lstat()
    except OSError:
        return None
    # Anyone may have made that name first, to have us write where they like.
    ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
    return directory if ours and os.access(directory, os.W_OK | os.X_OK) else None


def _usable(path: Path) -> bool:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    # Beside itself SQLite makes files of its own.
    in_folder = os.access(path.parent, os.W_OK | os.X_OK)
    return in_folder and (not path.exists() or os.access(path, os.R_OK | os.W_OK))


def _file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system at `path`, "" if unknown."""
    where = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").rstrip("/")
        # The last of equals wins: a later mount covers an earlier one.
        if len(point) >= len(best) and (where == point or where.startswith(f"{point}/")):
            best, kind = point, fields[2]
    return kind
