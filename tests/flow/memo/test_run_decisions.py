"""The decisions on a whole run, from the metadata of its tasks."""

from __future__ import annotations

import pytest

from memoflow.errors import MemoflowError, NotFoundError, UsageError
from memoflow.flow.memo import run_decisions
from memoflow.kinds.decision import Reason
from tests.flow.memo.noted import HIT, NotedRuns, clone, miss


def test_each_step_has_its_hits_misses_and_clones_in_order(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "start", clone("7", "1"))
    for fields in (HIT, miss(Reason.NEW_INPUT, "'blue'"), HIT, miss(Reason.REFRESHED)):
        noted.task(run, "fit", fields)
    noted.task(run, "end")
    found = run_decisions.of_run(run)
    assert [(each.step, each.hits, each.misses, each.clones) for each in found.steps] == [
        ("start", 0, 0, 1),
        ("fit", 2, 2, 0),
    ]
    assert (found.outcome, found.line, found.note) == ("miss", "2 hits, 2 misses, 1 clone", "")


def test_the_reason_is_that_of_the_first_miss(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "fit", HIT)
    first = noted.task(run, "fit", miss(Reason.NEW_INPUT, "'blue'"))
    for _ in range(9):  # Of ids of two digits some come before it as texts.
        noted.task(run, "fit", miss(Reason.REFRESHED))
    [step] = run_decisions.of_run(run).steps
    assert (step.task, step.line) == (first.rpartition("/")[2], "new input 'blue'")


def test_a_hit_of_a_resumed_run_is_a_hit_and_a_clone_of_one_a_clone(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "fit", HIT | {"origin-run-id": "7"})
    noted.task(run, "fit", clone("7", "2"))
    [step] = run_decisions.of_run(run).steps
    assert (step.hits, step.clones) == (1, 1)


def test_tasks_without_a_decision_are_counted_as_tasks_alone(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "fit", HIT)
    noted.task(run, "fit", {"attempt_ok": "False"})
    [step] = run_decisions.of_run(run).steps
    assert (step.tasks, step.hits, step.misses) == (2, 1, 0)


def test_a_task_found_by_the_worker_after_a_miss_is_a_hit(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "fit", miss() | HIT)
    [step] = run_decisions.of_run(run).steps
    assert (step.hits, step.misses) == (1, 0)


def test_a_run_without_memoize_says_so(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "end")
    found = run_decisions.of_run(run)
    assert (found.outcome, found.steps, found.tasks) == ("none", (), 1)
    assert "no step has @memoize, or that was off" in found.line


def test_a_run_that_has_not_come_to_its_end_says_so(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "fit", HIT)
    assert "still running, or it failed" in run_decisions.of_run(run).note
    noted.task(run, "end", {"attempt_ok": "False"})
    assert "still running, or it failed" in run_decisions.of_run(run).note


def test_the_end_is_the_step_that_the_flow_calls_so(noted: NotedRuns) -> None:
    run = noted.run()
    noted.task(run, "_parameters", {"end_step": "finish"})
    noted.task(run, "end")
    assert run_decisions.of_run(run).note != ""
    noted.task(run, "finish")
    assert run_decisions.of_run(run).note == ""


def test_an_unknown_run_is_an_error(noted: NotedRuns) -> None:
    noted.run()
    for name in ("Train/9999999", "Nowhere/1"):
        with pytest.raises(NotFoundError, match=f"Metaflow has no run {name}"):
            run_decisions.of_run(name)


def test_a_run_takes_a_request_a_step_whatever_its_width(service: NotedRuns) -> None:
    assert service.service is not None
    run = service.run()
    for step, width in (("start", 1), ("fit", 30), ("end", 1)):
        for _ in range(width):
            service.task(run, step, HIT)
    service.service.requests.clear()
    run_decisions.of_run(run)
    assert service.service.requests == {
        "GET /flows/*/runs/*": 1,
        "GET /flows/*/runs/*/steps": 1,
        "GET /flows/*/runs/*/steps/*/tasks": 3,
        "GET /flows/*/runs/*/metadata": 1,
    }


def test_a_run_that_is_too_wide_is_refused_before_its_metadata_is_read(service: NotedRuns) -> None:
    assert service.service is not None
    run = service.run()
    for _ in range(4):
        service.task(run, "fit", HIT)
    service.service.requests.clear()
    with pytest.raises(UsageError, match="has 4 tasks, more than the 3"):
        run_decisions.of_run(run, most_tasks=3)
    assert "GET /flows/*/runs/*/metadata" not in service.service.requests


def test_a_service_that_fails_is_told_in_one_line(service: NotedRuns) -> None:
    assert service.service is not None
    run = service.run()
    service.task(run, "fit", HIT)
    service.service.fails = lambda request: 500 if request.path.endswith("/metadata") else 0
    with pytest.raises(MemoflowError, match=f"cannot read the metadata of {run}"):
        run_decisions.of_run(run)
