"""Outlines: values in few words, for people, and the parts in which two of them differ.

The outline of a small value is flat, so that a later one can be compared. A leaf is a path such as
`.lr` or `[3].name`, a short text, and a mark: "" for a text that is all of the value, `#` and a
digest for one that is not, MAPPING or SEQUENCE for what holds further leaves.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from xxhash import xxh3_64_hexdigest

from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.parts import Outline
from memoflow.fingerprint.values import CODE_TYPES, Encoder
from memoflow.masking import ANY, MASK, NOTHING, Mask, parts_of

_LONGEST = 60
_HEAD, _TAIL = 34, 20  # of a longer text, with what is between them left out
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
# Whose text says all of them, and is shorter than how Python writes them.
_SHOWN = (
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)
# So, too, but not worth importing for those who have none.
_SHOWN_BY_NAME = frozenset([("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID")])
MAPPING, SEQUENCE = "{}", "[]"
_NODES = (MAPPING, SEQUENCE)
MOST_LEAVES = 50
_DEPTHS = (4, 2, 1)  # the less, the more room the leaves take
_LONGEST_LIST = 16
_MOST_CHARACTERS = 2000
_LONGEST_PATH = 80
# What is larger is not digested again for its outline.
_MOST_ITEMS = 10_000
_MOST_BYTES = 1 << 20


class Change(NamedTuple):
    """A part that differs; `change` is "changed", "new", "gone" or "moved"."""

    path: str
    change: str
    old: str
    new: str


def changes(was: Outline, now: Outline) -> list[Change]:
    """Return the differing parts of two outlines; [] if the outlines do not tell.

    Of sequences of different lengths only the length is told: what comes after an item that was
    put in differs all the same. Parts in another order are one change, "moved".
    """
    before = {path: (text, mark) for path, text, mark in was}
    after = {path: (text, mark) for path, text, mark in now}
    if not before or not after:
        return []
    hidden = [
        path
        for path in before.keys() & after.keys()
        if before[path] != after[path] and SEQUENCE in (before[path][1], after[path][1])
    ]
    found = []
    for path in dict.fromkeys([*before, *after]):
        if not any(_is_below(path, each) for each in hidden):
            found += _changed(path, before.get(path), after.get(path))
    kept = [each for each in found if not _is_covered(each, found)]
    if not kept and was != now and sorted(was) == sorted(now):
        return [Change("", "moved", "", "")]
    return kept


def _is_covered(change: Change, found: list[Change]) -> bool:
    """Return whether other changes say more: parts of a changed value, the whole of a new one."""
    if change.change == "changed":
        return any(_is_below(other.path, change.path) for other in found)
    others = (other for other in found if other.change == change.change)
    return any(_is_below(change.path, other.path) for other in others)


def _changed(
    path: str, before: tuple[str, str] | None, after: tuple[str, str] | None
) -> list[Change]:
    if before == after:
        return []
    if before is None or after is None:
        change = "new" if before is None else "gone"
        return [Change(path, change, before[0] if before else "", after[0] if after else "")]
    if (before[1] in _NODES) != (after[1] in _NODES) and before[0] == after[0]:
        return []  # One of them had no room for its parts.
    return [Change(path, "changed", before[0], after[0])]


def _is_below(path: str, other: str) -> bool:
    return path != other and path.startswith(other) and path[len(other)] in ".[{"


def equal_parts(was: Outline, now: Outline) -> bool:
    """Return whether two values have a part in common, and not only that they are of one kind."""
    return any(leaf in was for leaf in now if leaf[2] not in _NODES)


def flat(leaves: Outline, most: int) -> str:
    """Return a value's parts as `lr=0.1 seed=7`, or a set's as `{1, 2}`; "" if they are longer."""
    if not leaves or leaves[0][2] != MAPPING:
        return ""
    shown: dict[str, str] = {}
    for path, text, mark in leaves[1:]:
        name = path.removeprefix(".")
        if name.endswith("}"):
            name, _, member = name[:-1].partition("{")
            shown[name] = f"{shown[name][:-1]}, {member}}}" if name in shown else f"{{{member}}}"
        elif mark not in _NODES:
            shown[name] = text
    text = " ".join(f"{name}={text}" if name else text for name, text in shown.items())
    return text if len(text) <= most else ""


def summary(value: Any, name: str = "", mask: Mask = ANY) -> str:
    """Return a value in one short line for people, masked throughout; its `repr` is not called."""
    if mask.hides(name, value):
        return MASK
    text = _summary(value, mask)
    shown: str = _without_middle(text)
    return shown


def _summary(value: Any, mask: Mask = ANY) -> str:
    kind = type(value)
    if kind is int and value.bit_length() > 256:
        return f"int of {value.bit_length()} bits"
    if kind in (str, bytes):
        # Masked before it is cut: of half a URL nobody could tell that it has a password.
        clean = mask.text(value)
        return repr(_without_middle(value if clean == value or kind is bytes else clean))
    if kind in _PLAIN:
        return repr(value)
    if _is_shown(kind):
        return mask.text(str(value))
    if isinstance(value, enum.Enum):
        return f"{kind.__qualname__}.{value.name}"
    if kind in (list, tuple, dict, set, frozenset):
        text = repr(mask.plain(value)) if _is_short(value) else ""
        return text if 0 < len(text) <= _LONGEST else f"{kind.__name__} of {len(value)}"
    try:
        if dataclasses.is_dataclass(kind) and all(map(_is_short, vars(value).values())):
            held = mask.plain(vars(value))
            fields = ", ".join(f"{name}={each!r}" for name, each in held.items())
            if len(fields) <= _LONGEST:
                return f"{kind.__qualname__}({fields})"
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if shape == () and dtype is not None and isinstance(value.item(), _PLAIN[:5]):
            return f"{kind.__name__}({value.item()!r})"
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


def _without_middle(text: Any) -> Any:
    """Return a long text's two ends: many a path or name differs from others only at its end."""
    if len(text) <= _LONGEST:
        return text
    gap: Any = "..." if isinstance(text, str) else b"..."
    return text[:_HEAD] + gap + text[-_TAIL:]


