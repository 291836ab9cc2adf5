"""Artifacts of a task: bound by name to what another task left, and loaded by Metaflow."""

from __future__ import annotations

from typing import Any

import pytest
from metaflow import FlowSpec

from memoflow.flow.host.artifacts import DATASTORE, INTERNAL, TaskArtifacts, datastore_of
from tests.flow.host.conftest import World


def test_a_name_is_found_with_its_sha1_and_size(world: World) -> None:
    found = TaskArtifacts(world.task("start", x=[1, 2]))
    assert "x" in found
    assert set(found.names()) == {"x"}
    assert len(found.sha1("x") or "") == 40
    assert found.sha1s() == {"x": found.sha1("x")}
    assert found.size_bytes("x") == found.info("x")["size"] > 0
    assert found.load("x") == [1, 2]


def test_of_a_name_that_is_not_there_nothing_is_known(world: World) -> None:
    found = TaskArtifacts(world.task("start", x=1))
    assert "y" not in found
    assert (found.sha1("y"), found.info("y"), found.size_bytes("y")) == (None, {}, 0)


def test_what_is_bound_is_what_the_next_reader_loads(world: World) -> None:
    origin = TaskArtifacts(world.task("start", x={"a": 1}))
    output = world.writer("fit")
    TaskArtifacts(output).bind("y", origin.sha1s()["x"], origin.info("x"))
    output.done()
    assert world.reopened(output)["y"] == {"a": 1}


def test_what_is_unbound_is_gone(world: World) -> None:
    found = TaskArtifacts(world.task("start", x=1, y=2))
    found.unbind("x")
    assert set(found.names()) == {"y"}
    with pytest.raises(KeyError):
        found.unbind("x")


def test_all_of_a_parent_is_carried_over(world: World) -> None:
    parent = world.task("start", x=1, y=2)
    output = world.writer("fit")
    TaskArtifacts(output).bind_all_of(parent)
    output.done()
    assert TaskArtifacts(world.reopened(output)).sha1s() == TaskArtifacts(parent).sha1s()


def test_of_a_parent_of_a_join_only_what_each_task_is_handed(world: World) -> None:
    parent = world.task("start", x=1, alpha=2, _graph_info={"steps": {}})
    output = world.writer("join")
    TaskArtifacts(output).bind_passed(parent, ["alpha", "absent"])
    output.done()
    assert set(TaskArtifacts(world.reopened(output)).names()) == {"alpha", "_graph_info"}


def test_a_flow_starts_with_the_artifacts_of_its_datastore(
    world: World, flow: type[FlowSpec]
) -> None:
    instance = flow(use_cli=False)
    parent = world.task("start", x=7)
    instance._set_datastore(parent)
    assert datastore_of(instance) is parent
    bound = TaskArtifacts.of_flow(instance)
    bound.bind("y", bound.sha1s()["x"], bound.info("x"))
    assert instance.y == 7


def test_the_attribute_by_which_a_step_could_reach_all_is_known(
    world: World, flow: type[FlowSpec]
) -> None:
    instance: Any = flow(use_cli=False)
    instance._set_datastore(world.task("start", x=7))
    assert getattr(instance, DATASTORE)["x"] == 7


def test_all_that_metaflow_sets_on_a_flow_is_internal(flow: type[FlowSpec]) -> None:
    instance = flow(use_cli=False)
    assert vars(instance).keys() - INTERNAL == set()
