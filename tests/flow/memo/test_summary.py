"""The end of a run: a table of its steps, a line of hits and misses, what the next run finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memoflow.errors import BackendUnavailableError
from memoflow.flow.memo import run_summary
from memoflow.flow.memo.run_log import RunLog
from memoflow.index import Index, Outcome
from memoflow.kinds.decision import Decision, Reason, keep_missed, recall_missed
from tests.flow.memo.noted import HIT as NOTED_HIT
from tests.flow.memo.noted import NotedRuns, miss

HIT = ("Train", "1", "fit", "2", 3.0)
READS = Decision.miss(Reason.NOT_CACHEABLE, "reads current.run_id")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "cache" / "index.sqlite")
    yield made
    made.close()


@pytest.fixture
def shown(host) -> Any:
    def shown() -> list[str]:
        host.session.end_run("1")
        return [line.removeprefix("[memoize] ") for line in host.said]

    return shown


def test_hits_misses_and_saved_time_of_one_step_are_one_line(host, shown):
    host.session.log.hits.append(HIT)
    host.session.log.add_miss("fit", "3", Decision.miss(Reason.FIRST_RUN))
    assert shown() == ["1 hit, 1 miss, 3.0 s saved"]


def test_several_steps_are_a_table_in_their_order(host, shown):
    log = host.session.log
    log.steps |= dict.fromkeys(("prepare", "fit", "join"))
    log.hits += [HIT, ("Train", "1", "prepare", "1", 90.0)]
    for task in range(3, 6):
        log.add_miss("fit", str(task), Decision.miss(Reason.NEW_INPUT, f"lr={task}"))
    log.add_miss("fit", "6", Decision.miss(Reason.EVICTED, "gc, 2 min ago"))
    log.add_miss("join", "7", READS)
    assert shown() == [
        "step     hits  misses  saved  reason",
        "prepare     1       0   90 s",
        "fit         1       4  3.0 s  new inputs (3), the cached result is gone (1)",
        "join        0       1         not cached: reads current.run_id",
        "2 hits, 5 misses, 93 s saved",
    ]


def test_a_table_without_misses_gives_no_reasons(host, shown):
    host.session.log.hits += [HIT, ("Train", "1", "join", "3", 1.0)]
    assert shown()[0] == "step  hits  misses  saved"


def test_one_step_of_many_tasks_is_a_table_with_its_reasons(host, shown):
    for task in range(1500):
        host.session.log.add_miss("fit", str(task), Decision.miss(Reason.NEW_INPUT, f"{task}"))
    assert shown() == [
        "step  hits  misses  saved  reason",
        "fit      0   1,500         new inputs",
        "0 hits, 1,500 misses",
    ]


LONG = (
    run_summary.StepSummary("fit", 1, 2.0),
    run_summary.StepSummary("join", 0, 0.0, (Decision.miss(Reason.NEW_INPUT, "x" * 200),)),
)


def test_the_reason_ends_with_the_room_for_a_line():
    lines = run_summary.RunSummary(LONG).lines(70)
    assert max(map(len, lines)) == 70
    assert lines[2].endswith("…")


def test_the_reason_has_a_line_of_its_own_on_a_narrow_terminal():
    assert run_summary.RunSummary(LONG).lines(30) == [
        "step  hits  misses  saved",
        "fit      1       0  2.0 s",
        "join     0       1       ",
        "  new input xxxxxxxxxxxxxxxxx…",
        "1 hit, 1 miss, 2.0 s saved",
    ]


def test_the_run_is_tagged_with_its_hits(host, shown):
    host.session.log.hits.append(HIT)
    host.session.log.add_miss("fit", "3", Decision.miss(Reason.FIRST_RUN))
    shown()
    assert host.metadata.tags == {"memo:1/2"}


def test_it_is_said_once(host, shown):
    host.session.log.hits.append(HIT)
    shown()
    assert len(shown()) == 1


def test_a_run_without_memoized_tasks_says_nothing(shown):
    assert shown() == []


def test_tasks_that_were_not_looked_up_do_not_count(host, shown):
    host.session.log.add_miss("fit", "3", Decision.miss(Reason.OFF))
    assert shown() == []


def test_the_decisions_of_workers_count(host, shown):
    host.store.index.record_outcomes([Outcome("Train", "1", "fit", "4", True, 2.0, 1.0)])
    for run, task in (("1", "5"), ("0", "6")):
        row = ("Train", run, "fit", task, "first_run", 1, 2.0, 1.0)
        host.store.index.record_misses([row])
    assert shown() == ["1 hit, 1 miss, 2.0 s saved"]


def test_a_miss_that_found_a_result_after_it_had_waited_is_a_hit(host, shown):
    host.session.log.add_miss("fit", "4", Decision.miss(Reason.FIRST_RUN))
    host.store.index.record_outcomes([Outcome("Train", "1", "fit", "4", True, 2.0, 1.0)])
    assert shown() == ["1 hit, 0 misses, 2.0 s saved"]


def test_a_task_that_is_tried_again_counts_once_as_the_last_try(host, shown):
    host.session.log.add_miss("fit", "2", Decision.miss(Reason.FIRST_RUN))
    host.session.log.add_miss("fit", "2", Decision.miss(Reason.FIRST_RUN))
    host.session.log.hits.append(HIT)
    assert shown() == ["1 hit, 0 misses, 3.0 s saved"]


def test_workers_elsewhere_are_read_from_the_metadata_of_their_tasks(
    noted: NotedRuns, index: Index
) -> None:
    run = noted.run()
    log, tasks = RunLog(), []
    for fields in (NOTED_HIT | {"memo-saved": "90.0"}, miss(Reason.NEW_INPUT, "'blue'"), {}):
        tasks.append(noted.task(run, "fit", fields).rpartition("/")[2])
        log.undecided[tasks[-1]] = "fit"
    found = run_summary.of_run(log, index, noted._provider("Train"), *run.split("/"))
    [step] = found.steps
    assert (step.hits, step.saved_s, step.why) == (1, 90.0, "new input 'blue'")
    assert (found.misses, found.trouble) == (1, "")


def test_many_workers_elsewhere_take_one_request(service: NotedRuns, index: Index) -> None:
    assert service.service is not None
    run, log = service.run(), RunLog()
    for _ in range(12):
        log.undecided[service.task(run, "fit", NOTED_HIT).rpartition("/")[2]] = "fit"
    service.service.requests.clear()
    found = run_summary.of_run(log, index, service._provider("Train"), *run.split("/"))
    assert found.hits == 12
    assert service.service.requests == {"GET /flows/*/runs/*/metadata": 1}


def test_metadata_that_cannot_be_read_costs_a_line(service: NotedRuns, index: Index) -> None:
    assert service.service is not None
    run, log = service.run(), RunLog()
    log.hits.append(HIT)
    log.undecided[service.task(run, "fit", NOTED_HIT).rpartition("/")[2]] = "fit"
    service.service.fails = lambda request: 500
    found = run_summary.of_run(log, index, service._provider("Train"), *run.split("/"))
    assert found.hits == 1
    assert found.trouble.startswith("1 task not counted, their metadata cannot be read: ")


def test_a_step_that_workers_found_uncached_has_its_reason(noted: NotedRuns, index: Index) -> None:
    run, log = noted.run(), RunLog()
    for _ in range(2):
        task = noted.task(run, "fit", miss(READS.reason, READS.detail)).rpartition("/")[2]
        log.add_miss("fit", task, Decision.miss(Reason.FIRST_RUN))
        row = (*run.split("/"), "fit", task, READS.reason.value, 1, 2.0, 1.0)
        index.record_misses([row])
    found = run_summary.of_run(log, index, noted._provider("Train"), *run.split("/"))
    assert [each.why for each in found.steps] == ["not cached: reads current.run_id"]


def test_hits_of_the_scheduler_are_remembered(host, shown):
    host.session.log.hits.append(HIT)
    shown()
    [outcome] = host.store.index.outcomes("Train", "1")
    assert (outcome.task, outcome.hit, outcome.saved_s) == ("2", True, 3.0)


def test_the_last_miss_of_a_step_is_kept_for_the_report(host, shown):
    host.session.log.add_miss("fit", "3", Decision.miss(Reason.EVICTED, "gc"))
    shown()
    found = recall_missed(host.store.index, [("Train", "fit"), ("Train", "other")])
    assert {step: each.reason for step, each in found.items()} == {("Train", "fit"): Reason.EVICTED}


def test_a_last_miss_that_cannot_be_read_is_none(host):
    keep_missed(host.store.index, "Train", {"fit": Decision.miss(Reason.EVICTED)})
    host.store.index.set({"missed:Train/fit": '{"reason": "no such"}'})
    assert recall_missed(host.store.index, [("Train", "fit")]) == {}


def test_maintenance_that_fails_costs_a_line(host, shown, monkeypatch):
    def fail() -> None:
        raise BackendUnavailableError("the disk is away")

    monkeypatch.setattr(host.session.context, "collect", fail)
    assert shown() == ["maintenance failed: the disk is away"]


def test_without_a_store_nothing_is_said(host, shown):
    host.session.log.hits.append(HIT)
    host.session.context.cut_off()
    assert shown() == []
