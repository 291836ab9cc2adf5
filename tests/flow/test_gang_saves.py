"""A gang's checkpoint exists once all its parts do, and all nodes begin from the same one."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memoflow.errors import BackendError
from memoflow.flow import references
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.checkpoint.gang_saves import GangSaves
from memoflow.flow.spool import uploading
from memoflow.kinds import checkpoint, gang
from memoflow.store import open_store
from tests.gangs import SERIES, is_state, node_of, round_of, state_of
from tests.waiting import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]


def saves(folder: Path) -> list[str]:
    store = open_store(folder / "store", cache_dir=folder / "looks")
    return [str(key) for key in store.keys(SERIES) if checkpoint.is_save(key)]


def test_it_exists_once_all_parts_do(tmp_path: Path) -> None:
    nodes = [node_of(tmp_path, node) for node in range(3)]
    nodes[2].save(state=state_of(2, 1), gang=True)
    nodes[0].save(state=state_of(0, 1), gang=True)
    assert saves(tmp_path) == []
    nodes[1].save(state=state_of(1, 1), gang=True)
    assert len(saves(tmp_path)) == 1


@pytest.mark.parametrize("wait", [True, False])
def test_each_node_is_returned_the_same_key(tmp_path: Path, wait: bool) -> None:
    nodes = [node_of(tmp_path, node) for node in range(3)]
    keys = {
        one.save(state=state_of(n, 1), gang=True, wait=wait)["key"] for n, one in enumerate(nodes)
    }
    uploading.drain()
    assert [*keys] == saves(tmp_path)


def test_each_node_gets_its_own_part_of_the_newest(tmp_path: Path) -> None:
    nodes = [node_of(tmp_path, node) for node in range(3)]
    for number in (1, 2):
        for node, one in enumerate(nodes):
            one.save(state=state_of(node, number), gang=True)
    nodes[0].save(state=state_of(0, 3), gang=True)  # And the others were killed.
    again = [node_of(tmp_path, node, attempt=1) for node in range(3)]
    assert [round_of(one, node) for node, one in enumerate(again)] == [2, 2, 2]


def test_nodes_that_begin_late_begin_from_the_same(tmp_path: Path) -> None:
    nodes = [node_of(tmp_path, node) for node in range(2)]
    nodes = [node_of(tmp_path, node, nodes=2) for node in range(2)]
    for node, one in enumerate(nodes):
        one.save(state=state_of(node, 1), gang=True)
    first = node_of(tmp_path, 0, nodes=2, attempt=1)
    assert round_of(first, 0) == 1
    for node, one in enumerate(nodes):  # Of the attempt before, and not dead yet.
        one.save(state=state_of(node, 2), gang=True)
    assert round_of(node_of(tmp_path, 1, nodes=2, attempt=1), 1) == 1


def test_all_parts_of_killed_nodes_make_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gang, "complete", lambda *_, **__: None)
    for node in range(3):
        node_of(tmp_path, node).save(state=state_of(node, 1), gang=True)
    monkeypatch.undo()
    assert saves(tmp_path) == []
    again = [node_of(tmp_path, node, attempt=1) for node in range(3)]
    assert [round_of(one, node) for node, one in enumerate(again)] == [1, 1, 1]


def test_parts_are_dropped_once_it_exists(tmp_path: Path) -> None:
    nodes = [node_of(tmp_path, node) for node in range(3)]
    for number in (1, 2):
        for node, one in enumerate(nodes):
            one.save(state=state_of(node, number), gang=True)
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "looks")
    names = [key.parts[-1] for key in store.keys(SERIES) if not checkpoint.is_save(key)]
    assert names == ["start"]


def test_a_part_that_never_comes_is_told_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [node_of(tmp_path, node) for node in range(3)]
    for node, one in enumerate(nodes):
        one.save(state=state_of(node, 1), gang=True)
    nodes[0].finish()
    assert caplog.messages == []
    nodes[0].save(state=state_of(0, 2), gang=True)
    nodes[0].finish()
    (line,) = caplog.messages
    assert "not whole yet" in line
    assert "nodes 1, 2" in line


def test_a_task_ends_well_where_nobody_can_tell_of_other_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise BackendError("out of reach")

    one = node_of(tmp_path, 0)
    one.save(state=state_of(0, 1), gang=True)
    monkeypatch.setattr(gang, "missing_nodes", fail)
    one.finish()
    assert "out of reach" in caplog.text


def test_parts_of_one_node_are_of_rounds_in_order(tmp_path: Path) -> None:
    checkpointer = node_of(tmp_path, 1)._checkpointer
    saves = GangSaves(lambda: checkpointer.where.store, checkpointer.identity, SERIES)
    parts = [saves.next_part(None) for _ in range(3)]
    assert [part.round for part in parts] == [1, 2, 3]
    assert [part.number for part in parts] == [1, 2, 3]
    assert len({part.key for part in parts}) == 3


def test_another_number_of_nodes_is_an_error(tmp_path: Path) -> None:
    for node in range(3):
        node_of(tmp_path, node).save(state=state_of(node, 1), gang=True)
    one = node_of(tmp_path, 0, nodes=2, attempt=1)
    one.load_latest("fresh", "warn")
    with pytest.raises(CheckpointException, match=r"saved by 3 nodes, and 2 would.*StorageReader"):
        _ = one.state


def test_files_of_a_gang_are_those_of_each_node(tmp_path: Path) -> None:
    for node in range(2):
        one = node_of(tmp_path, node, nodes=2)
        Path(one.directory, "shard").write_text(f"of {node}")
        one.save(gang=True)
    for node in range(2):
        one = node_of(tmp_path, node, nodes=2, attempt=1)
        one.load_latest("fresh", "warn")
        assert Path(one.directory, "shard").read_text() == f"of {node}"
        assert [path.name for path in Path(one.directory).iterdir()] == ["shard"]


def test_outside_of_gangs_it_is_refused(tmp_path: Path) -> None:
    one = node_of(tmp_path, 0, nodes=0)
    with pytest.raises(CheckpointException, match="num_parallel"):
        one.save(state={"a": 1}, gang=True)


def test_all_nodes_are_in_its_files(tmp_path: Path) -> None:
    for node in range(2):
        reference = node_of(tmp_path, node, nodes=2).save(state=state_of(node, 1), gang=True)
    one = node_of(tmp_path, 0, nodes=2)
    one.load(reference, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["node-0", "node-1"]


def test_a_damaged_one_fails_the_attempt_and_the_next_goes_on_from_the_one_before(
    tmp_path: Path,
) -> None:
    nodes = [node_of(tmp_path, node) for node in range(3)]
    for number in (1, 2):
        for node, one in enumerate(nodes):
            one.save(state=state_of(node, number), gang=True)
    blobs = [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]
    newest = max(blobs, key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.chmod(0o644)
    newest.write_bytes(data)
    failed = 0
    for node in range(3):
        one = node_of(tmp_path, node, attempt=1)
        try:
            round_of(one, node)
        except CheckpointException:
            failed += 1
    assert failed >= 1
    again = [node_of(tmp_path, node, attempt=2) for node in range(3)]
    assert [round_of(one, node) for node, one in enumerate(again)] == [1, 1, 1]


def test_keep_last_keeps_whole_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".metaflow").mkdir()
    monkeypatch.chdir(tmp_path)
    nodes = [node_of(tmp_path, node, keep_last=2) for node in range(3)]
    for number in range(1, 6):
        for node, one in enumerate(nodes):
            one.save(state=state_of(node, number), gang=True)
    assert len(saves(tmp_path)) == 2


def test_a_save_repeated_after_a_failure_makes_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BackendError("out of reach")

    nodes = [node_of(tmp_path, node, nodes=2) for node in range(2)]
    for node, one in enumerate(nodes):
        one.save(state=state_of(node, 1), gang=True)
    with monkeypatch.context() as patch:
        patch.setattr(gang, "save_part", fail)
        with pytest.raises(CheckpointException, match="out of reach"):
            nodes[0].save(state=state_of(0, 2), gang=True)
    for number in (2, 3):
        nodes[1].save(state=state_of(1, number), gang=True)
        with pytest.raises(CheckpointException, match="an earlier save"):
            nodes[0].save(state=state_of(0, number), gang=True)
    again = [node_of(tmp_path, node, nodes=2, attempt=1) for node in range(2)]
    assert [round_of(one, node) for node, one in enumerate(again)] == [1, 1]


def test_a_save_of_one_node_replaces_none_of_the_gang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".metaflow").mkdir()
    monkeypatch.chdir(tmp_path)
    nodes = [node_of(tmp_path, node, keep_last=1) for node in range(3)]
    for node, one in enumerate(nodes):
        one.save(state=state_of(node, 1), gang=True)
    for _ in range(2):
        nodes[0].save(state={"log": "of the control task"})
    again = [node_of(tmp_path, node, attempt=1) for node in range(3)]
    assert [round_of(one, node) for node, one in enumerate(again)] == [1, 1, 1]


def _killed(folder: Path, attempt: int, chance: random.Random, wait: str) -> list[int]:
    """Run an attempt, kill its nodes at a random time, and return what they began from."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.gangs", str(folder), str(node), str(attempt), wait],
            cwd=REPOSITORY,
        )
        for node in range(3)
    ]
    try:
        until = time.monotonic() + PATIENCE_S
        while not all((folder / f"began-{attempt}-{node}").exists() for node in range(3)):
            assert time.monotonic() < until
            assert all(child.poll() is None for child in children)
            time.sleep(0.005)
        time.sleep(chance.random() * 0.3)
    finally:
        for child in chance.sample(children, 3):
            child.kill()
        for child in children:
            child.wait()
    return [int((folder / f"began-{attempt}-{node}").read_text()) for node in range(3)]


