"""The lookup: is there a result for this task, and if not, why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from metaflow import metaflow_config

from memoflow.dataclass import dataclass
from memoflow.errors import (
    IntegrityError,
    MemoflowError,
    NoFingerprintError,
    NotFoundError,
    UnsignedError,
    UsageError,
)
from memoflow.fingerprint import Fingerprint, Part, differences
from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import INTERNAL
from memoflow.flow.lifecycle import choice
from memoflow.flow.memo import code_key, config_parts
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.external_reads import ExternalReads
from memoflow.flow.memo.flags import MODES, given, steps_to_refresh
from memoflow.flow.memo.inputs import FlowShape, InputDigests, UndecidedError, current_saves
from memoflow.flow.memo.options import MemoizeOptions, names
from memoflow.flow.memo.uncached import Seen
from memoflow.kinds import memo
from memoflow.kinds.candidates import Candidates, OutdatedEntry
from memoflow.kinds.decision import Decision, Reason, reason_of
from memoflow.kinds.memo import MemoEntry
from memoflow.masking import Mask
from memoflow.names import Key
from memoflow.store import Store
from memoflow.tracking import matches

if TYPE_CHECKING:
    from memoflow.kinds.hub import Wanted

_NEVER_SET = INTERNAL - {"name"}  # by a step itself
_SHARED = "*"  # in place of a flow's name, for scope="global"


@dataclass(frozen=True)
class LookupResult:
    """A decision, with the entry to use if it is a hit, and the inputs that were looked up."""

    decision: Decision
    entry: MemoEntry | None = None
    read: tuple[Part, ...] = ()

    @classmethod
    def hit(cls, entry: MemoEntry, read: tuple[Part, ...]) -> LookupResult:
        found = Decision.hit(entry.origin, entry.ref.created, entry.run_time_s)
        return cls(found, entry, read)

    @property
    def undecided(self) -> bool:
        """True if the worker is to look again."""
        return self.decision.reason is Reason.UNDECIDED


class MissError(MemoflowError):
    """A miss, where only hits are allowed."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(
            f"step {step} has no stored result ({reason}) and --memo only forbids to run it; "
            "run with --memo on"
        )


class MemoizedStep:
    """One memoized step of a flow, as its class was before Metaflow prepared it to run.

    `key` returns what keys the digests of passwords; see `Mask`.
    """

    def __init__(
        self,
        flow: Any,
        graph: Any,
        step: str,
        options: MemoizeOptions,
        *,
        key: Callable[[], bytes] = bytes,
    ) -> None:
        self.mask = Mask(_masked_names(flow, graph), key)
        self.step = step
        self.options = options
        self.shape = FlowShape.of(flow)
        self.graph = graph
        self.node = graph[step]
        self.join_type = None
        if self.node.type == "join":
            self.join_type = graph[self.node.split_parents[-1]].type
        self.mode = choice(*MODES)(
            "mode", given["mode"] or metaflow_config.MEMOFLOW_MODE or options.mode or "on"
        )
        asked = tuple(given["refresh"]) or tuple(
            filter(None, (metaflow_config.MEMOFLOW_REFRESH or "").split(","))
        )
        self.refresh = options.refresh or step in steps_to_refresh(asked, graph)
        # What other decorators read for the step, before it starts.
        self.decorators = decorators = getattr(flow, step).decorators
        mine = next((deco for deco in decorators if deco.name == "memoize"), None)
        self._is_in_code = mine is None or mine.statically_defined
        self.matched: set[str] = set()  # of `ignore`, by what was looked up or read
        self.hub = next((deco for deco in decorators if deco.name == "huggingface_hub"), None)
        self.revisions = [] if self.hub is None else self.hub.revisions_read()
        self.loads = self.revisions + [
            name for deco in decorators for name in getattr(deco, "artifacts_read", list)()
        ]
        self._unreachable: dict[str, UndecidedError] = {}
        self.looked_at = 0.0
        self._code: Fingerprint | NoFingerprintError | None = None

    @property
    def has_card(self) -> bool:
        """True if tasks have a card of the memo: beside a user's own, only on request.

        `card view` would have to ask which of two is meant.
        """
        if self.options.show_card is not None:
            return self.options.show_card
        return self._is_in_code and all(deco.name != "card" for deco in self.decorators)

    @property
    def code(self) -> Fingerprint:
        """The fingerprint of code and environment; NoFingerprintError if there is none."""
        self.fix_code()
        if not isinstance(self._code, Fingerprint):
            raise self._code or NoFingerprintError(self.step, "it was never computed")
        return self._code

    def fix_code(self) -> None:
        """Compute the code key, once, from the flow's class as it is now."""
        if self._code is None:
            self.looked_at = time.time()
            try:
                self._code = code_key.of_step(self.shape.flow, self.step, self.options, self.mask)
            except NoFingerprintError as error:
                self._code = error
            except Exception as error:  # Of objects of libraries, which may raise what they like.
                trouble = f"its code cannot be followed: {type(error).__name__}: {error}"
                self._code = NoFingerprintError(self.step, trouble)

    @cached_property
    def seen(self) -> Seen:
        """The code as the worker is to compare it; NoFingerprintError if it has no fingerprint."""
        return Seen.of(self)

    @cached_property
    def step_key(self) -> Key:
        flow = self.shape.flow.__name__ if self.options.scope == "flow" else _SHARED
        return memo.step_key(flow, self.step)

    @cached_property
    def code_key(self) -> Key:
        return self.step_key / self.code.hex

    def ignores(self, name: str) -> bool:
        """Tell whether `ignore` names a read, and note that it does."""
        inner = name.rpartition(".")[2] if name.startswith("inputs") else name
        found = self.options.ignore & {name, inner}
        if config_parts.path_of(name) is not None:
            found |= {each for each in self.options.ignore if config_parts.is_ignored(name, [each])}
        self.matched |= found
        return bool(found)

    def ignores_read(self, part: Part) -> bool:
        """Tell whether `ignore` means a read besides inputs, and note that it does."""
        found = {each for each in self.options.ignore if matches(each, part)}
        self.matched |= found
        return bool(found)

    def spelled(self, option: str, names: Sequence[str]) -> str:
        """Return the spelling that adds names to an option: in code, or on the command line."""
        given = self.options.ignore if option == "ignore" else ()
        listed = list(dict.fromkeys([*sorted(given), *names]))
        if not self._is_in_code:
            return f"--with memoize:{option}={','.join(listed)}"
        quoted = ", ".join(f'"{name}"' for name in listed)
        return f"@memoize({option}=[{quoted}])"

    def is_old(self, entry: MemoEntry, store: Store) -> bool:
        """Tell whether a result is older than the ttl, by the store's clock."""
        ttl = self.options.ttl
        return ttl is not None and store.is_older(entry.ref, ttl)

    def listed(self) -> tuple[str, ...] | None:
        """Return the names in `inputs=[...]`; None if the reads of the step decide.

        What `@huggingface_hub(load=)` names is among them: a branch may be another commit in
        each run.
        """
        if self.options.inputs is None:
            return None
        listed = (*self.options.inputs, *self.revisions)
        return tuple(name for name in listed if not self.ignores(name))

    def commit_of(self, wanted: Wanted, run_id: str, origin: str | None) -> str:
        """Return the commit that a run goes by for a branch or tag of the Hub.

        `origin` is the run that it resumes. UndecidedError if the Hub cannot tell; it is not asked
        for that again.
        """
        if wanted.name in self._unreachable:
            raise self._unreachable[wanted.name]
        try:
            if self.hub is None:
                raise UsageError(f"{self.step} has no @huggingface_hub")
            commit: str = self.hub.commit_of(wanted, self.shape.flow.__name__, run_id, origin)
        except MemoflowError as error:
            self._unreachable[wanted.name] = UndecidedError(str(error))
            raise self._unreachable[wanted.name] from error
        return commit


