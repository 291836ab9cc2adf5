"""Step reads: a step that runs, with the names, files and values that it reads and leaves."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import CodeType, FunctionType, ModuleType
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint import Part
from memoflow.flow.artifact_ref import find_in
from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import INTERNAL, datastore_of
from memoflow.flow.hub import revisions
from memoflow.flow.memo import client_reads, external_reads, import_reads, runner_reads, s3_reads
from memoflow.flow.memo.attributes import AttributeTracker
from memoflow.flow.memo.external_reads import ExternalReads
from memoflow.flow.memo.inputs import label
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.store_context import StoreContext
from memoflow.log import WARNING, Say
from memoflow.tracking import AccessTracker, ReadSet, State, begin, end, part_named, paths_in
from memoflow.tracking.callers import is_users
from memoflow.tracking.notes import is_of_results

_CACHED = functools._lru_cache_wrapper


@dataclass(frozen=True)
class StepReads:
    """The external reads of a step, and the files that it wrote.

    `never` says by the name that `ignore=` takes why its result can never be found again,
    `unsettled` why it cannot be kept this time, `unseen` what may have been read unnoticed.
    `has_made` tells of an absolute path whether the step has made the file.
    """

    reads: tuple[Part, ...]
    written: tuple[str, ...]
    listed: tuple[str, ...]  # of these, those in folders that it listed
    never: Mapping[str, str]
    unsettled: tuple[str, ...]
    unseen: tuple[str, ...]
    has_made: Callable[[str, State], bool]


@dataclass
class Left:
    """The outcome of a step when it returned, still in memory."""

    run_time_s: float = 0.0
    next_step: dict[str, Any] | None = None
    refers_to: frozenset[str] = frozenset()
    all_looked_at: bool = True
    named: frozenset[str] = frozenset()  # paths that its values name, there or not


class StepTracker:
    """Follows one step from `start` to `stop`; the digests of its reads follow some time later."""

    def __init__(
        self, memoized: MemoizedStep, context: StoreContext, watch: AttributeTracker
    ) -> None:
        self._memoized = memoized
        self._context = context
        self._watch = watch
        self._besides = ExternalReads(memoized, context, environment=os.environ, is_here=True)
        self.tracker = AccessTracker(context.paths, memoized.options.files)
        self._on = contextlib.ExitStack()
        self._found: Future[StepReads] | None = None

    def start(self) -> None:
        tracker = self.tracker
        import_reads.end()
        held = list(_globals())
        if self._memoized.code.by_class or any(
            type(value) is _CACHED and value.cache_info().currsize > 0 for value in held
        ):
            self._take_earlier()
        begin(tracker)
        self._on.callback(end, tracker)
        tracker.start()
        tracker.temporary_since = import_reads.started
        # What decorators have made is for this task.
        self._on.callback(tracker.stop)
        for value in held:
            if not _is_code(value):
                tracker.note_value(value)
            elif tracker.sees_all:  # Else each file that is named would count as read.
                tracker.note_value(_texts(value))
        self._watch.on_value = tracker.note_value
        for kind, watching in (("client", client_reads.watching), ("s3", s3_reads.watching)):
            note = functools.partial(tracker.note_other, kind)
            self._on.enter_context(watching(note, tracker.note_never, around=self._quietly))
        self._on.enter_context(
            runner_reads.watching(tracker.note_never, around=lambda: tracker.quiet)
        )

    def stop(self, *, failed: bool = False) -> None:
        """Stop tracking, and begin to compute the digests of files, unless the step failed."""
        self._on.close()
        if not failed and self._found is None:
            pool = ThreadPoolExecutor(1, thread_name_prefix="memoflow-digests")
            self._found = pool.submit(self._collect)
            pool.shutdown(wait=False)

    @property
    def found(self) -> StepReads:
        """The external reads, once their digests are known."""
        self.stop()
        assert self._found is not None
        return self._found.result()

    def _take_earlier(self) -> None:
        """Count the reads of the user's modules during their import.

        What came of it is in the key by its value, unless an object of a library keeps it, which
        counts by its class, or the cache of a function.
        """
        for path, status in import_reads.files.items():
            self.tracker.note_earlier(path, None if status is None else State.of(status))
        for name in import_reads.variables:
            if is_of_results(name):
                self.tracker.note_variable(name, os.environ.get(name))

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        # Classes that are unpickled meanwhile are noted, files that are opened are not.
        with self.tracker.quiet, self._watch.quiet(loading=True):
            yield

    def _collect(self) -> StepReads:
        reads = ReadSet(self.tracker, self._besides.world, self._context.digests)
        parts = list(reads.parts)
        for (kind, name), (digest, summary) in self.tracker.others.items():
            parts.append(Part(kind, name, digest, summary=summary))
        declared = external_reads.declared_variables(self._memoized)
        parts = [
            part
            for part in parts
            if not (part.kind == "environment" and part.name in declared)
            and not self._memoized.ignores_read(part)
        ]
        never = {
            name: why
            for name, why in reads.never.items()
            if not self._memoized.ignores_read(part_named(name))
        }
        return StepReads(
            tuple(parts), tuple(reads.written), tuple(reads.listed), never, tuple(reads.unsettled),
            tuple(self.tracker.unseen), self.tracker.has_made,
        )  # fmt: skip


class TrackedStep:
    """One step from `start` to `stop`; `attributes` are tracked until `close`."""

    def __init__(
        self,
        memoized: MemoizedStep,
        context: StoreContext,
        *,
        flow: Any,
        inputs: Any,
        say: Say,
    ) -> None:
        join_type = memoized.join_type
        by_label = {label(datastore_of(one), join_type): one for one in inputs or ()}
        self.attributes = AttributeTracker(flow, by_label, memoized.shape)
        self.left = Left()
        self._memoized = memoized
        self._context = context
        self._flow = flow
        self._say = say
        self._others: StepTracker | None = None
        self._began = 0.0

    def start(self) -> None:
        if self._memoized.join_type is not None:
            self.attributes.note("inputs")
        for name in self._memoized.loads:
            self.attributes.note(name)
        revisions.listen(self.attributes.hear)
        self.attributes.start()
        others = StepTracker(self._memoized, self._context, self.attributes)
        try:
            others.start()
            self._others = others
        except Exception as error:  # Of the system, or of code of the user's that is looked at.
            others.stop(failed=True)
            trouble = f"{type(error).__name__}: {error}"
            self._say(f"not cached: its reads cannot be followed: {trouble}", WARNING)
        self._began = time.monotonic()

    def stop(self, *, failed: bool) -> None:
        """End the tracking of reads, and note the outputs of the step while they are in memory."""
        left, flow = self.left, self._flow
        left.run_time_s = time.monotonic() - self._began
        self.attributes.stop_reads()
        if self._others is not None:
            self._others.stop(failed=failed)
        if not failed:
            left.next_step = transition.keep(flow, self._memoized.node, self._memoized.mask)
            held = [value for name, value in vars(flow).items() if name not in INTERNAL]
            refers_to, left.all_looked_at = find_in(held)
            left.named = frozenset(paths_in(held))
            left.refers_to = frozenset(refers_to)

    def close(self) -> None:
        self.attributes.stop()

    @property
    def reads(self) -> StepReads | None:
        """The reads besides inputs, once they are known; None if they could not be tracked."""
        return None if self._others is None else self._others.found


def _globals() -> Iterator[Any]:
    """Yield the values of the globals of the user's modules."""
    for module in list(sys.modules.values()):
        if not issubclass(type(module), ModuleType):
            continue
        # Not by its attributes: a module that loads at first use would do so now.
        held = object.__getattribute__(module, "__dict__")
        file = held.get("__file__")
        if isinstance(file, str) and is_users(file, str(held.get("__name__", ""))):
            yield from list(held.values())


def _texts(value: Any) -> list[str]:
    """Return the texts in the code of a function, or of the methods of a class, of the user's."""
    functions = list(vars(value).values()) if isinstance(value, type) else [value]
    ahead: list[Any] = [each.__code__ for each in functions if type(each) is FunctionType]
    found: list[str] = []
    while ahead:
        each = ahead.pop()
        if isinstance(each, (CodeType, tuple)):
            ahead += each.co_consts if isinstance(each, CodeType) else each
        elif type(each) is str and os.sep in each:
            found.append(each)
    return found


def _is_code(value: Any) -> bool:
    """Return whether a value is a function or class of the user's."""
    if type(value) is FunctionType:
        return is_users(value.__code__.co_filename, value.__module__ or "")
    if not issubclass(type(value), type):
        return False
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return isinstance(file, str) and is_users(file, value.__module__)
