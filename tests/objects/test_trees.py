"""A tree goes into blobs and comes back equal, or is refused with a reason."""

from __future__ import annotations

import itertools
import mmap
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memoflow.backends import Local, Memory
from memoflow.errors import BackendError, NotFoundError, UsageError
from memoflow.names import Digest
from memoflow.objects import (
    DamagedBlobError,
    LostBlobError,
    Manifest,
    Tree,
    blob_name,
    read_file,
    unpack,
)
from memoflow.objects.packing import pack
from memoflow.objects.planning import ReusablePieces
from memoflow.objects.reading import Reader
from tests.unprivileged import as_nobody

KIB, MIB = 1 << 10, 1 << 20


def snapshot(root: Path) -> dict[bytes, object]:
    """What a tree holds, as far as it is kept."""
    held: dict[bytes, object] = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            where = os.path.relpath(path, os.fsencode(root))
            if os.path.islink(path):
                held[where] = os.readlink(path)
            elif os.path.isdir(path):
                held[where] = None
            else:
                with open(path, "rb") as file:
                    held[where] = (file.read(), bool(os.stat(path).st_mode & 0o100))
    return held


def save(backend: Memory, root: Path | None, **options: object) -> Manifest:
    files, ignore = options.pop("files", {}), options.pop("ignore", ())
    packed = pack(backend, Tree.survey(root, files, ignore), **options)  # type: ignore[arg-type]
    return Manifest.from_bytes(Manifest(packed.files, packed.folders).to_bytes())


def size(backend: Memory) -> int:
    return sum(found.size_bytes for found in backend.list("blobs"))


@pytest.fixture
def backend() -> Memory:
    return Memory()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "ünï\ncode").write_bytes(b"odd name")
    (root / ("x" * 200)).write_bytes(b"long name")
    (root / "empty").write_bytes(b"")
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "sub" / "big").write_bytes(os.urandom(9 * MIB + 17))
    (root / "sub" / "mid").write_bytes(os.urandom(5000))
    (root / "sub" / "link").symlink_to("../empty")
    (root / "sub" / "dangling").symlink_to("nowhere")
    os.mkdir(os.fsencode(root) + b"/latin-\xe9")
    return root


def test_a_tree_comes_back_equal(backend: Memory, tree: Path, tmp_path: Path) -> None:
    unpack(backend, save(backend, tree), tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)


def test_a_tree_kept_whole_comes_back_equal(backend: Memory, tree: Path, tmp_path: Path) -> None:
    manifest = save(backend, tree, whole=True)
    unpack(backend, manifest, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)
    assert Digest.of((tree / "sub" / "big").read_bytes()) in manifest.blobs


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) < 200)
TREES = st.recursive(
    st.binary(max_size=3000), lambda inner: st.dictionaries(NAMES, inner, max_size=4)
).filter(lambda tree: isinstance(tree, dict))


@settings(max_examples=60, deadline=None)
@given(TREES, st.booleans())
def test_any_tree_comes_back_equal(tree: dict[str, object], whole: bool) -> None:
    def build(where: Path, node: dict[str, object]) -> None:
        where.mkdir()
        for name, child in node.items():
            if isinstance(child, dict):
                build(where / name, child)
            else:
                (where / name).write_bytes(child)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        build(root / "in", tree)
        backend = Memory()
        unpack(backend, save(backend, root / "in", whole=whole), root / "out")
        assert snapshot(root / "out") == snapshot(root / "in")


def test_a_file_is_saved_under_its_name(backend: Memory, tree: Path, tmp_path: Path) -> None:
    unpack(backend, save(backend, tree / "sub" / "mid"), tmp_path / "out")
    assert (tmp_path / "out" / "mid").read_bytes() == (tree / "sub" / "mid").read_bytes()


