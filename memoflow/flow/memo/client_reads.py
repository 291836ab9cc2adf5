"""Reads through Metaflow's Client: the watch on its classes while a step runs.

Objects get names, by the expressions that led to them, and each read of one is noted under its
name. Whatever the classes do inside runs hushed. An object that was made before the watch is named
by its ids.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from types import FunctionType, GeneratorType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from metaflow.client import core
from metaflow.client.core import DataArtifact, Metaflow, MetaflowData, MetaflowObject, Run
from metaflow.exception import MetaflowNamespaceMismatch, MetaflowNotFound

from memoflow.flow.host.client import (
    Settings,
    artifacts_of,
    attempt_of,
    current_run,
    kind_of,
    place_asked,
    place_of,
)
from memoflow.flow.host.patches import replaced, replaced_code
from memoflow.flow.memo import client_digests as digests
from memoflow.flow.memo import client_names as names
from memoflow.flow.memo.client_digests import NAMESPACE, THERE, grouped
from memoflow.flow.memo.client_names import OWN, Name
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.memo.reads import GONE, Around, Never, Note, Seen, hushed, is_hushed

_Method = Callable[..., Any]

OWN_RUN = "reads its own run through the Client"

_NOT_FOUND = (MetaflowNotFound, MetaflowNamespaceMismatch)
_IDENTITY = frozenset(["id", "pathspec", "path_components"])
# They change a run, and read nothing of it.
_WRITERS = frozenset(
    ["add_tag", "add_tags", "remove_tag", "remove_tags", "replace_tag", "replace_tags"]
)
_MISSING = object()


class ClientWatch:
    """The reads of one step, and the names of the objects that it holds."""

    def __init__(self, note: Note, never: Never, around: Around) -> None:
        self._note = note
        self._never = never
        self._around = around
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._before = Settings()
        self._run = current_run()
        self._names: WeakKeyDictionary[Any, Name] = WeakKeyDictionary()
        self._there: dict[Name, None] = {}  # objects of which nothing has been read yet
        self._implied: set[Name] = set()  # and those that must be there for what has been read
        self._is_own_run_told = False
        self._placed: dict[Name, Seen] = {}  # reads of what has a place in a listing
        self._noted: set[Name] = set()

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
            name = self.root(one)
            self._names[one] = name
        return name

    def root(self, one: Any) -> Name:
        """Return a name by ids alone, as of an object that the step made from a pathspec."""
        with self.hush():
            name = names.of_path(one.path_components, attempt_of(one))
        return self._placed_at(name, *place_of(one))

    def _placed_at(self, name: Name, namespace: str | None, metadata: str) -> Name:
        return Name(
            name.segments,
            OWN if namespace == self._before.namespace else namespace,
            OWN if metadata == self._before.metadata else metadata,
        )

    def record(self, name: Name, seen: Seen) -> None:
        """Note a read; that the objects are there which led to it goes without saying then."""
        with self._lock:
            if seen != GONE:
                for length in range(1, len(name.segments) + 1):
                    above = name.up_to(length)
                    self._implied.add(above)
                    self._there.pop(above, None)
            self._tell(name, seen)

    def _tell(self, name: Name, seen: Seen) -> None:
        if name in self._noted:
            return  # What it was at first: of one that changes meanwhile the next run will tell.
        self._noted.add(name)
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
        with self.asking(name):
            value = get(one, field)
        return self._derived(name, one, value)

    @contextlib.contextmanager
    def asking(self, name: Name) -> Iterator[None]:
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
            with self.asking(name):
                value = function(obj, *arguments, **named)
            return self._derived(name, obj, value)

        return MethodType(call, one)

    def _derived(self, name: Name, parent: Any, value: Any) -> Any:
        """Return the value of an attribute or a call, named or noted."""
        if isinstance(value, MetaflowObject):
            self.attach(value, name)
        elif isinstance(value, MetaflowData):
            self.attach(value, name)
            for each, artifact in artifacts_of(value).items():
                self._names[artifact] = name.attr(each)
        elif isinstance(value, GeneratorType):
            return self.generated(name, value)
        elif isinstance(value, tuple) and name.segments[-1] == ("attr", "artifacts"):
            for artifact in value:
                with self.hush():
                    self._names[artifact] = name.attr(artifact.id)
            self.record(name, digests.of_names(value._fields))  # type: ignore[attr-defined]
        else:
            self._valued(name, parent, value)
        return value

    def _valued(self, name: Name, parent: Any, value: Any) -> None:
        try:
            with self.hush():
                seen = digests.of_attribute(parent, name.segments[-1][1], value)
        except UndecidedError as error:
            self._never("Client", f"reads {name}, and {error}")
        else:
            self.record(name, seen)

    def generated(self, name: Name, values: Generator[Any]) -> Iterator[Any]:
        with self.asking(name):
            found = list(values)
        if found and not isinstance(found[0], MetaflowObject):
            self._valued(name, None, found)
        else:
            self.listed(name, found)
        yield from found

    def listed(self, name: Name, children: list[Any]) -> None:
        """Note a listing, and name the objects in it."""
        self.record(name, digests.of_listing(children))
        last = name.segments[-1]
        above = name.up_to(-1)
        for place, child in enumerate(children):
            if not digests.has_named_children(child) or last[0] == "attr":
                self._call(child, name.index(place))
            elif kind_of(child) == "flow":
                self._call(child, self.root(child))
            else:
                with self.hush():
                    child_name = above.item(child.id)
                self._call(child, child_name)

    # Each of these answers in place of a method of the Client's, which is its first argument.

    def made(
        self, make: _Method, one: Any, pathspec: Any = None, attempt: Any = None, **named: Any
    ) -> None:
        """Make an object for the step, from a pathspec."""
        try:
            with self.hush():
                make(one, pathspec, attempt, **named)
        except _NOT_FOUND:
            with self.hush():
                place = place_asked({"pathspec": pathspec, "attempt": attempt, **named})
            number = attempt if isinstance(attempt, int) else None
            name = names.of_path(str(pathspec).split("/"), number)
            self.record(self._placed_at(name, *place), GONE)
            raise
        self.attach(one, self.root(one))

    def children(self, walk: _Method, one: Any) -> Iterator[Any]:
        name = self.name_of(one).all()
        with self.asking(name):
            found = list(walk(one))
        self.listed(name, found)
        return iter(found)

    def child(self, get: _Method, one: Any, key: Any) -> Any:
        name = self.name_of(one).item(key)
        with self.asking(name):
            child = get(one, key)
        self.attach(child, name)
        return child

    def has_child(self, contains: _Method, one: Any, key: Any) -> bool:
        with self.hush():
            found = contains(one, key)
        return self._contains(self.name_of(one).item(key), found)

    def text(self, show: _Method, one: Any) -> Any:
        self.identity(one, "pathspec")
        with hushed():
            return show(one)

    def flows(self, walk: _Method, one: Any) -> Iterator[Any]:
        return self.generated(names.METAFLOW.all(), walk(one))

    def flow(self, get: _Method, one: Any, key: str) -> Any:
        with self.asking(names.of_path([key])):
            found = get(one, key)
        self.attach(found, self.root(found))
        return found

    def datum(self, get: _Method, data: Any, name: str) -> Any:
        own = self._names.get(data)
        if own is not None and name[:2] != "__" and name not in artifacts_of(data):
            self.record(own.attr(name), GONE)
        return get(data, name)

    def has_datum(self, contains: _Method, data: Any, name: Any) -> bool:
        found: bool = contains(data, name)
        own = self._names.get(data)
        return found if own is None else self._contains(own.attr(name), found)

    def all_names(self, show: _Method, data: Any) -> Any:
        own = self._names.get(data)
        if own is not None:
            self.record(own, digests.of_names(artifacts_of(data)))
        return show(data)

    def _contains(self, name: Name, found: bool) -> bool:
        if found:
            self._is_there(name)
        else:
            self.record(name, GONE)
        return found

    def namespace(self, answer: Callable[[], str | None]) -> str | None:
        """Answer `get_namespace()` as Metaflow does."""
        found: str | None = answer()
        if found == self._before.namespace:  # Else the step has set it.
            # Workers are told "" for none.
            self._note(NAMESPACE, *digests.of_value(found or ""))
        return found


_watch: ClientWatch | None = None


def _on() -> ClientWatch | None:
    return None if is_hushed() else _watch


@contextlib.contextmanager
def watching(
    note: Note, never: Never, *, around: Around = contextlib.nullcontext
) -> Iterator[None]:
    """Note the reads of this process through the Client.

    `note` is told of each at the latest when the watch ends, `never` of "Client". `around` is
    entered for what the Client does by itself: files that it opens are no reads of the step's, but
    classes that it unpickles are.
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