def _run(folder: Path, attempts: int) -> None:
    """Check that the nodes of each attempt began from one round, and from none before it."""
    chance = random.Random(17)
    whole = 0
    for attempt in range(attempts):
        began = _killed(folder, attempt, chance, chance.choice(("wait", "later")))
        assert len({*began}) == 1, f"attempt {attempt} is a mixture: {began}"
        assert began[0] >= whole, f"attempt {attempt} lost rounds: {began} after {whole}"
        whole = began[0]
        store = open_store(folder / "store", cache_dir=folder / "looks")
        newest = next(
            (one for one in checkpoint.newest_first(store, SERIES) if one.about.nodes), None
        )
        if newest is not None:
            states = [
                references.load_state(
                    node_of(folder, 0)._checkpointer.where, str(newest.ref.key), node=n, nodes=3
                )
                for n in range(3)
            ]
            assert len({state["round"] for state in states}) == 1
            assert all(is_state(state, node) for node, state in enumerate(states))
            whole = states[0]["round"]
    assert whole > 0


def test_nodes_killed_anywhere_leave_no_mixture(tmp_path: Path) -> None:
    _run(tmp_path, 4)


@pytest.mark.stress
def test_nodes_killed_anywhere_200_times_leave_no_mixture(tmp_path: Path) -> None:
    _run(tmp_path, 200)
