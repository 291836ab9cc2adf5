"""CallRun: one run of a memoized function, tracked, and stored if it ends well."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import MemoflowError
from memoflow.fingerprint import Part
from memoflow.functions import arguments
from memoflow.functions.call import Call
from memoflow.functions.code import FunctionCode
from memoflow.functions.options import FunctionOptions
from memoflow.functions.shadow import ShadowedCalls
from memoflow.functions.small_results import SmallResult, SmallResults
from memoflow.kinds import memo
from memoflow.pickling import UnpicklableError, dump
from memoflow.store import Lease
from memoflow.tracking import (
    AccessTracker,
    ReadSet,
    known_calls,
    matches,
    part_named,
    paths_in,
    trackers,
    tracking_call,
)
from memoflow.tracking.kernel import KernelEvents
from memoflow.tracking.notes import CLOCK_SECONDS
from memoflow.tracking.tracker import NATIVE_READERS

# From here on a file of a save is a blob of its own, which can be mapped.
_OUT_OF_BAND_BYTES = 1 << 20


def inside() -> set[object]:
    """Return the ids of the calls around this context: one that calls itself waits for none."""
    return {tracker.call for tracker in known_calls() or ()}


@dataclass(frozen=True)
class CallRecorder:
    """The common part of all runs of one function.

    `say` is told once what is not kept and why, `trouble` of errors of the store.
    """

    module: str
    name: str
    options: FunctionOptions
    code: FunctionCode
    small: SmallResults
    say: Callable[[str], None]
    trouble: Callable[[Exception], None]
    shadow: ShadowedCalls

    def store(self, call: Call, tracker: AccessTracker, value: Any, run_time_s: float) -> bool:
        """Store the value of a call; False, with a warning, for one that cannot be kept."""
        place, options = call.place, self.options
        trouble = self._change(call)
        if trouble is None:
            reads = ReadSet(tracker, place.world, place.digests)
            never = (
                why for name, why in reads.never.items() if not self._ignores(part_named(name))
            )
            trouble = next(iter([*never, *reads.unsettled]), None)
        if trouble is None:
            try:
                pickled = dump(value, options.codec, least_bytes=_OUT_OF_BAND_BYTES)
            except UnpicklableError as error:
                trouble = f"its result cannot be pickled ({error})"
        if trouble is not None:
            self.say(f"not stored: {trouble}")
            return False
        named = {place.paths.name(path) for path in paths_in([value])}
        written = {
            name: digest
            for name in reads.written
            if name in named and (digest := place.digests.of_file(place.paths.path(name)))
        }
        parts = tuple(part for part in reads.parts if not self._ignores(part))
        for unseen in tracker.unseen:
            self.say(f"not seen: {unseen}; pass what decides the result as an argument")
        until = [] if tracker.until is None else [tracker.until]
        if options.ttl is not None:
            until.append(time.time() + options.ttl.total_seconds())
        result = memo.Result(
            origin=place.origin(self.module, self.name),
            run_time_s=round(run_time_s, 6),
            artifacts={},
            next_step={},
            inputs=arguments.described(call.inputs, call.bound, place.mask),
            reads=parts,
            written=tuple(reads.listed),
            named=written,
            value={"codec": "pickle", "buffers": len(pickled.buffers)},
            value_files={
                "stream": pickled.parts,
                **({"portable": pickled.portable} if pickled.portable else {}),
                **{str(i): each for i, each in enumerate(pickled.buffers)},
            },
        )
        # With the modules that it has loaded its code has another key, by which this process goes
        # from now on; the next one begins without them.
        now = self.code.now() if self.code.has_loaded else call.code
        codes = {code.hex: code for code in (call.code, now)}
        refs = [
            memo.record(
                place.store,
                call.series / hex,
                code.parts,
                result,
                expires=min(until, default=None),
                mask=place.mask,
            )
            for hex, code in codes.items()
        ]
        for outer in trackers():
            outer.note_until(min(until, default=None))
        more = pickled.buffers or pickled.portable or parts or named or until
        if len(pickled.parts) == 1 and not more:
            self.small.put(call, refs[0], SmallResult(pickled.stream, run_time_s))
        else:
            self.small.drop(call)
        return True

    def _change(self, call: Call) -> str | None:
        """Return the change that the run made to its own key, None without one."""
        argument = arguments.changed(call.inputs, call.bound, call.place.mask)
        if argument is not None:
            return f"it changes its argument {argument}"
        changed = self.code.change(call.code)
        return None if changed is None else f"{changed}, which it reads, changed while it ran"

    def _ignores(self, part: Part) -> bool:
        return any(matches(each, part) for each in self.options.ignore)


class CallRun:
    """One run, as a context manager around all of it; or `part` by part, and then `keep`.

    `value` is to be set before the end. With `anew` it is stored over a stored one in any mode
    that stores.
    """

    def __init__(
        self,
        recorder: CallRecorder,
        call: Call,
        lease: Lease | None = None,
        *,
        anew: bool = False,
    ) -> None:
        self.value: Any = None
        self._recorder = recorder
        self._call = call
        self._lease = lease
        self._took_s = 0.0
        self._is_native = _reads_natively(call)
        events = KernelEvents if self._is_native else _no_events
        self._tracker = AccessTracker(call.place.paths, events=events)
        self._tracker.call = call.id
        self._tracker.counts_cwd = True
        self._is_started = False
        self._on = contextlib.ExitStack()
        is_shadow = recorder.options.effective_mode == "shadow" and not anew
        self._stored = recorder.shadow.begin(call) if is_shadow else None

    def __enter__(self) -> CallRun:
        self._on.enter_context(self.part())
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._on.__exit__(kind, error, traceback)
        if kind is None:
            self.keep()
        else:
            self.stop()
            if self._stored is not None:
                self._recorder.shadow.fail(self._stored, error)

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """Track the block."""
        began = time.perf_counter()
        try:
            with tracking_call(self._tracker):
                if not self._is_started:
                    self._is_started = True
                    self._tracker.start()
                    # What was written just before the call is the caller's, for certain.
                    self._tracker.temporary_since += 2 * CLOCK_SECONDS
                    self._tracker.note_value(list(self._call.bound.values()))
                    for held in self._recorder.code.held() if self._is_native else ():
                        self._tracker.note_value(held)
                yield
        finally:
            self._took_s += time.perf_counter() - began

    def stop(self) -> None:
        """End it without a value."""
        self._tracker.stop()
        if self._lease is not None:
            self._lease.lift()

    def keep(self) -> None:
        """Store the value, or warn once."""
        self._tracker.stop()
        if self._stored is not None:
            self._recorder.shadow.end(self._call, self._stored, self.value)
            return
        self._call.place.tallies.miss(self._call.series, self._call.id, self._took_s)
        self._call.note("miss", run_time_s=self._took_s)
        recorder, is_kept = self._recorder, False
        if recorder.options.effective_mode in ("on", "shadow"):
            try:
                is_kept = recorder.store(self._call, self._tracker, self.value, self._took_s)
            except (MemoflowError, OSError) as error:
                recorder.trouble(error)
            except Exception as error:  # Of code of the user's that is looked at.
                recorder.say(f"not stored: {type(error).__name__}: {error}")
        if not is_kept and self._lease is not None:
            self._lease.lift()


def _reads_natively(call: Call) -> bool:
    """Return whether the code reaches a library that opens files by code that is not Python's.

    Then the kernel is asked, which takes some milliseconds.
    """
    return any(
        part.kind == "package" and part.name.lower().replace("-", "_") in NATIVE_READERS
        for part in call.code.parts
    )


def _no_events(*_: Any) -> Any:
    raise OSError("calls are not followed by the kernel's events")
