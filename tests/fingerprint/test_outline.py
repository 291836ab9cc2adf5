"""What differs between two values is named by its part, without the values themselves."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memoflow.fingerprint import Difference, Part, differences, of_value, outline, summary
from memoflow.fingerprint.outline import MOST_LEAVES, flat


@dataclasses.dataclass
class Options:
    lr: float = 0.1
    layers: Any = None


class Plain:
    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


class Slotted:
    __slots__ = ("x",)


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Lazy:
    """A client that connects as soon as it is asked for anything that it lacks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self.asked.append(name)
        raise AttributeError(name)


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
EDITED = FRAME.assign(b=["x", "q", "z"])
MANY = {f"k{i}": i for i in range(MOST_LEAVES * 2)}


def part(value: Any, name: str = "params", kind: str = "input") -> Part:
    return Part(kind, name, str(of_value(value)), summary=summary(value), outline=outline(value))


def told(was: Any, now: Any, name: str = "params", kind: str = "input") -> list[str]:
    return list(map(str, differences([part(was, name, kind)], [part(now, name, kind)])))


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ({"lr": 0.1, "seed": 7}, {"lr": 0.01, "seed": 7}, "params.lr changed: 0.1 -> 0.01"),
        (
            {"a": {"b": [1, {"c": 3}]}},
            {"a": {"b": [1, {"c": 4}]}},
            "params.a.b[1].c changed: 3 -> 4",
        ),
        ({"my key": 1}, {"my key": 2}, "params['my key'] changed: 1 -> 2"),
        ({(1, 2): 1}, {(1, 2): 3}, "params[(1, 2)] changed: 1 -> 3"),
        ({"x": 1}, {"x": True}, "params.x changed: 1 -> True"),
        ({"x": 1}, {"x": 1.0}, "params.x changed: 1 -> 1.0"),
        ({"x": None}, {"x": []}, "params.x changed: None -> []"),
        ({"x": []}, {"x": [1]}, "params.x changed: [] -> 1 item"),
        ({"a": 1}, {"a": 1, "b": {"c": 1}}, "params.b is new"),
        ({"a": 1, "b": {"c": 1}}, {"a": 1}, "params.b is gone"),
        ({"x": "a" * 99}, {"x": "a" * 50 + "b" + "a" * 48}, "params.x changed"),
        (
            {"x": list(range(99))},
            {"x": list(range(98))},
            "params.x changed: list of 99 -> list of 98",
        ),
        ([1, 2, 3], [1, 5, 3], "params[1] changed: 2 -> 5"),
        ([1, 2], [1, 2, 3], "params changed: [1, 2] -> [1, 2, 3]"),
        ([1, 2], (1, 2), "params changed: [1, 2] -> (1, 2)"),
        ({1, 2}, {1, 2, 3}, "params{3} is new"),
        (Options(), Options(0.2), "params.lr changed: 0.1 -> 0.2"),
        (Options(layers={"k": 1}), Options(layers={"k": 2}), "params.layers.k changed: 1 -> 2"),
        (Plain(x=1, y=[1] * 99), Plain(x=1, y=[1] * 98 + [2]), "params.y changed"),
        (FRAME, EDITED, "params['b'][1] changed: 'y' -> 'q'"),
        (FRAME, FRAME.assign(c=1), "params['c'] is new"),
        (FRAME, FRAME.iloc[:2], "params changed: DataFrame(3, 2) -> DataFrame(2, 2)"),
        (FRAME, FRAME.set_axis([5, 6, 7]), "params.index changed"),
        (np.array([1, 2, 3]), np.array([1, 5, 3]), "params[1] changed: 2 -> 5"),
        ({"m": np.arange(99)}, {"m": np.arange(99)[::-1]}, "params.m changed"),
        (
            {"m": np.float64(1)},
            {"m": np.float64(2)},
            "params.m changed: float64(1.0) -> float64(2.0)",
        ),
        (
            datetime.date(2024, 1, 1),
            datetime.date(2024, 1, 2),
            "params changed: 2024-01-01 -> 2024-01-02",
        ),
        ({"d": decimal.Decimal("1.5")}, {"d": decimal.Decimal("2")}, "params.d changed: 1.5 -> 2"),
        ({"l": Level.LOW}, {"l": Level.HIGH}, "params.l changed: Level.LOW -> Level.HIGH"),
        (MANY, MANY | {"k7": 0}, "params changed: other values in dict of 100"),
    ],
)
def test_the_part_that_differs_is_named(was, now, line):
    assert told(was, now) == [f"input {line}"]


def test_the_item_of_a_foreach_needs_no_name():
    assert told({"lr": 0.1}, {"lr": 0.2}, "input") == ["input changed: lr 0.1 -> 0.2"]


