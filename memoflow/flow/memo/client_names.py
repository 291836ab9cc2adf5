"""Names of reads through Metaflow's Client, as people write them, and their grammar.

Train/17/end/4/v                        objects below one another, by their ids
Train/latest_successful_run.data.v      attributes; the two of a flow that are runs, as runs
Train.runs('prod')[0].data.v            calls, and places in a listing
Train/*                                 a listing: how many, or which where ids are names
Train/*[:14].successful                 of each of the first 14 in a listing
Train/17/fit/3@0.stdout                 an attempt
Train/latest_run in namespace user:ann  in another namespace than the task's own
existence of Train/latest_run           that there is one, whichever
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from memoflow.dataclass import dataclass

OWN = ""  # the namespace of the task, and the metadata provider of its run

Segment = tuple[Any, ...]

_RUNS = ("latest_run", "latest_successful_run")
# Patterns are texts, so that a process compiles only those that it uses.
_PLAIN = r"[\w-]+\Z"
_EXISTENCE = "existence of "
_EVERYWHERE = " in all namespaces"
_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_SEGMENT = (
    rf"(?P<all>/\*)|/(?P<item>[\w-]+)|\[(?P<quoted>{_TEXT})\]|@(?P<attempt>\d+)"
    rf"|\[(?P<index>\d+)\]|\[:(?P<first>\d+)\]"
    rf"|\.(?P<attr>\w+)(?P<call>\((?:{_TEXT}|[^'\"()])*\))?"
)
_WHERE = (
    rf"(?P<everywhere>{_EVERYWHERE})?(?: in namespace (?P<namespace>\S+))?(?: at (?P<at>.+))?\Z"
)


@dataclass(frozen=True)
class Name:
    """The expression for one read of a step; with `exists`, for existence alone."""

    segments: tuple[Segment, ...]
    namespace: str | None = OWN
    metadata: str = OWN
    exists: bool = False

    def item(self, key: object) -> Name:
        return self._with(("item", str(key)))

    def attr(self, name: str) -> Name:
        return self._with(("attr", name))

    def call(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Name:
        return self._with(("call", name, arguments, tuple(sorted(named.items()))))

    def all(self) -> Name:
        return self._with(("all",))

    def index(self, place: int) -> Name:
        return self._with(("index", place))

    def up_to(self, length: int) -> Name:
        """Return the name with its first segments alone, up to this number of them."""
        return Name(self.segments[:length], self.namespace, self.metadata)

    def existence(self) -> Name:
        return replace(self, exists=True)

    def _with(self, segment: Segment) -> Name:
        return replace(self, segments=(*self.segments, segment))

    @property
    def is_fixed(self) -> bool:
        """True if the name identifies an object by ids alone."""
        return all(segment[0] in ("item", "attempt") for segment in self.segments)

    def __str__(self) -> str:
        text = "".join(_shown(place, segment) for place, segment in enumerate(self.segments))
        if self.namespace is None:
            text += _EVERYWHERE
        elif self.namespace != OWN:
            text += f" in namespace {self.namespace}"
        if self.metadata != OWN:
            text += f" at {self.metadata}"
        return (_EXISTENCE if self.exists else "") + text


def of_path(components: Iterable[str], attempt: int | None = None) -> Name:
    """Return the name of the object with these ids, from its flow's name on."""
    segments: list[Segment] = [("item", str(each)) for each in components]
    if attempt is not None:
        segments.append(("attempt", attempt))
    return Name(tuple(segments))


METAFLOW = Name((("metaflow",),))


def _shown(place: int, segment: Segment) -> str:
    kind = segment[0]
    if kind == "metaflow":
        return "Metaflow()"
    if kind == "item":
        key = segment[1]
        if re.match(_PLAIN, key) and not (place == 1 and key in _RUNS):
            return key if place == 0 else f"/{key}"
        return f"[{key!r}]"
    if kind == "attr":
        return f"/{segment[1]}" if place == 1 and segment[1] in _RUNS else f".{segment[1]}"
    if kind == "call":
        named = [f"{name}={value!r}" for name, value in segment[3]]
        return f".{segment[1]}({', '.join([*map(repr, segment[2]), *named])})"
    forms = {"attempt": "@{}", "index": "[{}]", "first": "[:{}]", "all": "/*"}
    return forms[kind].format(*segment[1:])


def parse(text: str) -> Name:
    """Return the name that is written so; ValueError if it is none."""
    rest = text.removeprefix(_EXISTENCE)
    exists = rest != text
    segments: list[Segment] = []
    if rest.startswith("Metaflow()"):
        segments.append(("metaflow",))
        rest = rest.removeprefix("Metaflow()")
    elif not rest.startswith(("[", "/")):
        rest = f"/{rest}"
    while (found := re.match(_SEGMENT, rest)) is not None:
        segments.append(_parsed(len(segments), found))
        rest = rest[found.end() :]
    where = re.match(_WHERE, rest)
    if where is None or not segments:
        raise ValueError(f"{text!r} is no name of a read through the Client")
    namespace = None if where["everywhere"] else where["namespace"] or OWN
    return Name(tuple(segments), namespace, where["at"] or OWN, exists)


def _parsed(place: int, found: re.Match[str]) -> Segment:
    if found["all"]:
        return ("all",)
    if found["item"]:
        item = found["item"]
        return ("attr", item) if place == 1 and item in _RUNS else ("item", item)
    if found["quoted"]:
        return ("item", ast.literal_eval(found["quoted"]))
    for kind in ("attempt", "index", "first"):
        if found[kind]:
            return (kind, int(found[kind]))
    if found["call"] is None:
        return ("attr", found["attr"])
    call = ast.parse(f"f{found['call']}", mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError(f"{found[0]!r} is no call")
    named = tuple((each.arg, ast.literal_eval(each.value)) for each in call.keywords)
    return ("call", found["attr"], tuple(map(ast.literal_eval, call.args)), named)
