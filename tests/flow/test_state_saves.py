"""States are saved and loaded as they were, at once or without waiting, whole or in part."""

from __future__ import annotations

import contextlib
import mmap
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow.backends import Local
from memoflow.errors import BackendError, MemoflowError, NotFoundError, UsageError
from memoflow.flow import references
from memoflow.flow.spool import spool, uploading
from memoflow.flow.spool.entry import NO_DIGEST
from memoflow.flow.spool.held import MEMORY
from memoflow.kinds import checkpoint
from memoflow.kinds import state as kinds_state
from memoflow.names import Key
from memoflow.store import open_store
from tests.gangs import node_of
from tests.mounts import UnmountableError, fill, mounted
from tests.spooling import Gate, Task, stored, task, task_of
from tests.waiting import PATIENCE_S, until

MB = 1 << 20


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.fails = False
    gate.open()
    for _ in range(2):
        with contextlib.suppress(MemoflowError):
            uploading.drain()


@pytest.fixture(params=[True, False], ids=["local", "elsewhere"])
def one(tmp_path: Path, gate: Gate, request: pytest.FixtureRequest) -> Task:
    return task(tmp_path, gate, is_local=request.param)


def state_of(seed: int, size: int = MB) -> dict[str, Any]:
    made = np.random.default_rng(seed)
    weights = made.random(size // 8)
    return {
        "model": {"w": weights, "tied": weights, "b": made.random(3)},
        "opt": [made.random(size // 8), {"step": seed}],
        "epoch": seed,
    }


def save(one: Task, state: Any, *, wait: bool = True, **more: Any) -> dict[str, Any]:
    asked = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
    return one.checkpointer.save(None, state=state, **(asked | more), wait=wait)


def load(one: Task, reference: Any, **more: Any) -> Any:
    return references.load_state(one.checkpointer.where, reference, **more)


def same(found: Any, wanted: Any) -> bool:
    assert found.keys() == wanted.keys()
    return (
        np.array_equal(found["model"]["w"], wanted["model"]["w"])
        and found["model"]["tied"] is found["model"]["w"]
        and np.array_equal(found["model"]["b"], wanted["model"]["b"])
        and np.array_equal(found["opt"][0], wanted["opt"][0])
        and found["opt"][1] == wanted["opt"][1]
        and found["epoch"] == wanted["epoch"]
    )


@pytest.mark.parametrize("wait", [True, False])
def test_a_state_is_loaded_as_it_was(one: Task, gate: Gate, wait: bool) -> None:
    gate.open()
    reference = save(one, state_of(1), wait=wait)
    assert reference["storage_format"] == "state"
    assert same(load(one, reference), state_of(1))


def test_what_changes_afterwards_is_not_in_it(one: Task, gate: Gate) -> None:
    state = state_of(1)
    reference = save(one, state, wait=False)
    state["model"]["w"][:] = 0
    state["model"]["b"][:] = 0
    state["opt"][1]["step"] = "other"
    assert stored(one.folder.parent) == []
    gate.open()
    assert same(load(one, reference), state_of(1))


def test_what_is_loaded_is_private_and_writable(one: Task, gate: Gate) -> None:
    gate.open()
    reference = save(one, state_of(1))
    load(one, reference)["model"]["w"][:] = 0
    assert same(load(one, reference), state_of(1))


def test_a_part_is_loaded_alone(one: Task, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.open()
    reference = save(one, state_of(1, 4 * MB))
    asked: list[int] = []
    store = one.checkpointer.where.store
    as_ever = store.read_ranges

    def counted(manifest: Any, path: str, ranges: Any) -> Any:
        asked.extend(length for _, length in ranges)
        return as_ever(manifest, path, ranges)

    monkeypatch.setattr(store, "read_ranges", counted)
    found = load(one, reference, only="model.*")
    assert found.keys() == {"model"}
    assert np.array_equal(found["model"]["w"], state_of(1, 4 * MB)["model"]["w"])
    assert sum(asked) <= 4 * MB + 1000


def test_an_outline_of_a_state_reads_none_of_its_tensors(
    one: Task, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.open()
    reference = save(one, state_of(1))
    where = one.checkpointer.where
    found = references.find_checkpoint(where, reference)
    assert found is not None
    manifest = where.store.manifest(found.ref)
    monkeypatch.delattr(type(where.store), "read_ranges")
    outline = kinds_state.outline(where.store, manifest)
    assert outline["opt"][1] == {"step": 1}
    assert outline["model"]["w"].shape == state_of(1)["model"]["w"].shape


def test_a_part_that_is_not_there_is_an_error(one: Task, gate: Gate) -> None:
    gate.open()
    reference = save(one, state_of(1))
    with pytest.raises(UsageError, match=r"modle.*model"):
        load(one, reference, only="modle.*")


def test_two_copies_are_held_and_the_third_save_waits(one: Task, gate: Gate) -> None:
    save(one, state_of(1), wait=False)
    save(one, state_of(2), wait=False)
    third = threading.Thread(target=lambda: save(one, state_of(3), wait=False), daemon=True)
    third.start()
    third.join(0.3)
    assert third.is_alive()
    gate.open()
    third.join(PATIENCE_S)
    assert not third.is_alive()
    uploading.drain()
    assert len(stored(one.folder.parent)) == 3


def test_memory_of_copies_is_used_again(
    one: Task, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.open()
    MEMORY.__init__()  # type: ignore[misc]
    made: list[int] = []
    real = mmap.mmap

    def counted(file: int, size: int, **flags: int) -> Any:
        if 12 * MB <= size < 16 * MB:  # Not what packs are made in.
            made.append(size)
        return real(file, size, **flags)

    monkeypatch.setattr("memoflow.flow.spool.held.mmap.mmap", counted)
    for number in range(5):
        save(one, state_of(number, 6 * MB), wait=False)
        uploading.drain()
    assert len(made) == 1


def test_what_is_not_stored_yet_has_no_digest(one: Task) -> None:
    save(one, state_of(1), wait=False)
    (pending,) = uploading.of_this_process()._pending
    assert pending.entry.saved.ref.digest == NO_DIGEST


def test_without_memory_for_a_copy_it_waits_and_says_so(
    one: Task, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(size: int) -> Any:
        raise MemoryError(f"there is no memory for a copy of {size:,} bytes")

    gate.open()
    monkeypatch.setattr(MEMORY, "take", refuse)
    reference = save(one, state_of(1), wait=False)
    assert same(load(one, reference), state_of(1))
    assert ["saved while the task waits" in line for line in caplog.messages] == [True]


def test_other_processes_count_a_save_in_memory(one: Task, gate: Gate) -> None:
    def next_number() -> int:  # By what lies on this machine, as in any process.
        return checkpoint.number_of(Key.parse(one.checkpointer.key()))

    reference = save(one, state_of(1), wait=False)
    assert checkpoint.number_of(Key.parse(reference["key"])) == 1
    assert next_number() == 2
    gate.open()
    uploading.drain()
    assert next_number() == 2
    assert spool.last_number(one.checkpointer.where.store, one.checkpointer.series) == 0


def test_saves_are_stored_in_their_order(one: Task, gate: Gate) -> None:
    keys = [save(one, state_of(1), wait=False)["key"]]
    keys.append(save(one, state_of(2), wait=False)["key"])
    gate.open()
    keys.append(save(one, state_of(3))["key"])
    assert gate.refs == [key.rpartition("/")[2] for key in keys]


def test_what_cannot_be_stored_is_raised_by_the_next_save(one: Task, gate: Gate) -> None:
    gate.open()
    gate.fails = True
    first = save(one, state_of(1), wait=False)
    until(lambda: uploading.of_this_process()._failure is not None)
    with pytest.raises(BackendError, match=r"could not be stored.*the memory of this process"):
        save(one, state_of(2), wait=False)
    gate.fails = False
    one.checkpointer.finish()
    assert same(load(one, first), state_of(1))


def test_a_disk_that_fills_in_the_background_is_an_error_and_earlier_ones_are_whole(
    tmp_path: Path,
) -> None:
    try:
        with mounted(tmp_path / "disk", "tmpfs") as disk:
            one = task_of(open_store(disk / "store", cache_dir=tmp_path / "cache"), disk / "work")
            first = save(one, state_of(1))
            fill(disk / "other", "bytes")
            second = save(one, state_of(2), wait=False)
            with pytest.raises(BackendError, match=r"could not be stored.*No space left"):
                one.checkpointer.finish()
            assert same(load(one, first), state_of(1))
            shutil.rmtree(disk / "other")
            one.checkpointer.finish()
            assert same(load(one, second), state_of(2))
    except UnmountableError as error:
        pytest.skip(str(error))


def test_an_unchanged_state_costs_little_more_than_its_reference(
    tmp_path: Path, gate: Gate
) -> None:
    gate.open()
    one = task(tmp_path, gate, is_local=True)

    def size() -> int:
        return sum(found.size_bytes for found in Local(tmp_path / "store").list(""))

    state = state_of(1, 8 * MB)
    save(one, state)
    before = size()
    state["opt"][0][: MB // 8] = np.random.default_rng(9).random(MB // 8)
    save(one, state)
    assert size() - before <= MB + (64 << 10)


@pytest.mark.parametrize("wait", [True, False])
def test_a_leaf_that_cannot_be_pickled_is_named_and_nothing_is_saved(
    one: Task, gate: Gate, wait: bool
) -> None:
    gate.open()
    state = {"model": {"hooks": [1, threading.Lock()]}}
    with pytest.raises(UsageError, match=r"model.*hooks.*1.*cannot be pickled"):
        save(one, state, wait=wait)
    uploading.drain()
    assert stored(one.folder.parent) == []


def test_a_state_may_change_its_shape_between_saves(one: Task, gate: Gate) -> None:
    gate.open()
    first = save(one, {"w": np.zeros(MB), "old": [1]}, wait=False)
    second = save(one, {"w": np.zeros(10), "new": {"x": np.ones(MB)}}, wait=False)
    assert load(one, first)["old"] == [1]
    assert load(one, second)["new"]["x"].sum() == MB


def test_a_path_and_a_state_together_are_refused(one: Task) -> None:
    asked: dict[str, Any] = {
        "name": "c", "metadata": None, "latest": True, "storage_format": "files"
    }  # fmt: skip
    with pytest.raises(UsageError, match="not both"):
        one.checkpointer.save(one.folder, state={"a": 1}, **asked)


def test_files_are_no_state_and_say_so(one: Task, gate: Gate) -> None:
    gate.open()
    reference = one.save("text", wait=True)
    with pytest.raises(UsageError, match="of files"):
        load(one, reference)


def test_a_state_that_the_policy_found_is_one_load(tmp_path: Path) -> None:
    node_of(tmp_path, 0).save(state={"epoch": 3})
    again = node_of(tmp_path, 0, attempt=1)
    again.load_latest("fresh", "warn")
    assert again.state is again.state
    acts = again._checkpointer.journal.acts
    assert [(act.verb, act.why, act.storage_format) for act in acts] == [
        ("loaded", "load policy", "state")
    ]


def test_a_state_loads_as_plain_files(one: Task, gate: Gate, tmp_path: Path) -> None:
    gate.open()
    reference = save(one, state_of(1))
    references.load(one.checkpointer.where, reference, tmp_path / "out", writable=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"state.safetensors", "state.pickle", "state.json"}


def damage(folder: Path) -> Callable[[], None]:
    """Flip a bit of the largest blob, and return what flips it back."""
    blobs = [path for path in (folder / "store" / "blobs").rglob("*") if path.is_file()]
    path = max(blobs, key=lambda each: each.stat().st_size)
    before = path.read_bytes()
    data = bytearray(before)
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    return lambda: path.write_bytes(before) and None


def test_a_damaged_state_is_an_error(one: Task, gate: Gate) -> None:
    gate.open()
    reference = save(one, state_of(1))
    damage(one.folder.parent)
    with pytest.raises(MemoflowError, match="damaged"):
        load(one, reference)


def test_a_state_that_is_gone_is_an_error(one: Task, gate: Gate) -> None:
    gate.open()
    reference = save(one, state_of(1))
    references.delete(one.checkpointer.where, reference)
    with pytest.raises(NotFoundError, match="deleted or evicted"):
        load(one, reference)
