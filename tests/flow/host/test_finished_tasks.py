"""Finished tasks: known by what the runtime has opened, and opened no second time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from metaflow import FlowSpec

from memoflow.flow.host import storage
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.blobs import BlobCache
from memoflow.flow.host.finished_tasks import FinishedTasks
from tests.flow.host.conftest import World


@pytest.fixture
def graph(flow: type[FlowSpec]) -> Any:
    return flow(use_cli=False)._graph


class Runtime:
    """Tasks as the runtime has them, and the number of those that are opened anew."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reader = storage.reader(world.datastore, BlobCache())
        self.tasks = FinishedTasks(self.reader)
        self.opened = 0
        original = self.reader.get_task_datastore

        def opened(*arguments: Any, **options: Any) -> Any:
            self.opened += options.get("data_metadata") is None
            return original(*arguments, **options)

        self.reader.get_task_datastore = opened

    def task(self, step: str, **artifacts: Any) -> Any:
        results = self.world.task(step, **artifacts)
        path = f"{self.world.run}/{step}/{results.task_id}"
        return SimpleNamespace(step=step, path=path, results=results)


@pytest.fixture
def runtime(world: World) -> Runtime:
    return Runtime(world)


def test_the_parents_of_a_join_are_those_that_the_runtime_has_opened(
    runtime: Runtime, graph: Any
) -> None:
    runtime.tasks.follow(graph, "join")
    finished = [runtime.task("score", value=number) for number in range(3)]
    for each in finished:
        runtime.tasks.add(each)
    found = runtime.tasks.open([each.path for each in finished])
    assert [each["value"] for each in found] == [0, 1, 2]
    assert runtime.opened == 0
    assert not runtime.tasks._kept  # Nobody else starts from them.


def test_the_splits_of_a_foreach_start_from_one_datastore(runtime: Runtime, graph: Any) -> None:
    runtime.tasks.follow(graph, "fit")
    start = runtime.task("start", rates=[1, 2])
    runtime.tasks.add(start)
    (one,) = runtime.tasks.open([start.path])
    assert runtime.tasks.open([start.path]) == [one]
    assert runtime.opened == 0


def test_tasks_from_which_no_memoized_step_starts_are_not_kept(
    runtime: Runtime, graph: Any
) -> None:
    runtime.tasks.follow(graph, "join")
    runtime.tasks.add(runtime.task("fit", value=1))
    assert not runtime.tasks._kept


def test_others_are_opened(runtime: Runtime, graph: Any) -> None:
    runtime.tasks.follow(graph, "join")
    finished = [runtime.task("score", value=number) for number in range(3)]
    runtime.tasks.add(finished[1])
    found = runtime.tasks.open([each.path for each in finished])
    assert [each["value"] for each in found] == [0, 1, 2]
    assert runtime.opened == 2


def test_an_answer_is_what_the_runtime_goes_on_with(runtime: Runtime, graph: Any) -> None:
    task = runtime.task("score", value=1)
    runtime.tasks.follow(graph, "join")
    runtime.tasks.settle(task, TaskArtifacts(task.results))
    assert task._results_ds["value"] == 1
    assert runtime.tasks.open([task.path])[0]["value"] == 1
    assert runtime.opened == 0


def test_what_the_runtime_asks_for_again_is_read_once(
    runtime: Runtime, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.tasks.follow(graph, "fit")
    start = runtime.task("start", _foreach_stack=[])
    runtime.tasks.add(start)
    loads: list[Any] = []
    storage_impl = runtime.reader.ca_store._storage_impl
    load = storage_impl.load_bytes
    monkeypatch.setattr(
        storage_impl, "load_bytes", lambda paths: (loads.extend(paths), load(paths))[1]
    )
    for _ in range(3):
        assert start._results_ds["_foreach_stack"] == []
    assert len(loads) == 1


def test_equal_names_digests_and_types_are_kept_once(runtime: Runtime, graph: Any) -> None:
    runtime.tasks.follow(graph, "join")
    for _ in range(2):
        runtime.tasks.add(runtime.task("score", value=1))
    (one, one_info), (other, other_info) = runtime.tasks._kept.values()
    assert one["value"] is other["value"]
    assert one_info["value"] is other_info["value"]
