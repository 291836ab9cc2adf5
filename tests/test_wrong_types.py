"""Arguments of wrong types to all that memoflow has for Python: each a TypeError with a message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import memoflow
from memoflow.errors import UsageError, WrongTypeError

CALLS: dict[str, Callable[[], object]] = {
    "open_store": lambda: memoflow.open_store(3),
    "open_store of bytes": lambda: memoflow.open_store(b"x"),
    "open_store of a list": lambda: memoflow.open_store([]),
    "map of no function": lambda: memoflow.map(3, [1]),
    "map: workers": lambda: memoflow.map(len, [[1]], workers="two"),
    "map: on_error": lambda: memoflow.map(len, [[1]], on_error=3),
    "results": lambda: memoflow.results(3),
    "results: store": lambda: memoflow.results("a.f", store=3),
    "memoize of no function": lambda: memoflow.memoize(3),
    "memoize: an unknown option": lambda: memoflow.memoize(nope=3)(len),
    "Key.parse": lambda: memoflow.Key.parse(3),
    "Key.of": lambda: memoflow.Key.of("memo", 3),
    "a part of a key": lambda: memoflow.Key.of("memo") / 3,
    "load_state": lambda: memoflow.load_state(3),
    "load_model": lambda: memoflow.load_model(3, "there"),
    "delete_model": lambda: memoflow.delete_model(3),
    "Checkpoint.load": lambda: memoflow.Checkpoint().load(3, "there"),
    "Checkpoint.load_state": lambda: memoflow.Checkpoint().load_state(3),
    "artifact_store_from: run": lambda: memoflow.artifact_store_from(run=3),
    "artifact_store_from: task": lambda: memoflow.artifact_store_from(task="Flow/1/start/2"),
}
OPTIONS = ("ttl", "mode", "ignore", "store", "environment", "single_flight", "scope", "codec")


@pytest.mark.parametrize("name", CALLS)
def test_it_is_a_type_error_that_names_what_was_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metaflow").mkdir()
    with pytest.raises(TypeError) as caught:
        CALLS[name]()
    assert str(caught.value)


@pytest.mark.parametrize("option", [*OPTIONS, "version"])
def test_an_option_of_memoize_is_named(option: str):
    with pytest.raises(WrongTypeError, match=option):
        memoflow.memoize(**{option: 3.5 if option in ("store", "ignore") else [3]})(len)


@pytest.mark.parametrize(("option", "text"), [("ttl", "soon"), ("mode", "never")])
def test_a_text_that_says_nothing_is_no_type_error(option: str, text: str):
    with pytest.raises(UsageError) as caught:
        memoflow.memoize(**{option: text})(len)
    assert not isinstance(caught.value, TypeError)


def test_who_catches_usage_errors_still_does():
    with pytest.raises(UsageError):
        memoflow.map(3, [1])