def _hook(was: _Method, watched: Callable[..., Any]) -> _Method:
    """Return a method that is answered by the watch while one is on."""

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        watch = _on()
        if watch is None:
            return was(self, *arguments, **named)
        return watched(watch, was, self, *arguments, **named)

    return method


_get = MetaflowObject.__getattribute__


def _object_getattribute(self: Any, name: str) -> Any:
    watch = None if name[:1] == "_" else _on()
    return _get(self, name) if watch is None else watch.attribute(self, name, _get)


def _get_namespace() -> Any:
    # In place of the code of Metaflow's function, so it sees the names of Metaflow's module.
    from memoflow.flow.memo.client_reads import namespace_asked

    return namespace_asked()


_namespace = FunctionType(core.get_namespace.__code__, core.get_namespace.__globals__)


def namespace_asked() -> Any:
    """Answer `get_namespace()` while the watch is on."""
    watch = _on()
    return _namespace() if watch is None else watch.namespace(_namespace)


_WATCHED: dict[type, dict[str, Callable[..., Any]]] = {
    MetaflowObject: {
        "__init__": ClientWatch.made,
        "__iter__": ClientWatch.children,
        "__getitem__": ClientWatch.child,
        "__contains__": ClientWatch.has_child,
        "__str__": ClientWatch.text,
        "__getstate__": ClientWatch.text,
    },
    Metaflow: {"__iter__": ClientWatch.flows, "__getitem__": ClientWatch.flow},
    MetaflowData: {
        "__getattr__": ClientWatch.datum,
        "__contains__": ClientWatch.has_datum,
        "__dir__": ClientWatch.all_names,
        "__str__": ClientWatch.all_names,
    },
}
_HOOKS: dict[type, dict[str, Any]] = {
    cls: {name: _hook(getattr(cls, name), watched) for name, watched in methods.items()}
    for cls, methods in _WATCHED.items()
}
_HOOKS[MetaflowObject]["__getattribute__"] = _object_getattribute
