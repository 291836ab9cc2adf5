"""Parts of a Config: the watch for those that a step reads, their names and digests.

config cfg.clean.k     one value, or all below it
config cfg['a.b'][3]   a key that is no name

A node that is handed out is read as a whole, unless the step goes on from it to a part of it: so a
read by other means than its methods counts as well.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from metaflow.user_configs.config_parameters import ConfigValue

from memoflow import fingerprint
from memoflow.fingerprint import ABSENT, Part
from memoflow.flow.host.patches import replaced
from memoflow.flow.memo.reads import hushed, is_hushed, sha1
from memoflow.masking import ANY, Mask

Path = tuple[Any, ...]  # the name of the config, then keys

_PREFIX = "config "
_KEY = r"\.(\w+)|\[((?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\]'\"])*)\]"
_MANY = 20  # parts below one node, from which on most of it is all of it


def name_of(path: Path) -> str:
    return f"{_PREFIX}{path[0]}" + "".join(map(_shown, path[1:]))


def _shown(key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    return f"[{key!r}]"


def path_of(name: str) -> Path | None:
    """Return the path of a read, or None if it is no part of a config."""
    if not name.startswith(_PREFIX):
        return None
    rest = "." + name.removeprefix(_PREFIX)
    path: list[Any] = []
    while (found := re.match(_KEY, rest)) is not None:
        path.append(found[1] if found[2] is None else ast.literal_eval(found[2]))
        rest = rest[found.end() :]
    return tuple(path) if path and not rest else None


def is_ignored(name: str, ignore: Iterable[str]) -> bool:
    """Return whether a read is a part of an ignored one, as `cfg` or `cfg.clean`."""
    path = path_of(name)
    if path is None:
        return False
    wholes = [whole for each in ignore if (whole := path_of(_PREFIX + each)) is not None]
    return any(path[: len(whole)] == whole for whole in wholes)


def part(name: str, config: Any, mask: Mask = ANY) -> Part:
    """Return name and digest of a part of a config, by the value of its whole config.

    Raises NoFingerprintError if it holds an object that has no digest.
    """
    path = path_of(name)
    assert path is not None
    shown = name.removeprefix(_PREFIX)
    value = config
    for key in path[1:]:
        if not isinstance(value, Mapping) or key not in value:
            return Part("config", shown, ABSENT, summary=ABSENT)
        value = value[key]
    ordered, plain = _ordered(value), _plain(value)
    own = sha1(repr(ordered)) if _is_data(value) else fingerprint.of_value(ordered, name=shown)
    digest = mask.digest(shown, plain, own)
    return Part("config", shown, digest, summary=fingerprint.summary(plain, shown, mask))


def _is_data(value: Any) -> bool:
    """Return whether a value has types of JSON, YAML and TOML only: its `repr` has it all."""
    if isinstance(value, Mapping):
        return all(_is_data(key) and _is_data(each) for key, each in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_data, value))
    return value is None or type(value) in (str, int, float, bool, bytes)


def _ordered(value: Any) -> Any:
    """Return a value whose order counts: a step that walks over a config reads that, too."""
    if isinstance(value, Mapping):
        return ["dict", [[_ordered(key), _ordered(each)] for key, each in value.items()]]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [_ordered(each) for each in value]]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def collapse(reads: Iterable[str], configs: Mapping[str, Any]) -> dict[str, None]:
    """Return the reads with one for a whole that was read, or of which most parts were read."""
    kept = dict.fromkeys(reads)
    paths = {path for name in kept if (path := path_of(name)) is not None and path[0] in configs}
    if not paths:
        return kept
    paths = {path for path in paths if not any(path[:n] in paths for n in range(1, len(path)))}
    above = {path[:length] for path in paths for length in range(1, len(path))}
    for node in sorted(above, key=len, reverse=True):  # So that no more than the most is taken.
        below = {path for path in paths if path[: len(node)] == node}
        if len(below) >= _MANY and 2 * len(below) >= _leaves(_at(configs, node)):
            paths = paths - below | {node}
    names = {name_of(path) for path in paths}
    left = {name: None for name in kept if path_of(name) is None or name in names}
    return left | dict.fromkeys(sorted(names - left.keys()))


def _at(configs: Mapping[str, Any], path: Path) -> Any:
    value = configs[path[0]]
    for key in path[1:]:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _leaves(value: Any) -> int:
    return sum(map(_leaves, value.values())) if isinstance(value, Mapping) else 1


# By these a node is read with all that is below it. `get`, `items` and `values` come to others.
_WHOLE = (
    "__copy__",
    "__dir__",
    "__eq__",
    "__iter__",
    "__len__",
    "__ne__",
    "__reduce__",
    "__repr__",
    "__str__",
    "copy",
    "keys",
    "to_dict",
)


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
        if not isinstance(key, (str, int, float, bool, type(None))):
            # It cannot stand in a name: it is read with all its siblings.
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

        hooks = {name: self._reader(getattr(ConfigValue, name)) for name in _WHOLE}
        hooks |= {name: self._reader(getattr(dict, name)) for name in ("__or__", "__ror__")}
        # `in` asks for an item as well.
        return hooks | {"__getitem__": __getitem__, "__getattr__": __getattr__}

    def _reader(self, function: Any) -> Any:
        def hook(*nodes: Any) -> Any:
            for node in nodes:  # Two of them are compared or joined.
                self._whole(node)
            with hushed():
                return function(*nodes)

        hook.__name__ = getattr(function, "__name__", "")
        return hook
