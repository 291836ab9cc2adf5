"""How far a download is: a line a minute in a log, a bar on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from memoflow.flow.hub.meter import Meter


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def meter(clock, said):
    return Meter("model org/name", 3_000_000_000, said.append, clock=clock)


def test_a_line_a_minute_says_how_far_it_is(meter, clock, said):
    for _ in range(150):
        clock.pass_(1)
        meter.add(10_000_000)
    assert said == [
        "Downloading model org/name: 600.0 MB of 3.0 GB",
        "Downloading model org/name: 1.2 GB of 3.0 GB",
    ]


def test_what_is_done_within_a_minute_says_nothing(meter, clock, said):
    clock.pass_(59)
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


def test_on_a_terminal_there_is_a_bar_and_no_line(meter, clock, said, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    clock.pass_(60)
    with meter.bar_class()(total=1_000, desc="weights", file=screen) as bar:
        bar.update(1_000)
    assert said == []
    assert "weights" in screen.getvalue()
    assert "100%" in screen.getvalue()
