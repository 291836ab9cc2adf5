"""Calls that are no reads: hushed for one thread, for as long as the block lasts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from memoflow.flow.memo.reads import hushed, is_hushed


def test_a_thread_is_hushed_within_the_outermost_block():
    with hushed():
        with hushed():
            pass
        assert is_hushed()
    assert not is_hushed()


def test_an_error_ends_the_block():
    with pytest.raises(KeyError), hushed():
        raise KeyError
    assert not is_hushed()


def test_other_threads_are_not_hushed():
    found: list[bool] = []
    with hushed():
        thread = threading.Thread(target=lambda: found.append(is_hushed()))
        thread.start()
        thread.join()
    assert found == [False]


def test_what_goes_around_is_entered_while_the_thread_is_hushed():
    found: list[bool] = []

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        found.append(is_hushed())
        yield
        found.append(is_hushed())

    with hushed(around):
        pass
    assert found == [True, True]
