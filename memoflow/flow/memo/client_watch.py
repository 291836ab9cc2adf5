"""One step's reads through Metaflow's Client, and the names of the objects that it holds."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from types import FunctionType, GeneratorType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from metaflow.client.core import DataArtifact, MetaflowData, MetaflowObject, Run
from metaflow.exception import MetaflowNamespaceMismatch, MetaflowNotFound

from memoflow.flow.host import current
from memoflow.flow.host.client import (
    Settings,
    artifacts_of,
    attempt_of,
    kind_of,
    place_asked,
    place_of,
)
from memoflow.flow.memo import client_digests as digests
from memoflow.flow.memo import client_names as names
from memoflow.flow.memo.client_digests import GONE, NAMESPACE, THERE, Seen
from memoflow.flow.memo.client_grouping import grouped
from memoflow.flow.memo.client_names import OWN, Name
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.memo.untracked import Around, hushed

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


class ClientWatch:
    """The reads of one step, and the names of the objects that it holds."""

    def __init__(self, note: Note, never: Never, around: Around) -> None:
        self._note = note
        self._never = never
        self._around = around
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._before = Settings()
        self._run = current.run()
        self._names: WeakKeyDictionary[Any, Name] = WeakKeyDictionary()
        self._there: dict[Name, None] = {}  # objects of which nothing has been read yet
        self._implied: set[Name] = set()  # and those that must be there for what has been read
        self._is_own_run_told = False
        self._placed: dict[Name, Seen] = {}  # reads of what has a place in a listing
        self._noted: set[Name] = set()

    @cached_property
    def _namespace(self) -> str | None:
        return self._before.namespace

    @cached_property
    def _metadata(self) -> str:
        return self._before.metadata

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
        above = Name(name.segments[:-1], name.namespace, name.metadata)
        for place, child in enumerate(children):
            if not digests.has_named_children(child) or last[0] == "attr":
                self._call(child, name.index(place))
            elif kind_of(child) == "flow":
                self._call(child, self.root(child))
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
            with self.hush():
                place = place_asked(arguments)
            name = names.of_path(path, attempt if isinstance(attempt, int) else None)
            self.record(self._placed_at(name, *place), GONE)
            raise
        self.attach(one, self.root(one))

    def child(self, one: Any, key: Any, get: Callable[[Any, Any], Any]) -> Any:
        name = self.name_of(one).item(key)
        with self.asking(name):
            child = get(one, key)
        self.attach(child, name)
        return child

    def contains(self, name: Name, found: bool) -> bool:
        if found:
            self._is_there(name)
        else:
            self.record(name, GONE)
        return found

    def namespace(self, answer: Callable[[], str | None]) -> str | None:
        """Answer `get_namespace()` as Metaflow does."""
        found: str | None = answer()
        if found == self._namespace:  # Else the step has set it.
            self._note(NAMESPACE, *digests.of_namespace(found))
        return found

    def data(self, one: Any) -> Name | None:
        return self._names.get(one)
