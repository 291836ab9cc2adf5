"""Attribute tracker: the names that a running step reads and sets.

Nothing is copied or compared: the flow's class answers attribute access through hooks while the
step runs. What a step has set before is no input; what it looked for and did not find is one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import Any

from metaflow.flowspec import FlowSpec
from metaflow.metaflow_current import Current

from memoflow.flow.host.artifacts import DATASTORE, INTERNAL
from memoflow.flow.host.patches import replaced
from memoflow.flow.memo import config_parts
from memoflow.flow.memo.config_parts import ConfigWatch
from memoflow.flow.memo.inputs import OF_ONE_RUN, TOOLS, FlowShape
from memoflow.tracking.notes import ChildLog


class AttributeTracker:
    """Reads and writes of one task, between `start` and `stop`.

    `reads` holds names as in `parents`; `blind` what makes the step's reads unknowable, such as
    `vars(self)`; `refs` the classes and functions that the values it loaded are made of. `on_value`
    is told each value that it loads.
    """

    def __init__(self, flow: Any, inputs: dict[str, Any], shape: FlowShape) -> None:
        self.reads: dict[str, None] = {}
        self.writes: set[str] = set()
        self.blind: dict[str, None] = {}
        self.refs: set[tuple[str, str]] = set()
        self.on_value: Callable[[Any], None] = lambda value: None
        self._flow = flow
        self._labels = {id(one): f"{label}." for label, one in inputs.items()} | {id(flow): ""}
        self._keep = inputs  # ids stay valid only while the objects live
        self._parameters = shape.parameters
        self._constants = shape.constants.keys()
        self._config_names = shape.configs
        self._configs = ConfigWatch(self.note)
        self._on = contextlib.ExitStack()
        self._quiet = threading.local()
        self._watching = False
        self._children: ChildLog | None = None
        self._preset: frozenset[str] = frozenset()
        self._loaded: set[str] = set()

    def start(self) -> None:
        global _watch, _hooked
        if self._watching:
            return
        self._watching = True
        _watch = self
        self._preset = frozenset(_names_in(self._flow)) - INTERNAL - self._constants
        if not _hooked:  # Once: hooks of forks and audits last for the life of the process.
            _hooked = True
            os.register_at_fork(before=_on_fork)
            sys.addaudithook(_on_audit)
        self._hook_flow(type(self._flow))
        self._hook_current()
        self._on.enter_context(self._configs.watching())

    def stop_reads(self) -> None:
        """No longer count reads; sets go on, since other decorators may set artifacts yet."""
        if self._watching:
            self._watching = False
            # What is set around `__setattr__`, through `object` or the instance's dictionary.
            there = set(_names_in(self._flow)) - INTERNAL - self._constants
            self.writes |= there - self._preset - self._loaded
            self._merge_children()

    def stop(self) -> None:
        global _watch
        self.stop_reads()
        _watch = None
        self._on.close()  # Not before: what was left of a config is read when it is pickled.
        self._configs.settle()
        self.reads = config_parts.collapse(self.reads, self._configs.configs)

    @contextlib.contextmanager
    def quiet(self, *, loading: bool = False) -> Iterator[None]:
        before = getattr(self._quiet, "depth", 0), getattr(self._quiet, "loading", False)
        self._quiet.depth = before[0] + 1
        self._quiet.loading = before[1] or loading
        try:
            yield
        finally:
            self._quiet.depth, self._quiet.loading = before

    def _is_quiet(self) -> bool:
        return getattr(self._quiet, "depth", 0) > 0

    def note(self, name: str) -> None:
        if name not in self.reads:
            self.reads[name] = None
            self._tell_parent("reads", name)

    def hear(self, name: str) -> None:
        """Note a read by a tool in `current`, while the step runs."""
        if self._watching:
            self.note(name)

    def _note_blind(self, what: str) -> None:
        if what not in self.blind:
            self.blind[what] = None
            self._tell_parent("blind", what)

    def _note_ref(self, module: str, name: str) -> None:
        if (module, name) not in self.refs:
            self.refs.add((module, name))
            self._tell_parent("refs", module, name)

    def _note_access(self, obj: Any, name: str) -> bool:
        """Return whether this is an input; if so it is noted."""
        label = self._labels.get(id(obj))
        if label is None:
            return False
        if name in ("__dict__", DATASTORE):
            self._note_blind(f"{label[:-1] or 'self'}.{name}")
            return False
        if name == "name" and name not in self.writes:
            self.note("current.flow_name")
        if name in INTERNAL or name.startswith("__"):
            return False
        if not label and name in self.writes:
            return False
        if name not in self._parameters and _is_code(type(obj), name):
            return False
        if not label and name in self._preset:
            self._note_blind(f"self.{name}, set by a decorator")
            return False
        self.note(f"{label}{name}")
        return True

    def _hook_flow(self, cls: Any) -> None:
        get, set_, delete = cls.__getattribute__, cls.__setattr__, cls.__delattr__
        load = FlowSpec.__getattr__
        if get is not object.__getattribute__:
            self._note_blind("a __getattribute__ of its own")
        watch = self

        def __getattribute__(obj: Any, name: str) -> Any:
            if not watch._watching or watch._is_quiet():
                return get(obj, name)
            if name in _WHOLE:
                return watch._whole(obj, name, get)
            if name in watch._config_names and id(obj) in watch._labels:
                return watch._config(obj, name, get)
            if watch._note_access(obj, name) and name in watch._parameters:
                with watch.quiet(loading=True):  # A property that loads at first use.
                    value = get(obj, name)
                watch.on_value(value)
                return value
            return get(obj, name)

        def __getattr__(obj: Any, name: str) -> Any:
            with watch.quiet(loading=True):
                value = load(obj, name)
            if obj is watch._flow:
                watch._loaded.add(name)
            watch.on_value(value)
            return value

        def __setattr__(obj: Any, name: str, value: Any) -> None:
            if obj is watch._flow and not watch._is_quiet():
                watch.writes.add(name)
            set_(obj, name, value)

        def __delattr__(obj: Any, name: str) -> None:
            delete(obj, name)
            if obj is watch._flow and watch._watching:
                watch.writes.discard(name)  # A read after this sees the parent's again.

        hooks = {hook.__name__: hook for hook in (__getattribute__, __setattr__, __delattr__)}
        self._on.enter_context(replaced({cls: hooks}))
        # Where artifacts are loaded; a `__getattr__` of the user's calls it, and reads besides.
        self._on.enter_context(replaced({FlowSpec: {"__getattr__": __getattr__}}))

    def _whole(self, obj: Any, name: str, get: Callable[[Any, str], Any]) -> Any:
        """Return an attribute that reads more, or other, than the artifact of its name."""
        if self._labels.get(id(obj)) is None:
            return get(obj, name)
        if name == "merge_artifacts":
            own = type(obj).merge_artifacts is not FlowSpec.merge_artifacts
            return get(obj, name) if own else self._merge
        label = self._labels[id(obj)]
        if label and name not in ("input", "index"):
            self._note_blind(f"{label}{name}")
            return get(obj, name)
        if name == "foreach_stack":

            def foreach_stack() -> Any:
                self.note("foreach_stack")
                with self.quiet(loading=True):
                    return get(obj, name)()

            return foreach_stack
        self.note(f"{label}{name}")
        with self.quiet(loading=True):
            value = get(obj, name)
        self.on_value(value)
        return value

    def _config(self, obj: Any, name: str, get: Callable[[Any, str], Any]) -> Any:
        with self.quiet(loading=True):
            value = get(obj, name)
        if not self._configs.hand_out(name, value):
            self._note_access(obj, name)  # It is none that has parts.
        return value

    def _merge(
        self, inputs: Any, exclude: list[str] | None = None, include: list[str] | None = None
    ) -> None:
        flow = self._flow
        there = {name for name in _names_in(flow) if name not in INTERNAL} | self.writes
        for name in include or ():
            if name not in there:
                self.note(f"inputs[*].{name}")
        if not include:
            self.note(f"merge_artifacts({','.join(sorted({*there, *(exclude or ())}))})")
        self.note("inputs")
        with self.quiet():
            type(flow).merge_artifacts(flow, inputs, exclude=exclude, include=include)

    def _hook_current(self) -> None:
        get = Current.__getattribute__
        watch = self

        def __getattribute__(obj: Any, name: str) -> Any:
            if (
                watch._watching
                and not watch._is_quiet()
                and not name.startswith("_")
                and name not in TOOLS
                and not _is_of_cards(sys._getframe(1))
            ):
                watch.note(f"current.{name}")
                with watch.quiet():  # `pathspec` and the like are made of others.
                    return get(obj, name)
            return get(obj, name)

        self._on.enter_context(replaced({Current: {"__getattribute__": __getattribute__}}))

    def _tell_parent(self, *note: str) -> None:
        if self._children is not None and self._children.is_child:
            self._children.append(*note)  # A child's memory is lost with it.

    def _merge_children(self) -> None:
        if self._children is None or self._children.is_child:
            return
        for field, *what in self._children.read_new():
            if field == "refs":
                self.refs.add((what[0], what[1]))
            else:
                getattr(self, field)[what[0]] = None
        if self._children.has_lost:
            self.blind["a fork that could not report its reads"] = None
        self._children.close()
        self._children = None


_WHOLE = frozenset(("input", "index", "foreach_stack", "merge_artifacts", "script_name"))
_watch: AttributeTracker | None = None
_hooked = False


def _on_fork() -> None:
    if _watch is not None and _watch._watching and _watch._children is None:
        _watch._children = ChildLog()


def _on_audit(event: str, arguments: tuple[Any, ...]) -> None:
    if (
        event == "pickle.find_class"
        and _watch is not None
        and getattr(_watch._quiet, "loading", False)
    ):
        _watch._note_ref(str(arguments[0]), str(arguments[1]))


def _is_code(cls: type, name: str) -> bool:
    """Return whether an attribute is a method or property, which the code key accounts for."""
    for base in cls.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            return isinstance(found, (FunctionType, classmethod, staticmethod, property, type))
    return False


def _is_of_cards(frame: FrameType) -> bool:
    """Return whether it is Metaflow that asks, to show a card anew: no result depends on that."""
    return str(frame.f_globals.get("__name__")).startswith("metaflow.plugins.cards.")


def _names_in(flow: Any) -> list[str]:
    return list(object.__getattribute__(flow, "__dict__"))


def unstable(reads: dict[str, None]) -> list[str]:
    """Return the reads that are another value in each run."""
    return [
        name
        for name in reads
        if name == "script_name"
        or (name.startswith("current.") and name.removeprefix("current.") in OF_ONE_RUN)
    ]
