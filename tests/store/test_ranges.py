"""Parts of a saved file are read without the rest of it, proven, and belong to the caller."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memoflow.backends import Local
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.names import Key
from memoflow.objects.cutting import PIECE_BYTES
from memoflow.store import Payload, Store, open_store

KEY = Key.of("checkpoint", "F", "s", "scope", "identity", "00000001-ab")
SIZE = 6 * PIECE_BYTES + 12_345


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(3).randbytes(SIZE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Store:
    root = tmp_path_factory.mktemp("ranges")
    store = open_store(root / "store", cache_dir=root / "cache")
    store.save(KEY, Payload(files={"data": content, "small": b"0123456789"}))
    return store


def parts(store: Store, path: str, ranges: list[tuple[int, int]]) -> list[memoryview]:
    ref = store.find(KEY)
    assert ref is not None
    return store.read_ranges(store.manifest(ref), path, ranges)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, SIZE), st.integers(0, 2 * PIECE_BYTES)).map(
            lambda each: (each[0], min(each[1], SIZE - each[0]))
        ),
        max_size=6,
    )
)
def test_any_ranges_are_what_the_file_has_there(
    store: Store, content: bytes, ranges: list[tuple[int, int]]
) -> None:
    found = parts(store, "data", ranges)
    assert [bytes(view) for view in found] == [content[at : at + n] for at, n in ranges]


def test_a_small_file_has_ranges_as_well(store: Store) -> None:
    assert [bytes(view) for view in parts(store, "small", [(8, 2), (0, 0)])] == [b"89", b""]


def test_what_is_read_may_be_written_to_and_changes_nothing_stored(
    store: Store, content: bytes
) -> None:
    (view,) = parts(store, "data", [(0, SIZE)])
    view[:] = bytes(SIZE)
    assert bytes(parts(store, "data", [(0, SIZE)])[0]) == content


@pytest.mark.parametrize("length", [100, 5 * PIECE_BYTES])
def test_a_forked_child_writes_to_memory_of_its_own(
    store: Store, content: bytes, length: int
) -> None:
    (view,) = parts(store, "data", [(0, length)])
    if (child := os.fork()) == 0:
        view[:] = bytes(length)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert bytes(view) == content[:length]


def test_only_pieces_that_hold_the_range_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    as_ever = Local.open

    def counted(self: Local, name: str):
        file = as_ever(self, name)
        assert file is not None
        fill = file.raw.readinto  # type: ignore[attr-defined]

        class Counts:
            def __enter__(self):
                return self

            def __exit__(self, *raised):
                file.close()

            seek = file.raw.seek  # type: ignore[attr-defined]

            def readinto(self, view):
                nonlocal read
                count = fill(view)
                read += count
                return count

        return Counts()

    monkeypatch.setattr(Local, "open", counted)
    parts(store, "data", [(2 * PIECE_BYTES + 5, 10), (4 * PIECE_BYTES, PIECE_BYTES)])
    assert read == 2 * PIECE_BYTES


@pytest.mark.parametrize("range_", [(SIZE, 1), (-1, 2), (0, SIZE + 1), (5, -1)])
def test_a_range_beyond_the_file_is_refused(store: Store, range_: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="beyond"):
        parts(store, "data", [range_])


def test_a_file_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no file 'other'"):
        parts(store, "other", [(0, 1)])


def test_damage_is_an_error_where_it_is_read_and_not_elsewhere(
    tmp_path: Path, content: bytes
) -> None:
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    store.save(KEY, Payload(files={"data": content}))
    (blob,) = (path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file())
    data = bytearray(blob.read_bytes())
    at = data.index(content[3 * PIECE_BYTES : 3 * PIECE_BYTES + 64])
    data[at] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    (view,) = parts(store, "data", [(0, PIECE_BYTES)])
    assert bytes(view) == content[:PIECE_BYTES]
    with pytest.raises(IntegrityError):
        parts(store, "data", [(3 * PIECE_BYTES + 1000, 10)])
