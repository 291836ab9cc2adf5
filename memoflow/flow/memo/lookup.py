"""The lookup: is there a result for this task, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaflow import metaflow_config

from memoflow import fingerprint
from memoflow.errors import (
    IntegrityError,
    MemoflowError,
    NoFingerprintError,
    NotFoundError,
    RequestError,
)
from memoflow.fingerprint import Fingerprint, Part
from memoflow.flow.memo import scope, watch
from memoflow.flow.memo.flags import MODES, given, steps_to_refresh
from memoflow.flow.memo.options import Options, choice
from memoflow.flow.memo.parents import INTERNAL, FlowShape, Parents, UndecidedError
from memoflow.flow.memo.session import Session
from memoflow.kinds import memo
from memoflow.kinds.memo import Entry
from memoflow.names import Key
from memoflow.store import Store

if TYPE_CHECKING:
    from memoflow.kinds.hub import Wanted

_SHARED = "*"  # in place of a flow's name, for scope="global"
REFRESHED = "refresh asked for"
OTHER_CODE = "there are results of other code only"


@dataclass(frozen=True)
class Verdict:
    """What a lookup came to.

    `entry` is the result to use, or None: then `reason` says why the step runs. `undecided` means
    that the worker should look again. `record` is False if nothing the step leaves can be found
    again.
    """

    entry: Entry | None = None
    reason: str = ""
    undecided: bool = False
    record: bool = True


class MissError(MemoflowError):
    """A miss, where only hits are allowed."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(
            f"step {step} has no stored result ({reason}) and --memo only forbids to run it; "
            "run with --memo on"
        )


class Memoized:
    """One memoized step of a flow, as its class was before Metaflow prepared it to run."""

    def __init__(self, flow: Any, graph: Any, step: str, options: Options) -> None:
        self.step = step
        self.options = options
        self.shape = FlowShape.of(flow)
        self.node = graph[step]
        self.join_type = None
        if self.node.type == "join":
            self.join_type = graph[self.node.split_parents[-1]].type
        self.mode = choice(
            "mode",
            given["mode"] or metaflow_config.MEMOFLOW_MODE or options.mode or "on",
            MODES,
        )
        asked = tuple(given["refresh"]) or tuple(
            filter(None, (metaflow_config.MEMOFLOW_REFRESH or "").split(","))
        )
        self.refresh = options.refresh or step in steps_to_refresh(asked, graph)
        # What other decorators read for the step, before it starts.
        decorators = getattr(flow, step).decorators
        self.hub = next((deco for deco in decorators if deco.name == "huggingface_hub"), None)
        self.revisions = [] if self.hub is None else self.hub.revisions_read()
        self.loads = self.revisions + [
            name for deco in decorators for name in getattr(deco, "artifacts_read", list)()
        ]
        self._unreachable: dict[str, UndecidedError] = {}
        self.looked_at = 0.0
        self._scope: Fingerprint | NoFingerprintError | None = None

    @property
    def scope(self) -> Fingerprint:
        """The fingerprint of code and environment; NoFingerprintError if there is none."""
        self.fix_scope()
        if not isinstance(self._scope, Fingerprint):
            raise self._scope or NoFingerprintError(self.step, "it was never computed")
        return self._scope

    def fix_scope(self) -> None:
        """Compute the scope, once, from the flow's class as it is now."""
        if self._scope is None:
            self.looked_at = time.time()
            try:
                self._scope = scope.of_step(self.shape.flow, self.step, self.options)
            except NoFingerprintError as error:
                self._scope = error

    @property
    def step_key(self) -> Key:
        flow = self.shape.flow.__name__ if self.options.scope == "flow" else _SHARED
        return memo.step_key(flow, self.step)

    @property
    def scope_key(self) -> Key:
        return self.step_key / self.scope.hex

    def ignores(self, name: str) -> bool:
        ignore = self.options.ignore
        return name in ignore or (name.startswith("inputs") and name.rpartition(".")[2] in ignore)

    def is_old(self, entry: Entry) -> bool:
        ttl = self.options.ttl
        return ttl is not None and entry.ref.created + ttl.total_seconds() <= time.time()

    def listed(self) -> tuple[str, ...] | None:
        """Return the names in `inputs=[...]`, None if what the step reads decides.

        What `@huggingface_hub(load=)` names is among them: a branch may be another commit in
        each run.
        """
        if self.options.inputs is None:
            return None
        names = (*self.options.inputs, *self.revisions)
        return tuple(name for name in names if not self.ignores(name))

    def commit_of(self, wanted: Wanted, run_id: str, origin: str | None) -> str:
        """Return the commit that a run goes by for a branch or tag of the Hub.

        `origin` is the run that it resumes. UndecidedError if the Hub cannot tell; it is not asked
        for that again.
        """
        if wanted.name in self._unreachable:
            raise self._unreachable[wanted.name]
        try:
            if self.hub is None:
                raise RequestError(f"{self.step} has no @huggingface_hub")
            commit: str = self.hub.commit_of(wanted, self.shape.flow.__name__, run_id, origin)
        except MemoflowError as error:
            self._unreachable[wanted.name] = UndecidedError(str(error))
            raise self._unreachable[wanted.name] from error
        return commit


