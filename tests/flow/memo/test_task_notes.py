"""The notes that a task leaves beside its artifacts: metadata, tally, last miss and card."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.flow.memo import task_notes
from memoflow.flow.memo.card_page import Shown
from memoflow.flow.memo.task_notes import TaskNotes
from memoflow.index import MissCost
from memoflow.kinds import memo
from memoflow.kinds.decision import Decision, Reason, recall_missed

MISS = Decision.miss(Reason.FIRST_RUN)


@pytest.fixture
def notes(host) -> Any:
    def notes(**options: Any) -> TaskNotes:
        return TaskNotes(
            host.memoized(**options),
            host.session.context,
            output=host.output(),
            metadata=host.metadata,
            attempt=0,
        )

    return notes


def test_a_task_is_named_with_its_flow(notes):
    assert (notes().task, notes().run_id) == ("Train/1/fit/2", "1")


def test_a_miss_is_noted_with_its_decision_and_key(host, notes):
    notes().register_miss(MISS, "memo/Train/fit/abc")
    noted = host.metadata.fields["2"]
    assert json.loads(noted["memo-decision"])["reason"] == "first_run"
    assert noted["memo-key"] == "memo/Train/fit/abc"


def test_a_miss_that_was_not_recorded_has_no_key(host, notes):
    notes().register_miss(MISS, None)
    assert "memo-key" not in host.metadata.fields["2"]


def test_a_hit_names_the_task_and_the_key_of_its_results(host, record):
    ref = record(host.memoized(), host.left(x=1), "x")
    assert task_notes.origin(memo.read(host.store, ref)) == {
        "memo-origin": "Train/0/fit/9",
        "memo-key": str(ref.key),
        "memo-saved": "2.0",
    }


def test_a_task_counts_once_it_is_decided(host, notes):
    notes().tally(hit=True, saved_s=2.0)
    [outcome] = host.store.index.outcomes("Train", "1")
    assert (outcome.step, outcome.task, outcome.hit, outcome.saved_s) == ("fit", "2", True, 2.0)


def test_a_miss_that_only_the_worker_knows_is_kept_for_the_report(host, notes):
    notes().keep_last_miss(MISS)
    assert recall_missed(host.store.index, [("Train", "fit")])["Train", "fit"] == MISS


def test_the_cost_of_a_miss_is_noted_with_its_reason(host, notes):
    notes().note_cost(MISS, 12.5)
    assert host.store.index.miss_costs() == [MissCost("Train", "fit", "first_run", 1, 12.5)]


def test_a_task_that_only_ran_without_the_store_cost_nothing(host, notes):
    notes().note_cost(Decision.miss(Reason.OFF), 12.5)
    notes().note_cost(Decision.hit("Train/0/fit/9", None), 12.5)
    assert host.store.index.miss_costs() == []


def test_without_a_store_nothing_is_counted(host, notes):
    host.session.context.cut_off()
    made = notes()
    made.tally(hit=True, saved_s=2.0)
    made.keep_last_miss(MISS)
    made.note_cost(MISS, 12.5)
    assert list(host.store.index.outcomes("Train", "1")) == []
    assert host.store.index.miss_costs() == []


@pytest.mark.parametrize("show_card", [True, False, None])
def test_a_card_is_written_unless_it_is_not_wanted(host, notes, show_card):
    written: list[str] = []
    host.session.context.cards = SimpleNamespace(
        quietly=lambda act: act(), write=lambda task, html: written.append(task), wait=list
    )
    notes(show_card=show_card).show(Shown("Train/1/fit/2", "miss", "first run", {}))
    assert written == ["Train/1/fit/2"] * (show_card is not False)
