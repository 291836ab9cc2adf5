"""Memo fields: the fields of a result's description, by type and bounds.

ValueError for whatever no memoized step leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.fields import Fields, text, texts
from memoflow.fingerprint import Outline, Part
from memoflow.objects import Adopted

_MOST_SPLITS = 10**8
# By its name, what reads a value that says where the flow goes on; all but the first may be null.
_NEXT: Mapping[str, Callable[[Fields, str], object]] = {
    "_transition": lambda fields, name: _transition_of(fields.rows(name)),
    "_foreach_var": Fields.text,
    "_foreach_num_splits": lambda fields, name: fields.whole(name, most=_MOST_SPLITS),
    "_foreach_values": Fields.rows,
    "_unbounded_foreach": Fields.flag,
    "num_parallel": lambda fields, name: fields.whole(name, most=_MOST_SPLITS),
}


@dataclass(frozen=True)
class Artifact:
    """One output: the SHA-1 that Metaflow gave it, and the facts to load it by."""

    sha1: str
    info: dict[str, Any]
    cas: dict[str, Any]  # contents of the `_meta` file beside the packed bytes
    packed_size: int = 0
    xxh3: str = ""


def artifact_of(packed: Adopted, info: Any, cas: Any) -> Artifact:
    """Return an output; ValueError unless all is there that Metaflow needs to load it.

    Else it would be a hit, and the next step would fail, in this run and in each.
    """
    known = Fields(info)
    known.text("type")
    known.whole("size")
    known.text("encoding", "gzip+pickle-v2")
    known.mapping("serializer_info", {})
    if cas != {}:  # What it is of all artifacts that are packed as most are.
        stored = Fields(cas)
        stored.flag("cas_raw", False)
        if stored.whole("cas_version", 1) != 1:
            raise ValueError("its bytes are packed in a way that Metaflow does not know")
    if packed.blob.algorithm != "sha1":
        raise ValueError("its bytes have no SHA-1")
    return Artifact(packed.blob.hex, dict(info), dict(cas), packed.size_bytes, packed.xxh3)


def origin_of(task: str) -> str:
    if task.count("/") != 3:
        raise ValueError(f"{task!r:.60} is no task")
    return task


def references_of(keys: Iterable[Any]) -> tuple[str, ...]:
    """Return the keys that an output refers to."""
    keys = texts(list(keys), "refers_to")
    if any(not key or "\0" in key for key in keys):
        raise ValueError("it refers to a text that is no key")
    return keys


def parts_of(rows: Iterable[Any]) -> tuple[Part, ...]:
    return tuple(Part.from_json(texts(fields, "a part", is_free=True)) for fields in rows)


def leaves_of(value: Any) -> Outline:
    """Return an outline from JSON; () for anything else, since it is for show only."""
    with suppress(TypeError, ValueError):
        return tuple((path, text, mark) for path, text, mark in map(free_texts, value or ()))
    return ()


def pairs_of(rows: Iterable[Any]) -> dict[str, str]:
    pairs = [texts(each, "a file", is_free=True) for each in rows]
    return {first: second for first, second in pairs}  # noqa: C416  (mypy knows no pair of them)


def next_of(kept: dict[str, Any]) -> dict[str, Any]:
    """Return a step's decision on the next step; ValueError for anything else."""
    fields = Fields(kept)
    for name, value in kept.items():
        if name not in _NEXT:
            raise ValueError(f"{name!r:.100} is no part of a decision on the next step")
        if value is not None or name == "_transition":
            _NEXT[name](fields, name)
    return kept


def _transition_of(row: list[Any]) -> None:
    steps, foreach = row
    texts(steps, "_transition")
    if foreach is not None:
        text(foreach, "_transition")


def mostly_empty_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return those fields of a result, by name, that most results leave empty."""
    fields = Fields(meta)
    return {
        name: read(fields.rows(name))
        for name, read in _MOSTLY_EMPTY.items()
        if meta.get(name, []) != []
    }


def free_texts(value: Any) -> tuple[str, ...]:
    return texts(value, "a list of names", is_free=True)


_MOSTLY_EMPTY: Mapping[str, Callable[[list[Any]], Any]] = {
    "refers_to": references_of,
    "reads": parts_of,
    "written": lambda rows: texts(rows, "written", is_free=True),
    "named": pairs_of,
    "files": pairs_of,
}
