"""Reference: the dict, key or object that names a checkpoint or model and passes between steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memoflow.errors import BadKeyError
from memoflow.kinds import checkpoint, model
from memoflow.names import Key

KINDS = (checkpoint.KIND, model.KIND)
_MOST_VALUES = 200_000  # looked at in search of references in artifacts


class Reference:
    """A reference dict whose items are attributes; one that it does not have is None."""

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
    """Tell whether a text is the key of a checkpoint or model."""
    try:
        key = Key.parse(text)
    except (BadKeyError, ValueError):
        return False
    return checkpoint.is_save(key) or (key.kind == model.KIND and len(key.parts) == 4)


def find_in(values: Any) -> set[str]:
    """Return the keys of checkpoints and models that a value holds, however deep."""
    found: set[str] = set()
    for value in _flat(values):
        if isinstance(value, str) and value.startswith(KINDS) and is_key(value):
            found.add(value)
    return found


def _flat(value: Any) -> Iterator[Any]:
    ahead, seen = [iter([value])], 0
    while ahead and seen < _MOST_VALUES:
        seen += 1
        try:
            each = next(ahead[-1])
        except StopIteration:
            ahead.pop()
            continue
        if isinstance(each, Reference):
            yield each.key
        elif isinstance(each, dict):
            ahead.append(iter(list(each.values())))
        elif isinstance(each, (list, tuple, set, frozenset)):
            ahead.append(iter(each))
        else:
            yield each
