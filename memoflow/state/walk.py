"""Walk: the leaves of nested containers, each by a dotted path.

Containers are dicts, lists, tuples, namedtuples and dataclasses; all else is a leaf, so are empty
containers, lists and tuples of numbers and texts only, and containers that were walked before, by
another path. A path is made of keys, indices and names: `model.encoder.0.weight`, where a key may
have dots itself, as those of torch do. Within a key, "/" is %2F and "%" is %25. A path that another
leaf has gets a suffix: `a.b#2`.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

ROOT = "state"  # the path of a state that is a leaf itself
ATOMS = frozenset({type(None), bool, int, float, complex, str})
_LONGEST_KEY = 100


class FoundLeaf(NamedTuple):
    """A leaf, its path, and the items that lead to it."""

    path: str
    way: tuple[_Item, ...]
    value: Any

    @property
    def expression(self) -> str:
        """The leaf in code, such as `state["model"][0].weight`."""
        return "state" + "".join(each.expression for each in self.way)


class _Item(NamedTuple):
    """An item of a container: a key or index, or the name of an attribute."""

    key: Any
    value: Any
    is_attribute: bool = False

    @property
    def name(self) -> str:
        text = self.key if isinstance(self.key, str) else repr(self.key)
        return text.replace("%", "%25").replace("/", "%2F")

    @property
    def expression(self) -> str:
        if self.is_attribute:
            return f".{self.key}"
        is_text = isinstance(self.key, str)
        shown = json.dumps(self.key, ensure_ascii=False) if is_text else repr(self.key)
        return f"[{shown[:_LONGEST_KEY]}]"


def leaves(state: Any) -> Iterator[FoundLeaf]:
    """Yield the leaves in their order."""
    counts: dict[str, int] = {}
    taken: set[str] = set()
    for prefix, way, value in _leaves(state, "", (), {}):
        path = unique = prefix.removesuffix(".") or ROOT
        while unique in taken:
            counts[path] = counts.get(path, 1) + 1
            unique = f"{path}#{counts[path]}"
        taken.add(unique)
        yield FoundLeaf(unique, way, value)


def pruned(state: Any, kept: Iterator[bool]) -> Any:
    """Return a state with some of its leaves, in the order of `leaves`.

    Dicts lose the other keys; in other containers, None is in their place. Containers that lose
    something are copied.
    """
    return _pruned(state, kept, {})[1]


def _leaves(
    value: Any, prefix: str, way: tuple[_Item, ...], seen: dict[int, Any]
) -> Iterator[tuple[str, tuple[_Item, ...], Any]]:
    items = _items(value, seen)
    if not items:
        yield prefix, way, value
    for each in items:
        yield from _leaves(each.value, f"{prefix}{each.name}.", (*way, each), seen)


def _items(value: Any, seen: dict[int, Any]) -> list[_Item]:
    """Return the items of a container; none for a leaf."""
    if id(value) in seen:
        return []
    if isinstance(value, dict):
        found = [_Item(key, each) for key, each in value.items()]
    elif isinstance(value, list) or type(value) is tuple:
        if ATOMS.issuperset(map(type, value)):
            return []
        found = [_Item(i, each) for i, each in enumerate(value)]
    elif isinstance(value, tuple) and hasattr(value, "_make"):
        found = [
            _Item(name, each, is_attribute=True)
            for name, each in zip(value._fields, value, strict=True)  # type: ignore[attr-defined]
        ]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = [
            _Item(each.name, getattr(value, each.name), is_attribute=True)
            for each in dataclasses.fields(value)
            if hasattr(value, each.name)
        ]
    else:
        return []
    seen[id(value)] = value  # Kept, so that nothing else gets its id.
    return found


def _pruned(value: Any, kept: Iterator[bool], seen: dict[int, Any]) -> tuple[bool, Any]:
    """Return whether anything is kept of a value, and that."""
    items = _items(value, seen)
    if not items:
        is_kept = next(kept)
        return is_kept, value if is_kept else None
    found = {each.key: _pruned(each.value, kept, seen) for each in items}
    if not any(is_kept for is_kept, _ in found.values()):
        return False, None
    if all(found[each.key][0] and found[each.key][1] is each.value for each in items):
        return True, value
    if isinstance(value, tuple):
        parts = [each for _, each in found.values()]
        return True, value._make(parts) if hasattr(value, "_make") else tuple(parts)
    made = copy.copy(value)
    for key, (is_kept, each) in found.items():
        if not isinstance(value, (dict, list)):
            object.__setattr__(made, key, each)  # The dataclass may be frozen.
        elif is_kept or isinstance(value, list):
            made[key] = each
        else:
            del made[key]
    return True, made
