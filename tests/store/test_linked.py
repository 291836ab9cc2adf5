"""A linked load shares bytes where nobody can write to them, and trusts only what was proven."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.names import Ref
from memoflow.store import Payload, Store, open_store
from tests.conftest import Clock
from tests.store.conftest import KEY, SERIES, blobs, contents
from tests.unprivileged import as_nobody

MIB = 1 << 20
FILES = {"weights": os.urandom(2 * MIB), "more/weights": os.urandom(MIB), "config": b"{}"}
DAY = 86400.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory in which anybody may do anything."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)
    return tmp_path


@pytest.fixture
def as_user(place: Path, clock: Clock) -> Callable[[Callable[[Store, Ref], None]], None]:
    """Save a model and act on it, all of it as somebody whom file modes bind."""

    def run(act: Callable[[Store, Ref], None]) -> None:
        def child() -> None:
            store = open_store(place / "store", cache_dir=place / "cache", clock=clock)
            ref = store.save(KEY, Payload(files=FILES, whole=True))
            act(store, ref)
            store.close()

        as_nobody(child)

    return run


def blob_of(store: Store, ref: Ref, path: str) -> Path:
    (file,) = [file for file in store.manifest(ref).files if file.path == path]
    found = store.blob_path(file.pieces[0].blob)
    assert found is not None
    return found


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)


def test_large_files_are_links_and_all_are_read_only(place: Path, as_user) -> None:
    def act(store: Store, ref: Ref) -> None:
        out = store.load(ref, place / "out", linked=True)
        assert contents(out) == FILES
        assert [(out / path).stat().st_mode & 0o777 for path in FILES] == [0o444] * 3
        assert (out / "weights").samefile(blob_of(store, ref, "weights"))

    as_user(act)


def test_whoever_can_write_to_everything_gets_copies(place: Path, on_disk: Store) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can write to a read-only file")
    ref = on_disk.save(KEY, Payload(files=FILES, whole=True))
    out = on_disk.load(ref, place / "out", linked=True)
    assert contents(out) == FILES
    assert [(out / path).stat().st_nlink for path in FILES] == [1] * 3
    assert [(out / path).stat().st_mode & 0o777 for path in FILES] == [0o444] * 3


def test_an_executable_file_is_a_copy(place: Path, as_user) -> None:
    def act(store: Store, _: Ref) -> None:
        (place / "tool").write_bytes(FILES["weights"])
        (place / "tool").chmod(0o755)
        ref = store.save(SERIES, Payload(tree=place / "tool", whole=True))
        out = store.load(ref, place / "out", linked=True)
        assert (out / "tool").stat().st_nlink == 1
        assert (out / "tool").stat().st_mode & 0o777 == 0o555

    as_user(act)


def test_on_another_file_system_files_are_copies(place: Path, as_user, monkeypatch) -> None:
    def act(store: Store, ref: Ref) -> None:
        def refuse(*args: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
        out = store.load(ref, place / "out", linked=True)
        assert contents(out) == FILES
        assert (out / "weights").stat().st_mode & 0o777 == 0o444

    as_user(act)


def test_a_store_without_files_is_copied_from(store: Store, tmp_path: Path) -> None:
    ref = store.save(KEY, Payload(files=FILES, whole=True))
    assert contents(store.load(ref, tmp_path / "out", linked=True)) == FILES


class Reads(Local):
    """A backend that notes what is opened."""

    opened: list[str]

    def open(self, name: str):
        self.opened.append(name)
        return super().open(name)


def test_what_was_proven_is_not_read_again_for_a_week(place: Path, clock: Clock, as_user) -> None:
    def act(_: Store, ref: Ref) -> None:
        backend = Reads(place / "store")
        backend.opened = []
        store = open_store(backend, cache_dir=place / "elsewhere", clock=clock)

        def opened() -> int:
            before = len(backend.opened)
            shutil.rmtree(store.load(ref, place / "out", linked=True))
            return len(backend.opened) - before

        assert [opened(), opened()] == [2, 0]
        clock.pass_(8 * DAY)
        assert [opened(), opened()] == [2, 0]

    as_user(act)


def test_what_was_just_saved_is_not_read(place: Path, clock: Clock) -> None:
    def child() -> None:
        backend = Reads(place / "store")
        backend.opened = []
        store = open_store(backend, cache_dir=place / "cache", clock=clock)
        ref = store.save(KEY, Payload(files=FILES, whole=True))
        store.load(ref, place / "out", linked=True)
        assert backend.opened == []

    as_nobody(child)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone"])
def test_what_was_damaged_is_noticed_and_a_miss(place: Path, as_user, damage: str) -> None:
    def act(store: Store, ref: Ref) -> None:
        blob = blob_of(store, ref, "weights")
        data = FILES["weights"]
        if damage == "gone":
            blob.unlink()
        else:
            flipped = bytes([data[0] ^ 1]) + data[1:]
            rewrite(blob, flipped if damage == "flipped" else data[:MIB])
        with pytest.raises(NotFoundError if damage == "gone" else IntegrityError):
            store.load(ref, place / "out", linked=True)
        assert not (place / "out").exists()
        assert store.find(KEY) is None
        quarantined = [name for name in blobs(store.backend) if name.endswith(blob.name)]
        assert quarantined == []

    as_user(act)


def test_loading_links_over_older_ones_replaces_them(place: Path, as_user) -> None:
    def act(store: Store, ref: Ref) -> None:
        for _ in range(2):
            out = store.load(ref, place / "out", linked=True)
        assert contents(out) == FILES
        assert (out / "weights").samefile(blob_of(store, ref, "weights"))

    as_user(act)
