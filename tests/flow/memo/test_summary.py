"""The end of a run: one line of hits and misses, and what the next run is to find."""

from __future__ import annotations

from typing import Any

import pytest

from memoflow.errors import BackendUnavailableError
from memoflow.index import Outcome
from memoflow.kinds.decision import Decision, Reason, keep_missed, recall_missed

HIT = ("Train", "1", "fit", "2", 3.0)


@pytest.fixture
def shown(host) -> Any:
    def shown() -> list[str]:
        host.session.end_run("1")
        return [line.removeprefix("[memoize] ") for line in host.said]

    return shown


def test_hits_misses_and_saved_time_are_one_line(host, shown):
    host.session.log.hits.append(HIT)
    host.session.log.add_miss("fit", "3", Decision.miss(Reason.FIRST_RUN))
    assert shown() == ["1 hit, 1 miss, 3.0 s saved"]


def test_it_is_said_once(host, shown):
    host.session.log.hits.append(HIT)
    shown()
    assert len(shown()) == 1


def test_a_run_without_memoized_tasks_says_nothing(shown):
    assert shown() == []


def test_the_decisions_of_workers_count(host, shown):
    host.store.index.record_outcomes([Outcome("Train", "1", "fit", "4", True, 2.0, 1.0)])
    host.store.index.record_outcomes([Outcome("Train", "1", "fit", "5", False, 0.0, 1.0)])
    host.store.index.record_outcomes([Outcome("Train", "0", "fit", "6", False, 0.0, 1.0)])
    assert shown() == ["1 hit, 1 miss, 2.0 s saved"]


def test_a_miss_that_found_a_result_after_it_had_waited_is_a_hit(host, shown):
    host.session.log.add_miss("fit", "4", Decision.miss(Reason.FIRST_RUN))
    host.store.index.record_outcomes([Outcome("Train", "1", "fit", "4", True, 2.0, 1.0)])
    assert shown() == ["1 hit, 0 misses, 2.0 s saved"]


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