def test_files_can_be_given_by_path_and_as_bytes(
    backend: Memory, tree: Path, tmp_path: Path
) -> None:
    files = {"a/b": b"x" * 2000, "c": tree / "run.sh"}
    unpack(backend, save(backend, None, files=files), tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b").read_bytes() == b"x" * 2000
    assert os.access(tmp_path / "out" / "c", os.X_OK)


def test_small_files_need_no_blob(backend: Memory) -> None:
    save(backend, None, files={"a": b"x" * 1023})
    assert size(backend) == 0


def test_a_thousand_small_files_share_a_blob(backend: Memory) -> None:
    save(backend, None, files={str(n): os.urandom(1500) for n in range(1000)})
    assert len(list(backend.list("blobs"))) == 1


def test_equal_pieces_of_one_save_are_stored_once(backend: Memory) -> None:
    data = os.urandom(5000)
    save(backend, None, files={"a": data, "b": data})
    assert size(backend) == 5000


def test_what_has_not_changed_since_the_previous_save_is_not_stored_again(
    backend: Memory,
) -> None:
    first, second = os.urandom(4 * MIB), os.urandom(4 * MIB)
    previous = save(backend, None, files={"a": first})
    save(
        backend,
        None,
        files={"a": first + second},
        earlier=ReusablePieces(backend, previous=previous),
    )
    assert size(backend) == 8 * MIB


def test_what_is_known_to_be_there_is_not_stored_again(backend: Memory) -> None:
    data = os.urandom(2 * MIB)
    packed = pack(backend, Tree.survey(None, {"a": data}))
    earlier = ReusablePieces(backend, known=lambda _: packed.new)
    pack(backend, Tree.survey(None, {"b": data, "c": b"x" * 5000}), earlier=earlier)
    assert size(backend) == 2 * MIB + 5000


def test_what_is_known_but_gone_is_stored_again(backend: Memory) -> None:
    data = os.urandom(5000)
    packed = pack(backend, Tree.survey(None, {"a": data}))
    backend.delete([found.name for found in backend.list("blobs")])
    earlier = ReusablePieces(backend, known=lambda _: packed.new)
    pack(backend, Tree.survey(None, {"a": data}), earlier=earlier)
    assert size(backend) == 5000


@pytest.mark.parametrize("whole", [False, True])
def test_what_was_truncated_is_stored_again(
    backend: Memory, tree: Path, tmp_path: Path, whole: bool
) -> None:
    previous = save(backend, tree, whole=whole)
    for found in list(backend.list("blobs")):
        backend.write(found.name, (backend.read(found.name) or b"")[:-1])
    manifest = save(backend, tree, whole=whole, earlier=ReusablePieces(backend, previous=previous))
    unpack(backend, manifest, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)


def test_a_truncated_blob_is_not_linked_to_but_written_again(tree: Path, tmp_path: Path) -> None:
    backend = Local(tmp_path / "store")
    packed = pack(backend, Tree.survey(tree / "sub" / "big", {}), whole=True)
    name = blob_name(packed.whole[0])
    backend.write(name, b"short")
    pack(backend, Tree.survey(tree / "sub" / "big", {}), whole=True, linked=True)
    assert backend.read(name) == (tree / "sub" / "big").read_bytes()


def test_what_only_has_the_same_hash_is_stored_all_the_same(backend: Memory) -> None:
    data, forged = os.urandom(5000), os.urandom(5000)
    (located,) = pack(backend, Tree.survey(None, {"a": forged})).new.values()

    def known(xxh3s: Sequence[str]) -> dict[str, tuple[Digest, int, int]]:
        return dict.fromkeys(xxh3s, located)

    earlier = ReusablePieces(backend, known=known)
    (file,) = pack(backend, Tree.survey(None, {"a": data}), earlier=earlier).files
    assert read_file(backend, file) == data


def test_what_changed_in_a_large_file_is_all_that_is_stored_again(backend: Memory) -> None:
    data = bytearray(os.urandom(40 * MIB))
    previous = save(backend, None, files={"a": bytes(data)})
    for at in range(0, 40 * MIB, 4 * MIB):
        data[at + 1000] ^= 1
    earlier = ReusablePieces(backend, previous=previous)
    packed = pack(backend, Tree.survey(None, {"a": bytes(data)}), earlier=earlier)
    assert packed.new_bytes == 10 * 256 * KIB
    assert read_file(backend, packed.files[0]) == data


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:70] + b"x" + b[71:]])
def test_a_piece_is_not_taken_from_a_damaged_blob(backend: Memory, spoil) -> None:
    data = os.urandom(5000)
    packed = pack(backend, Tree.survey(None, {"a": data}))
    (name,) = (found.name for found in backend.list("blobs"))
    backend.write(name, spoil(backend.read(name)))
    earlier = ReusablePieces(backend, known=lambda _: packed.new)
    (file,) = pack(backend, Tree.survey(None, {"a": data}), earlier=earlier).files
    assert read_file(backend, file) == data


