"""Outline: the parts of a small value, flat and in few words, so that a later one can be compared.

A leaf is a path such as `.lr` or `[3].name`, a short text, and a mark: "" for a text that is all of
the value, `#` and a digest for one that is not, MAPPING or SEQUENCE for what holds further leaves.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any

from xxhash import xxh3_64_hexdigest

from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.explain import is_whole, summary
from memoflow.fingerprint.leaves import MAPPING, MOST_LEAVES, SEQUENCE, Outline
from memoflow.fingerprint.values import CODE_TYPES, Encoder
from memoflow.masking import ANY, NOTHING, Mask, parts_of

_DEPTHS = (4, 2, 1)  # the less, the more room the leaves take
_LONGEST_LIST = 16
_MOST_CHARACTERS = 2000
_LONGEST_PATH = 80
# What is larger is not digested again for its outline.
_MOST_ITEMS = 10_000
_MOST_BYTES = 1 << 20


def outline(value: Any, name: str = "", mask: Mask = ANY) -> Outline:
    """Return the leaves of a value, breadth first; () if it has no parts, or too many.

    Of those that `mask` hides only the place is told, and a keyed digest.
    """
    try:
        if mask.hides(name, value) or _expanded(value, MOST_LEAVES) is None:
            return ()
        return next(filter(None, (_outline(value, depth, mask) for depth in _DEPTHS)), ())
    except Exception:  # It is for show: no attribute of a foreign class may stop anything.
        return ()


def _outline(value: Any, deepest: int, mask: Mask) -> Outline:
    leaves: list[tuple[str, str, str]] = []
    todo: list[tuple[str, Any, int, str]] = [("", value, 0, "")]
    planned, characters = 1, 0
    for path, each, depth, name in todo:
        room = MOST_LEAVES - planned
        is_hidden = mask.hides(name, each)
        found = _expanded(each, room) if depth < deepest and not is_hidden else None
        if found is None:
            text = "" if isinstance(each, _Labels) else summary(each, name, mask)
            leaf = path, text, _mark(each, name, mask)
        else:
            mark, children = found
            leaf = path, _node_text(each), mark
            names = _names(each, children)
            todo += [
                (path + step, child, depth + 1, inner)
                for (step, child), inner in zip(children, names, strict=True)
            ]
            planned += len(children)
        characters += sum(map(len, leaf))
        if characters > _MOST_CHARACTERS or len(path) > _LONGEST_PATH:
            return ()
        leaves.append(leaf)
    return tuple(leaves)


def _names(value: Any, children: list[tuple[str, Any]]) -> list[str]:
    """Return the names that parts have by which they may be hidden: in lists, those beside them."""
    if type(value) in (list, tuple):
        return [name or "" for name, _ in parts_of(value)]
    return [step for step, _ in children]


def _expanded(value: Any, room: int) -> tuple[str, list[tuple[str, Any]]] | None:
    """Return the sort of a value's parts, and the parts by path; None if it stays a leaf."""
    kind = type(value)
    if isinstance(value, dict):
        if not 0 < len(value) <= room:
            return None
        return MAPPING, [(_step(key), each) for key, each in value.items()]
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return MAPPING, [(f".{name}", each) for name, each in zip(kind._fields, value, strict=True)]
    if isinstance(value, (list, tuple)):
        if not 0 < len(value) <= room:
            return None
        return SEQUENCE, [(f"[{i}]", each) for i, each in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return _members(value, room)
    if isinstance(value, (*CODE_TYPES, type)) or is_whole(value):
        return None
    # Asked of the class: a `__getattr__` of the user's may do whatever it likes.
    if hasattr(kind, "columns") and hasattr(kind, "dtypes"):
        return _columns(value, room)
    if hasattr(kind, "dtype"):
        return _items(value, room)
    return _attributes(value, room)


def _members(value: Any, room: int) -> tuple[str, list[tuple[str, Any]]] | None:
    if not 0 < len(value) <= min(room, _LONGEST_LIST) or not all(map(is_whole, value)):
        return None
    return MAPPING, [(f"{{{text}}}", None) for text in sorted(map(summary, value))]


def _columns(frame: Any, room: int) -> tuple[str, list[tuple[str, Any]]] | None:
    names = list(frame.columns)
    if not 0 < len(names) <= room or len({str(name) for name in names}) < len(names):
        return None
    columns = [(f"[{summary(name)}]", frame[name]) for name in names]
    index = getattr(frame, "index", None)
    if index is not None and not callable(index):
        columns.append((".index", _Labels(index)))
    # Of another number of rows each column differs, which says less than the number.
    return SEQUENCE, columns


def _items(array: Any, room: int) -> tuple[str, list[tuple[str, Any]]] | None:
    """Return the items of a short array of plain numbers or texts."""
    shape: Any = getattr(array, "shape", ())
    if (
        not isinstance(shape, tuple)
        or len(shape) != 1
        or not 0 < shape[0] <= min(room, _LONGEST_LIST)
    ):
        return None
    items = array.tolist()
    if not all(map(is_whole, items)):
        return None
    return SEQUENCE, [(f"[{i}]", each) for i, each in enumerate(items)]


def _attributes(value: Any, room: int) -> tuple[str, list[tuple[str, Any]]] | None:
    held = getattr(value, "__dict__", None)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        held = {name: getattr(value, name) for name in names if hasattr(value, name)}
    elif not isinstance(held, dict) and hasattr(type(value), "__attrs_attrs__"):
        held = {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    if not isinstance(held, dict) or not 0 < len(held) <= room:
        return None
    return MAPPING, [(f".{name}", each) for name, each in held.items()]


class _Labels:
    """The labels of a table's rows, which count as one leaf."""

    __slots__ = ("labels",)

    def __init__(self, labels: Any) -> None:
        self.labels = labels


def _step(key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    return f"[{summary(key)}]"


def _node_text(value: Any) -> str:
    if isinstance(value, dict):
        return type(value).__name__  # How many it has is told by what is new or gone.
    if hasattr(type(value), "columns"):
        return f"{len(value)} rows"
    if hasattr(type(value), "dtype"):
        return summary(value)
    if isinstance(value, (list, tuple)) and not hasattr(type(value), "_fields"):
        # Its items have leaves of their own; the length alone says that they moved.
        items = f"{len(value)} item{'s' * (len(value) != 1)}"
        return items if type(value) is list else f"{_name(value)} of {items}"
    return _name(value)


def _name(value: Any) -> str:
    return type(value).__qualname__


def _mark(value: Any, name: str, mask: Mask) -> str:
    """Return the digest of a value that its summary does not tell in full, "" for others."""
    if not mask.conceals(name, value):
        return _plain_mark(value)
    text = summary(value, "", NOTHING) if is_whole(value) else _plain_mark(value)
    return f"#{mask.keyed(text).rpartition(':')[2][:8]}"


def _plain_mark(value: Any) -> str:
    if is_whole(value) or _is_too_large(value):
        return "" if is_whole(value) else "#"
    labels = value.labels if isinstance(value, _Labels) else None
    try:
        # By their names: code that a value holds is named as code if it changes.
        encoded = Encoder(_name_of_code).encode(value if labels is None else list(labels))
    except (Unstable, RecursionError):
        return "#"
    return f"#{xxh3_64_hexdigest(encoded)[:8]}"


def _name_of_code(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _is_too_large(value: Any) -> bool:
    size = getattr(value, "nbytes", 0)
    if isinstance(size, int) and size > _MOST_BYTES:
        return True
    return any(count > _MOST_ITEMS for count in _lengths(value))


def _lengths(value: Any) -> Iterator[int]:
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        yield len(value)
        inner = value.values() if isinstance(value, dict) else value
        for _, each in zip(range(_LONGEST_LIST), inner, strict=False):
            if isinstance(each, (dict, list, tuple, set, frozenset)):
                yield len(each) * len(value)
