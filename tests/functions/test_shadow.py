"""Functions in shadow mode: each call runs, and is compared with its stored result."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from memoflow.functions.decorator import memoize
from tests.functions.test_notebook import open_notebook  # noqa: F401  (a fixture)

told = {"answer": 1}


def counted(n: int, ran: list[int]) -> int:
    ran.append(n)
    return n + told["answer"]


@pytest.fixture(autouse=True)
def one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(told, "answer", 1)


def both(function: Any, store: Any) -> tuple[Any, Any]:
    """Return a function as it is memoized, and in shadow mode; `told` is invisible to both."""
    options: dict[str, Any] = {"store": store, "ignore": ["ran", "told"]}
    return memoize(function, **options), memoize(function, mode="shadow", **options)


def test_every_call_runs_and_equal_results_are_the_same(store):
    plain, shadow = both(counted, store)
    ran: list[int] = []
    plain(1, ran)
    assert [shadow(1, ran), shadow(1, ran)] == [2, 2]
    assert ran == [1, 1, 1]
    assert shadow.shadow.summary.startswith("2 of 2 calls would hit, ")
    assert shadow.shadow.summary.endswith("all the same")
    assert shadow.hits == 0


def test_a_stale_result_is_named_and_the_caller_gets_its_own(store, caplog, monkeypatch):
    plain, shadow = both(counted, store)
    plain(1, [])
    monkeypatch.setitem(told, "answer", 5)
    with caplog.at_level(logging.WARNING, "memoflow"):
        assert shadow(1, []) == 6
    assert "would be saved, but differs: 2 -> 6" in caplog.text
    assert shadow.shadow.summary.endswith("1 differs")
    assert plain(1, []) == 2  # The stored result stays.


def test_results_that_are_missing_are_stored(store):
    plain, shadow = both(counted, store)
    ran: list[int] = []
    shadow(1, ran)
    assert plain(1, ran) == 2
    assert ran == [1]
    assert shadow.shadow.summary == "0 of 1 call would hit"


def test_call_stores_anew_over_a_stored_one(store, monkeypatch):
    plain, shadow = both(counted, store)
    plain(1, [])
    monkeypatch.setitem(told, "answer", 5)
    assert shadow.call(1, []) == 6
    again, _ = both(counted, store)
    assert again(1, []) == 6


def test_an_error_is_the_function_s_own_and_is_noted(store, caplog, monkeypatch):
    def fails(n: int) -> int:
        if told["answer"] == 5:
            raise ValueError("of two\nlines")
        return n

    plain, shadow = both(fails, store)
    plain(1)
    monkeypatch.setitem(told, "answer", 5)
    with caplog.at_level(logging.WARNING, "memoflow"), pytest.raises(ValueError, match="of two"):
        shadow(1)
    assert "but raised ValueError: of two lines" in caplog.text


def test_generators_are_compared_by_their_items(store, caplog, monkeypatch):
    def items(n: int) -> Any:
        yield n
        yield told["answer"]

    plain, shadow = both(items, store)
    assert list(plain(3)) == [3, 1]
    monkeypatch.setitem(told, "answer", 5)
    with caplog.at_level(logging.WARNING, "memoflow"):
        assert list(shadow(3)) == [3, 5]
    assert "but differs: [1] 1 -> 5" in caplog.text


def test_coroutines_are_compared(store, monkeypatch):
    async def twice(n: int) -> int:
        return n * told["answer"]

    plain, shadow = both(twice, store)
    asyncio.run(plain(3))
    monkeypatch.setitem(told, "answer", 5)
    assert asyncio.run(shadow(3)) == 15
    assert shadow.shadow.differing == 1


def test_the_mode_of_the_environment_is_that_of_functions(store, monkeypatch):
    plain, _ = both(counted, store)
    ran: list[int] = []
    plain(1, ran)
    monkeypatch.setenv("METAFLOW_MEMOFLOW_MODE", "shadow")
    plain(1, ran)
    assert ran == [1, 1]
    assert plain.shadow.hits == 1


def test_a_cell_says_how_it_compares(open_notebook):  # noqa: F811
    notebook = open_notebook()
    notebook.run("import os\nfrom pathlib import Path\nn = 1")
    cell = "answer = n + os.stat('.').st_nlink * 0"
    notebook.memo("answer", cell)
    line = notebook.memo("answer --mode shadow", cell)
    assert "[memo] ran in " in line
    assert line.rstrip().endswith("would be saved: the same")