def _masked_names(flow: Any, graph: Any) -> frozenset[str]:
    """Return the names that `mask=` of any step lists: a value is as secret in the next one."""
    return frozenset(
        name
        for node in graph
        for deco in getattr(flow, node.name).decorators
        if deco.name == "memoize"
        for name in names("mask", deco.attributes["mask"] or ())
    )


def look_up(
    memoized: MemoizedStep,
    parents: InputDigests | None,
    session: Session,
    *,
    environment: Mapping[str, str] = os.environ,
    is_here: bool = True,
    candidates: Candidates | None = None,
    dry: bool = False,
    explains: bool = True,
) -> LookupResult:
    """Find the result of a task that would start from `parents`, or the reason why there is none.

    Among the results remembered here, unless it is given other `candidates`. With `dry`
    nothing is touched or removed, and artifacts of Metaflow's are not looked at: for `why`, which
    passes no `parents` where nobody knows what the task would start from. `environment` and
    `is_here` are as for `Besides`. Without `explains` a miss has no reason of its own.
    """
    context = session.context
    if context.store is None or memoized.mode == "off":
        return LookupResult(Decision.miss(Reason.OFF))
    try:
        code_key = memoized.code_key
    except NoFingerprintError as error:
        return LookupResult(Decision.miss(Reason.NO_FINGERPRINT, f"{error}"))
    if memoized.refresh:
        return LookupResult(Decision.miss(Reason.REFRESHED))
    if parents is None:
        return LookupResult(Decision.miss(Reason.UNDECIDED))
    if candidates is None:
        session.prefetch.read(code_key)
        candidates = context.candidates(code_key, memoized.mask)
    asked = ExternalReads(memoized, context, environment=environment, is_here=is_here)
    seen: list[tuple[Part, ...]] = []
    spoilt: Decision | None = None
    undecided: UndecidedError | None = None
    for read_set in read_sets(memoized, candidates):
        try:
            inputs = tuple(parents.digest(name) for name in read_set)
            seen.append(inputs)
            found = _usable(memoized, candidates, inputs, asked, dry=dry)
        except UndecidedError as error:
            undecided = error
            continue
        if isinstance(found, MemoEntry):
            return LookupResult.hit(found, inputs)
        spoilt = spoilt or found
    if undecided is not None:
        return LookupResult(Decision.miss(Reason.UNDECIDED, f"{undecided}"))
    if spoilt is None and explains:
        # Here, since a worker need not explain what the scheduler has decided.
        from memoflow.flow.memo import miss

        spoilt = miss.explain(memoized, parents, session, seen)
    decision = spoilt or Decision.miss(Reason.NEW_INPUT)
    return LookupResult(decision, read=seen[0] if seen else ())


