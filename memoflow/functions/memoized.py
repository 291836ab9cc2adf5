"""Memoized functions: called like the function, with its results from a store."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import types
import weakref
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from memoflow.errors import (
    BackendError,
    IntegrityError,
    MemoflowError,
    NoFingerprintError,
    NotFoundError,
    UnsignedError,
    UsageError,
    WrongTypeError,
    is_away,
)
from memoflow.fingerprint import Fingerprint
from memoflow.fingerprint.modules import find
from memoflow.fingerprint.transparent import Transparent
from memoflow.functions import arguments, reasons
from memoflow.functions.arguments import Arguments
from memoflow.functions.call import Call
from memoflow.functions.code import FunctionCode
from memoflow.functions.flights import Flights, apart
from memoflow.functions.generators import Recording, generate, generate_async
from memoflow.functions.options import FunctionOptions
from memoflow.functions.place import PLACES, Place
from memoflow.functions.run import CallRecorder, CallRun
from memoflow.functions.shadow import ShadowedCalls
from memoflow.functions.small_results import SmallResult, SmallResults
from memoflow.functions.values import Items
from memoflow.kinds import memo
from memoflow.kinds.candidates import OutdatedEntry
from memoflow.kinds.memo import MemoEntry
from memoflow.names import Key, entry_facts
from memoflow.pickling import load
from memoflow.store import Lease
from memoflow.tracking import (
    UnreadableError,
    follow_executors,
)
from memoflow.tracking.repeat import repeat_reads

# People wait for what takes over from a process that was killed: twice that.
_HEARTBEAT = timedelta(seconds=4)
_LEASES_VARIABLE = "MEMOFLOW_LEASES"
_MISSING = object()


class NotStoredError(MemoflowError):
    """A call without a stored result, in the mode for stored ones only."""


class MemoizedFunction(Transparent):
    """A function with stored results; call it like the function.

    Safe over threads, processes and forks. What cannot be stored or found never fails a call.
    """

    __qualname__: str

    def __init__(self, function: Callable[..., Any], options: FunctionOptions) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        if not hasattr(function, "__qualname__"):  # A partial, or another object that is called.
            inner = function.func if isinstance(function, functools.partial) else function
            self.__qualname__ = getattr(inner, "__qualname__", type(inner).__qualname__)
            self.__module__ = getattr(inner, "__module__", type(inner).__module__)
        self.version = options.version
        self.options = options
        self._arguments = Arguments(function)
        self._code = FunctionCode(function, options, self._mask, self._arguments.names)
        self._small = SmallResults()
        self._flights = Flights(is_on=options.single_flight)
        self.shadow = ShadowedCalls(self.__qualname__, self._entry, self._loaded, self._say)
        self._runs = CallRecorder(
            self.module,
            self.__qualname__,
            options,
            self._code,
            self._small,
            self._say,
            self._trouble,
            self.shadow,
        )
        _all.add(self)
        self._checked = False
        self._is_async = inspect.iscoroutinefunction(function)
        self._is_generator = inspect.isgeneratorfunction(function)
        self._is_async_generator = inspect.isasyncgenfunction(function)
        self.hits = 0  # of this process
        self.misses = 0
        follow_executors()
        if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)

    def _begin(self) -> None:
        """Begin in a process: calls that other threads of its parent were in go on there alone."""
        self._flights.begin()
        self._code.begin()
        self._small.begin()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "is_step":
            raise UsageError(f"{self.__qualname__}: put @memoize above @step")
        super().__setattr__(name, value)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or isinstance(self.__wrapped__, staticmethod):
            return self
        return types.MethodType(self, instance)

    def __repr__(self) -> str:
        counts = f"{self.hits} hit{'s' * (self.hits != 1)}, {self.misses} miss"
        return f"<memoized {self.module}.{self.__qualname__}: {counts}{'es' * (self.misses != 1)}>"

    def __reduce__(self) -> Any:
        if find(self.__module__, self.__qualname__) is self:
            return self.__qualname__
        return MemoizedFunction, (self.__wrapped__, self.options)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Return the result for these arguments, stored or made now."""
        if self._is_async:
            return self._call_async(given, named)
        if self._is_generator or self._is_async_generator:
            return self._generate(given, named)
        call = self._prepare(given, named)
        if call is None:
            return self.__wrapped__(*given, **named)
        found = self._find_or_raise(call)
        return found if found is not _MISSING else self._make(call, given, named)

    def call(self, *given: Any, **named: Any) -> Any:
        """Run the function and store its result anew, over a stored one."""
        if self._is_generator or self._is_async_generator:
            return self._generate(given, named, anew=True)
        call = self._prepare(given, named)
        if self._is_async:
            return self._run_async(call, given, named, anew=True)
        return self._run(call, given, named, anew=True)

    def _run(
        self,
        call: Call | None,
        given: tuple[Any, ...],
        named: Mapping[str, Any],
        lease: Lease | None = None,
        *,
        anew: bool = False,
    ) -> Any:
        if call is None:
            return self.__wrapped__(*given, **named)
        self.misses += 1
        with CallRun(self._runs, call, lease, anew=anew) as run:
            run.value = self.__wrapped__(*given, **named)
        return run.value

    async def _run_async(
        self,
        call: Call | None,
        given: tuple[Any, ...],
        named: Mapping[str, Any],
        lease: Lease | None = None,
        *,
        anew: bool = False,
    ) -> Any:
        if call is None:
            return await self.__wrapped__(*given, **named)
        self.misses += 1
        with CallRun(self._runs, call, lease, anew=anew) as run:
            run.value = await self.__wrapped__(*given, **named)
        return run.value

    def why(self, *given: Any, **named: Any) -> str:
        """Return the reason for a hit or miss of a call, against the nearest earlier result."""
        place = self._place_or_raise()
        try:
            call = self._call_of(place, given, named)
        except NoFingerprintError as error:
            return f"not cached: {error}"
        return reasons.explain_call(call, self._look(call))

    def key(self, *given: Any, **named: Any) -> str:
        """Return the key of the result; NoFingerprintError if the call has none."""
        return str(self._call_of(self._place_or_raise(), given, named).key)

    def is_stored(self, *given: Any, **named: Any) -> bool:
        """Tell whether the call would be a hit, with files and variables as they are now."""
        try:
            call = self._call_of(self._place_or_raise(), given, named)
        except NoFingerprintError:
            return False
        return self._entry(call) is not None

    def forget(self, *given: Any, **named: Any) -> None:
        """Remove the results of these arguments; none is fine."""
        call = self._call_of(self._place_or_raise(), given, named)
        self._small.drop(call)
        for key in call.place.store.keys(call.key):
            call.place.store.forget(key)

    # What follows never raises, but for errors of the function.

    def _mask(self) -> Any:
        return self._place_or_raise().mask

    def _place_or_raise(self) -> Place:
        place = PLACES.of(self.options.store)
        if place is None:
            raise UsageError(f"{self.__qualname__} has no store: see the warning about it")
        return place

    def _prepare(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> Call | None:
        """Return the parts of the key; None, with one warning, for a call without a key."""
        if self.options.effective_mode == "off":
            return None
        place = PLACES.of(self.options.store)
        if place is None:
            return None
        try:
            return self._call_of(place, given, named)
        except NoFingerprintError as error:
            self._say(f"not cached: {error}")
        except TypeError as error:
            if error.__traceback__ is None or not _is_of_binding(error.__traceback__):
                self._say(f"not cached: {type(error).__name__}: {error}")
        except Exception as error:
            self._say(f"not cached: {type(error).__name__}: {error}")
        return None

    def _call_of(self, place: Place, given: tuple[Any, ...], named: Mapping[str, Any]) -> Call:
        code = self._code.now()
        self._check_ignore(code)
        bound = self._arguments.bind(given, named)
        inputs = arguments.parts(bound, self.options.ignore, place.mask)
        return Call(place, code, self._series, inputs, bound)

    @functools.cached_property
    def _series(self) -> Key:
        home = "*" if self.options.scope == "global" else self.module
        return memo.step_key(home, self.__qualname__)

    @functools.cached_property
    def module(self) -> str:
        """The module of the function, by name; for `__main__` the name of the script."""
        name = str(self.__module__)
        if name not in ("__main__", "__mp_main__"):
            return name
        main = sys.modules.get(name)
        spec = getattr(main, "__spec__", None)
        if spec is not None and spec.name not in ("__main__", "__mp_main__"):
            return str(spec.name)
        file = getattr(main, "__file__", None)
        return os.path.splitext(os.path.basename(file))[0] if isinstance(file, str) else name

    def _check_ignore(self, code: Fingerprint) -> None:
        """Warn once of names in `ignore` without a meaning here."""
        if self._checked:
            return
        self._checked = True
        names = self._arguments.names
        globals_ = {name.rpartition(".")[2] for name in code.ignored}
        for name in sorted(self.options.ignore - {*names} - globals_):
            if not name.isidentifier():
                continue  # A file, a variable or a global of another module.
            import difflib  # Here, since only a wrong name needs it.

            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self._say(f"ignore={name!r} is no argument and no global that it reads{hint}")

    def _find_or_raise(self, call: Call) -> Any:
        found = self._find(call)
        if found is _MISSING and self.options.effective_mode == "only":
            raise NotStoredError(
                f"{self.__qualname__} has no stored result for this call, and only those are used "
                "(mode only); run it with mode on"
            )
        return found

    def _find(self, call: Call) -> Any:
        """Return the stored result, or _MISSING; in shadow mode none is used."""
        if self.options.effective_mode == "shadow":
            return _MISSING
        try:
            small = None if self.options.ttl is not None else self._small.get(call)
            if small is not None:
                value = load(small.stream)
                self.hits += 1
                call.place.tallies.hit(call.series, call.id, small.run_time_s)
                call.note("hit", saved_s=small.run_time_s)
                return value
            entry = self._entry(call)
            if entry is None:
                return _MISSING
            value = self._loaded(call, entry)
        except (MemoflowError, OSError) as error:
            self._trouble(error)
            return _MISSING
        except Exception as error:  # Of `__setstate__` and its kin.
            self._say(f"its stored result cannot be loaded: {type(error).__name__}: {error}")
            return _MISSING
        self.hits += 1
        call.place.tallies.hit(call.series, call.id, entry.run_time_s)
        call.note("hit", saved_s=entry.run_time_s, **entry_facts(entry.ref))
        call.place.candidates(call.code_key).touch(entry)
        repeat_reads(entry.reads, call.place.paths, until=entry.ref.expires)
        return value

    def _look(self, call: Call) -> MemoEntry | OutdatedEntry | None:
        place = call.place
        return place.candidates(call.code_key).find(
            call.inputs, ask=lambda entry: place.world.now(entry.reads, entry.written)
        )

    def _entry(self, call: Call) -> MemoEntry | None:
        place = call.place
        try:
            found = self._look(call)
        except (IntegrityError, NotFoundError, UnsignedError) as error:
            self._say(f"{error}; it runs again")
            return None
        if not isinstance(found, MemoEntry) or not found.value:
            return None
        ttl = self.options.ttl
        if ttl is not None and place.store.is_older(found.ref, ttl):
            return None
        for name, digest in found.named.items():
            with contextlib.suppress(UnreadableError):
                if place.digests.of_file(place.paths.path(name)) == digest:
                    continue
            return None  # A file that its value names is not as the function wrote it.
        return found

    def _loaded(self, call: Call, entry: MemoEntry) -> Any:
        store, manifest = call.place.store, entry.manifest
        stream = store.read_file(manifest, f"{memo.VALUE}stream")
        count = int(entry.value.get("buffers", 0))
        buffers = [store.map_file(manifest, f"{memo.VALUE}{i}") for i in range(count)]
        try:
            value = load(stream, buffers)
        except (AttributeError, ImportError):
            # Of classes of the script that stored it, where another one runs.
            stream = store.read_file(manifest, f"{memo.VALUE}portable")
            return load(stream)
        if not (count or entry.reads or entry.named or entry.ref.expires):
            self._small.put(call, entry.ref, SmallResult(stream, entry.run_time_s))
        return value

    def _make(self, call: Call, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Run the function, of equal calls at a time only one."""
        while (flight := self._flights.join(call.id)) is not None:
            flight.result()
            found = self._find(call)
            if found is not _MISSING:
                return found
        with self._flights.landing(call.id), contextlib.ExitStack() as stack:
            lease, found = self._lease(call, stack)
            if found is not _MISSING:
                return found
            return self._run(call, given, named, lease)

    async def _call_async(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        call = self._prepare(given, named)
        if call is None:
            return await self.__wrapped__(*given, **named)
        found = self._find_or_raise(call)
        return found if found is not _MISSING else await self._make_async(call, given, named)

    async def _make_async(
        self, call: Call, given: tuple[Any, ...], named: Mapping[str, Any]
    ) -> Any:
        import asyncio  # Here, as few functions are asynchronous and it takes a while to import.

        while (flight := self._flights.join(call.id)) is not None:
            # Shielded, since whoever is cancelled must not cancel it for the others.
            await asyncio.shield(asyncio.wrap_future(flight))
            found = self._find(call)
            if found is not _MISSING:
                return found
        with self._flights.landing(call.id):
            stack = contextlib.ExitStack()
            # In a thread of its own: waits could fill the pool that the function itself needs.
            waiting = apart(self._lease, call, stack)
            try:
                lease, found = await asyncio.wrap_future(waiting)
            except BaseException:
                # The thread of a call that is cancelled waits on, and gets a lease for nobody.
                waiting.add_done_callback(lambda _: stack.close())
                raise
            with stack:
                if found is not _MISSING:
                    return found
                return await self._run_async(call, given, named, lease)

    def _generate(
        self, given: tuple[Any, ...], named: Mapping[str, Any], *, anew: bool = False
    ) -> Any:
        inner = self.__wrapped__(*given, **named)  # Where wrong arguments are an error.

        def begin() -> Items | Recording:
            call = self._prepare(given, named)
            found = _MISSING if call is None or anew else self._find_or_raise(call)
            if isinstance(found, Items):
                return found
            self.misses += call is not None
            run = None if call is None else CallRun(self._runs, call, anew=anew)
            return Recording(inner, run, self.options.codec, self._say)

        return generate_async(begin) if self._is_async_generator else generate(begin)

    def _lease(self, call: Call, stack: contextlib.ExitStack) -> tuple[Lease | None, Any]:
        """Hold the key against other processes; return a result of theirs."""
        found: Any = _MISSING

        def is_found() -> bool:
            nonlocal found
            found = self._find(call)
            return found is not _MISSING

        if not self.options.single_flight or self.options.effective_mode != "on":
            return None, found
        try:
            lease = stack.enter_context(
                call.place.store.lease(
                    call.lease_key,
                    who=f"{self.__qualname__} in process {os.getpid()}",
                    on_wait=lambda holder: self._say(f"waiting for {holder}"),
                    is_done=is_found,
                    within=os.environ.get(_LEASES_VARIABLE, "").split(),
                    heartbeat=_HEARTBEAT,
                )
            )
        except BackendError as error:
            self._trouble(error)
            return None, found
        return lease, found

    def _trouble(self, error: Exception) -> None:
        if is_away(error):
            PLACES.cut_off(self.options.store, error)
        elif isinstance(error, BackendError):
            PLACES.say_failing(self.options.store, error)
        else:
            self._say(f"{error}")

    def _say(self, line: str) -> None:
        PLACES.say_once(f"{self.__qualname__}: {line}")


_all: weakref.WeakSet[MemoizedFunction] = weakref.WeakSet()


def _begin_all() -> None:
    for function in list(_all):
        function._begin()


os.register_at_fork(after_in_child=_begin_all)


def memoized(f: Callable[..., Any], options: Mapping[str, Any]) -> MemoizedFunction:
    """Return a memoized function; UsageError for other objects and wrong options."""
    if not callable(f) or isinstance(f, (type, classmethod)):
        raise WrongTypeError(f"memoize takes a function, not {f!r:.100}")
    return MemoizedFunction(f, FunctionOptions.of(**options))


def _is_of_binding(at: types.TracebackType) -> bool:
    """Return whether a TypeError is that of wrong arguments."""
    while at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_code.co_filename == inspect.__file__
