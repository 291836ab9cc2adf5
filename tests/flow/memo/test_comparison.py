"""Comparison of outputs: by meaning, in few words, with equal bytes unread."""

from __future__ import annotations

from typing import Any

import pytest

from memoflow.flow.memo.comparison import (
    compared,
    first_ones,
    next_steps_differ,
    outputs_differ,
    raised,
)
from memoflow.kinds.memo_fields import Artifact
from memoflow.masking import ANY

VALUES: dict[str, Any] = {"a": 1, "b": 2, "nan": float("nan"), "other nan": float("nan")}


def artifact(sha1: str) -> Artifact:
    return Artifact(sha1, {}, {})


def load(each: Artifact) -> Any:
    return VALUES[each.sha1]


def lines(stored: dict[str, str], now: dict[str, str]) -> list[str]:
    before, after = (
        {name: artifact(sha1) for name, sha1 in each.items()} for each in (stored, now)
    )
    return list(outputs_differ(before, after, load))


def test_equal_bytes_are_not_loaded():
    assert lines({"x": "gone"}, {"x": "gone"}) == []


def test_a_value_that_differs_is_shown_before_and_after():
    assert lines({"x": "a"}, {"x": "b"}) == ["x: 1 -> 2"]


def test_a_nan_is_the_same_as_a_nan():
    assert lines({"x": "nan"}, {"x": "other nan"}) == []


def test_outputs_of_one_side_are_named():
    assert lines({"x": "a"}, {"y": "a"}) == ["x: not set this time", "y: not stored"]


def test_what_cannot_be_loaded_differs():
    (line,) = lines({"x": "a"}, {"x": "gone"})
    assert line == "x: cannot be compared (KeyError: 'gone')"


def test_another_next_step_is_a_difference():
    kept = {"_transition": [["end"], None]}
    assert not list(next_steps_differ(kept, {"_transition": (["end"], None)}))
    assert list(next_steps_differ(kept, {"_transition": (["other"], None)}))


def test_many_differences_are_counted():
    assert first_ones(["a", "b", "c"]) == "a; b; c"
    assert first_ones(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"


def test_an_exception_is_one_short_line():
    assert raised(ValueError("of two\nlines")) == "ValueError: of two lines"
    assert len(raised(ValueError("x" * 1000))) == 200


def test_a_value_without_a_stable_meaning_is_an_error():
    with pytest.raises(Exception, match="fingerprint"):
        compared("x", (i for i in ()), (i for i in ()), ANY)
