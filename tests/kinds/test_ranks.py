"""Parts that several processes store become one checkpoint, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.errors import NotFoundError
from memoflow.flow import references
from memoflow.kinds import ranks
from memoflow.names import Key
from tests.spooling import SERIES, Task, task

RANKS = 3


def content(rank: int) -> bytes:
    return bytes([rank]) * (100_000 + rank)


@pytest.fixture
def nodes(tmp_path: Path) -> list[Task]:
    return [task(tmp_path, machine=f"machine-{rank}") for rank in range(RANKS)]


def save(nodes: list[Task], parts: list[str]) -> dict[str, object]:
    return nodes[0].checkpointer.save_parts(
        parts, {"all": b"all"}, name="c", metadata={"loss": 0.5}, latest=True
    )


def parts_of(nodes: list[Task]) -> list[str]:
    return [
        one.checkpointer.save_part({f"rank-{rank}": [content(rank)[:5], content(rank)[5:]]})
        for rank, one in enumerate(nodes)
    ]


def test_parts_of_several_machines_become_one_checkpoint(nodes: list[Task], tmp_path: Path) -> None:
    parts = parts_of(nodes)
    assert nodes[0].checkpointer.list(full_namespace=True) == []
    reference = save(nodes, parts)
    assert (reference["storage_format"], reference["metadata"]) == (ranks.FORMAT, {"loss": 0.5})
    into = tmp_path / "loaded"
    references.load(nodes[2].checkpointer.where, reference, into, writable=True)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == {
        "all": b"all", **{f"rank-{rank}": content(rank) for rank in range(RANKS)}
    }  # fmt: skip


def test_of_a_checkpoint_no_part_is_left(nodes: list[Task]) -> None:
    save(nodes, parts_of(nodes))
    assert nodes[0].checkpointer.where.store.keys(SERIES / "ranks") == []


def test_a_part_that_is_gone_is_an_error_and_no_checkpoint(nodes: list[Task]) -> None:
    parts = parts_of(nodes)
    nodes[1].checkpointer.where.store.forget(Key.parse(parts[1]))
    with pytest.raises(NotFoundError, match="a part of the checkpoint, is gone"):
        save(nodes, parts)
    assert nodes[0].checkpointer.list(full_namespace=True) == []


def test_a_part_lasts_a_day(nodes: list[Task]) -> None:
    store = nodes[0].checkpointer.where.store
    ref = store.lookup(Key.parse(parts_of(nodes)[0]))
    assert ref is not None
    assert ref.expires == pytest.approx(ref.created + 86_400, abs=60)
