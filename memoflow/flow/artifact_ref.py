"""Artifact reference: the dict, key or object that passes between steps for a saved thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

from memoflow.errors import BadKeyError
from memoflow.names import Key

_BEGINNINGS = ("checkpoint/", "model/", "hub/")
_MOST_CONTAINERS = 1_000_000  # looked into in search of references in artifacts
_NO_NAMES = {int, float, bool, complex, bytes, type(None)}


class Reference:
    """A reference dict with its items as attributes; a missing item is None."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._values.get(name)

    def __repr__(self) -> str:
        return f"<{self.type} {self.key}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and other._values == self._values

    def __hash__(self) -> int:
        return hash(self._values.get("key"))

    def to_dict(self) -> dict[str, Any]:
        """Return the reference dict, plain JSON data."""
        return dict(self._values)


def is_key(text: str) -> bool:
    """Tell whether a text is the key of a checkpoint, model or snapshot."""
    # Here, since every worker imports this, and few results name any.
    from memoflow.kinds import checkpoint, hub, model

    try:
        key = Key.parse(text)
    except (BadKeyError, ValueError):
        return False
    is_model = key.kind == model.KIND and len(key.parts) == 4
    return is_model or checkpoint.is_save(key) or hub.is_snapshot(key)


def find_in(values: Any) -> tuple[set[str], bool]:
    """Return the keys referred to in a value at any depth, and False if it is too large."""
    found: set[str] = set()
    ahead: list[Any] = [values]
    seen: set[int] = set()
    while ahead and len(seen) < _MOST_CONTAINERS:
        each = ahead.pop()
        if isinstance(each, str):
            if each.startswith(_BEGINNINGS) and is_key(each):
                found.add(each)
            continue
        if id(each) in seen:
            continue
        seen.add(id(each))
        try:
            parts = list(_within(each))
        except Exception:
            continue  # Whatever a user's class does when it is looked at.
        for inner in parts:
            # Most are numbers, and long lists of them: told apart without a turn each.
            if set(map(type, inner)) <= _NO_NAMES:
                continue
            ahead.extend(one for one in inner if type(one) not in _NO_NAMES)
    return found, not ahead


def _within(value: Any) -> Iterator[Sequence[Any]]:
    """Yield the parts of a value that can hold references."""
    cls = type(value)  # Asked in place of the value, which may answer to any name.
    if isinstance(value, dict):
        yield list(value)
        yield list(value.values())
    elif isinstance(value, (list, tuple)):
        yield value
    elif isinstance(value, (set, frozenset)):
        yield list(value)
    elif isinstance(value, (type, FunctionType, ModuleType)):
        return  # Code is in the step's fingerprint.
    elif hasattr(cls, "dtypes") and callable(getattr(cls, "items", None)):
        yield [column for _, column in value.items()]  # a DataFrame
    elif hasattr(cls, "dtype"):
        if value.dtype == object or value.dtype.kind in "OUT":
            yield value.tolist()  # an array or Series of objects or texts
    else:
        yield list(getattr(value, "__dict__", {}).values())
        slots = (name for each in cls.__mro__ for name in getattr(each, "__slots__", ()))
        yield [getattr(value, name, None) for name in slots]
