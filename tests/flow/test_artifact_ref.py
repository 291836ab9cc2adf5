"""References among a step's values: found wherever they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memoflow.flow import reference
from memoflow.flow.artifact_ref import Reference, find_in, is_key

MODEL = "model/Train/fit/0123456789abcdef"


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


class Obliging:
    """Answers None to any name that it does not have."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)


class Broken:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError


@pytest.fixture
def key() -> str:
    return MODEL


def test_keys_are_those_of_models_checkpoints_and_snapshots() -> None:
    assert is_key(MODEL)
    assert not is_key("model/Train/fit")
    assert not is_key("memo/Train/fit/2")


@pytest.mark.parametrize(
    "within",
    [
        lambda key: key,
        lambda key: {"key": key, "type": "model"},
        lambda key: {key: 1},
        lambda key: [1, (2, {3: [key]})],
        lambda key: {key},
        lambda key: Holder(key),
        lambda key: Slotted(key),
        lambda key: Reference({"key": key, "type": "model"}),
        lambda key: Obliging(key),
        lambda key: np.array([key], dtype=object),
        lambda key: np.array([key]),
        lambda key: pd.DataFrame({"a": [1], "b": [key]}),
    ],
)
def test_a_key_is_found_at_any_depth(within: Any, key: str) -> None:
    assert find_in(within(key)) == ({key}, True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "text",
        "model/",
        "model/x",
        [1] * 10,
        np.zeros(3),
        pd.DataFrame({"a": [1]}),
        find_in,
    ],
)
def test_other_values_refer_to_nothing(value: Any) -> None:
    assert find_in(value) == (set(), True)


def test_what_holds_itself_is_looked_at_once(key: str) -> None:
    loop: list[Any] = [key]
    loop.append(loop)
    assert find_in(loop) == ({key}, True)


def test_what_raises_when_it_is_looked_at_hides_no_other(key: str) -> None:
    assert find_in([Broken(), key]) == ({key}, True)


def test_a_reference_has_its_items_as_attributes() -> None:
    found = Reference({"key": "k", "type": "model"})
    assert (found.key, found.type, found.absent) == ("k", "model", None)
    assert found == Reference(found.to_dict())
    assert repr(found) == "<model k>"
    with pytest.raises(AttributeError):
        _ = found._private


def test_one_that_was_pickled_under_its_former_name_is_loaded() -> None:
    found = Reference({"key": "k"})
    former = pickle.dumps(found, 0).replace(
        b"memoflow.flow.artifact_ref", b"memoflow.flow.reference"
    )
    assert pickle.loads(former) == found
    assert reference.Reference is Reference
