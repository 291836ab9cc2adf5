"""The record of a task that did not run: to the Client it is a task like any other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from metaflow import FlowSpec, Task

from memoflow.flow.host import task_record
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.blobs import BlobCache, NewBlobs
from memoflow.flow.host.foreach import Foreach
from tests.flow.host.conftest import World


@pytest.fixture
def record(world: World, flow: type[FlowSpec]) -> Any:
    """Write the record of a task of `fit` that follows a split, with an artifact of another."""

    def write(**options: Any) -> Any:
        start = world.task(
            "start",
            given=1,
            alpha=2,
            _foreach_var="rates",
            _foreach_num_splits=2,
            _foreach_values=["0.1", "0.2"],
            _foreach_stack=[],
        )
        origin = TaskArtifacts(world.task("fit", model="good"))
        task = SimpleNamespace(
            flow_name="Sweep",
            run_id=world.run,
            step="fit",
            task_id=world.metadata.new_task_id(world.run, "fit"),
            metadata=world.metadata,
        )
        settings = {"attempt": 0, "passed": None, **options}
        world.datastore.get_task_datastore(
            world.run, "fit", task.task_id, attempt=settings["attempt"], mode="w"
        ).init_task()
        task_record.write(
            task,
            flow_datastore=world.datastore,
            blobs=NewBlobs(world.datastore, BlobCache()),
            parent=start,
            artifacts={"model": (origin.sha1s()["model"], origin.info("model"))},
            next_step={
                "_transition": [["score"], None],
                "_foreach_var": None,
                "_foreach_num_splits": None,
            },
            foreach=Foreach.of_new_task(flow, "fit", [start], None, 1),
            fields={"memo-origin": "Sweep/1/fit/2"},
            **settings,
        )
        return Task(f"Sweep/{world.run}/fit/{task.task_id}", _namespace_check=False)

    return write


def test_the_client_finds_it_finished_and_successful(record: Any) -> None:
    task = record()
    assert (task.finished, task.successful, task.exception) == (True, True, None)
    assert task.current_attempt == 0


def test_its_results_are_those_it_was_given_and_its_parents(record: Any) -> None:
    data = record().data
    assert (data.model, data.given, data.name) == ("good", 1, "Sweep")


def test_in_a_join_the_parent_hands_on_what_each_task_gets(record: Any) -> None:
    data = record(passed=["alpha"]).data
    assert data.alpha == 2
    assert "given" not in data


def test_its_metadata_say_where_it_comes_from_and_in_which_foreach(record: Any) -> None:
    noted = record().metadata_dict
    assert noted["memo-origin"] == "Sweep/1/fit/2"
    assert noted["attempt_ok"] == "True"
    assert noted["foreach-execution-path"] == "fit:1"


def test_the_next_step_starts_from_it(record: Any, world: World, flow: type[FlowSpec]) -> None:
    task = record()
    left = world.datastore.get_task_datastore(world.run, "fit", task.id)
    assert left["_transition"] == (["score"], None)
    assert left["_current_step"] == "fit"
    (frame,) = Foreach.of_new_task(flow, "score", [left], None, None).stack
    assert frame.index == 1


def test_what_it_printed_is_in_its_log(record: Any) -> None:
    task = record(log=[("stdout", b"[memoize] hit"), ("stderr", b"1%\r2%\n"), ("stdout", b"x\n")])
    assert (task.stdout, task.stderr) == ("[memoize] hit\nx\n", "1%\r2%\n")


def test_a_later_attempt_is_the_one_that_counts(record: Any) -> None:
    task = record(attempt=1)
    assert task.current_attempt == 1
    assert task.successful