def look_up(
    memoized: Memoized, parents: Parents, session: Session, *, fresh: bool = False
) -> Verdict:
    """Find the result of a task that would start from `parents`.

    With `fresh` no older one is taken for the latest because this machine knows it.
    """
    store = session.store
    if store is None or memoized.mode == "off":
        return Verdict(reason="off", record=False)
    try:
        scope_key = memoized.scope_key
    except NoFingerprintError as error:
        session.say_once(f"{memoized.step} is not memoized: {error}")
        return Verdict(reason=f"not memoized: {error}", record=False)
    if memoized.refresh:
        return Verdict(reason=REFRESHED)
    if not fresh and session.launches:
        session.look_ahead(scope_key)
    listed = memoized.listed()
    sets = list(memo.read_sets(store, scope_key, fresh=fresh)) if listed is None else [listed]
    seen: list[tuple[Part, ...]] = []
    damage = ""
    undecided: UndecidedError | None = None
    for names in sets:
        try:
            inputs = tuple(parents.read(name) for name in names)
        except UndecidedError as error:
            undecided = error
            continue
        seen.append(inputs)
        entry, trouble = _usable(store, scope_key, inputs, memoized, session, fresh=fresh)
        if entry is not None:
            return Verdict(entry)
        damage = damage or trouble
    if undecided is not None:
        return Verdict(reason=f"{undecided}", undecided=True)
    return Verdict(reason=damage or _why(memoized, store, session, seen))


def lease_keys(memoized: Memoized, parents: Parents, store: Store) -> Iterator[Key]:
    """Yield what a task leases before it runs, each to be held before the next is asked for.

    First what it starts from: so of equal tasks one runs, also while nobody knows what the step
    reads. Then the values of what it is known to read: so of tasks that start elsewhere, too.
    """
    listed = memoized.listed()
    names = listed
    if listed is None:
        yield memo.start_key(memoized.scope_key, _start(parents))
        names = next(memo.read_sets(store, memoized.scope_key, fresh=True), None)
    if names is not None:
        with suppress(UndecidedError):
            yield memo.results_key(memoized.scope_key, tuple(map(parents.read, names)))


def _start(parents: Parents) -> list[Part]:
    """Return all that a task can read of what it starts from, by its bytes."""
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


def _item(parents: Parents, frame: Any) -> str:
    try:
        return parents.item(frame)
    except UndecidedError:
        return f"[{frame.index}]"


