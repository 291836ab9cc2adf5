"""A decision as text: in one line, and as JSON that holds all of it."""

from __future__ import annotations

import json

import pytest

from memoflow.fingerprint import Difference, Part
from memoflow.kinds.decision import HIT, MISS, Decision, Reason, reason_of

CODE = Difference("code", "train()", where="train.py:40", diff="-1\n+2")
HELPER = Difference("code", "helper()", "new")
ALPHA = Difference("parameter", "alpha", old="0.5", new="0.7")
RATE = Difference("input", "input", old="0.1", new="0.01", part=".lr")
INPUT = Part("input", "input", "xxh3:1", summary="dict of 2", outline=((".lr", "0.1", ""),))


def changed(*differences: Difference) -> Decision:
    return Decision.miss(reason_of(differences), differences=differences)


@pytest.mark.parametrize(
    ("decision", "line"),
    [
        (Decision.hit("Sweep/17/fit/3", 1.0, 3660.0), "hit: Sweep/17/fit/3, 61 min saved"),
        (Decision.miss(Reason.FIRST_RUN), "miss: first run"),
        (Decision.miss(Reason.NEW_INPUT, "lr=0.01 seed=7"), "miss: new input lr=0.01 seed=7"),
        (changed(ALPHA), "miss: parameter alpha changed: 0.5 -> 0.7"),
        (changed(RATE), "miss: input changed: lr 0.1 -> 0.01"),
        (changed(CODE, ALPHA), "miss: code of train() changed (train.py:40), and 1 more"),
        (changed(CODE, HELPER), "miss: code of train() changed (train.py:40)"),
        (
            Decision.miss(Reason.EVICTED, "gc, 2 min ago"),
            "miss: the cached result was evicted (gc, 2 min ago)",
        ),
        (Decision.miss(Reason.EVICTED), "miss: the cached result is gone"),
        (
            Decision.miss(Reason.NOT_CACHEABLE, "reads current.run_id"),
            "not cached: reads current.run_id",
        ),
    ],
)
def test_the_line_names_the_thing_and_the_change(decision, line):
    assert decision.log_line == line


@pytest.mark.parametrize("reason", [each for each in Reason if each is not Reason.FOUND])
def test_every_reason_has_a_line_with_and_without_detail(reason):
    assert Decision.miss(reason).line
    assert "{" not in Decision.miss(reason, "detail").line


def test_json_holds_all_of_it():
    told = Decision(
        MISS, Reason.INPUT_CHANGED, "x", (INPUT,), (CODE, RATE), "Sweep/17/fit/3", 1.5, 2.0, "why"
    )
    again = Decision.from_json(json.loads(told.text()))
    assert again == told
    assert again.inputs[0].outline == INPUT.outline


def test_a_long_one_is_told_without_its_diffs():
    long = Difference("code", "f()", diff="+x\n" * 20_000)
    text = changed(long, ALPHA).text()
    again = Decision.from_json(json.loads(text))
    assert len(text) <= 16 << 10
    assert again.line == changed(long, ALPHA).line
    assert [str(each) for each in again.differences] == [str(long), str(ALPHA)]


def test_a_still_longer_one_keeps_its_line():
    many = tuple(Difference("code", "f" * 3000, new=str(n)) for n in range(100))
    text = changed(*many).text()
    assert len(text) <= 16 << 10
    assert json.loads(text)["outcome"] == MISS


def test_what_is_no_decision_is_refused():
    with pytest.raises((ValueError, KeyError, TypeError)):
        Decision.from_json({"outcome": HIT, "reason": "because"})


def test_every_reason_has_words_that_name_no_single_miss():
    words = [each.words for each in Reason]
    assert len(set(words)) == len(words)
    assert not [text for text in words if not text or "{" in text or "_" in text]
