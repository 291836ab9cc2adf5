"""Parts of a Config: a step depends on those that it reads."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from metaflow import ConfigValue

from memoflow.flow.memo import config_parts
from memoflow.flow.memo.config_parts import ConfigWatch

RAW: dict[str, Any] = {
    "clean": {"k": 1, "name": "x", "deep": {"a": 1, "b": 2}},
    "train": {"lr": 0.1, "layers": [{"units": 3}, {"units": 4}]},
    "odd key": 1,
    "dotted.key": {"a": 1},
    "none": None,
}


def reads_of(step: Callable[[Any], Any], raw: dict[str, Any] = RAW) -> list[str]:
    """Return the parts that a step reads, of a config that it got by `self.cfg`."""
    noted: dict[str, None] = {}
    watch = ConfigWatch(lambda name: noted.setdefault(name))
    config = ConfigValue(raw)
    with watch.watching():
        watch.hand_out("cfg", config)
        step(config)
    watch.settle()
    found = config_parts.collapse(noted, watch.configs)
    return sorted(name.removeprefix("config ") for name in found)


def attempt(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (KeyError, AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


CASES: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "dots": (lambda c: c.clean.k, ["cfg.clean.k"]),
    "keys": (lambda c: c["clean"]["k"], ["cfg.clean.k"]),
    "get": (lambda c: c.get("clean").get("k", 7), ["cfg.clean.k"]),
    "get what is missing": (lambda c: c.clean.get("x", 7), ["cfg.clean.x"]),
    "missing key": (lambda c: attempt(lambda: c.clean["x"]), ["cfg.clean.x"]),
    "missing attribute": (lambda c: attempt(lambda: c.clean.x), ["cfg.clean.x"]),
    "hasattr": (lambda c: hasattr(c.clean, "x"), ["cfg.clean.x"]),
    "in": (lambda c: "k" in c.clean, ["cfg.clean.k"]),
    "not in": (lambda c: "x" in c.clean, ["cfg.clean.x"]),
    "two": (lambda c: (c.clean.k, c.train.lr), ["cfg.clean.k", "cfg.train.lr"]),
    "list": (lambda c: c.train.layers[0].units, ["cfg.train.layers"]),
    "none": (lambda c: c.none, ["cfg.none"]),
    "odd key": (lambda c: c["odd key"], ["cfg['odd key']"]),
    "dotted key": (lambda c: c["dotted.key"].a, ["cfg['dotted.key'].a"]),
    "node": (lambda c: (lambda node: node.k)(c.clean), ["cfg.clean.k"]),
    "node twice": (lambda c: (c.clean, c.clean.k), ["cfg.clean.k"]),
    "node never read": (lambda c: c.clean, ["cfg.clean"]),
    "whole never read": (lambda c: None, ["cfg"]),
    "iteration": (lambda c: list(c.clean), ["cfg.clean"]),
    "len": (lambda c: len(c.clean), ["cfg.clean"]),
    "keys()": (lambda c: c.clean.keys(), ["cfg.clean"]),
    "items": (lambda c: list(c.clean.deep.items()), ["cfg.clean.deep"]),
    "values": (lambda c: list(c.clean.deep.values()), ["cfg.clean.deep"]),
    "to_dict": (lambda c: c.clean.to_dict(), ["cfg.clean"]),
    "dict": (lambda c: dict(c.clean), ["cfg.clean"]),
    "stars": (lambda c: dict(**c.clean.deep), ["cfg.clean.deep"]),
    "merge": (lambda c: (c.clean.k, c.clean | {}), ["cfg.clean"]),
    "copy": (lambda c: c.clean.copy().k, ["cfg.clean"]),
    "copy of copy": (lambda c: copy.copy(c.clean), ["cfg.clean"]),
    "deep copy": (lambda c: copy.deepcopy(c.clean), ["cfg.clean"]),
    "equality": (lambda c: c.clean.deep == {"a": 1, "b": 2}, ["cfg.clean.deep"]),
    "inequality": (lambda c: c.clean.deep != c.train, ["cfg.clean.deep", "cfg.train"]),
    "repr": (lambda c: repr(c.clean), ["cfg.clean"]),
    "text": (lambda c: f"{c.clean}", ["cfg.clean"]),
    "json": (lambda c: json.dumps(c.clean), ["cfg.clean"]),
    "pickle": (lambda c: pickle.dumps(c.clean), ["cfg.clean"]),
    "pickle after a read": (lambda c: (c.clean.k, pickle.dumps(c.clean)), ["cfg.clean"]),
    "format": (lambda c: f"{c.clean.k} {c.clean['k']}", ["cfg.clean.k"]),
    "match": (lambda c: _matched(c.clean), ["cfg.clean"]),
    "dir": (lambda c: dir(c.clean), ["cfg.clean"]),
    "vars": (lambda c: vars(c.clean), ["cfg.clean"]),
    "by dict's own methods": (lambda c: dict.get(c.clean, "k"), ["cfg.clean"]),
    "immutable": (lambda c: attempt(lambda: c.clean.update(k=2)), ["cfg.clean"]),
    "unhashable key": (lambda c: attempt(lambda: c.clean[[]]), ["cfg.clean"]),
}


def _matched(node: Any) -> Any:
    match node:
        case {"k": value}:
            return value


@pytest.mark.parametrize("case", CASES)
def test_a_step_reads_this(case: str) -> None:
    step, names = CASES[case]
    assert reads_of(step) == names


@pytest.mark.parametrize("case", CASES)
def test_the_step_gets_the_same_as_without_the_watch(case: str) -> None:
    step, _ = CASES[case]
    kept: list[Any] = []
    reads_of(lambda config: kept.append(step(config)))
    assert repr(kept[0]) == repr(step(ConfigValue(RAW)))


@pytest.mark.parametrize("case", CASES)
def test_a_name_is_read_back_as_it_was_written(case: str) -> None:
    for name in CASES[case][1]:
        path = config_parts.path_of(f"config {name}")
        assert path is not None
        assert config_parts.name_of(path) == f"config {name}"


@pytest.mark.parametrize("name", ["cfg", "input", "config ", "config cfg.", "config cfg[", "index"])
def test_other_reads_are_no_parts(name: str) -> None:
    assert config_parts.path_of(name) is None


def test_most_of_many_leaves_is_the_whole() -> None:
    raw = {"big": {f"k{n}": n for n in range(1000)}, "other": {"a": 1, "b": 2}}
    read = reads_of(lambda c: ([c.big[f"k{n}"] for n in range(600)], c.other.a), raw)
    assert read == ["cfg.big", "cfg.other.a"]
    assert len(reads_of(lambda c: [c.big[f"k{n}"] for n in range(300)], raw)) == 300


def test_a_forked_child_reads_all_that_it_is_given() -> None:
    noted: list[str] = []
    watch = ConfigWatch(noted.append)
    config = ConfigValue(RAW)
    reading, writing = os.pipe()
    with watch.watching():
        watch.hand_out("cfg", config)
        child = os.fork()
        if child == 0:
            config.clean  # noqa: B018
            os.write(writing, " ".join(noted).encode())
            os._exit(0)
        os.waitpid(child, 0)
    assert os.read(reading, 100) == b"config cfg.clean"


def digest(name: str, raw: Any) -> str:
    return config_parts.part(f"config {name}", raw).digest


def test_a_part_depends_on_itself_alone() -> None:
    other = RAW | {"train": {"lr": 0.2}}
    assert digest("cfg.clean.k", RAW) == digest("cfg.clean.k", other)
    assert digest("cfg.train.lr", RAW) != digest("cfg.train.lr", other)
    assert digest("cfg", RAW) != digest("cfg", other)


@pytest.mark.parametrize(
    ("old", "new"), [(1, 2), (1, 1.0), (1, True), (1, "1"), (None, "None"), ([1], [1, 2]), ({}, [])]
)
def test_another_value_is_another_digest(old: Any, new: Any) -> None:
    assert digest("cfg.x", {"x": old}) != digest("cfg.x", {"x": new})


def test_the_order_of_a_whole_counts() -> None:
    assert digest("cfg.x", {"x": {"a": 1, "b": 2}}) != digest("cfg.x", {"x": {"b": 2, "a": 1}})


@pytest.mark.parametrize("raw", [{}, {"clean": 3}, {"clean": None}, None, {"clean": [1]}])
def test_what_is_not_there_is_absent(raw: Any) -> None:
    assert digest("cfg.clean.k", raw) == "absent"


def test_a_part_is_shown_by_its_name_and_value() -> None:
    part = config_parts.part("config cfg.clean.k", RAW)
    assert (part.kind, part.name, part.summary) == ("config", "cfg.clean.k", "1")


def test_a_config_or_a_part_of_it_can_be_ignored() -> None:
    assert config_parts.is_ignored("config cfg.clean.k", ["x", "cfg"])
    assert config_parts.is_ignored("config cfg.clean.k", ["cfg.clean"])
    assert not config_parts.is_ignored("config cfg.clean.k", ["cfg.train", "clean", "cf"])
    assert not config_parts.is_ignored("config cfg", ["cfg.clean"])


def test_nothing_is_left_on_the_class() -> None:
    before = dict(vars(ConfigValue))
    reads_of(lambda config: config.clean.k)
    assert dict(vars(ConfigValue)) == before
