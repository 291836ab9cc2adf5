"""Fitted objects: attributes that hold the place of something in memory do not count."""

from __future__ import annotations

import pickle
import subprocess
import sys

from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from memoflow.fingerprint import of_value


class Plain:
    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


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
    for each in made[1][:2]:  # In some builds of Python a constant always lies in one place.
        each._stop_words_id += 8
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