def test_a_parameter_and_a_constant_are_named_with_their_kind():
    assert told({"lr": 1}, {"lr": 2}, "cfg", "parameter") == ["parameter cfg.lr changed: 1 -> 2"]
    assert told({"lr": 1}, {"lr": 2}, "CFG", "constant") == ["constant CFG.lr changed: 1 -> 2"]


def test_each_part_that_differs_is_one_difference():
    assert told({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "c": 4}) == [
        "input params.b changed: 2 -> 3",
        "input params.c changed: 3 -> 4",
    ]


def test_another_order_is_said_to_be_one():
    was, now = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    old, new = (Part("input", "d", str(i), outline=outline(d)) for i, d in enumerate((was, now)))
    (found,) = differences([old], [new])
    assert str(found) == "input d changed: the same in another order"


def test_of_a_join_the_input_is_named():
    leaves = [(("", "", "{}"), ("[0]", "1", "#1"), ("[1]", text, f"#{text}")) for text in "23"]
    old, new = (Part("input", "inputs[*].x", each[2][1], outline=each) for each in leaves)
    assert list(map(str, differences([old], [new]))) == ["input inputs[1].x changed: 2 -> 3"]


@pytest.mark.parametrize("value", [1, "text", None, [], {}, Slotted(), len, Options, MANY, uuid])
def test_what_has_no_parts_has_no_outline(value):
    assert outline(value) == ()


@pytest.mark.parametrize("value", [FRAME, Options(), {"a": [1, {2, 3}]}, np.arange(5)])
def test_an_outline_is_small_and_plain(value):
    assert len(outline(value)) <= MOST_LEAVES
    assert json.loads(json.dumps(outline(value))) == list(map(list, outline(value)))


def test_a_value_that_holds_itself_ends():
    looped: dict[str, Any] = {"a": 1}
    looped["self"] = looped
    assert len(outline(looped)) <= MOST_LEAVES


def test_a_client_is_not_asked_for_what_it_lacks():
    client = Lazy()
    outline(client)
    outline({"client": client})
    assert set(client.asked) <= {"shape", "dtype"}  # As for a summary.


def test_a_small_item_is_told_flat():
    assert flat(outline({"lr": 0.01, "seed": 7}), 100) == "lr=0.01 seed=7"
    assert flat(outline(Options(layers={"k": 1})), 100) == "lr=0.1 layers.k=1"
    assert flat(outline({1, 2}), 100) == "{1, 2}"
    assert flat(outline({"lr": 0.1, "tags": {1, 2}}), 100) == "lr=0.1 tags={1, 2}"
    assert flat(outline([1, 2]), 100) == ""
    assert flat(outline({"x": "a" * 50, "y": "b" * 50}), 60) == ""


@pytest.mark.parametrize(
    ("difference", "line"),
    [
        (Difference("file", "data.csv"), "file data.csv changed"),
        (Difference("file", "opt.txt", "new"), "file opt.txt is there now"),
        (Difference("file", "x", "gone"), "file x is gone"),
        (
            Difference("directory", "d", old="a.csv", new="a.csv\nc.csv"),
            "directory d: c.csv is new",
        ),
        (Difference("directory", "d", old="a.csv\nb", new="b"), "directory d: a.csv is gone"),
        (
            Difference("directory", "d", old="a\nc\n...", new="a\nb\nc\n..."),
            "directory d: b is new",
        ),
        (Difference("directory", "d", old="a\nb\n...", new="a\nb\nz"), "directory d changed"),
        (
            Difference("directory", "d", old="", new="1\n2\n3\n4"),
            "directory d: 1, 2, 3 and 1 more are new",
        ),
        (Difference("environment", "REGION"), "environment variable REGION changed"),
        (
            Difference("client", "Train/latest_successful_run", old="17", new="18"),
            "Train/latest_successful_run changed: 17 -> 18",
        ),
        (Difference("s3", "s3://bucket/key"), "s3://bucket/key changed"),
        (
            Difference("config", "cfg.clean.k", old="1", new="7"),
            "config cfg.clean.k changed: 1 -> 7",
        ),
        (Difference("code", "nets/small.py"), "code of nets/small.py changed"),
    ],
)
def test_what_lies_outside_of_the_flow_is_named(difference, line):
    assert str(difference) == line


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [("absent", "1", "file x is there now"), ("1", "absent", "file x is gone")],
)
def test_what_was_not_there_is_told_by_its_digest(was, now, line):
    assert list(map(str, differences([Part("file", "x", was)], [Part("file", "x", now)]))) == [line]


def test_what_a_variable_holds_is_never_shown():
    was, now = (Part("environment", "TOKEN", text, summary=text) for text in ("s3cret", "hidden"))
    (found,) = differences([was], [now])
    assert not {"s3cret", "hidden"} & {*found.to_json().values()}
