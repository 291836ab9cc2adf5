"""Reads through Metaflow's Client: the watch on its classes while a step runs.

Objects get names, by the expressions that led to them, and what is read of one is noted under its
name. What the classes do inside runs hushed. An object that was made before the watch is named by
its ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import FunctionType
from typing import Any

from metaflow.client import core
from metaflow.client.core import Metaflow, MetaflowData, MetaflowObject

from memoflow.flow.host.client import artifacts_of
from memoflow.flow.host.patches import replaced, replaced_code
from memoflow.flow.memo import client_digests as digests
from memoflow.flow.memo import client_names as names
from memoflow.flow.memo.client_digests import GONE
from memoflow.flow.memo.client_watch import ClientWatch, Never, Note
from memoflow.flow.memo.untracked import Around, hushed, is_hushed


@contextlib.contextmanager
def watching(
    note: Note, never: Never, *, around: Around = contextlib.nullcontext
) -> Iterator[None]:
    """Note the reads of this process through the Client.

    `note` is told name, digest and summary of each, at the latest when the watch ends; `never` is
    told "Client" and a reason. `around` is entered for what the Client does by itself: files that
    it opens are no reads of the step's, but classes that it unpickles are.
    """
    global _watch
    before, watch = _watch, ClientWatch(note, never, around)
    _watch = watch
    # A function, which users import by name: so its code is replaced, and not the function.
    with replaced(_HOOKS), replaced_code(core.get_namespace, _get_namespace):
        try:
            yield
        finally:
            _watch = before
            watch.finish()


_watch: ClientWatch | None = None

_Method = Callable[..., Any]
_get: _Method = MetaflowObject.__getattribute__
_init: _Method = MetaflowObject.__init__
_iter: Callable[[Any], Iterator[Any]] = MetaflowObject.__iter__
_item: _Method = MetaflowObject.__getitem__
_contains: Callable[[Any, Any], bool] = MetaflowObject.__contains__
_str: Callable[[Any], str] = MetaflowObject.__str__
_state: _Method = MetaflowObject.__getstate__
_flows: Callable[[Any], Generator[Any]] = Metaflow.__iter__
_flow: _Method = Metaflow.__getitem__
_datum: _Method = MetaflowData.__getattr__
_data_contains: Callable[[Any, Any], bool] = MetaflowData.__contains__
_data_dir: _Method = MetaflowData.__dir__
_data_str: Callable[[Any], str] = MetaflowData.__str__


def _on() -> ClientWatch | None:
    return None if is_hushed() else _watch


def _object_getattribute(self: Any, name: str) -> Any:
    watch = None if name[:1] == "_" else _on()
    return _get(self, name) if watch is None else watch.attribute(self, name, _get)


def _object_init(self: Any, pathspec: Any = None, attempt: Any = None, **named: Any) -> None:
    watch = _on()
    if watch is None:
        _init(self, pathspec, attempt, **named)
    else:
        made = partial(_init, self, pathspec, attempt, **named)
        watch.made(self, made, {"pathspec": pathspec, "attempt": attempt, **named})


def _object_iter(self: Any) -> Iterator[Any]:
    watch = _on()
    if watch is None:
        return _iter(self)
    name = watch.name_of(self).all()
    with watch.asking(name):
        children = list(_iter(self))
    watch.listed(name, children)
    return iter(children)


def _object_getitem(self: Any, key: Any) -> Any:
    watch = _on()
    return _item(self, key) if watch is None else watch.child(self, key, _item)


def _object_contains(self: Any, key: Any) -> bool:
    watch = _on()
    if watch is None:
        return _contains(self, key)
    with watch.hush():
        found = _contains(self, key)
    return watch.contains(watch.name_of(self).item(key), found)


def _object_str(self: Any) -> str:
    watch = _on()
    if watch is not None:
        watch.identity(self, "pathspec")
    with hushed():
        return _str(self)


def _object_getstate(self: Any) -> Any:
    watch = _on()
    if watch is not None:
        watch.identity(self, "pathspec")
    with hushed():
        return _state(self)


def _metaflow_iter(self: Any) -> Iterator[Any]:
    watch = _on()
    return _flows(self) if watch is None else watch.generated(names.METAFLOW.all(), _flows(self))


def _metaflow_getitem(self: Any, key: str) -> Any:
    watch = _on()
    if watch is None:
        return _flow(self, key)
    found: list[Any] = []
    watch_name = names.of_path([key])
    with watch.asking(watch_name):
        found.append(_flow(self, key))
    watch.attach(found[0], watch.root(found[0]))
    return found[0]


def _data_getattr(self: Any, name: str) -> Any:
    watch = _on()
    own = watch.data(self) if watch is not None and name[:2] != "__" else None
    if watch is not None and own is not None and name not in artifacts_of(self):
        watch.record(own.attr(name), GONE)
    return _datum(self, name)


def _data_has(self: Any, name: Any) -> bool:
    watch = _on()
    found = _data_contains(self, name)
    own = watch.data(self) if watch is not None else None
    return found if watch is None or own is None else watch.contains(own.attr(name), found)


def _data_list(self: Any) -> Any:
    _note_names(self)
    return _data_dir(self)


def _data_text(self: Any) -> str:
    _note_names(self)
    return _data_str(self)


def _note_names(data: Any) -> None:
    watch = _on()
    own = watch.data(data) if watch is not None else None
    if watch is not None and own is not None:
        watch.record(own, digests.of_names(artifacts_of(data)))


def _get_namespace() -> Any:
    # In place of the code of Metaflow's function, so it sees the names of Metaflow's module.
    from memoflow.flow.memo.client_reads import namespace_asked

    return namespace_asked()


_namespace = FunctionType(core.get_namespace.__code__, core.get_namespace.__globals__)


def namespace_asked() -> Any:
    """Answer `get_namespace()` while the watch is on."""
    watch = _on()
    return _namespace() if watch is None else watch.namespace(_namespace)


_HOOKS: dict[type, dict[str, Any]] = {
    MetaflowObject: {
        "__getattribute__": _object_getattribute,
        "__init__": _object_init,
        "__iter__": _object_iter,
        "__getitem__": _object_getitem,
        "__contains__": _object_contains,
        "__str__": _object_str,
        "__getstate__": _object_getstate,
    },
    Metaflow: {"__iter__": _metaflow_iter, "__getitem__": _metaflow_getitem},
    MetaflowData: {
        "__getattr__": _data_getattr,
        "__contains__": _data_has,
        "__dir__": _data_list,
        "__str__": _data_text,
    },
}