def test_a_signal_in_the_calling_thread_stops_the_others(
    backend: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise Interrupted

    def slow(self: Reader, view: memoryview, offset: int) -> None:
        real(self, view, offset)
        after.append(interrupted.is_set())
        if next(reads) == 10:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        if interrupted.is_set():
            time.sleep(0.01)  # The reads after it take a while, for the others to learn of it.

    (tmp_path / "data").write_bytes(os.urandom(64 * MIB))
    interrupted, after, real = threading.Event(), list[bool](), Reader.read_into
    monkeypatch.setattr(Reader, "read_into", slow)
    reads = itertools.count()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            save(backend, tmp_path / "data")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sum(after) < 20


@pytest.mark.parametrize("whole", [False, True])
def test_progress_is_told_all_along(backend: Memory, whole: bool) -> None:
    beats: list[int] = []
    data = os.urandom(32 * MIB)
    save(backend, None, files={"data": data}, whole=whole, beat=lambda: beats.append(1))
    assert len(beats) >= 16


def test_a_large_save_makes_few_blobs_of_bounded_size(backend: Memory) -> None:
    save(backend, None, files={"a": os.urandom(60 * MIB)})
    sizes = [found.size_bytes for found in backend.list("blobs")]
    assert len(sizes) == 8
    assert max(sizes) <= 8 * MIB


def test_a_missing_path_is_refused(backend: Memory, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        save(backend, tmp_path / "no")


def test_a_device_is_refused(backend: Memory) -> None:
    with pytest.raises(UsageError, match="it is a character device"):
        save(backend, Path("/dev/null"))


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", ""])
def test_a_given_path_that_leads_outside_is_refused(backend: Memory, path: str) -> None:
    with pytest.raises(UsageError):
        save(backend, None, files={path: b""})


def test_a_tree_too_deep_to_handle_is_refused(backend: Memory, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    (deep / "/".join("d" * 300)).mkdir(parents=True)
    with pytest.raises(UsageError, match="deeper"):
        save(backend, deep)


class Disturbed(Memory):
    """A backend during whose first write something happens."""

    def __init__(self, act) -> None:
        super().__init__()
        self._act = act

    def write(self, *args, **kwargs):
        if self._act is not None:
            act, self._act = self._act, None
            act()
        return super().write(*args, **kwargs)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "sub" / "big").write_bytes(os.urandom(9 * MIB + 17)),
        lambda tree: (tree / "sub" / "big").write_bytes(b"shorter"),
        lambda tree: (tree / "sub" / "mid").unlink(),
        lambda tree: (tree / "sub" / "new").write_bytes(b""),
        lambda tree: (tree / "sub" / "big").rename(tree / "moved"),
        lambda tree: shutil.rmtree(tree / "sub"),
        lambda tree: os.replace(tree / "empty", tree / "sub" / "mid"),
    ],
    ids=["rewritten", "truncated", "removed", "added", "moved", "all removed", "replaced"],
)
def test_what_changes_once_while_it_is_saved_is_saved_as_it_is_then(
    tree: Path, tmp_path: Path, change, whole: bool
) -> None:
    backend = Disturbed(lambda: change(tree))
    unpack(backend, save(backend, tree, whole=whole), tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)


