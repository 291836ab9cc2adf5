"""Difference: the first difference between two values, in few words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from memoflow import fingerprint
from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.masking import ANY, MASK, Mask, parts_of

_DEEPEST = 20
_MOST_NAMED = 3
_EXCERPT = 20  # characters of texts
_PLAIN = (bool, bytes, int, str, type(None))


@dataclass(frozen=True)
class _Path:
    """The path to two parts: the last name, and pairs of ids, as a value may hold itself."""

    mask: Mask
    name: str = ""
    pairs: tuple[tuple[int, int], ...] = ()

    def hides(self, value: Any) -> bool:
        return self.mask.hides(self.name, value)

    def summary(self, value: Any) -> str:
        return fingerprint.summary(value, self.name, self.mask)

    def to(self, name: Any) -> _Path:
        return replace(self, name=name if isinstance(name, str) else "")


def difference(stored: Any, now: Any, *, name: str = "value", mask: Mask = ANY) -> str:
    """Return the difference in meaning between two values, "" for none.

    Values that `mask` hides are masked. NoFingerprintError if one of them has no stable meaning.
    """
    if fingerprint.of_value(stored, name=name) == fingerprint.of_value(now, name=name):
        return ""
    return _told(stored, now, _Path(mask, name))


def _told(stored: Any, now: Any, path: _Path) -> str:
    """Return the difference of two values that do differ, "" if they lead back to themselves."""
    pair = id(stored), id(now)
    if pair in path.pairs or len(path.pairs) == _DEEPEST:
        return ""
    if path.hides(stored) or path.hides(now):
        return f"another {MASK}"
    if inner := _inside(stored, now, replace(path, pairs=(*path.pairs, pair))):
        return inner
    before, after = path.summary(stored), path.summary(now)
    return f"{before} -> {after}" if before != after else f"other values in {before}"


def _between(stored: Any, now: Any, path: _Path) -> str:
    """Return the difference of two parts, "" if there is none or nobody can tell."""
    if type(stored) is type(now) and type(stored) in _PLAIN and stored == now:
        return ""
    try:
        if fingerprint.of_value(stored) == fingerprint.of_value(now):
            return ""
    except NoFingerprintError:
        return ""
    return _told(stored, now, path)


def _inside(stored: Any, now: Any, path: _Path) -> str:
    """Return the first part that differs, "" if it is unknown."""
    if isinstance(stored, dict) and isinstance(now, dict):
        return _of_dicts(stored, now, path)
    if type(stored) is not type(now):
        return ""
    if isinstance(stored, (list, tuple)):
        return _of_lists(stored, now, path)
    if isinstance(stored, (set, frozenset)):
        return _of_members(stored - now, now - stored)
    if isinstance(stored, (str, bytes)):
        return _of_texts(stored, now, path.mask)
    try:
        if hasattr(stored, "columns") and hasattr(stored, "dtypes"):
            return _of_frames(stored, now, path)
        if hasattr(stored, "dtype"):
            return _of_arrays(stored, now, path)
    except Exception:  # Of objects, of another library's kind of array, of columns of one name.
        return ""
    return _of_attributes(stored, now, path)


def _of_dicts(stored: dict[Any, Any], now: dict[Any, Any], path: _Path) -> str:
    for key, before in stored.items():
        inner = _between(before, now[key], path.to(key)) if key in now else ""
        if inner:
            return f"[{fingerprint.summary(key)}] {inner}"
    gone = [key for key in stored if key not in now]
    new = [key for key in now if key not in stored]
    if not gone and not new and list(stored) != list(now):
        return "other order of keys"
    return _of_members(gone, new)


def _of_members(gone: Iterable[Any], new: Iterable[Any]) -> str:
    """Return the members of only one of two collections; their order does not count."""
    named = [*_named(gone, "gone"), *_named(new, "new")]
    return ", ".join(named)


def _named(members: Iterable[Any], what: str) -> Iterator[str]:
    texts = sorted(map(fingerprint.summary, members))
    yield from (f"{text} is {what}" for text in texts[:_MOST_NAMED])
    if len(texts) > _MOST_NAMED:
        yield f"{len(texts) - _MOST_NAMED} more are {what}"


def _of_lists(stored: Any, now: Any, path: _Path) -> str:
    if len(stored) != len(now):
        return f"{len(stored)} items -> {len(now)}"
    names = [name for name, _ in parts_of(stored)]
    for i, (before, after) in enumerate(zip(stored, now, strict=True)):
        inner = _between(before, after, path.to(names[i] if i < len(names) else ""))
        if inner:
            return f"[{i}] {inner}"
    return ""


def _of_texts(stored: Any, now: Any, mask: Mask) -> str:
    if mask.conceals("", stored) or mask.conceals("", now):
        stored, now = mask.text(stored), mask.text(now)
        if stored == now:
            return f"another {MASK}"
    if max(len(stored), len(now)) <= 2 * _EXCERPT:
        return ""
    shorter = min(len(stored), len(now))
    at = next((i for i in range(shorter) if stored[i] != now[i]), shorter)
    before, after = stored[at : at + _EXCERPT], now[at : at + _EXCERPT]
    return f"at {at}: {before!r} -> {after!r}"


def _of_frames(stored: Any, now: Any, path: _Path) -> str:
    if inner := _between(list(stored.columns), list(now.columns), path):
        return f"columns {inner}"
    if len(stored) != len(now):
        return f"{len(stored)} rows -> {len(now)}"
    if inner := _of_indexes(stored, now, path):
        return inner
    for column in stored.columns:
        if inner := _between(stored[column], now[column], path.to(column)):
            return f"[{fingerprint.summary(column)}] {inner}"
    return ""


def _of_indexes(stored: Any, now: Any, path: _Path) -> str:
    """Return the difference between the labels of rows, "" if there are none."""
    before = getattr(stored, "index", None)
    if before is None or callable(before):
        return ""
    inner = _between(list(before), list(now.index), path)
    return f"index {inner}" if inner else ""


def _of_arrays(stored: Any, now: Any, path: _Path) -> str:
    """Return the number of items that differ, and the largest difference."""
    shape = stored.shape
    if str(stored.dtype) != str(now.dtype) or shape != now.shape:
        return ""
    if not shape:
        return _between(stored.item(), now.item(), path)
    if inner := _of_indexes(stored, now, path):
        return inner
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A NaN is never equal to itself; here it counts as equal.
        apart = (stored != now) & ((stored == stored) | (now == now))
        count = int(apart.sum())
        if not count:
            return ""
        text = f"{count} of {math.prod(shape)} items differ"
        try:
            before, after = stored[apart], now[apart]
            if getattr(stored.dtype, "kind", "") in "iuf":
                # Of unsigned ones the difference would begin anew below zero.
                before, after = before.astype("float64"), after.astype("float64")
            most = float(abs(before - after).max())
        except Exception:  # Of texts and of objects.
            return text
        return f"{text}, by up to {most:.3g}" if math.isfinite(most) else text


def _of_attributes(stored: Any, now: Any, path: _Path) -> str:
    before, after = getattr(stored, "__dict__", None), getattr(now, "__dict__", None)
    if not isinstance(before, dict) or not isinstance(after, dict) or isinstance(stored, type):
        return ""
    for name, value in before.items():
        inner = _between(value, after[name], path.to(name)) if name in after else ""
        if inner:
            return f".{name} {inner}"
    return ""
