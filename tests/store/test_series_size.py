"""A series of which only the newest saves are kept takes little more than these, however long."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.names import Key, Ref
from memoflow.store import Payload, Store, open_store
from tests.store.conftest import SERIES, contents

MOST = 2.5  # times what is live


def log_and_weights(chance: random.Random, files: dict[str, bytes]) -> None:
    files["weights"] = chance.randbytes(3_000_000)
    lines = b"".join(b"step %f\n" % chance.random() for _ in range(10_000))
    files["log"] = files.get("log", b"") + lines


def heads_that_stay(chance: random.Random, files: dict[str, bytes]) -> None:
    for name in ("a", "b"):
        head = files.get(name, chance.randbytes(1 << 18))[: 1 << 18]
        files[name] = head + chance.randbytes(2 << 20)


def pieces_here_and_there(chance: random.Random, files: dict[str, bytes]) -> None:
    data = bytearray(files.get("table", chance.randbytes(8 << 20)))
    for start in range(0, len(data), 1 << 18):
        if chance.random() < 0.2:
            data[start : start + (1 << 18)] = chance.randbytes(1 << 18)
    files["table"] = bytes(data)


def files_that_come_and_go(chance: random.Random, files: dict[str, bytes]) -> None:
    for name in [name for name in files if chance.random() < 0.3]:
        del files[name]
    for _ in range(4):
        files[f"f{chance.random()}"] = chance.randbytes(300_000)


SHAPES = (log_and_weights, heads_that_stay, pieces_here_and_there, files_that_come_and_go)
Shape = Callable[[random.Random, dict[str, bytes]], None]


def run(store: Store, write: Shape, *, saves: int, keep: int, folder: Path) -> float:
    """Save, forget all but the newest, and return the most that was stored over what was live."""
    chance, files, refs = random.Random(7), dict[str, bytes](), list[Ref]()
    worst = 0.0
    for number in range(saves):
        write(chance, files)
        refs.append(store.append(SERIES, Payload(files=dict(files), tree=some(folder))))
        for old in refs[:-keep]:
            store.forget(old.key)
        refs = refs[-keep:]
        if number >= 5 and number % 5 == 0:
            store.sweep(now=True)
            worst = max(worst, stored(store) / live(store, refs))
    into = store.load(refs[-1], folder / "loaded")
    assert {name: contents(into)[name] for name in files} == files
    return worst


def some(folder: Path) -> Path:
    """A directory, since a save without one refers to no save before it."""
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    return tree


def stored(store: Store) -> int:
    return sum(found.size_bytes for found in store.backend.list("blobs"))


def live(store: Store, refs: list[Ref]) -> int:
    pieces: dict[str, int] = {}
    for ref in refs:
        for file in store.manifest(ref).files:
            pieces.update((piece.xxh3, piece.length) for piece in file.pieces)
    return sum(pieces.values())


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("write", SHAPES)
def test_what_is_stored_stays_within_bounds(on_disk: Store, tmp_path: Path, write, keep) -> None:
    assert run(on_disk, write, saves=41, keep=keep, folder=tmp_path) <= MOST


@pytest.mark.parametrize("write", SHAPES)
def test_replaced_saves_are_freed_without_a_sweep(on_disk: Store, tmp_path: Path, write) -> None:
    chance, files = random.Random(7), dict[str, bytes]()
    last, worst = None, 0.0
    for _ in range(30):
        write(chance, files)
        ref = on_disk.append(SERIES, Payload(files=dict(files), tree=some(tmp_path)))
        if last is not None:
            on_disk.replace([last], ref)
        last = ref
        worst = max(worst, stored(on_disk) / live(on_disk, [ref]))
    assert worst <= MOST
    contents(on_disk.load(ref, tmp_path / "loaded"))


def test_what_another_ref_needs_is_not_freed_with_a_replaced_save(
    on_disk: Store, tmp_path: Path
) -> None:
    first = random.Random(1).randbytes(400_000)
    kept = on_disk.append(SERIES, Payload(files={"a": first}))
    also = on_disk.append(SERIES, Payload(files={"a": first}))
    new = on_disk.append(SERIES, Payload(files={"a": random.Random(2).randbytes(4000)}))
    on_disk.replace([kept], new)
    assert contents(on_disk.load(also, tmp_path / "loaded")) == {"a": first}


@pytest.mark.parametrize("write", SHAPES)
def test_it_does_where_asking_is_slow(tmp_path: Path, write: Shape) -> None:
    store = open_store(Far(), cache_dir=tmp_path / "cache")
    assert run(store, write, saves=31, keep=1, folder=tmp_path) <= MOST


class Far(Memory):
    """Bytes that lie elsewhere."""

    takes_round_trips = True


def test_a_pack_costs_no_question_where_asking_is_slow(tmp_path: Path) -> None:
    far = Counting()
    store = open_store(far, cache_dir=tmp_path / "cache")
    asked = []
    for number in range(6):
        files = {"weights": random.Random(number).randbytes(2_000_000), "kept": b"k" * 300_000}
        before = far.asked
        ref = store.append(SERIES, Payload(files=dict(files), tree=some(tmp_path)))
        asked.append(far.asked - before)
        for key in store.keys(SERIES):
            if key != ref.key:
                store.forget(key)
    assert asked[2:] == [0] * 4


class Counting(Far):
    asked = 0

    def sizes(self, names):  # type: ignore[no-untyped-def]
        self.asked += len(names)
        return super().sizes(names)


def test_a_series_that_keeps_all_stores_equal_pieces_once(on_disk: Store, tmp_path: Path) -> None:
    kept = random.Random(1).randbytes(1_000_000)
    for number in range(8):
        files = {"weights": random.Random(number).randbytes(2_000_000), "kept": kept}
        on_disk.append(SERIES, Payload(files=dict(files), tree=some(tmp_path)))
    assert stored(on_disk) <= 8 * 2_000_000 + 1_000_000


def test_a_small_piece_of_another_save_does_not_hold_a_large_pack(
    on_disk: Store, tmp_path: Path
) -> None:
    shared = random.Random(1).randbytes(100_000)
    first = on_disk.append(
        SERIES, Payload(files={"shared": shared, "rest": random.Random(2).randbytes(8_000_000)})
    )
    on_disk.append(Key.of("checkpoint", "F", "other"), Payload(files={"shared": shared}))
    on_disk.forget(first.key)
    on_disk.sweep(now=True)
    assert stored(on_disk) <= MOST * len(shared)
