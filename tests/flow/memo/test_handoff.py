"""The scheduler's message to a worker: whole, once, and small enough for an environment."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

import pytest

from memoflow.fingerprint import Difference
from memoflow.flow.memo.handoff import Handoff
from memoflow.flow.memo.uncached import Seen
from memoflow.kinds.decision import MOST_BYTES, Decision, Reason


@pytest.fixture
def environment(monkeypatch) -> MutableMapping[str, str]:
    monkeypatch.delenv("MEMOFLOW_TOLD", raising=False)
    return os.environ


def test_a_message_arrives_as_it_was_sent(environment):
    seen = Seen("ab", "cd", {"time": "1"}, {"rate": "0.1"}, "here", 5.0)
    decision = Decision.miss(Reason.CODE_CHANGED, nearest="Train/1/fit/2", recorded=3.0)
    sent = Handoff(decision, "only", True, 7.5, seen, quiet=True, off=True)
    sent.put(environment)
    assert Handoff.take() == sent


def test_a_message_is_taken_once_so_that_processes_of_the_step_get_none(environment):
    assert not Handoff.is_off()
    Handoff(off=True).put(environment)
    assert Handoff.is_off()
    Handoff(mode="off").put(environment)
    assert Handoff.take().mode == "off"
    assert Handoff.take() == Handoff()


def test_without_a_scheduler_of_ours_the_worker_looks_by_itself(environment):
    assert Handoff.take().decision is None


def test_a_large_decision_fits_into_an_environment(environment):
    diffs = tuple(Difference("code", f"f{i}()", diff="x" * MOST_BYTES) for i in range(9))
    Handoff(Decision.miss(Reason.CODE_CHANGED, differences=diffs)).put(environment)
    assert len(environment["MEMOFLOW_TOLD"]) < 2 * MOST_BYTES
    told = Handoff.take().decision
    assert told is not None
    assert [each.name for each in told.differences] == [each.name for each in diffs]


def test_what_a_worker_does_not_know_of_a_message_is_ignored(environment):
    environment["MEMOFLOW_TOLD"] = '{"mode": "off", "weather": "fair"}'
    assert Handoff.take() == Handoff(mode="off")
