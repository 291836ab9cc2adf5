"""The metadata of tasks, as Metaflow's providers on disk and in a service keep it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from metaflow import Run, Task, namespace

from memoflow.flow.host import task_rows
from tests.flow.memo.noted import HIT, NotedRuns, clone, miss, noting


@pytest.fixture(params=["local", "service"])
def noted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotedRuns]:
    with noting(request.param, tmp_path) as runs:
        namespace(None)
        yield runs


@pytest.fixture
def service(tmp_path: Path) -> Iterator[NotedRuns]:
    with noting("service", tmp_path) as runs:
        namespace(None)
        yield runs


def test_the_latest_value_of_a_field_counts(noted: NotedRuns) -> None:
    run = noted.run()
    task = noted.task(run, "fit", {"note": "first"})
    for value in ("second", "third"):
        noted.note(task, {"note": value})
    assert task_rows.of_task(Task(task))["note"] == "third"
    [found] = task_rows.of_run(Run(run), ["note"]).values()
    assert found == {"note": "third"}


def test_a_clone_has_its_own_fields_though_its_origin_is_gone(noted: NotedRuns) -> None:
    run = noted.run()
    task = noted.task(run, "fit", clone("77", "9"))
    rows = task_rows.of_task(Task(task))
    assert task_rows.origin_of_clone(task, rows) == "Train/77/fit/9"


def test_a_task_of_a_resumed_run_that_was_not_cloned_has_no_origin(noted: NotedRuns) -> None:
    task = noted.task(noted.run(), "fit", {"origin-run-id": "77"})
    assert task_rows.origin_of_clone(task, task_rows.of_task(Task(task))) is None


def test_a_run_has_the_fields_of_all_of_its_tasks(noted: NotedRuns) -> None:
    noted.task(noted.run(), "fit", HIT)
    run = noted.run()
    hit, missed = noted.task(run, "fit", HIT), noted.task(run, "fit", miss())
    noted.task(run, "end", {"other": "x"})
    rows = task_rows.of_run(Run(run), ["memo-origin", "memo-decision"])
    assert rows == {
        ("fit", hit.rpartition("/")[2]): {"memo-origin": "Train/1/fit/2"},
        ("fit", missed.rpartition("/")[2]): miss(),
    }


def test_a_field_is_not_taken_for_another_whose_name_begins_so(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "fit", {"memo_origin": "a", "memo_origin_1": "b"})
    [found] = task_rows.of_run(Run(run), ["memo_origin"]).values()
    assert found == {"memo_origin": "a"}


def test_a_wide_run_takes_one_request(service: NotedRuns) -> None:
    assert service.service is not None
    name = service.run()
    for _ in range(30):
        service.task(name, "fit", HIT)
    run = Run(name)
    service.service.requests.clear()
    assert len(task_rows.of_run(run, ["memo-origin"])) == 30
    assert service.service.requests == {"GET /flows/*/runs/*/metadata": 1}


def test_ids_are_in_the_order_in_which_tasks_began() -> None:
    ids = ["10", "9", "argo-b", "argo-a"]
    assert sorted(ids, key=task_rows.in_order) == ["argo-a", "argo-b", "9", "10"]
