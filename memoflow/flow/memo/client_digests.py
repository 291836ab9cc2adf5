"""Digests of reads through the Client: the same for the step that reads and for a lookup."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

from metaflow.client.core import (
    DataArtifact,
    MetaflowCode,
    MetaflowData,
    MetaflowObject,
    Step,
)
from metaflow.events import Trigger

from memoflow.flow.host.client import artifacts_of, digest_of_code, exception_of, kind_of
from memoflow.flow.memo.client_names import Name, Segment
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.memo.reads import Seen, sha1
from memoflow.masking import without_passwords

THERE: Seen = ("there", "there")
NAMESPACE = "get_namespace()"  # the read of that function, by the name of it

_MOST_SHOWN = 60


def of_object(one: Any) -> Seen:
    """Return the identity of an object, and of an artifact its content; to be called hushed."""
    path = one.path_components
    run = path[1] if len(path) > 1 else path[0]
    if isinstance(one, DataArtifact):
        return str(one.sha), run
    return sha1(one.pathspec), run


def of_listing(children: Sequence[Any]) -> Seen:
    """Return the number of objects in a listing, and their ids where these are names."""
    number = _count(len(children), kind_of(children[0])) if children else "none"
    if children and has_named_children(children[0]):
        ids = [str(one.id) for one in children]
        # Artifacts of a task are as old as one another: they come in the order of a directory.
        ids = sorted(ids) if isinstance(children[0], DataArtifact) else ids
        return sha1("\n".join(ids)), number
    return sha1(str(len(children))), number


def has_named_children(child: Any) -> bool:
    """Return whether a child is known by a name among its siblings: a step, an artifact, a flow.

    Runs and tasks are known by their place: their ids are others after each run.
    """
    return isinstance(child, (Step, DataArtifact)) or kind_of(child) == "flow"


def of_names(names: Iterable[str]) -> Seen:
    return _of_texts(sorted(names), "artifact")


def of_many(each: Iterable[Seen]) -> Seen:
    """Return one digest for the same read of each of the first objects in a listing."""
    return _of_texts([digest for digest, _ in each], "value")


def _of_texts(texts: Sequence[str], noun: str) -> Seen:
    return sha1("\n".join(texts)), _count(len(texts), noun)


def of_attribute(one: Any, name: str, value: Any) -> Seen:
    """Return the digest of the value of an attribute; to be called hushed."""
    if name == "exception" and value is not None:
        # An object of anybody's, which has no digest but that of its bytes.
        digest, _ = of_object(exception_of(one))
        return digest, type(value).__name__
    if isinstance(value, MetaflowObject):
        return of_object(value)
    if isinstance(value, MetaflowData):
        return of_names(artifacts_of(value))
    return of_value(value)


def of_value(value: Any) -> Seen:
    if isinstance(value, str):
        shown = value if 0 < len(value) <= _MOST_SHOWN else f"text of {len(value)}"
        return sha1(f"str {value}"), without_passwords(shown)
    plain = _plain(value)
    shown = str(value) if isinstance(value, (datetime, int, type(None))) else type(value).__name__
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        shown += f" of {len(value)}"
    return sha1(repr(plain)), shown


def _plain(value: Any) -> Any:
    """Return plain values with a `repr` that is the same in each process."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, datetime):
        return ["datetime", value.isoformat()]
    if isinstance(value, MetaflowObject):
        return [kind_of(value), value.pathspec]
    if isinstance(value, MetaflowCode):
        return ["code", digest_of_code(value)]
    if isinstance(value, Trigger):
        return ["trigger", *[_plain(event) for event in value.events or ()]]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        # `Metadata` has the task that it is of, which the name of the read says already.
        pairs = zip(value._fields, value, strict=True)
        return [[name, _plain(each)] for name, each in pairs if name != "task"]
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(repr(_plain(each)) for each in value)]
    if isinstance(value, dict):
        # Of metadata, which has no order but that of a directory: nor has the list of it.
        return ["dict", sorted(repr([_plain(key), _plain(each)]) for key, each in value.items())]
    if isinstance(value, list) and value and hasattr(value[0], "_fields"):
        return ["metadata", sorted(repr(_plain(each)) for each in value)]
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    try:
        return ["pickle", pickle.dumps(value, protocol=4)]
    except Exception as error:  # Whatever a class of anybody's raises.
        raise UndecidedError(f"{type(value).__name__} has no digest: {error}") from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def grouped(reads: Mapping[Name, Seen]) -> Iterator[tuple[Name, Seen]]:
    """Yield the reads, with one for those that differ in their places alone.

    So that a step which walks over 1,000 runs has read one thing, and not thousands. Only places
    from the first on, without a gap: so a loop that ends early is grouped as well.
    """
    left = dict(reads)
    deepest = max((len(name.segments) for name in left), default=0)
    for at in reversed(range(deepest)):
        left = _grouped_at(at, left)
    yield from left.items()


def _grouped_at(at: int, reads: Mapping[Name, Seen]) -> dict[Name, Seen]:
    kept: dict[Name, Seen] = {}
    alike: dict[tuple[Name, tuple[Segment, ...]], dict[int, Seen]] = {}
    for name, seen in reads.items():
        if len(name.segments) > at and name.segments[at][0] == "index":
            before = replace(name, segments=name.segments[:at])
            alike.setdefault((before, name.segments[at + 1 :]), {})[name.segments[at][1]] = seen
        else:
            kept[name] = seen
    for (before, rest), places in alike.items():
        first = next(place for place in count() if place not in places)
        if first > 1:
            many = of_many(places.pop(place) for place in range(first))
            kept[_between(before, ("first", first), rest)] = many
        for place, seen in places.items():
            kept[_between(before, ("index", place), rest)] = seen
    return kept


def _between(before: Name, segment: Segment, rest: tuple[Segment, ...]) -> Name:
    return replace(before, segments=(*before.segments, segment, *rest))
