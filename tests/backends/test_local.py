"""Local does what every backend must, and what a directory can do beyond it."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import time
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    NoRoomError,
    NotFoundError,
)
from tests.contracts import BackendContract
from tests.faults import SystemFaults
from tests.mounts import UnmountableError, fill, mounted
from tests.unprivileged import as_nobody

MIB = 1 << 20


@pytest.fixture
def backend(tmp_path: Path) -> Local:
    return Local(tmp_path / "store")


class TestLocal(BackendContract):
    pass


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_is_made_before_the_first_write(backend: Local) -> None:
    assert backend.read("a") is None
    assert not backend.root.exists()


def test_files_are_read_only_and_folders_private(backend: Local) -> None:
    backend.write("a/b", b"")
    assert mode(backend.path("a/b")) & 0o222 == 0
    assert mode(backend.root) == mode(backend.root / "a") == 0o700


def test_folders_are_as_open_as_a_root_that_somebody_shared(backend: Local) -> None:
    backend.root.mkdir()
    backend.root.chmod(0o2775)
    backend.write("a/b/c", b"")
    assert mode(backend.root / "a") == mode(backend.root / "a" / "b") == 0o2775


def test_an_adopted_file_is_the_same_file_with_its_own_mode(backend: Local, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    source.chmod(0o640)
    backend.link_or_copy("a/b", source)
    assert backend.path("a/b").samefile(source)
    assert mode(source) == 0o640


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_cannot_be_adoption_copies(
    backend: Local, tmp_path: Path, system_faults: SystemFaults, code: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"data")
    backend.write("a/other", b"")
    system_faults.fail_at("link", nth=1, code=code)
    assert backend.link_or_copy("a/b", source) is True
    assert backend.read("a/b") == b"data"
    assert not backend.path("a/b").samefile(source)


def test_where_links_cannot_be_if_absent_still_works(
    backend: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert backend.write("a", b"first", if_absent=True) is True
    assert backend.write("a", b"second", if_absent=True) is False
    assert backend.read("a") == b"first"


def test_adopting_what_is_gone_says_so(backend: Local, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="went away"):
        backend.link_or_copy("a", tmp_path / "gone")


def test_a_durable_write_syncs_the_file_and_each_new_folder(
    backend: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file))
    )
    backend.write("a/b/c", b"")
    folders = {backend.root.parent, backend.root, backend.root / "a", backend.root / "a" / "b"}
    assert set(map(str, folders)) <= set(synced)
    assert any(".tmp-" in name for name in synced)


def test_a_cheap_write_syncs_nothing(backend: Local, system_faults: SystemFaults) -> None:
    system_faults.fail_at("fsync", nth=1, code=errno.EIO)
    assert backend.write("a/b", b"", durable=False) is True
    assert not system_faults.fired


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link", "rename", "mkdir"])
def test_whatever_call_fails_no_name_appears_and_no_litter_stays(
    backend: Local, system_faults: SystemFaults, call: str, code: int
) -> None:
    backend.write("there", b"")
    system_faults.fail_at(call, nth=1, code=code)
    with pytest.raises(BackendUnavailableError):
        backend.write("a/b", b"data", if_absent=call != "rename")
    system_faults.relent()
    assert system_faults.fired
    assert [path.name for path in backend.root.rglob("*") if path.is_file()] == ["there"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, BackendDeniedError),
        (errno.EROFS, BackendDeniedError),
        (errno.ENOSPC, NoRoomError),
        (errno.EDQUOT, NoRoomError),
        (errno.EIO, BackendUnavailableError),
        (errno.ENAMETOOLONG, BackendError),
    ],
)
def test_an_error_says_what_where_and_whether_to_try_again(
    backend: Local, system_faults: SystemFaults, code: int, kind: type[BackendError]
) -> None:
    backend.write("there", b"")
    system_faults.fail_at("open", nth=1, code=code)
    with pytest.raises(kind, match=r"cannot write .*/store/a: .*; ") as raised:
        backend.write("a", b"")
    system_faults.relent()
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EROFS, "is mounted read-only"),
        (errno.EACCES, "check its owner and its mode"),
        (errno.ENAMETOOLONG, "too long for this file system"),
        (errno.EMFILE, "this process has too many files open"),
        (errno.ENFILE, "this machine has too many files open"),
        (errno.EIO, "the disk or its connection failed"),
        (errno.ESTALE, "the server has lost track"),
    ],
)
def test_an_error_says_what_to_do(
    backend: Local, system_faults: SystemFaults, code: int, advice: str
) -> None:
    backend.write("there", b"")
    system_faults.fail_at("open", nth=1, code=code)
    with pytest.raises(BackendError, match=advice):
        backend.write("a", b"")


def test_a_disk_without_inodes_is_told_from_one_without_space(tmp_path: Path) -> None:
    try:
        with mounted(tmp_path / "disk", "tmpfs", inodes=20) as place:
            fill(place / "other", "inodes")
            with pytest.raises(NoRoomError, match="no inodes are free there: 20 are in use"):
                Local(place / "store").write("a", b"")
    except UnmountableError as error:
        pytest.skip(str(error))


def test_a_write_without_room_leaves_no_folders(
    backend: Local, system_faults: SystemFaults
) -> None:
    backend.write("there", b"")
    system_faults.fail_at("open", nth=2, code=errno.ENOSPC)
    with pytest.raises(NoRoomError):
        backend.write("a/b/c", b"")
    system_faults.relent()
    assert os.listdir(backend.root) == ["there"]


def test_a_store_that_may_not_be_written_is_read(tmp_path: Path) -> None:
    root = Path("/tmp") / f"memoflow-test-{os.getpid()}"
    backend = Local(root)
    backend.write("a/b", b"data")
    for folder in (root, root / "a"):
        folder.chmod(0o555)
    backend.path("a/b").chmod(0o444)

    def act() -> None:
        assert backend.read("a/b") == b"data"
        assert [found.name for found in backend.list("")] == ["a/b"]
        with pytest.raises(BackendDeniedError, match="check its owner"):
            backend.write("a/c", b"")
        with pytest.raises(BackendDeniedError):
            backend.delete(["a/b"])

    try:
        as_nobody(act)
    finally:
        for folder in (root, root / "a"):
            folder.chmod(0o755)
        backend.delete(["a/b"])
        root.rmdir()


def test_temporary_files_are_not_listed_and_are_tidied_when_old(backend: Local) -> None:
    backend.write("a/b", b"")
    (backend.root / "a" / ".tmp-123").write_bytes(b"half")
    assert [found.name for found in backend.list("")] == ["a/b"]
    assert backend.cleanup(before=time.time() - 3600) == 0
    assert backend.cleanup(before=time.time() + 3600) == 1
    assert backend.has("a/b")


def test_a_delete_drops_folders_that_it_empties(backend: Local) -> None:
    backend.write("a/b/c", b"")
    backend.write("a/d", b"")
    backend.delete(["a/b/c"])
    assert not (backend.root / "a" / "b").exists()
    assert backend.has("a/d")


def test_an_adopted_file_is_dated_by_its_adoption(backend: Local, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    os.utime(source, (0, 0))
    backend.link_or_copy("a", source)
    (found,) = backend.list("")
    assert found.modified > time.time() - 60


def _direct(monkeypatch: pytest.MonkeyPatch, code: int | None = None) -> list[int]:
    """Note the bytes that pass the page cache by; with a code those writes fail."""
    real, found = os.write, list[int]()

    def write(file: int, data: memoryview) -> int:
        if fcntl.fcntl(file, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0):
            found.append(len(data))
            if code is not None:
                raise OSError(code, os.strerror(code))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    return found


def _large(size_bytes: int) -> memoryview:
    memory = memoryview(mmap.mmap(-1, size_bytes))
    memory[:] = os.urandom(size_bytes)
    return memory


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no O_DIRECT")
@pytest.mark.parametrize("code", [None, errno.EINVAL])
def test_a_large_durable_write_passes_the_page_cache_by_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    backend, data = Local(tmp_path), _large(3 * MIB + 123)
    found = _direct(monkeypatch, code)
    backend.write("name", [data[: 2 * MIB], data[2 * MIB :], b"end"])
    assert backend.read("name") == bytes(data) + b"end"
    # None where the file system refuses the flag, as some in memory do.
    assert found in ([2 * MIB, MIB], [])


def test_where_o_direct_is_refused_all_is_written_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def refuse(file: int, command: int, *rest: int) -> int:
        if command == fcntl.F_SETFL:
            raise OSError(errno.EINVAL, "not here")
        return real(file, command, *rest)

    backend, data = Local(tmp_path), _large(2 * MIB + 5)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    backend.write("name", [data])
    assert backend.read("name") == bytes(data)


def test_what_is_not_durable_and_what_is_small_goes_by_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _direct(monkeypatch)
    Local(tmp_path).write("large", [_large(2 * MIB)], durable=False)
    Local(tmp_path).write("small", [_large(MIB // 2)])
    assert found == []
