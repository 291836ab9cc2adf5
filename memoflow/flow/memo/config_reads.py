"""Reads of a Config: the watch on its nodes, so that a step depends on the parts that it reads.

A node that is handed out is read as a whole, unless the step goes on from it to what is below it:
so what reads a node in another way than through its methods counts as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from metaflow.user_configs.config_parameters import ConfigValue

from memoflow.flow.host.patches import replaced
from memoflow.flow.memo.config_parts import Path, can_name, name_of
from memoflow.flow.memo.untracked import hushed, is_hushed


class ConfigWatch:
    """The nodes of the configs of one step, and which of them it has read."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._paths: dict[int, Path] = {}
        self._unread: dict[Path, None] = {}
        self._read: set[tuple[int, Any]] = set()
        self._process = os.getpid()
        self._held: list[Any] = []  # ids stay valid only while the objects live
        self.configs: dict[str, Any] = {}

    def watching(self) -> AbstractContextManager[None]:
        return replaced({ConfigValue: self._hooks()})

    def hand_out(self, name: str, value: Any) -> bool:
        """Return whether a config has parts; if so the step is watched for those it reads."""
        if not isinstance(value, ConfigValue):
            return False
        self.configs[name] = value
        self._hand_out((name,), value)
        return True

    def settle(self) -> None:
        """Count nodes that were handed out, and not read by a method, as read."""
        for path in self._unread:
            self._note(name_of(path))
        self._unread.clear()

    def _hand_out(self, path: Path, node: Any) -> None:
        if id(node) not in self._paths:
            self._held.append(node)
            self._paths[id(node)] = path
        if os.getpid() == self._process:
            self._unread[path] = None
        else:  # Of a forked child nobody hears at its end.
            self._note(name_of(path))

    def _item(self, node: Any, key: Any, get: Callable[[Any, Any], Any]) -> Any:
        path = self._paths.get(id(node))
        if path is None or is_hushed():
            return get(node, key)
        if not can_name(key):
            self._whole(node)
            return get(node, key)
        self._unread.pop(path, None)
        try:
            value = get(node, key)
        except KeyError:
            self._note(name_of((*path, key)))
            raise
        if isinstance(value, ConfigValue):
            self._hand_out((*path, key), value)
        elif (id(node), key) not in self._read:  # A step may ask a million times.
            self._read.add((id(node), key))
            self._note(name_of((*path, key)))
        return value

    def _whole(self, node: Any) -> None:
        path = self._paths.get(id(node))
        if path is not None and not is_hushed():
            self._unread.pop(path, None)
            self._note(name_of(path))

    def _hooks(self) -> dict[str, Any]:
        get, attribute = ConfigValue.__getitem__, ConfigValue.__getattr__
        contains = ConfigValue.__contains__
        watch = self

        def __getitem__(node: Any, key: Any) -> Any:
            return watch._item(node, key, get)

        def __getattr__(node: Any, key: str) -> Any:
            if id(node) not in watch._paths:
                return attribute(node, key)
            try:
                return watch._item(node, key, get)
            except KeyError:
                raise AttributeError(key) from None

        def __contains__(node: Any, key: Any) -> bool:
            if id(node) not in watch._paths:
                return bool(contains(node, key))
            try:
                watch._item(node, key, get)
            except KeyError:
                return False
            return True

        hooks = {name: self._reader(getattr(ConfigValue, name)) for name in _WHOLE}
        return hooks | {
            "__getitem__": __getitem__,
            "__getattr__": __getattr__,
            "__contains__": __contains__,
            "__eq__": self._of_two(ConfigValue.__eq__),
            "__ne__": self._of_two(ConfigValue.__ne__),
            "__or__": self._of_two(dict.__or__),
            "__ror__": self._of_two(dict.__ror__),
        }

    def _reader(self, function: Any) -> Any:
        def hook(node: Any, *arguments: Any) -> Any:
            self._whole(node)
            with hushed():
                return function(node, *arguments)

        hook.__name__ = getattr(function, "__name__", "")
        return hook

    def _of_two(self, function: Any) -> Any:
        def hook(node: Any, other: Any) -> Any:
            self._whole(node)
            if isinstance(other, ConfigValue):
                self._whole(other)
            with hushed():
                return function(node, other)

        return hook


# By these a node is read with all that is below it. `get`, `items` and `values` come to others.
_WHOLE = (
    "__copy__",
    "__dir__",
    "__iter__",
    "__len__",
    "__reduce__",
    "__repr__",
    "__str__",
    "copy",
    "keys",
    "to_dict",
)
