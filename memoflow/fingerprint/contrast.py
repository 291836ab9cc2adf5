"""Contrast: the path to the first part in which two values differ."""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.instances import attributes_of, reduction
from memoflow.fingerprint.values import CODE_TYPES, Encoder

_DEEPEST = 50
_SEQUENCES = (list, tuple, collections.deque)
_MAPPINGS = (dict, types.MappingProxyType)
_PLAIN = (bool, bytes, bytearray, complex, float, int, str, type(None))

_Parts = dict[str, Any]  # the step to each part -> the part


def path(old: Any, new: Any, code: Callable[[Any], str], *, name: str = "value") -> str:
    """Return the path of the first and innermost part in which two values differ.

    Such as "model.steps[0][1]._ids"; `name` if the values differ as a whole, "" if they do not
    or one cannot be told. `code` returns the text that stands for a function or class.
    """
    sides = Encoder(code), Encoder(code)
    if not _differ(old, new, sides):
        return ""
    for _ in range(_DEEPEST):
        inner = next(_differing(old, new, sides), None)
        if inner is None:
            break
        step, old, new = inner
        name += step
    return name


def _differing(
    old: Any, new: Any, sides: tuple[Encoder, Encoder]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (step, old part, new part) of those parts of two values that differ."""
    if type(old) is not type(new) or isinstance(old, (*CODE_TYPES, *_PLAIN)):
        return
    before, after = _parts(old), _parts(new)
    if list(before) == list(after):
        for step, part in before.items():
            if _differ(part, after[step], sides):
                yield step, part, after[step]


def _differ(old: Any, new: Any, sides: tuple[Encoder, Encoder]) -> bool:
    try:
        return sides[0].encode(old) != sides[1].encode(new)
    except (NoFingerprintError, Unstable, RecursionError):
        return False


def _parts(value: Any) -> _Parts:
    """Return the parts of a value by the steps to them, in an order that equal ones share."""
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _of_frame(value)
    if getattr(value, "dtype", None) is not None and hasattr(value, "shape"):
        holds_objects = str(value.dtype) == "object" and hasattr(value, "ravel")
        return _indexed(value.ravel().tolist()) if holds_objects else {}
    parts: _Parts = {}
    if isinstance(value, _MAPPINGS):
        parts = {f"[{_shown(key)}]": item for key, item in value.items()}
    elif isinstance(value, _SEQUENCES):
        names = getattr(type(value), "_fields", ())
        parts = _named(dict(zip(names, value, strict=False))) if names else _indexed(value)
    return parts | _named(_attributes(value))


def _of_frame(value: Any) -> _Parts:
    columns = list(value.columns)
    if len(set(columns)) != len(columns):
        return {}
    index = {".index": value.index} if hasattr(value, "iloc") else {}
    return index | {f"[{_shown(column)}]": value[column] for column in columns}


def _indexed(items: Any) -> _Parts:
    return {f"[{i}]": item for i, item in enumerate(items)}


def _named(attributes: dict[str, Any]) -> _Parts:
    return {f".{name}": attributes[name] for name in sorted(attributes, key=str)}


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an instance: those that pickle keeps, if it is told of any."""
    if isinstance(value, (*_MAPPINGS, *_SEQUENCES)):
        return attributes_of(value)
    try:
        reduced = reduction(value)
    except (Unstable, RecursionError):
        return {}
    state = reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 else None
    slots: Any = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    found = [each for each in (state, slots) if isinstance(each, dict)]
    return {str(name): each for part in found for name, each in part.items()}


def _shown(key: Any) -> str:
    return repr(key) if isinstance(key, _PLAIN) else type(key).__name__
