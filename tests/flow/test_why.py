"""Answers of `why` as people read them."""

from __future__ import annotations

import json

import pytest

from memoflow.errors import RequestError
from memoflow.fingerprint import Difference
from memoflow.flow.memo import why
from memoflow.flow.memo.why import Why
from memoflow.names import Key
from memoflow.store import open_store

CODE = Difference("code", "train()", where="train.py:40", diff="--- a\n+++ b\n-1\n+2")
ALPHA = Difference("parameter", "alpha", old="0.1", new="0.2")
ITEM = Difference("input", "input", old="1", new="2")
TASK = "Sweep/18/fit/31"
RESULT = Key.of("memo", "Sweep", "fit", "5c0e", "results", "1a2b", "3c4d", "00000001")


@pytest.mark.parametrize(
    ("told", "headline"),
    [
        (
            Why(TASK, "hit", origin="Sweep/17/fit/3"),
            f"{TASK} was a hit: the result of Sweep/17/fit/3",
        ),
        (Why(TASK, "miss", "first run"), f"{TASK} was a miss: first run"),
        (
            Why(TASK, "miss", "said then", differences=(CODE, ALPHA)),
            f"{TASK} was a miss: code of train() changed (train.py:40), and 1 more",
        ),
        (Why(TASK, "miss", differences=(ITEM,)), f"{TASK} was a miss: no result yet for input 2"),
        (Why(TASK, "none", "it failed"), f"{TASK} was neither hit nor miss: it failed"),
        (
            Why("Sweep/fit", "hit", like="Sweep/18"),
            "Sweep/fit would be a hit, if what comes before it is as in Sweep/18",
        ),
        (
            Why("Sweep/fit", "hit", "alpha is 1 there, and 2 by default", like="Sweep/18"),
            "Sweep/fit would be a hit, if what comes before it is as in Sweep/18; "
            "alpha is 1 there, and 2 by default",
        ),
        (
            Why("Sweep/fit", "unknown", "its inputs are known in the run only"),
            "Sweep/fit would be a hit as far as the code goes: "
            "its inputs are known in the run only",
        ),
    ],
)
def test_the_first_line_says_all(told, headline):
    assert why.lines(told)[0] == headline


def test_a_hit_before_a_run_names_one_result_and_counts_the_others():
    told = Why("Sweep/fit", "hit", origin="Sweep/17/fit/3", like="Sweep/18", tasks=3, hits=3)
    assert told.line == "the result of Sweep/17/fit/3, and of 2 more"


def test_a_miss_before_a_run_says_which_run_it_goes_by():
    told = Why("Sweep/fit", "miss", differences=(ALPHA,), like="Sweep/18", tasks=1)
    assert why.lines(told)[1] == "if what comes before it is as in Sweep/18"


def test_each_difference_is_shown_with_its_diff():
    lines = why.lines(Why(TASK, "miss", origin="Sweep/17/fit/3", differences=(CODE, ALPHA)))
    assert lines[1:] == [
        "",
        "code of train() changed (train.py:40)",
        "    --- a",
        "    +++ b",
        "    -1",
        "    +2",
        "",
        "parameter alpha 0.1 -> 0.2",
    ]


def test_of_many_differences_a_dozen_are_shown():
    many = tuple(Difference("code", f"f{n}()") for n in range(30))
    lines = why.lines(Why(TASK, "miss", differences=many))
    assert "code of f11() changed" in lines
    assert "code of f12() changed" not in lines
    assert lines[-1] == "and 18 more, which --json lists"


def test_an_answer_is_plain_data():
    told = Why(TASK, "miss", differences=(CODE,)).to_json()
    assert json.loads(json.dumps(told))["differences"][0]["where"] == "train.py:40"


@pytest.mark.parametrize("text", ["Sweep", "Sweep/18", "Sweep/18//31", "a/b/c/d/e"])
def test_what_names_no_task_is_refused(tmp_path, text):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    with pytest.raises(RequestError, match="is no task; name one as Flow/run/step/task"):
        why.of_task(store, text)


@pytest.mark.parametrize(
    "reason",
    [
        "refresh asked for",
        "model/Sweep/fit/9f2c, which its result refers to, is gone",
        "the entry was damaged and is set aside (refs/memo/a is cut off)",
        "the result of Sweep/17/fit/3 is older than 30 days, 0:00:00",
        "the bytes of artifact sha1:9f2c are gone",
        "its result was evicted",
    ],
)
def test_no_difference_is_the_reason_where_there_was_a_result(reason):
    assert why.is_no_difference(reason, RESULT)


@pytest.mark.parametrize("reason", ["parameter alpha 1 -> 2", "click is gone"])
def test_a_difference_is_the_reason_where_there_was_none(reason):
    assert not why.is_no_difference(reason, RESULT)
