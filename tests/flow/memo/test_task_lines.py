"""Lines of tasks on the terminal, which are counted in wide foreaches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from metaflow import metaflow_config

from memoflow.flow.memo.flags import given
from memoflow.flow.memo.run_log import RunLog
from memoflow.flow.memo.task_lines import TaskLines
from memoflow.kinds.decision import Decision, Reason


class Terminal:
    """What a run has printed, and the clock of its lines."""

    def __init__(self) -> None:
        self.printed: list[str] = []
        self.now = 0.0
        self.log = RunLog()
        self.lines = TaskLines(
            self.log, lambda head, line: self.printed.append(head + line), clock=lambda: self.now
        )

    def task(self, number: int, *splits: int, answered: bool = False) -> Any:
        task = SimpleNamespace(step="fit", run_id="1", task_id=str(number), path=f"1/fit/{number}")
        task.log = lambda line, **_: self.printed.append(f"{number}: {line}")
        if answered:
            task.answer = None
        self.lines.follow(task, [SimpleNamespace(num_splits=each) for each in splits])
        return task

    def hit(self, number: int, *splits: int) -> None:
        task = self.task(number, *splits, answered=True)
        for line in (
            "Task is starting.",
            "[memoize] hit: W/0/fit/1",
            "Task finished successfully.",
        ):
            task.log(line)

    def miss(self, number: int, *splits: int, told: bool = True) -> None:
        if told:
            self.log.add_miss("fit", str(number), Decision.miss(Reason.NEW_INPUT, "x"))
        self.task(number, *splits).log("[memoize] miss: new input x")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_LINES", None)
    return Terminal()


@pytest.mark.parametrize("splits", [(), (20,), (4, 5)])
def test_each_task_of_a_narrow_foreach_has_its_lines(terminal, splits):
    for number in range(3):
        terminal.hit(number, *splits)
    assert len(terminal.printed) == 9


def test_the_first_hit_has_its_lines_and_the_rest_are_counted(terminal):
    for number in range(30):
        terminal.hit(number, 30)
    assert terminal.printed == [
        "0: Task is starting.",
        "0: [memoize] hit: W/0/fit/1",
        "0: Task finished successfully.",
        "[1/fit] 30 hits of 30 tasks",
    ]


def test_numbers_are_printed_every_ten_seconds(terminal):
    for number in range(25):
        terminal.now += 1
        terminal.hit(number, 5000)
    assert [line for line in terminal.printed if line.startswith("[1/fit]")] == [
        "[1/fit] 10 hits of 5,000 tasks",
        "[1/fit] 20 hits of 5,000 tasks",
    ]


def test_nothing_new_prints_no_numbers(terminal):
    task = terminal.task(1, 5000)
    terminal.now = 60
    task.log("epoch 7")
    assert terminal.printed == ["1: epoch 7"]


def test_a_few_misses_for_a_reason_have_a_line_each_and_all_are_counted(terminal):
    for number in range(30):
        terminal.miss(number, 30)
    assert terminal.printed == [
        "0: [memoize] miss: new input x",
        "1: [memoize] miss: new input x",
        "2: [memoize] miss: new input x",
        "[1/fit] 0 hits, 30 misses of 30 tasks: new inputs (30)",
    ]


def test_a_worker_elsewhere_decides_with_the_name_of_its_pod(terminal):
    for number in range(29):
        terminal.task(number, 30).log("[pod t-1] [memoize] hit: W/0/fit/1")
    terminal.miss(29, 30, told=False)
    assert terminal.printed[1:] == [
        "29: [memoize] miss: new input x",
        "[1/fit] 29 hits, 1 miss of 30 tasks",
    ]


def test_a_hit_that_a_worker_runs_after_all_has_its_lines(terminal):
    terminal.hit(1, 30)
    task = terminal.task(2, 30, answered=True)
    terminal.log.add_miss("fit", "2", Decision.miss(Reason.NOT_WRITTEN))
    task.log("Task is starting.")
    assert terminal.printed[-1] == "2: Task is starting."


def test_a_task_that_is_tried_again_is_counted_once(terminal):
    task = terminal.task(1, 30)
    for _ in range(2):
        terminal.lines.follow(task, [SimpleNamespace(num_splits=30)])
        task.log("[memoize] miss: first run")
    terminal.now = 60
    task.log("[memoize] hit: W/0/fit/1")
    assert terminal.printed[-1] == "[1/fit] 1 hit of 30 tasks"


def test_the_width_of_nested_foreaches_is_not_known(terminal):
    terminal.now = 60
    for number in range(60):
        terminal.now += 1
        terminal.hit(number, 6, 10)
    assert terminal.printed[-1] == "[1/fit] 50 hits"


@pytest.mark.parametrize("by", ["option", "setting"])
def test_every_line_can_be_had(terminal, monkeypatch, by):
    if by == "option":
        monkeypatch.setitem(given, "lines", "all")
    else:
        monkeypatch.setattr(metaflow_config, "MEMOFLOW_LINES", "all")
    for number in range(30):
        terminal.hit(number, 30)
    assert len(terminal.printed) == 90