def read_sets(memoized: MemoizedStep, candidates: Candidates) -> Iterable[tuple[str, ...]]:
    """Return the read-sets to try: the names in `inputs=[...]`, else those of earlier results."""
    listed = memoized.listed()
    return candidates.read_sets() if listed is None else [listed]


def lease_keys(
    memoized: MemoizedStep, parents: InputDigests, candidates: Candidates
) -> Iterator[Key]:
    """Yield the keys that a task leases before it runs, each held before the next is requested.

    First what it starts from: so of equal tasks one runs, also while nobody knows what the step
    reads. Then the values of what it is known to read: so of tasks that start elsewhere, too.
    """
    if memoized.options.inputs is None:
        yield memo.start_key(memoized.code_key, _start(parents))
    known = next(iter(read_sets(memoized, candidates)), None)
    if known is not None:
        with suppress(UndecidedError):
            yield memo.results_key(memoized.code_key, tuple(map(parents.digest, known)))


def _start(parents: InputDigests) -> list[Part]:
    """Return all artifacts that a task can read of its inputs, by their bytes."""
    datastores = {"": parents.datastores[0]}
    if parents.join_type is not None:
        datastores = parents.by_label
    parts = [
        Part("input", f"{one}.{name}", f"sha1:{sha1}")
        for one, ds in datastores.items()
        for name, sha1 in ds.items()
        if name not in INTERNAL
    ]
    # The lists themselves are among the artifacts. By its value, so that of equal items one runs.
    return [*parts, *(Part("input", f"{f.var}", _item(parents, f)) for f in parents.frames)]


def _item(parents: InputDigests, frame: Any) -> str:
    try:
        return parents.item(frame)
    except UndecidedError:
        return f"[{frame.index}]"


def _usable(
    memoized: MemoizedStep,
    candidates: Candidates,
    inputs: tuple[Part, ...],
    asked: ExternalReads,
    *,
    dry: bool,
) -> MemoEntry | Decision | None:
    """Return an entry with all its outputs, else the decision on its fault, or None without one.

    UndecidedError if this process cannot ask for what the step read.
    """
    context = asked.context
    store = context.store
    assert store is not None
    try:
        entry = candidates.find(inputs, ask=asked.now)
    except UnsignedError:
        return None  # Not ours to use, as if it were not there.
    except (IntegrityError, NotFoundError) as error:
        return Decision.miss(Reason.DAMAGED, f"{error}; it is quarantined")
    if entry is None:
        return None
    if isinstance(entry, OutdatedEntry):
        return _outdated(entry, inputs)
    if not transition.fits(entry.next_step, memoized.node) or entry.artifacts.keys() & _NEVER_SET:
        if not dry:
            store.forget(entry.ref.key)
        return _spoilt(Reason.DAMAGED, "it is nothing that this step could have left", entry)
    if memoized.is_old(entry, store):
        detail = f"{entry.origin} is older than ttl={memoized.options.ttl}"
        return _spoilt(Reason.EXPIRED, detail, entry)
    dead = dead_reference(entry)
    if dead is not None:
        if not dry:
            store.forget(entry.ref.key)
        return _spoilt(Reason.REFERENCE_GONE, dead, entry)
    lost = asked.lost_file(entry) if entry.named else None
    if lost is not None:
        name, is_there = lost
        return _spoilt(Reason.FILE_CHANGED if is_there else Reason.FILE_GONE, f"file {name}", entry)
    try:
        for artifact in entry.artifacts.values() if not dry else ():
            context.artifacts.restore(artifact)
        if entry.files and not dry and memoized.mode != "shadow":
            asked.restore(entry)
    except (IntegrityError, NotFoundError) as error:
        store.forget(entry.ref.key)
        return _spoilt(Reason.DAMAGED, f"{error}", entry)
    return entry


def _outdated(found: OutdatedEntry, inputs: tuple[Part, ...]) -> Decision:
    """Return the decision on a task that would read something else than the result's did."""
    unlike = tuple(differences(found.entry.reads, found.now))
    return Decision.miss(
        reason_of(unlike),
        inputs=inputs,
        differences=unlike,
        nearest=found.entry.origin,
        recorded=found.entry.ref.created,
    )


def _spoilt(reason: Reason, detail: str, entry: MemoEntry) -> Decision:
    return Decision.miss(reason, detail, nearest=entry.origin, recorded=entry.ref.created)


def dead_reference(entry: MemoEntry) -> str | None:
    """Return the first checkpoint or model that the outputs refer to and nobody can load."""
    if not entry.refers_to:
        return None
    references, where = current_saves()
    return next((key for key in entry.refers_to if not references.is_there(where, key)), None)