def test_a_tree_that_is_removed_while_it_is_saved_is_an_error(tree: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        save(Disturbed(lambda: shutil.rmtree(tree)), tree)


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_that_is_written_all_the_time_is_never_a_mixture(
    tmp_path: Path, whole: bool
) -> None:
    path, stop = tmp_path / "file", threading.Event()
    path.write_bytes(b"\0" * 8 * MIB)

    def write() -> None:
        with open(path, "r+b", buffering=0) as file:
            n = 0
            while not stop.wait(0.002):
                n = (n + 1) % 256
                file.seek(0)
                file.write(bytes([n]) * 8 * MIB)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            backend = Memory()
            try:
                manifest = save(backend, path, whole=whole)
            except UsageError:
                continue
            assert len(set(read_file(backend, manifest.files[0]))) == 1
    finally:
        stop.set()
        writer.join()


def test_loading_again_replaces_files_and_leaves_others(
    backend: Memory, tree: Path, tmp_path: Path
) -> None:
    manifest = save(backend, tree)
    out = tmp_path / "out"
    unpack(backend, manifest, out)
    (out / "mine").write_bytes(b"mine")
    (out / "run.sh").write_bytes(b"changed")
    unpack(backend, manifest, out)
    assert snapshot(out) == snapshot(tree) | {b"mine": (b"mine", False)}


@pytest.mark.parametrize("inner", ["", "sub/empty"])
def test_a_directory_that_is_there_stays_the_same(
    backend: Memory, tree: Path, tmp_path: Path, inner: str
) -> None:
    out = tmp_path / "out"
    kept = out / inner
    kept.mkdir(parents=True)
    kept.chmod(0o700)
    before = kept.stat()
    unpack(backend, save(backend, tree), out)
    assert (kept.stat().st_ino, kept.stat().st_mode) == (before.st_ino, before.st_mode)
    assert snapshot(out) == snapshot(tree)


def test_the_working_directory_can_be_loaded_into(
    backend: Memory, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    unpack(backend, save(backend, tree), Path())
    assert sorted(os.listdir()) == sorted(os.listdir(tree))


def test_only_the_directory_itself_need_be_writable(backend: Memory, tree: Path) -> None:
    manifest = save(backend, tree)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "closed" / "out").mkdir(parents=True)
        (place / "closed" / "out").chmod(0o777)
        (place / "closed").chmod(0o555)
        place.chmod(0o755)
        as_nobody(lambda: unpack(backend, manifest, place / "closed" / "out"))
        assert snapshot(place / "closed" / "out") == snapshot(tree)
        (place / "closed").chmod(0o755)


def test_a_load_that_fails_leaves_a_directory_as_it_was(
    backend: Memory, tree: Path, tmp_path: Path
) -> None:
    manifest = save(backend, tree)
    backend.delete([found.name for found in backend.list("blobs")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(LostBlobError):
        unpack(backend, manifest, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["mine"]


def test_loading_does_not_follow_links_that_are_there(
    backend: Memory, tree: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").symlink_to(outside)
    with pytest.raises(UsageError, match="sub is a symbolic link"):
        unpack(backend, save(backend, tree), out)
    assert list(outside.iterdir()) == []


def test_what_is_loaded_can_be_written_without_changing_the_store(
    tree: Path, tmp_path: Path
) -> None:
    backend = Local(tmp_path / "store")
    manifest = save(backend, tree, whole=True)  # type: ignore[arg-type]
    unpack(backend, manifest, tmp_path / "out")
    (tmp_path / "out" / "sub" / "big").write_bytes(b"changed")
    unpack(backend, manifest, tmp_path / "again")
    assert snapshot(tmp_path / "again") == snapshot(tree)


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 8 * MIB])
def test_a_damaged_blob_is_named_and_nothing_is_written(
    backend: Memory, tree: Path, tmp_path: Path, data: bytes
) -> None:
    manifest = save(backend, tree)
    blob, *_ = manifest.blobs
    backend.write(blob_name(blob), data)
    with pytest.raises(DamagedBlobError) as raised:
        unpack(backend, manifest, tmp_path / "out")
    assert raised.value.blob == blob
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_a_lost_blob_is_named_and_nothing_is_written(
    backend: Memory, tree: Path, tmp_path: Path
) -> None:
    manifest = save(backend, tree)
    blob, *_ = manifest.blobs
    backend.delete([blob_name(blob)])
    with pytest.raises(LostBlobError) as raised:
        unpack(backend, manifest, tmp_path / "out")
    assert raised.value.blob == blob
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


def test_a_place_that_cannot_be_written_is_said(backend: Memory, tree: Path) -> None:
    with pytest.raises(BackendError, match="cannot write"):
        unpack(backend, save(backend, tree), tree / "run.sh" / "below")


ALIKE = [("a", "A"), ("straße", "STRASSE"), ("d/é", "d/e\u0301"), ("x/y", "X/y")]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_only_some_disks_tell_apart_are_kept_apart_here(
    backend: Memory, tmp_path: Path, one: str, other: str
) -> None:
    manifest = save(backend, None, files={one: b"1" * 5000, other: b"2" * 9000})
    unpack(backend, manifest, tmp_path / "out")
    assert (tmp_path / "out" / one).read_bytes() == b"1" * 5000
    assert (tmp_path / "out" / other).read_bytes() == b"2" * 9000


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_on_a_disk_that_does_not_they_are_refused_and_never_mixed(
    backend: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    manifest = save(backend, None, files={one: b"1" * 5000, other: b"2" * 9000})
    real, start = os.open, len(str(tmp_path))

    def open_folded(path: object, *args: object, **options: object) -> int:
        text = os.fspath(path)  # type: ignore[call-overload]
        if isinstance(text, str) and text.startswith(str(tmp_path)):
            folded = text[start:].casefold().replace("e\u0301", "é")
            path = f"{text[:start]}{folded}"
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return real(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_folded)
    with pytest.raises(UsageError, match="one name"):
        unpack(backend, manifest, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_read_only", [True, False])
def test_read_only_memory_of_our_own_is_not_read_twice(is_read_only: bool) -> None:
    view = memoryview(mmap.mmap(-1, MIB))
    tree = Tree.survey(None, {"data": view.toreadonly() if is_read_only else view}, ())
    assert tree.sources[0].is_memory is not is_read_only
