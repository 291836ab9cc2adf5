"""Reads through Metaflow's Client: the watch on its classes while a step runs.

Objects get names, by the expressions that led to them, and what is read of one is noted under its
name. The classes themselves are patched, so it does not matter who imported them and when. What
they do inside runs hushed. An object that was made before the watch is named by its ids.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import FunctionType, GeneratorType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from metaflow.client import core
from metaflow.client.core import (
    DataArtifact,
    Metaflow,
    MetaflowData,
    MetaflowObject,
    Run,
)
from metaflow.exception import MetaflowNamespaceMismatch, MetaflowNotFound
from metaflow.metaflow_current import current

from memoflow.flow.memo import client_digests as digests
from memoflow.flow.memo import client_names as names
from memoflow.flow.memo.client_digests import GONE, NAMESPACE, THERE, Seen
from memoflow.flow.memo.client_grouping import grouped
from memoflow.flow.memo.client_names import OWN, Name
from memoflow.flow.memo.hush import Around, hushed, is_hushed
from memoflow.flow.memo.parents import UndecidedError

Note = Callable[[str, str, str], None]
Never = Callable[[str, str], None]

OWN_RUN = "reads its own run through the Client"

_NOT_FOUND = (MetaflowNotFound, MetaflowNamespaceMismatch)
_IDENTITY = frozenset(["id", "pathspec", "path_components"])
# They change a run, and read nothing of it.
_WRITERS = frozenset(
    ["add_tag", "add_tags", "remove_tag", "remove_tags", "replace_tag", "replace_tags"]
)
_MISSING = object()


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
    before, watch = _watch, _Watch(note, never, around)
    _watch = watch
    with contextlib.ExitStack() as stack:
        for cls, hooks in _HOOKS.items():
            for name, hook in hooks.items():
                stack.callback(_restore, cls, name, cls.__dict__.get(name, _MISSING))
                setattr(cls, name, hook)
        # A function, which users import by name: so its code is replaced, and not the function.
        stack.callback(setattr, core.get_namespace, "__code__", core.get_namespace.__code__)
        core.get_namespace.__code__ = _get_namespace.__code__
        try:
            yield
        finally:
            _watch = before
            watch.finish()


def _restore(cls: type, name: str, was: Any) -> None:
    if was is _MISSING:
        delattr(cls, name)
    else:
        setattr(cls, name, was)


class _Watch:
    """What one step has read, and the names of the objects that it holds."""

    def __init__(self, note: Note, never: Never, around: Around) -> None:
        self._note = note
        self._never = never
        self._around = around
        self._process = os.getpid()
        self._lock = threading.Lock()
        with hushed(around):
            self._namespace = core.get_namespace()
            self._metadata = core.get_metadata()
        # By names with an underscore, since reading the others would be a read of the step's.
        self._run = (current._flow_name, current._run_id)
        self._names: WeakKeyDictionary[Any, Name] = WeakKeyDictionary()
        self._there: dict[Name, None] = {}  # objects of which nothing has been read yet
        self._implied: set[Name] = set()  # and those that must be there for what has been read
        self._is_own_run_told = False
        self._placed: dict[Name, Seen] = {}  # reads of what has a place in a listing

    def hush(self) -> contextlib.AbstractContextManager[None]:
        return hushed(self._around)

    def finish(self) -> None:
        for name in self._there:
            self._tell(name.existence(), THERE)
        for name, seen in grouped(self._placed):
            self._note(str(name), *seen)
        self._there.clear()
        self._placed.clear()

    def name_of(self, one: Any) -> Name:
        name = self._names.get(one)
        if name is None:
            name = self._root(one)
            self._names[one] = name
        return name

    def _root(self, one: Any) -> Name:
        """Return a name by ids alone, as of an object that the step made from a pathspec."""
        with self.hush():
            name = names.of_path(one.path_components, one._attempt)
        namespace = one._current_namespace if one._namespace_check else None
        return self._placed_at(name, namespace, one._metaflow.metadata.metadata_str())

    def _placed_at(self, name: Name, namespace: str | None, metadata: str) -> Name:
        return Name(
            name.segments,
            OWN if namespace == self._namespace else namespace,
            OWN if metadata == self._metadata else metadata,
        )

    def record(self, name: Name, seen: Seen) -> None:
        """Note a read; that the objects are there which led to it goes without saying then."""
        with self._lock:
            if seen != GONE:
                for length in range(1, len(name.segments) + 1):
                    above = Name(name.segments[:length], name.namespace, name.metadata)
                    self._implied.add(above)
                    self._there.pop(above, None)
            self._tell(name, seen)

    def _tell(self, name: Name, seen: Seen) -> None:
        placed = any(segment[0] == "index" for segment in name.segments)
        if placed and os.getpid() == self._process:
            self._placed[name] = seen
        else:  # The memory of a forked child is lost with it.
            self._note(str(name), *seen)

    def attach(self, one: Any, name: Name) -> None:
        """Name an object that the step has come to, of which it may read nothing more."""
        self._call(one, name)
        self._is_there(name)

    def _call(self, one: Any, name: Name) -> None:
        self._names[one] = name
        if isinstance(one, MetaflowObject) and not self._is_own_run_told:
            with self.hush():
                if tuple(one.path_components[:2]) == self._run:
                    self._is_own_run_told = True
                    self._never("Client", OWN_RUN)

    def _is_there(self, name: Name) -> None:
        with self._lock:
            if os.getpid() != self._process:
                self._tell(name.existence(), THERE)
            elif name not in self._implied:
                self._there[name] = None

    def identity(self, one: Any, field: str) -> None:
        """Note that the step learned which object it is."""
        name = self.name_of(one)
        if name.is_fixed or (field == "id" and name.segments[-1][0] == "item"):
            return  # The name says it.
        with self.hush():
            if isinstance(one, Run):
                seen = digests.of_object(one)
            else:
                seen = digests.of_value(one.id if field == "id" else one.pathspec)
                name = name.attr("id" if field == "id" else "pathspec")
        self.record(name, seen)

    def attribute(self, one: Any, field: str, get: Callable[[Any, str], Any]) -> Any:
        kind = getattr(type(one), field, _MISSING)
        if field in _IDENTITY:
            with self.hush():
                value = get(one, field)
            self.identity(one, field)
            return value
        if isinstance(kind, FunctionType):
            return self._method(one, field, kind)
        if kind is _MISSING:
            return get(one, field)
        name = self.name_of(one)
        if isinstance(one, DataArtifact) and field in ("data", "sha", "size"):
            with self.hush():
                self.record(name, digests.of_object(one))
                return get(one, field)
        name = name.attr(field)
        with self._asking(name):
            value = get(one, field)
        return self._derived(name, one, value)

    @contextlib.contextmanager
    def _asking(self, name: Name) -> Iterator[None]:
        with self.hush():
            try:
                yield
            except Exception:  # Whatever it is: the step goes on from there, or fails.
                self.record(name, GONE)
                raise

    def _method(self, one: Any, field: str, function: FunctionType) -> Any:
        def call(obj: Any, *arguments: Any, **named: Any) -> Any:
            if field in _WRITERS:
                with self.hush():
                    return function(obj, *arguments, **named)
            name = self.name_of(obj).call(field, arguments, named)
            with self._asking(name):
                value = function(obj, *arguments, **named)
            return self._derived(name, obj, value)

        return MethodType(call, one)

    def _derived(self, name: Name, parent: Any, value: Any) -> Any:
        """Return what an attribute or a call came to, named or noted."""
        if isinstance(value, MetaflowObject):
            self.attach(value, name)
        elif isinstance(value, MetaflowData):
            self.attach(value, name)
            for each, artifact in value._artifacts.items():
                self._names[artifact] = name.attr(each)
        elif isinstance(value, GeneratorType):
            return self._generated(name, value)
        elif isinstance(value, tuple) and name.segments[-1] == ("attr", "artifacts"):
            for artifact in value:
                with self.hush():
                    self._names[artifact] = name.attr(artifact.id)
            self.record(name, digests.of_names(value._fields))  # type: ignore[attr-defined]
        else:
            self._noted(name, parent, value)
        return value

    def _noted(self, name: Name, parent: Any, value: Any) -> None:
        try:
            with self.hush():
                seen = digests.of_attribute(parent, name.segments[-1][1], value)
        except UndecidedError as error:
            self._never("Client", f"reads {name}, and {error}")
        else:
            self.record(name, seen)

    def _generated(self, name: Name, values: Generator[Any]) -> Iterator[Any]:
        with self._asking(name):
            found = list(values)
        if found and not isinstance(found[0], MetaflowObject):
            self._noted(name, None, found)
        else:
            self.listed(name, found)
        yield from found

    def listed(self, name: Name, children: list[Any]) -> None:
        """Note a listing, and name what is in it."""
        self.record(name, digests.of_listing(children))
        last = name.segments[-1]
        above = Name(name.segments[:-1], name.namespace, name.metadata)
        for place, child in enumerate(children):
            if not digests.has_named_children(child) or last[0] == "attr":
                self._call(child, name.index(place))
            elif child._NAME == "flow":
                self._call(child, self._root(child))
            else:
                with self.hush():
                    child_name = above.item(child.id)
                self._call(child, child_name)

    def made(self, one: Any, make: Callable[[], None], arguments: dict[str, Any]) -> None:
        """Make an object for the step, from a pathspec."""
        try:
            with self.hush():
                make()
        except _NOT_FOUND:
            path = str(arguments.get("pathspec")).split("/")
            attempt = arguments.get("attempt")
            is_checked = arguments.get("_namespace_check", True)
            with self.hush():
                namespace = arguments.get("_current_namespace") or core.get_namespace()
                metadata = arguments.get("_current_metadata") or core.get_metadata()
            name = names.of_path(path, attempt if isinstance(attempt, int) else None)
            self.record(self._placed_at(name, namespace if is_checked else None, metadata), GONE)
            raise
        self.attach(one, self._root(one))

    def child(self, one: Any, key: Any, get: Callable[[Any, Any], Any]) -> Any:
        name = self.name_of(one).item(key)
        with self._asking(name):
            child = get(one, key)
        self.attach(child, name)
        return child

    def contains(self, name: Name, found: bool) -> bool:
        if found:
            self._is_there(name)
        else:
            self.record(name, GONE)
        return found

    def namespace(self) -> str | None:
        with self.hush():
            found: str | None = core.get_namespace()
        if found == self._namespace:  # Else the step has set it.
            self._note(NAMESPACE, *digests.of_namespace(found))
        return found

    def data(self, one: Any) -> Name | None:
        return self._names.get(one)


_watch: _Watch | None = None

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


def _on() -> _Watch | None:
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
    with watch._asking(name):
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
    return _flows(self) if watch is None else watch._generated(names.METAFLOW.all(), _flows(self))


def _metaflow_getitem(self: Any, key: str) -> Any:
    watch = _on()
    if watch is None:
        return _flow(self, key)
    found: list[Any] = []
    watch_name = names.of_path([key])
    with watch._asking(watch_name):
        found.append(_flow(self, key))
    watch.attach(found[0], watch._root(found[0]))
    return found[0]


def _data_getattr(self: Any, name: str) -> Any:
    watch = _on()
    own = watch.data(self) if watch is not None and name[:2] != "__" else None
    if watch is not None and own is not None and name not in self._artifacts:
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
        watch.record(own, digests.of_names(data._artifacts))


def _get_namespace() -> Any:
    # In place of the code of Metaflow's function, so it sees the names of Metaflow's module.
    from memoflow.flow.memo.client_reads import namespace_asked

    return namespace_asked()


_namespace = FunctionType(core.get_namespace.__code__, core.get_namespace.__globals__)


def namespace_asked() -> Any:
    """Answer `get_namespace()` while the watch is on."""
    watch = _on()
    return _namespace() if watch is None else watch.namespace()


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
