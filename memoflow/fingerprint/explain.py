"""Explanations: what differs between two fingerprints, and values in few words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from memoflow.fingerprint.parts import Fingerprint, Part

_LONGEST = 60
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
# Most telling first.
_ORDER = ("code", "constant", "parameter", "input", "option", "package", "python")


def summary(value: Any) -> str:
    """Return a value in one short line for people; its own `repr` is not called."""
    text = _summary(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _summary(value: Any) -> str:
    kind = type(value)
    if kind is int and value.bit_length() > 256:
        return f"int of {value.bit_length()} bits"
    if kind in (str, bytes):
        return repr(value[: _LONGEST + 1])
    if kind in _PLAIN:
        return repr(value)
    if kind in (list, tuple, dict, set, frozenset):
        items = [*value, *value.values()] if kind is dict else list(value)
        flat = all(type(item) in (bool, int, float, str) for item in items[:9])
        if flat and len(items) <= 8 and kind not in (set, frozenset):
            text = repr(value)
            if len(text) <= _LONGEST:
                return text
        return f"{kind.__name__} of {len(value)}"
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if type(shape) is tuple:
            return f"{kind.__name__}{shape}" + (f" {dtype}" if dtype is not None else "")
        if isinstance(value, BaseException):
            return kind.__qualname__
        name = getattr(value, "__qualname__", None)
        if callable(value) and isinstance(name, str):
            return f"{name}()" if not isinstance(value, type) else f"class {name}"
    except Exception:  # A summary is for show: foreign attributes must not stop anything.
        pass
    return (
        f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__name__
    )


def explain(old: Iterable[Part] | Fingerprint, new: Iterable[Part] | Fingerprint) -> list[str]:
    """Return what differs, one line a part, most telling first; [] if nothing does.

    Code that merely calls changed code is not named.
    """
    before, after = _grouped(old), _grouped(new)
    lines: list[tuple[int, str]] = []
    bindings: list[str] = []
    for key in sorted({*before, *after}):
        was, now = before.get(key, []), after.get(key, [])
        if {part.digest for part in was} == {part.digest for part in now}:
            continue
        kind, name, _ = key
        if kind == "names":
            bindings.append(f"what {name} refers to changed{_at(now or was)}")
        else:
            order = _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
            lines.append((order, _line(kind, name, was, now)))
    # Which names mean what follows from the rest, unless nothing else changed.
    return [line for _, line in sorted(lines)] or bindings


def _grouped(parts: Iterable[Part] | Fingerprint) -> dict[tuple[str, str, str], list[Part]]:
    groups: dict[tuple[str, str, str], list[Part]] = {}
    for part in parts.parts if isinstance(parts, Fingerprint) else parts:
        # The file, not the line, tells two functions of one name apart.
        key = part.kind, part.name, part.where.partition(":")[0] if part.kind == "code" else ""
        groups.setdefault(key, []).append(part)
    return groups


def _at(parts: list[Part]) -> str:
    places = sorted({part.where for part in parts if part.where})
    return f" ({', '.join(places)})" if places else ""


def _line(kind: str, name: str, was: list[Part], now: list[Part]) -> str:
    if kind == "code":
        if not was or not now:
            return f"{name} is {'new' if now else 'gone'}{_at(now or was)}"
        changed = [part for part in now if part.digest not in {old.digest for old in was}]
        return f"code of {name} changed{_at(changed or now)}"
    subject = {"package": name, "python": "Python"}.get(kind, f"{kind} {name}")
    if kind in ("package", "python"):
        old, new = (", ".join(sorted({part.digest for part in parts})) for parts in (was, now))
    else:
        old, new = (", ".join(sorted({part.summary for part in parts})) for parts in (was, now))
    place = _at(now or was) if kind == "constant" else ""
    if not was or not now:
        return f"{subject} is {'new' if now else 'gone'}{place}"
    if not old or not new or old == new:
        return f"{subject} changed{place}"
    return f"{subject} {old} -> {new}{place}"
