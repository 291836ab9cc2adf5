"""Answers of `why` as people read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memoflow.errors import UsageError
from memoflow.fingerprint import Difference
from memoflow.flow.memo import why
from memoflow.flow.memo.decision import UNKNOWN, Decision, Reason, reason_of
from memoflow.flow.memo.why import Why
from memoflow.store import open_store

CODE = Difference("code", "train()", where="train.py:40", diff="--- a\n+++ b\n-1\n+2")
ALPHA = Difference("parameter", "alpha", old="0.1", new="0.2")
ITEM = Difference("input", "input", old="1", new="2")
TASK = "Sweep/18/fit/31"
HIT = Decision.hit("Sweep/17/fit/3", None)


def missed(*differences: Difference, **more: Any) -> Decision:
    return Decision.miss(reason_of(differences), differences=differences, **more)


@pytest.mark.parametrize(
    ("told", "headline"),
    [
        (Why(TASK, HIT), f"{TASK} was a hit: the result of Sweep/17/fit/3"),
        (Why(TASK, missed()), f"{TASK} was a miss: first run"),
        (
            Why(TASK, missed(CODE, ALPHA)),
            f"{TASK} was a miss: code of train() changed (train.py:40), and 1 more",
        ),
        (
            Why(TASK, Decision.miss(Reason.NEW_INPUT, "2", differences=(ITEM,))),
            f"{TASK} was a miss: new input 2",
        ),
        (Why(TASK, note="it failed"), f"{TASK} was not looked up: it failed"),
        (
            Why("Sweep/fit", HIT, like="Sweep/18"),
            "Sweep/fit would be a hit, with inputs as in Sweep/18",
        ),
        (
            Why("Sweep/fit", HIT, "alpha is 1 there, and 2 by default", like="Sweep/18"),
            "Sweep/fit would be a hit, with inputs as in Sweep/18; "
            "alpha is 1 there, and 2 by default",
        ),
        (
            Why("Sweep/fit", Decision(UNKNOWN, Reason.UNDECIDED)),
            "Sweep/fit is unknown: its inputs are known only during the run",
        ),
        (
            Why("Sweep/join", Decision(UNKNOWN, Reason.AFTER_MISS, "fit")),
            "Sweep/join is unknown: code unchanged, depends on fit (miss)",
        ),
    ],
)
def test_the_first_line_says_all(told, headline):
    assert why.lines(told)[0] == headline


def test_a_hit_before_a_run_names_one_result_and_counts_the_others():
    told = Why("Sweep/fit", HIT, like="Sweep/18", tasks=3, hits=3)
    assert told.line == "the result of Sweep/17/fit/3, and of 2 more"


def test_a_miss_before_a_run_says_which_run_it_goes_by():
    told = Why("Sweep/fit", missed(ALPHA), like="Sweep/18", tasks=1)
    assert why.lines(told)[1] == "with inputs as in Sweep/18"


def test_each_difference_is_shown_with_its_diff():
    lines = why.lines(Why(TASK, missed(CODE, ALPHA, nearest="Sweep/17/fit/3")))
    assert lines[1:] == [
        "",
        "code of train() changed (train.py:40)",
        "    --- a",
        "    +++ b",
        "    -1",
        "    +2",
        "",
        "parameter alpha changed: 0.1 -> 0.2",
    ]


def test_of_many_differences_a_dozen_are_shown():
    many = tuple(Difference("code", f"f{n}()") for n in range(30))
    lines = why.lines(Why(TASK, missed(*many)))
    assert "code of f11() changed" in lines
    assert "code of f12() changed" not in lines
    assert lines[-1] == "and 18 more (all with --json)"


def test_an_answer_is_plain_data():
    told = Why(TASK, missed(CODE)).to_json()
    assert json.loads(json.dumps(told))["differences"][0]["where"] == "train.py:40"


@pytest.mark.parametrize("text", ["Sweep", "Sweep/18", "Sweep/18//31", "a/b/c/d/e"])
def test_what_names_no_task_is_refused(tmp_path, text):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match="is not a task; name one as Flow/run/step/task"):
        why.of_task(store, text)