def _usable(
    store: Store,
    scope_key: Key,
    inputs: Iterable[Part],
    memoized: Memoized,
    session: Session,
    *,
    fresh: bool,
) -> tuple[Entry | None, str]:
    """Return an entry whose outputs are there and whole, else what was wrong with it."""
    try:
        entry = memo.find(store, scope_key, inputs, fresh=fresh)
    except (IntegrityError, NotFoundError) as error:
        return None, f"the entry was damaged and is set aside ({error})"
    if entry is None:
        return None, ""
    if memoized.is_old(entry):
        return None, f"the result of {entry.origin} is older than {memoized.options.ttl}"
    dead = dead_reference(entry)
    if dead is not None:
        store.forget(entry.ref.key)
        return None, f"{dead}, which its result refers to, is gone"
    try:
        for artifact in entry.artifacts.values():
            session.artifacts.restore(artifact)
    except IntegrityError as error:
        store.forget(entry.ref.key)
        return None, str(error)
    return entry, ""


def dead_reference(entry: Entry) -> str | None:
    """Return the first checkpoint or model that the outputs refer to and nobody can load."""
    if not entry.refers_to:
        return None
    from memoflow.flow import artifact_store, saved  # Here, since most results refer to nothing.

    where = artifact_store.current_store()
    return next((key for key in entry.refers_to if not saved.is_there(where, key)), None)


def _why(memoized: Memoized, store: Store, session: Session, seen: list[tuple[Part, ...]]) -> str:
    """Return why there is no result, from what the last recorded task of the step was."""
    told = session.reasons.get(memoized.step)
    if told is not None:
        return told
    scope_key = memoized.scope_key
    here = next(iter(memo.recent(store, scope_key / "results", 1)), None)
    try:
        if here is None:
            last = next(iter(memo.recent(store, memoized.step_key, 1)), None)
            if last is None:
                reason = "first run"
            else:
                before = memo.code_parts(store, last.key)
                now = memoized.scope.parts
                reason = _line(fingerprint.explain(before, now)) if before else OTHER_CODE
            session.reasons[memoized.step] = reason  # The same for each task of the run.
            return reason
        entry = memo.read(store, here)
    except (IntegrityError, NotFoundError):
        return "first run since an entry was lost"
    return _why_inputs(entry, seen)


def _why_inputs(entry: Entry, seen: list[tuple[Part, ...]]) -> str:
    before = entry.inputs
    names = [part.name for part in before]
    for inputs in seen:
        if sorted(part.name for part in inputs) == sorted(names):
            changed = {part.name: part for part in inputs if part not in before}
            item = changed.pop("input", None)
            changed.pop("index", None)
            if item is not None and not changed:
                return f"no result yet for input {item.summary}"
            # Of equal inputs the classes may be others, whose code nothing in the step mentions.
            changed_classes = entry.ref.key.parts[-2] != fingerprint.of_references(entry.refs).hex
            return _line(fingerprint.explain(before, inputs)) or (
                "the code of what its inputs are made of changed"
                if changed_classes
                else "its result was evicted"
            )
    return "no result yet for these inputs"


def _line(differences: list[str]) -> str:
    if not differences:
        return ""
    more = len(differences) - 1
    return differences[0] + (f", and {more} more" if more else "")


def never(reads: dict[str, None], blind: dict[str, None], memoized: Memoized) -> str:
    """Return why a task that read these can never be found again, or nothing."""
    unstable = [name for name in watch.unstable(reads) if not memoized.ignores(name)]
    if unstable:
        names = ", ".join(unstable)
        quoted = ", ".join(f'"{name}"' for name in unstable)
        return (
            f"{memoized.step} reads {names}, which differs in each run, so it never hits; "
            f"@memoize(ignore=[{quoted}]) if it does not matter"
        )
    if blind:
        return (
            f"{memoized.step} uses {', '.join(blind)}, so its inputs cannot be told and it never "
            "hits; name them with @memoize(inputs=[...])"
        )
    return ""
