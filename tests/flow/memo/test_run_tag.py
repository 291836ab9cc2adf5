"""The tag of a run by its hits, on disk and in a service."""

from __future__ import annotations

import pytest
from metaflow import Flow, Run, metaflow_config

from memoflow.flow.memo import run_tag
from memoflow.flow.memo.run_summary import RunSummary, StepSummary
from memoflow.kinds.decision import Decision, Reason
from tests.flow.memo.noted import NotedRuns

MISS = Decision.miss(Reason.FIRST_RUN)


def summary(hits: int, misses: int) -> RunSummary:
    return RunSummary((StepSummary("fit", hits, 1.0, (MISS,) * misses),))


def put(noted: NotedRuns, run: str, of: RunSummary) -> str:
    return run_tag.put(noted._provider("Train"), *run.split("/"), of)


def tags(run: str) -> set[str]:
    return set(Run(run, _namespace_check=False).user_tags)


def test_a_run_is_found_by_its_hits(noted: NotedRuns) -> None:
    run, other = noted.run(), noted.run()
    assert put(noted, run, summary(6, 1)) == ""
    assert put(noted, other, summary(7, 0)) == ""
    found = {
        tag: [each.pathspec for each in Flow("Train").runs(tag)] for tag in ("memo:6/7", "memo:all")
    }
    assert found == {"memo:6/7": [run], "memo:all": [other]}


def test_a_run_that_goes_on_under_its_own_id_is_tagged_anew(noted: NotedRuns) -> None:
    run = noted.run()
    put(noted, run, summary(3, 0))
    noted._provider("Train").mutate_user_tags_for_run(*run.split("/"), tags_to_add=["memo:mine"])
    put(noted, run, summary(3, 1))
    assert tags(run) == {"memo:3/4", "memo:mine"}


def test_a_run_without_memoized_tasks_has_no_tag(noted: NotedRuns) -> None:
    run = noted.run()
    assert put(noted, run, RunSummary(())) == ""
    assert tags(run) == set()


def test_the_setting_turns_it_off(noted: NotedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_TAG", "0")
    run = noted.run()
    assert put(noted, run, summary(1, 0)) == ""
    assert tags(run) == set()


def test_a_service_that_refuses_costs_a_line(service: NotedRuns) -> None:
    assert service.service is not None
    run = service.run()
    service.service.fails = lambda request: 500
    assert put(service, run, summary(1, 0)).startswith("the run has no tag of its hits: ")


def test_a_service_that_does_not_answer_is_given_up(
    service: NotedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.service is not None
    run = service.run()
    monkeypatch.setattr(run_tag, "_PATIENCE_S", 0.05)
    service.service.go_away(silent=True)
    told = put(service, run, summary(1, 0))
    assert told == "the run has no tag of its hits: no answer within 0.05 s"


def test_it_takes_two_requests(service: NotedRuns) -> None:
    assert service.service is not None
    run = service.run()
    put(service, run, summary(1, 0))  # The version of the service is asked for once a process.
    service.service.requests.clear()
    put(service, run, summary(1, 1))
    assert service.service.requests.total() == 2
