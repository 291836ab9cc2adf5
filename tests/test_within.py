"""A call that another thread makes, given up when it takes too long."""

from __future__ import annotations

import threading

import pytest

from memoflow.threads import within
from tests.waiting import PATIENCE_S


def test_a_call_that_does_not_end_is_given_up() -> None:
    stuck = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        within(0.01, lambda: stuck.wait(PATIENCE_S))
    stuck.set()


def test_a_call_that_ends_has_its_result() -> None:
    assert within(PATIENCE_S, lambda: 3) == 3


def test_a_call_that_raises_has_its_error() -> None:
    def fail() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        within(PATIENCE_S, fail)
