"""Mounts: small file systems of other kinds than the tests', where root may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.waiting import PATIENCE_S


class UnmountableError(Exception):
    """This machine lets nobody mount this, or lacks what it needs for it."""


@contextmanager
def mounted(
    place: Path, kind: str, *, size_bytes: int = 16 << 20, inodes: int | None = None
) -> Iterator[Path]:
    """Yield a directory of a new file system: `tmpfs`, `ext4`, or `exfat` by FUSE.

    `exfat` has no hard links, cannot rename without replacing, and takes no account of case.
    """
    place.mkdir(parents=True, exist_ok=True)
    image, loop = place.with_name(f"{place.name}.img"), ""
    try:
        if kind == "tmpfs":
            count = f",nr_inodes={inodes}" if inodes else ""
            _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}{count}", "tmpfs", str(place))
        else:
            with open(image, "wb") as file:
                file.truncate(size_bytes)
            loop = _made(kind, image, inodes)
            program = ["mount"] if kind == "ext4" else ["mount.exfat-fuse"]
            _run(*program, loop, str(place))
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=False, timeout=PATIENCE_S)
    finally:
        if loop:
            subprocess.run(["losetup", "-d", loop], check=False, timeout=PATIENCE_S)
        with suppress(FileNotFoundError):
            image.unlink()


def fill(folder: Path, what: str) -> None:
    """Take all bytes or all inodes that are left, with files that are not memoflow's."""
    folder.mkdir(exist_ok=True)
    for size in (1 << 20, 1 << 12) if what == "bytes" else (0,):
        with suppress(OSError):
            for number in range(1_000_000):
                file = os.open(folder / f"{size}-{number}", os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    left = size
                    while left:
                        left -= os.write(file, os.urandom(left))
                finally:
                    os.close(file)


def _made(kind: str, image: Path, inodes: int | None) -> str:
    if kind == "ext4":
        count = ["-N", str(inodes)] if inodes else []
        _run("mkfs.ext4", "-q", "-m", "0", *count, str(image))
    else:
        _run("mkfs.exfat", str(image))
    return _run("losetup", "-f", "--show", str(image)).strip()


def _run(*words: str) -> str:
    if os.geteuid() or shutil.which(words[0]) is None:
        raise UnmountableError(f"{words[0]} cannot be run here")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        raise UnmountableError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
