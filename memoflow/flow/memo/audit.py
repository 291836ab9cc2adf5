"""Audit: a hit that runs all the same, to see whether it comes to what was stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from xxhash import xxh3_64_intdigest

from memoflow import fingerprint
from memoflow.errors import NoFingerprintError
from memoflow.flow.memo import transition
from memoflow.flow.memo.parents import INTERNAL
from memoflow.kinds.memo import Entry

_MOST_NAMED = 3


def is_due(share: float, entry: Entry, run_id: str) -> bool:
    """Tell whether a hit is among the share that is audited.

    By the digest of its key and of the run: all who ask in a run agree, and each run draws anew.
    """
    drawn = xxh3_64_intdigest(f"{entry.ref.key} {run_id}".encode()) / 2**64
    return drawn < share


class Audit:
    """One step that runs although its result is stored; what is stored stands."""

    def __init__(self, flow: Any, entry: Entry) -> None:
        self._flow = flow
        self._entry = entry
        self._there = set(vars(flow))
        self._carried = set(flow._datastore._objects)
        self._merged: set[str] = set()
        self.differences: list[str] = []

    def compare(self, node: Any, wanted: tuple[str, ...] | None) -> None:
        """Note what the step that has just run left otherwise than stored, then bind the stored.

        `wanted` are the only outputs that count, None for all. Whatever goes wrong meanwhile, the
        task ends with what is stored.
        """
        left = dict(vars(self._flow))
        try:
            self._merged = set(self._flow._datastore._objects)
            came_to = transition.keep(self._flow, node)
            left |= self._bound_unread(left)
            self._restore(left)
            for name, line in self._compared(left, wanted):
                self.differences.append(f"{name}: {line}")
            # Through JSON, as what is stored has been.
            if json.loads(json.dumps(came_to)) != self._entry.going_on:
                self.differences.append("self.next: it goes on otherwise")
        finally:
            self._restore(left)

    @property
    def line(self) -> str:
        """What came out, for people."""
        entry = self._entry
        if not self.differences:
            return f"the same as {entry.origin}"
        named = "; ".join(self.differences[:_MOST_NAMED])
        more = len(self.differences) - _MOST_NAMED
        return (
            f"differs from {entry.origin} in {named}"
            + (f"; and {more} more" if more > 0 else "")
            + "; what was stored is kept"
        )

    def _bound_unread(self, left: dict[str, Any]) -> dict[str, Any]:
        """Return what the task would end with besides, by `merge_artifacts` or from its parent."""
        artifacts, datastore = self._entry.artifacts, self._flow._datastore
        found = {}
        for name, sha1 in datastore._objects.items():
            if name in left or name in INTERNAL:
                continue
            is_stored = name in artifacts and artifacts[name].sha1 == sha1
            if not is_stored and (name in artifacts or name not in self._carried):
                found[name] = datastore[name]
        return found

    def _restore(self, left: dict[str, Any]) -> None:
        """Bind what a hit would have: artifacts of the entry, and of the parent what it lacks."""
        flow, entry = self._flow, self._entry
        for name in left:
            # Bound to what the parent has, or it is no artifact of a hit.
            if name not in self._there and name not in INTERNAL:
                vars(flow).pop(name, None)
        for name in set(flow._datastore._objects) - self._carried:
            del flow._datastore._objects[name]
        for name, artifact in entry.artifacts.items():
            vars(flow).pop(name, None)
            flow._datastore._objects[name] = artifact.sha1
            flow._datastore._info[name] = artifact.info
        for name, value in transition.restore(entry.going_on).items():
            setattr(flow, name, value)

    def _compared(
        self, left: dict[str, Any], wanted: tuple[str, ...] | None
    ) -> Iterator[tuple[str, str]]:
        stored = self._flow._datastore
        for name in sorted({*left, *self._entry.artifacts}):
            if name in INTERNAL or name in self._there or (wanted and name not in wanted):
                continue
            if name not in left:
                if name not in self._merged:
                    yield name, "not set this time"
            elif name not in stored._objects:
                yield name, "not stored"
            else:
                try:
                    line = difference(stored[name], left[name], name=name)
                except Exception as error:  # Whatever a user's class does when it is loaded.
                    line = f"cannot be compared ({error})"
                if line:
                    yield name, line


def difference(stored: Any, now: Any, *, name: str = "value") -> str:
    """Return in what two values differ by their meaning, "" if in nothing.

    NoFingerprintError if one of them has no stable meaning.
    """
    if fingerprint.of_value(stored, name=name) == fingerprint.of_value(now, name=name):
        return ""
    if isinstance(stored, dict) and isinstance(now, dict):
        inner = _of_dicts(stored, now)
        if inner:
            return inner
    elif type(stored) is type(now) and isinstance(stored, (list, tuple)):
        inner = _of_lists(stored, now)
        if inner:
            return inner
    elif hasattr(stored, "dtype") and hasattr(now, "dtype"):
        inner = _of_arrays(stored, now)
        if inner:
            return inner
    before, after = fingerprint.summary(stored), fingerprint.summary(now)
    return f"{before} -> {after}" if before != after else f"another {before}"


def _of_dicts(stored: dict[Any, Any], now: dict[Any, Any]) -> str:
    for key in stored.keys() & now.keys():
        inner = _quietly(stored[key], now[key])
        if inner:
            return f"[{fingerprint.summary(key)}] {inner}"
    return ""


def _of_lists(stored: Any, now: Any) -> str:
    if len(stored) != len(now):
        return f"{len(stored)} items -> {len(now)}"
    for i, (before, after) in enumerate(zip(stored, now, strict=True)):
        inner = _quietly(before, after)
        if inner:
            return f"[{i}] {inner}"
    return ""


def _quietly(stored: Any, now: Any) -> str:
    try:
        return difference(stored, now)
    except NoFingerprintError:
        return ""


def _of_arrays(stored: Any, now: Any) -> str:
    """Return how many items of two arrays differ, and by how much at most."""
    if str(stored.dtype) != str(now.dtype) or getattr(stored, "shape", 0) != now.shape:
        return ""
    try:
        apart = stored != now
        count, of = int(apart.sum()), math.prod(stored.shape)
        text = f"{count} of {of} items differ"
        most = float(abs(stored - now).max())
    except Exception:  # Of texts, of objects, of another library's kind of array.
        return ""
    return f"{text}, by up to {most:.3g}" if count and math.isfinite(most) else text
