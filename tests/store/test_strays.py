"""Whatever else lies in the place of a file is none: never read, found by verify, and made way."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.errors import MemoflowError
from memoflow.names import Key
from memoflow.objects import blob_name
from memoflow.store import Payload, Store, open_store
from tests.faults import Faulty
from tests.store.conftest import KEY, contents, local_root
from tests.unprivileged import as_nobody

OTHER = Key.of("model", "other")
FILES = Payload(files={"large": b"0123456789" * 500})


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # The name of a socket is at most 108 bytes long.
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def endless(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o444, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root makes devices")


def link_out(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_what_was_there(path: Path) -> None:
    path.symlink_to(f".kept-{path.name}")


def folder(path: Path) -> None:
    path.mkdir()


def folder_of_files(path: Path) -> None:
    path.mkdir()
    (path / "inner").write_bytes(b"inner")


STRAYS: list[Callable[[Path], None]] = [
    *(fifo, bound, endless, link_out, link_to_itself, link_to_what_was_there),
    *(folder, folder_of_files),
]
PLACES = ["ref", "blob", "mark"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, on_disk: Store) -> Path:
    """The path of a ref, of a blob, or of what tells saves of deletions."""
    ref = on_disk.save(KEY, FILES)
    on_disk.save(OTHER, Payload(files={"small": b"small"}))
    on_disk.sweep(now=True)
    blob = next(iter(on_disk.manifest(ref).blobs))
    names = {"ref": f"refs/{KEY}", "blob": blob_name(blob), "mark": "gc/deletions"}
    path = local_root(on_disk) / names[request.param]
    if request.param == "mark":
        path.write_bytes(b"")
    return path


def put(stray: Callable[[Path], None], place: Path) -> None:
    os.rename(place, place.with_name(f".kept-{place.name}"))
    stray(place)


@pytest.mark.parametrize("stray", STRAYS)
def test_what_is_no_file_is_never_read_and_hands_out_nothing_wrong(
    on_disk: Store, place: Path, stray: Callable[[Path], None], tmp_path: Path
) -> None:
    put(stray, place)
    fresh = open_store(local_root(on_disk), cache_dir=tmp_path / "fresh")
    ref = fresh.find(KEY)
    with suppress(MemoflowError):
        if ref is not None:
            fresh.load(ref, tmp_path / "out")
            assert contents(tmp_path / "out") == FILES.files


@pytest.mark.parametrize("stray", STRAYS)
def test_verify_finds_what_is_in_the_place_of_a_ref_or_blob(
    on_disk: Store, place: Path, stray: Callable[[Path], None]
) -> None:
    put(stray, place)
    found = on_disk.verify()
    if place.parent.name != "gc" and not (stray is folder and "refs" in place.parts):
        assert KEY in {problem.key for problem in found} or stray is folder_of_files


@pytest.mark.parametrize("stray", STRAYS)
def test_after_a_repair_nothing_is_found_and_a_save_can_take_the_place(
    on_disk: Store, place: Path, stray: Callable[[Path], None], tmp_path: Path
) -> None:
    put(stray, place)
    on_disk.verify(repair=True)
    assert on_disk.verify() == []
    ref = on_disk.save(KEY, FILES)
    assert contents(on_disk.load(ref, tmp_path / "out")) == FILES.files


def test_a_repair_leaves_alone_what_a_link_leads_to(on_disk: Store, tmp_path: Path) -> None:
    on_disk.save(KEY, FILES)
    dear = tmp_path / "dear"
    dear.write_bytes(b"dear")
    (local_root(on_disk) / "refs" / "link").symlink_to(dear)
    on_disk.verify(repair=True)
    assert dear.read_bytes() == b"dear"


@pytest.mark.parametrize("name", ["blobs/ab", "blobs", "refs"])
def test_a_file_in_the_place_of_a_folder_is_quarantined(
    on_disk: Store, tmp_path: Path, name: str
) -> None:
    path = local_root(on_disk) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no folder")
    assert name in {problem.name for problem in on_disk.verify(repair=True)}
    assert on_disk.verify() == []
    assert on_disk.find(on_disk.save(KEY, FILES).key) is not None


@pytest.mark.parametrize("stray", STRAYS)
def test_what_is_in_the_place_of_a_copy_is_done_without(
    tmp_path: Path, stray: Callable[[Path], None]
) -> None:
    store = open_store(
        Faulty(Far(tmp_path / "far"), takes_round_trips=True), cache_dir=tmp_path / "cache"
    )
    ref = store.save(KEY, FILES)
    store.load(ref, tmp_path / "first")
    near = tmp_path / "cache" / "memoflow" / store.id
    put(stray, next(path for path in near.rglob("*") if path.is_file()))
    assert contents(store.load(ref, tmp_path / "again")) == FILES.files
    store.verify(repair=True)
    assert store.verify() == []


class Far(Local):
    """A directory that is taken for a bucket."""

    def path(self, name: str) -> None:  # type: ignore[override]
        return None


def unreadable(on_disk: Store, name: str) -> Path:
    path = local_root(on_disk) / name
    path.chmod(0)
    return path


@pytest.fixture
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that somebody without privileges may use."""
    path = tmp_path_factory.mktemp("foreign")
    for parent in (path, *path.parents[:3]):
        with suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o011)
    path.chmod(0o777)
    return path


@pytest.mark.parametrize("what", ["ref", "blob"])
def test_what_cannot_be_read_is_said_and_not_taken_for_damage(foreign: Path, what: str) -> None:
    def act() -> None:
        store = open_store(foreign / "store", cache_dir=foreign / "cache")
        ref = store.save(KEY, FILES)
        store.save(OTHER, Payload(files={"other": os.urandom(5000)}))
        blob = next(iter(store.manifest(ref).blobs))
        path = unreadable(store, f"refs/{KEY}" if what == "ref" else blob_name(blob))
        found = store.verify(repair=True)
        assert [(problem.key, problem.done) for problem in found] == [(KEY, "")]
        assert "cannot be read" in found[0].what
        path.chmod(0o444)
        assert store.verify() == []
        assert contents(store.load(ref, foreign / "out")) == FILES.files

    as_nobody(act)
