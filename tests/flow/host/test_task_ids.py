"""Ids made ahead: as many as are sure to come, each begun once, in the datastore too."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.runtime import Task

from memoflow.flow.host import task_ids
from memoflow.flow.host.task_ids import TaskIds
from memoflow.threads import Pool
from tests.flow.host.conftest import World


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(4) as pool:
        yield pool


@pytest.fixture
def ids(world: World, pool: Pool) -> TaskIds:
    return TaskIds(world.metadata, world.datastore, pool)


def begun(world: World) -> set[str]:
    return {each.parent.name for each in (world.root / "Sweep" / world.run).rglob("0.attempt.json")}


def test_the_ids_that_were_expected_are_given_and_then_new_ones(
    world: World, ids: TaskIds, pool: Pool
) -> None:
    ids.expect(world.run, "fit", at_least=3)
    given = [world.metadata.new_task_id(world.run, "fit") for _ in range(4)]
    assert len(set(given)) == 4
    pool.shutdown()
    assert len(begun(world)) == 3


def test_no_more_are_made_than_are_to_come(world: World, ids: TaskIds, pool: Pool) -> None:
    ids.expect(world.run, "fit", at_least=2)
    ids.expect(world.run, "fit", at_least=2)
    ids.expect(world.run, "fit", more=1)
    pool.shutdown()
    assert len(begun(world)) == 3


def test_few_are_made_at_a_time_and_each_that_is_taken_makes_room(
    world: World, ids: TaskIds, pool: Pool
) -> None:
    ids.expect(world.run, "fit", at_least=100)
    given = {world.metadata.new_task_id(world.run, "fit") for _ in range(10)}
    pool.shutdown()
    assert len(given) == 10
    assert len(begun(world)) == 10 + task_ids._MOST


def test_a_task_of_another_step_or_with_a_tag_has_an_id_of_its_own(
    world: World, ids: TaskIds
) -> None:
    ids.expect(world.run, "fit", at_least=1)
    first = world.metadata.new_task_id(world.run, "fit")
    ids.expect(world.run, "fit", at_least=1)
    tagged = world.metadata.new_task_id(world.run, "fit", sys_tags=["control"])
    other = world.metadata.new_task_id(world.run, "join")
    given = {first, tagged, other, world.metadata.new_task_id(world.run, "fit")}
    assert len(given) == 4


def test_an_attempt_that_was_begun_ahead_is_not_begun_again(
    world: World, ids: TaskIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids.expect(world.run, "fit", at_least=1)
    task = object.__new__(Task)
    task.step, task.run_id, task.retries = "fit", world.run, 0
    task._flow_datastore, task.metadata, task.ubf_context = world.datastore, world.metadata, None
    task._get_task_id(None)
    written: list[Any] = []
    monkeypatch.setattr(
        world.datastore._storage_impl, "save_bytes", lambda *args, **_: written.append(args)
    )
    task.new_attempt()
    assert not written
    assert (task._ds.task_id, task._ds.attempt) == (task.task_id, 0)
    task.new_attempt()
    assert len(written) == 1


def test_what_a_provider_raises_is_raised_where_the_id_is_asked_for(
    world: World, pool: Pool
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise ValueError("500")

    provider = SimpleNamespace(TYPE="service", new_task_id=broken)
    TaskIds(provider, world.datastore, pool).expect("1", "fit", at_least=1)
    with pytest.raises(ValueError, match="500"):
        provider.new_task_id("1", "fit")
