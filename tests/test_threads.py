"""Work is done where no thread can be started, as at the end of a process."""

from __future__ import annotations

import pytest

from memoflow import threads
from memoflow.threads import Pool, apart


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", refuse)


def test_a_pool_does_it_by_itself() -> None:
    with Pool(4) as pool:
        assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]


def test_what_a_pool_raises_is_raised_all_the_same() -> None:
    with Pool(4) as pool, pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result()


def test_a_call_that_would_be_apart_is_not() -> None:
    assert apart(lambda: "done")() == "done"
