"""How far a download is: a line a minute in a log, a bar on a terminal."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from memoflow.flow.hub.meter import Meter, polling, waiting_reporter
from tests.waiting import PATIENCE_S


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def meter(clock, said):
    return Meter("model org/name", 3_000_000_000, said.append, clock=clock)


def test_a_line_after_some_seconds_and_then_each_minute_says_how_far_it_is(meter, clock, said):
    for _ in range(150):
        clock.pass_(1)
        meter.add(10_000_000)
    assert said == [
        "Downloading model org/name: 100.0 MB of 3.0 GB",
        "Downloading model org/name: 700.0 MB of 3.0 GB",
        "Downloading model org/name: 1.3 GB of 3.0 GB",
    ]


def test_what_is_done_within_some_seconds_says_nothing(meter, clock, said):
    clock.pass_(9)
    meter.add(3_000_000_000)
    assert said == []


def test_bytes_that_must_come_again_do_not_count_twice(meter, clock, said):
    meter.add(500_000_000)
    meter.add(-500_000_000)
    clock.pass_(60)
    meter.add(1_000_000)
    assert said == ["Downloading model org/name: 1.0 MB of 3.0 GB"]


def test_the_bars_of_all_files_count_together(meter, clock, said):
    one, two = (meter.bar_class()(total=10, disable=True) for _ in range(2))
    one.update(400_000_000)
    clock.pass_(60)
    two.update(600_000_000)
    assert said == ["Downloading model org/name: 1.0 GB of 3.0 GB"]


def test_a_download_that_stalls_is_told_of(meter, clock, said):
    meter.add(1_000_000)
    for _ in range(130):
        clock.pass_(1)
        meter.look()
    assert said == [
        "Downloading model org/name: 1.0 MB of 3.0 GB, nothing for 10 s",
        "Downloading model org/name: 1.0 MB of 3.0 GB, nothing for 60 s",
        "Downloading model org/name: 1.0 MB of 3.0 GB, nothing for 60 s",
    ]


def test_it_is_looked_at_while_nothing_happens():
    looked = threading.Event()
    with polling(looked.set):
        assert looked.wait(PATIENCE_S)


def test_who_waits_for_another_task_is_told_of_it(clock, said):
    look = waiting_reporter("another task", said.append, clock=clock)
    for _ in range(75):
        clock.pass_(1)
        look()
    assert said == [
        "Waiting for another task, for 10 s by now",
        "Waiting for another task, for 70 s by now",
    ]


def test_on_a_terminal_there_is_a_bar_and_no_line(meter, clock, said, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    clock.pass_(60)
    with meter.bar_class()(total=1_000, desc="weights", file=screen) as bar:
        bar.update(1_000)
    assert said == []
    assert "weights" in screen.getvalue()
    assert "100%" in screen.getvalue()
