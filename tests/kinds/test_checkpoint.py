"""Checkpoints of a gang: each node's own are kept as those of a task are."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.kinds import checkpoint
from memoflow.kinds.about import About
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store

SERIES = checkpoint.series("Train", "fit", "scope", "identity")
CONTROL = "Train/1/fit/2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


@pytest.fixture
def save(store: Store, tmp_path: Path):
    (tmp_path / "shard").write_text("x")

    def save(node: str, task: str = CONTROL, attempt: int = 0, **more: object) -> Key:
        own = task if node == "" else f"{task}_node_{node}"
        about = About("checkpoint", task, attempt, "mfchckpt", own=own)
        token = checkpoint.new_token()
        tree = tmp_path / "shard"
        return checkpoint.save(
            store, SERIES, Payload(tree=tree), about, token=token, **more
        ).ref.key

    return save


@pytest.mark.parametrize(
    ("own", "node"),
    [
        ("2", ""),
        ("2_node_1", "1"),
        ("2-node-1", "1"),
        ("2-worker-0", "1"),
        ("worker-abc-0", "1"),
        ("2_node_10", "10"),
    ],
)
def test_a_node_has_the_same_name_in_each_run(own: str, node: str) -> None:
    assert checkpoint.node_of(f"Train/1/fit/{own}", CONTROL) == node


def test_a_node_that_keeps_one_takes_none_of_another(store: Store, save) -> None:
    first, others = save("1"), [save(""), save("2")]
    last = save("1")
    checkpoint.keep_last(store, SERIES, CONTROL, 1, node="1")
    assert set(store.keys(SERIES)) == {last, *others}
    assert first not in store.keys(SERIES)


def test_a_retry_keeps_what_nodes_that_begin_later_start_from(store: Store, save) -> None:
    first, last = save(""), [save("", attempt=1), save("", attempt=1)][1]
    checkpoint.keep_last(store, SERIES, CONTROL, 1, attempt=1)
    assert set(store.keys(SERIES)) == {first, last}


def test_a_task_that_is_no_gang_keeps_no_more_than_it_was_told(store: Store, save) -> None:
    save("")
    last = save("", attempt=1)
    checkpoint.keep_last(store, SERIES, CONTROL, 1)
    assert set(store.keys(SERIES)) == {last}


def test_the_newest_of_each_node_is_never_evicted(store: Store, save) -> None:
    old = {"created": 1.0}
    save("1", **old)
    kept = {save("1", **old), save("2", **old), save("", **old)}
    assert checkpoint.newest(store) == kept
