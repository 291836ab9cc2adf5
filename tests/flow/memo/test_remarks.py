"""Remarks: each line in the card of its task, and in the log as often as it is worth."""

from __future__ import annotations

import time
from typing import Any

import pytest
from metaflow import FlowSpec, step

from memoflow.flow.memo.remarks import Remarks


class Timed(FlowSpec):
    """A flow whose step `fit` reads the clock."""

    @step
    def start(self):
        self.next(self.fit)

    @step
    def fit(self):
        self.at = time.time()
        self.next(self.end)

    @step
    def end(self):
        pass


@pytest.fixture
def remarks(host, capsys) -> Any:
    """Return the remarks of another task of `fit`, in a run and with these options."""

    def remarks(*, run: str = "1", quiet: bool = False, **options: Any) -> Remarks:
        return Remarks(host.memoized(**options), host.session.context, run=run, quiet=quiet)

    return remarks


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_remark_is_in_log_and_card(remarks, capsys):
    mine = remarks()
    mine.say("fit also reads z")
    assert mine.lines == ["fit also reads z"]
    assert logged(capsys) == ["[memoize] fit also reads z"]


def test_passwords_are_in_neither(remarks, capsys):
    mine = remarks()
    mine.say("reads postgres://ann:hunter2@db/x")
    assert "hunter2" not in mine.lines[0]
    assert "hunter2" not in logged(capsys)[0]


def test_a_line_for_once_a_run_is_in_each_card_and_one_log(remarks, capsys):
    first, second = remarks(), remarks()
    first.say_once("reads", "not cached")
    second.say_once("reads", "not cached")
    assert first.lines == second.lines == ["not cached"]
    assert logged(capsys) == ["[memoize] not cached"]


def test_another_run_prints_it_again(remarks, capsys):
    remarks(run="1").say_once("reads", "not cached")
    remarks(run="2").say_once("reads", "not cached")
    assert len(logged(capsys)) == 2


def test_a_quiet_task_leaves_that_line_to_others(remarks, capsys):
    remarks(quiet=True).say_once("reads", "not cached")
    remarks().say_once("reads", "not cached")
    assert len(logged(capsys)) == 1


def test_without_a_store_such_lines_are_only_in_the_card(host, remarks, capsys):
    host.session.context.store = None
    mine = remarks()
    mine.say_once("reads", "not cached")
    assert mine.lines == ["not cached"]
    assert logged(capsys) == []


def test_a_clock_is_a_hint_that_is_printed_once(host, remarks, capsys):
    host.flow = Timed(use_cli=False)
    host.graph = host.flow._graph
    first, second = remarks(run="1"), remarks(run="2")
    first.add_hint()
    second.add_hint()
    assert first.lines == second.lines
    assert "hint: fit uses time.time (test_remarks.py:" in first.lines[0]
    assert logged(capsys) == [f"[memoize] {first.lines[0]}"]


def test_an_ignored_clock_is_no_hint(host, remarks):
    host.flow = Timed(use_cli=False)
    host.graph = host.flow._graph
    mine = remarks(ignore=frozenset(["time.time"]))
    mine.add_hint()
    assert mine.lines == []


def test_a_name_to_ignore_that_matches_no_read_is_told(remarks):
    mine = remarks(ignore=frozenset(["current.run_id"]))
    mine.add_unmatched()
    assert mine.lines == [
        'ignore="current.run_id" matched nothing that fit reads; remove or correct it'
    ]


def test_a_match_in_one_task_is_enough_for_the_others(host, remarks):
    ignore = frozenset(["current.run_id"])
    memoized = host.memoized(ignore=ignore)
    assert memoized.ignores("current.run_id")
    Remarks(memoized, host.session.context, run="1", quiet=False).add_unmatched()
    other = remarks(ignore=ignore)
    other.add_unmatched()
    assert other.lines == []


def test_reads_that_could_not_be_seen_are_told_once_in_all_runs(remarks, capsys):
    first, second = remarks(run="1"), remarks(run="2")
    first.add_uncertain(["a process of its own"])
    second.add_uncertain(["a process of its own"])
    assert first.lines == second.lines
    assert first.lines[0].startswith("not seen: a process of its own; pass values")
    assert len(logged(capsys)) == 1
