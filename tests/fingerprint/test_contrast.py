"""Contrast: the part in which two values differ is named."""

from __future__ import annotations

import collections
import dataclasses
import pickle
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline

from memoflow.fingerprint import difference_path, of_value

Pair = collections.namedtuple("Pair", "a b")


class Plain:
    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: object, b: object = 0) -> None:
        self.a, self.b = a, b


class Rows(list):
    pass


class Picking(Plain):
    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "cache"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


class Stamped:
    """Fitted alike, and yet not the same in two processes."""

    def __init__(self) -> None:
        self.words = ["a"]
        self._words_id = id(object())


@dataclasses.dataclass(frozen=True)
class Point:
    x: object
    y: object = 0


def rows(*items: object, tag: object = 0) -> Rows:
    value = Rows(items)
    value.tag = tag
    return value


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda x: x, "v"),
        (lambda x: [0, x], "v[1]"),
        (lambda x: {"a": 1, "b": {"c": x}}, "v['b']['c']"),
        (lambda x: {(1, 2): x}, "v[tuple]"),
        (lambda x: Plain(a=1, b=[Plain(c=x)]), "v.b[0].c"),
        (lambda x: Slotted(1, (0, x)), "v.b[1]"),
        (lambda x: Point(1, {"a": x}), "v.y['a']"),
        (lambda x: Pair(1, x), "v.b"),
        (lambda x: rows(0, x), "v[1]"),
        (lambda x: rows(0, tag=x), "v.tag"),
        (lambda x: collections.deque([x]), "v[0]"),
        (lambda x: collections.OrderedDict(a=x), "v['a']"),
        (lambda x: Picking(a=x, cache=x), "v.a"),
        (lambda x: pd.DataFrame({"a": [1], "b": [x]}), "v['b']"),
        (lambda x: pd.DataFrame({"a": [1]}, index=[x]), "v.index"),
        (lambda x: np.array([None, {"a": x}], object), "v[1]['a']"),
        (lambda x: np.array([1, x]), "v"),
        (lambda x: {1, x}, "v"),
        (lambda x: [len, lambda: x], "v[1]"),
        (lambda x: Pipeline([("a", None), ("b", Plain(_ids=x))]), "v.steps[1][1]._ids"),
    ],
)
def test_the_innermost_part_that_differs_is_named(make, path: str) -> None:
    assert difference_path(make(2), make(3), name="v") == path
    assert difference_path(make(2), make(2), name="v") == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1], [1, 2]),
        (Plain(a=1), Plain(b=1)),
        ([1], (1,)),
        (1, 1.0),
    ],
)
def test_values_that_differ_as_a_whole_are_named_as_one(old: object, new: object) -> None:
    assert difference_path(old, new, name="v") == "v"


def test_what_has_no_meaning_is_not_named() -> None:
    assert difference_path([threading.Lock()], [threading.Lock()]) == ""


def test_a_part_that_holds_itself_ends_the_path() -> None:
    one, other = Plain(a=1), Plain(a=2)
    one.me, other.me = one, other
    assert difference_path(one, other, name="v") == "v.a"


def test_rubbish_in_a_fitted_object_is_named() -> None:
    kept = Stamped()
    one = pickle.loads(pickle.dumps(kept))
    kept._words_id += 16
    assert difference_path([one], [kept], name="vectorizer") == "vectorizer[0]._words_id"


FIT = """
import pickle, sys
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline
text = ["a cat sat", "the dog ran", "a cat ran"]
made = [kind(stop_words=words).fit(text)
        for kind in (CountVectorizer, TfidfVectorizer) for words in (None, "english", ["a"])]
made.append(Pipeline([("words", TfidfVectorizer())]).fit(text))
sys.stdout.buffer.write(pickle.dumps(made))
"""


def test_vectorizers_fitted_alike_in_two_processes_are_the_same() -> None:
    made = []
    for _ in range(2):
        found = subprocess.run([sys.executable, "-c", FIT], capture_output=True, check=True)
        made.append(pickle.loads(found.stdout))
    assert made[0][0]._stop_words_id != made[1][0]._stop_words_id
    assert of_value(made[0]) == of_value(made[1])


def test_vectorizers_of_other_words_differ() -> None:
    text = ["a cat sat", "the dog ran"]
    for kind in (CountVectorizer, TfidfVectorizer):
        fitted = [kind(stop_words=words).fit(text) for words in (None, "english", ["cat"])]
        assert len(set(map(of_value, fitted))) == 3


def test_an_attribute_of_that_name_counts_in_other_classes() -> None:
    assert of_value(Plain(_stop_words_id=1 << 40)) != of_value(Plain(_stop_words_id=1 << 41))


def test_where_a_constant_lies_in_memory_does_not_count(world) -> None:
    world.write(
        main="class A:\n    def __init__(self):\n        self.x = ['a']\n"
        "        self._x_id, self._me = id(self.x), id(self)\nC = A()\ndef f(): return C"
    )
    run = "x = [object() for _ in range({})]\nimport main"
    assert world.look(run=run.format(1)).value == world.look(run=run.format(9999)).value