def is_whole(value: Any) -> bool:
    """Return whether the summary of a value says all of it."""
    if _is_shown(type(value)) or isinstance(value, enum.Enum):
        return len(_summary(value)) <= _LONGEST
    return _is_short(value) and len(repr(value)) <= _LONGEST


def _is_shown(kind: type) -> bool:
    return kind in _SHOWN or (kind.__module__, kind.__qualname__) in _SHOWN_BY_NAME


def _is_short(value: Any, depth: int = 3) -> bool:
    """Return whether a value is plain throughout, and has so little in it that it can be shown."""
    kind = type(value)
    if kind is int:
        return bool(value.bit_length() <= 256)  # Python refuses to write out far longer ones.
    if kind in (str, bytes):
        return len(value) <= _LONGEST
    if kind in (list, tuple, dict):
        # Nothing in a set has a place: it would be shown in another order each time.
        items = [*value, *value.values()] if kind is dict else value
        return len(value) <= 8 and depth > 0 and all(_is_short(each, depth - 1) for each in items)
    return kind in _PLAIN


def outline(value: Any, name: str = "", mask: Mask = ANY) -> Outline:
    """Return the leaves of a value, breadth first, hidden ones keyed; () for none or too many."""
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
        parts = [(_step(key), each) for key, each in value.items()] if len(value) <= room else []
        return (MAPPING, parts) if parts else None
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return MAPPING, [(f".{name}", each) for name, each in zip(kind._fields, value, strict=True)]
    if isinstance(value, (list, tuple)):
        return _numbered(value) if 0 < len(value) <= room else None
    if isinstance(value, (set, frozenset)):
        return _members(value, room)
    if isinstance(value, (*CODE_TYPES, type)) or is_whole(value):
        return None
    # Asked of the class: a `__getattr__` of the user's may do anything.
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
    is_flat = isinstance(shape, tuple) and len(shape) == 1
    if not is_flat or not 0 < shape[0] <= min(room, _LONGEST_LIST):
        return None
    items = array.tolist()
    return _numbered(items) if all(map(is_whole, items)) else None


def _numbered(items: Iterable[Any]) -> tuple[str, list[tuple[str, Any]]]:
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
        return items if type(value) is list else f"{type(value).__qualname__} of {items}"
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
    is_large = isinstance(size, int) and size > _MOST_BYTES
    return is_large or any(count > _MOST_ITEMS for count in _lengths(value))


def _lengths(value: Any) -> Iterator[int]:
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        yield len(value)
        inner = value.values() if isinstance(value, dict) else value
        for _, each in zip(range(_LONGEST_LIST), inner, strict=False):
            if isinstance(each, (dict, list, tuple, set, frozenset)):
                yield len(each) * len(value)
