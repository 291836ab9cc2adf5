"""The worker's side: watches a step that runs, records what it leaves, decides late hits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from metaflow.metadata_provider import MetaDatum
from metaflow.metaflow_current import current

from memoflow.errors import (
    BackendError,
    BackendUnreachableError,
    LeaseLostError,
    NoFingerprintError,
    UsageError,
)
from memoflow.flow.artifact_ref import find_in
from memoflow.flow.host import foreach, transition
from memoflow.flow.host.artifacts import INTERNAL, TaskArtifacts, datastore_of
from memoflow.flow.host.current import add_to_current
from memoflow.flow.hub import revisions
from memoflow.flow.memo import (
    audit,
    card,
    last_misses,
    task_record,
    uncached,
)
from memoflow.flow.memo.attributes import AttributeTracker
from memoflow.flow.memo.audit import Audit
from memoflow.flow.memo.card_page import Shown, of_audit, of_hit
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.current_memo import CurrentMemo
from memoflow.flow.memo.decision import FIELD, Decision, Reason
from memoflow.flow.memo.handoff import Handoff
from memoflow.flow.memo.inputs import InputDigests, UndecidedError, label
from memoflow.flow.memo.lookup import LookupResult, MemoizedStep, MissError, lease_keys, look_up
from memoflow.flow.memo.recorder import Left, Recorder
from memoflow.flow.memo.remarks import Remarks
from memoflow.flow.memo.step_reads import StepTracker
from memoflow.flow.memo.uncached import Uncached
from memoflow.flow.task.process import tell
from memoflow.kinds.memo import MemoEntry
from memoflow.store import Lease
from memoflow.tracking import paths_in
from memoflow.units import span

# Told to processes that a memoized step starts: the leases that are held until they end.
LEASES = "MEMOFLOW_LEASES"
_NO_LIMIT = 1 << 62


class Task:
    """One attempt of a memoized task, in the process that runs it."""

    skip_step = False  # The rest of what Metaflow asks of a wrapper around a step.

    def __init__(
        self,
        memoized: MemoizedStep,
        session: Session,
        *,
        flow: Any,
        output: Any,
        metadata: Any,
        datastores: list[Any],
        attempt: int,
    ) -> None:
        self._memoized = memoized
        self._session = session
        self._flow = flow
        self._output = output
        self._metadata = metadata
        self._datastores = datastores
        self._attempt = attempt
        self._failed = False
        self._watch: AttributeTracker | None = None
        self._parents: InputDigests | None = None
        self._recorder: Recorder | None = None
        self._following: StepTracker | None = None
        self._began = time.monotonic()
        self._left = Left()
        self._leases: list[Lease] = []
        self._turn = contextlib.ExitStack()
        self._audited: MemoEntry | None = None
        self._audit: Audit | None = None
        if memoized.options.show_card:
            _ = session.context.cards  # Now: where they are may go by the working directory.
        told = self._told = Handoff.take()
        self._remarks = Remarks(memoized, session.context, run=output.run_id, quiet=told.quiet)
        memoized.mode = memoized.mode if told.mode is None else told.mode
        memoized.refresh = memoized.refresh if told.refresh is None else told.refresh
        session.log.run = f"{current.flow_name}/{output.run_id}"
        session.log.began = session.log.began if told.began is None else told.began
        if told.off:
            session.context.cut_off()
        try:
            self._decide()
        except BackendUnreachableError as error:
            self._go_without(error)
        if self.records and memoized.options.single_flight and not memoized.refresh:
            self._take_locks()
        if self._verdict.entry is None and self._audited is None and memoized.mode == "only":
            raise MissError(memoized.step, self._decision.line)
        add_to_current("memo", CurrentMemo.of(self._verdict, memoized))
        self._announce()

    def _go_without(self, error: BackendUnreachableError) -> None:
        """Run the step as if there were no store: each further question would wait as long."""
        self._session.context.cut_off(error)
        self._verdict = LookupResult(Decision.miss(Reason.OFF))
        self._turn.close()

    def _decide(self) -> None:
        """Settle on the scheduler's decision, or make it where the scheduler could not."""
        memoized, session, flow = self._memoized, self._session, self._flow
        if session.context.store is None or memoized.mode == "off":
            self._verdict = LookupResult(self._told.decision or Decision.miss(Reason.OFF))
            return
        self._parents = InputDigests(
            self._datastores,
            shape=memoized.shape,
            join_type=memoized.join_type,
            frames=foreach.stack_of_flow(flow),
            current=self._current,
            facts=session.context.store.index,
            lists=session.context.lists,
            load_limit_bytes=_NO_LIMIT,
            mask=memoized.mask,
        )
        self._recorder = Recorder(
            memoized,
            session.context,
            self._parents,
            output=self._output,
            datastores=self._datastores,
            seen=self._told.seen,
            say=self._remarks.say,
        )
        if self._told.decision is None:
            self._verdict = look_up(memoized, self._parents, session)
        else:
            self._verdict = LookupResult(self._told.decision)
        self._draw()
        seen = self._told.seen
        if seen is not None and self._verdict.entry is None and self._verdict.decision.records:
            try:
                unlike = uncached.differing(seen, memoized, session.context.store)
            except NoFingerprintError as error:
                unlike = Decision.miss(Reason.NO_FINGERPRINT, f"{error}")
            self._verdict = self._verdict if unlike is None else LookupResult(unlike)

    @property
    def _decision(self) -> Decision:
        return self._verdict.decision

    def _announce(self) -> None:
        """Say in the task's log what was decided; what is said once a step, once."""
        decision = self._decision
        if self._audited is not None:
            tell(f"[memoize] audit: runs again, to be compared with {self._audited.origin}")
        elif decision.is_uncached:
            self._remarks.print_once(decision.reason.value, decision.log_line)
        elif decision.reason is not Reason.OFF:
            tell(f"[memoize] {decision.log_line}")

    @property
    def records(self) -> bool:
        return (
            self._parents is not None
            and self._session.context.store is not None
            and self._memoized.mode == "on"
            and self._verdict.entry is None
            and self._decision.records
        )

    # Metaflow calls these around all of a step: its body and the user's own step decorators.

    def pre_step(self, step: str, flow: Any, inputs: Any) -> Callable[..., None] | None:
        if self._verdict.entry is not None:
            return self._replay
        if self._audited is not None:
            self._audit = Audit(flow, self._audited, self._memoized.mask)
        if self.records:
            by_label = {}
            if inputs is not None:
                join_type = self._memoized.join_type
                by_label = {label(datastore_of(one), join_type): one for one in inputs}
            self._watch = AttributeTracker(flow, by_label, self._memoized.shape)
            if self._memoized.join_type is not None:
                self._watch.note("inputs")
            for name in self._memoized.loads:
                self._watch.note(name)
            revisions.listen(self._watch.hear)
            self._watch.start()
            self._follow(self._watch)
        self._began = time.monotonic()
        return None

    def post_step(self, step: str, flow: Any, exception: Exception | None) -> Exception | None:
        self._left.run_time_s = time.monotonic() - self._began
        if self._watch is not None:
            self._watch.stop_reads()
        if self._following is not None:
            self._following.stop(failed=exception is not None)
        if self._audit is not None:
            if exception is None:
                self._compare(self._audit)
            elif self._audit.absorb(exception, self._memoized.node):
                self._remarks.say(f"audit: {self._memoized.step} {self._audit.line}")
                return None
        elif exception is None:
            self._left.next_step = transition.keep(flow, self._memoized.node, self._memoized.mask)
            if self._watch is not None:
                # Now, while what was set is still in memory.
                held = [value for name, value in vars(flow).items() if name not in INTERNAL]
                refers_to, self._left.all_looked_at = find_in(held)
                self._left.named = frozenset(paths_in(held))
                self._left.refers_to = frozenset(refers_to)
        return exception

    def _follow(self, watch: AttributeTracker) -> None:
        following = StepTracker(self._memoized, self._session.context, watch)
        try:
            following.start()
        except Exception as error:  # Of the system, or of code of the user's that is looked at.
            following.stop(failed=True)
            self._remarks.say(
                f"not cached: its reads cannot be followed: {type(error).__name__}: {error}"
            )
            return
        self._following = following

    def settled(self) -> None:
        """All that goes around the step is done."""
        if self._audit is not None:
            self._audit.settle()

    def failed(self) -> None:
        """The step raised; whether @catch caught it or not, nothing of it is recorded."""
        self._failed = True
        self._turn.close()

    def finished(self, task_ok: bool) -> None:
        """All artifacts are written: record them, if the step went well."""
        with self._turn:
            self._finish(task_ok)

    def _finish(self, task_ok: bool) -> None:
        if self._watch is not None:
            self._watch.stop()
        entry = self._verdict.entry
        if entry is not None and task_ok:
            self._touch(entry)
            self._register(task_record.origin(entry))
            self._tally(hit=True, saved_s=entry.run_time_s)
            self._show(of_hit(self._task, entry, self._memoized.scope.parts))
            card.replace_at_exit(self._task, entry, self._session.context, self._memoized)
        elif self._audited is not None and task_ok and not self._failed:
            self._finish_audit(self._audited)
        elif self._watch is not None and task_ok and not self._failed:
            self._finish_miss(self._watch)
        elif self._parents is not None and task_ok and not self._failed:
            self._note_miss(None, self._why_unrecorded())

    def _finish_miss(self, watch: AttributeTracker) -> None:
        """Record what the step left, and note what was decided and what has come of it."""
        for lease in self._leases:
            try:
                lease.check()
            except LeaseLostError as error:
                tell(f"[memoize] {error}")
        key, failed, trouble = None, False, ""
        try:
            key, trouble = self._record(watch)
        except Exception as error:
            failed = True
            self._note_miss(None, f"recording failed: {type(error).__name__}: {error}")
            raise
        finally:
            if key is None:
                # Those who wait will find nothing, so they need not wait for one another; nor
                # those to come, unless it was a failure.
                for lease in self._leases:
                    lease.lift(lasting=not failed)
        self._note_miss(key, trouble)
        if key is not None:
            assert self._following is not None
            self._remarks.add_hint()
            self._remarks.add_unmatched()
            self._remarks.add_uncertain(self._following.found.unseen)
        self._show_miss(key)

    def _touch(self, entry: MemoEntry) -> None:
        memoized = self._memoized
        self._session.context.candidates(memoized.scope_key, memoized.mask).touch(entry)

    @property
    def _task(self) -> str:
        return f"{current.flow_name}/{self._output.pathspec}"

    def _draw(self) -> None:
        """Take a hit that is to be audited for none, so that the step runs."""
        entry = self._verdict.entry
        share = self._memoized.options.audit
        if entry is not None and audit.is_due(share, entry, self._output.run_id):
            self._audited = entry
            self._verdict = LookupResult(Decision.miss(Reason.AUDITED))

    def _compare(self, audit: Audit) -> None:
        wanted = self._memoized.options.outputs
        try:
            audit.compare(self._memoized.node, wanted)
        except Exception as error:  # An audit never fails its step.
            audit.differences.append(f"nothing can be told: {type(error).__name__}: {error}")
        self._remarks.say(f"audit: {self._memoized.step} {audit.line}")

    def _finish_audit(self, entry: MemoEntry) -> None:
        assert self._audit is not None
        self._touch(entry)
        came_to = self._audit.line
        self._register({**task_record.origin(entry), "memo-audit": came_to})
        self._tally(hit=True, saved_s=0.0)
        self._show(of_audit(self._task, entry, self._memoized.scope.parts, came_to))

    def _why_unrecorded(self) -> str:
        decision = self._decision
        if not decision.records:
            return decision.detail or "nothing that it leaves could be found again"
        return f"the mode is {self._memoized.mode}"

    def _note_miss(self, key: str | None, unrecorded: str) -> None:
        """Leave in the task's metadata what `why` will be asked."""
        self._verdict = replace(
            self._verdict, decision=replace(self._decision, unrecorded=unrecorded)
        )
        store = self._session.context.store
        if self._told.decision is None and store is not None:
            missed = {self._memoized.step: self._decision}
            last_misses.keep(store.index, str(current.flow_name), missed)
        fields = {FIELD: self._decision.text()}
        if key is not None:
            fields["memo-key"] = key
        self._register(fields)

    def _show_miss(self, key: str | None) -> None:
        decision = self._decision
        facts = {"run time": span(self._left.run_time_s), "key": key or "not recorded"}
        if decision.nearest:
            facts["compared with"] = decision.nearest
        left = TaskArtifacts(self._output)
        set_here = self._watch.writes & left.names() - INTERNAL if self._watch else ()
        self._show(
            Shown(
                self._task,
                "miss",
                decision.line,
                facts,
                code=self._memoized.scope.parts,
                inputs=None if self._recorder is None else self._recorder.inputs,
                outputs={name: left.size_bytes(name) for name in set_here},
                notes=self._remarks.lines,
            )
        )

    def _show(self, shown: Shown) -> None:
        if self._memoized.options.show_card:
            card.of_worker(shown, self._session.context)

    def _take_locks(self) -> None:
        """Lease what the task would record, or find what another has recorded meanwhile."""
        store, parents = self._session.context.store, self._parents
        assert store is not None
        assert parents is not None
        if self._verdict.undecided:
            return  # Nor will the next one find what this one leaves.
        candidates = self._session.context.candidates(self._memoized.scope_key, self._memoized.mask)
        outer = os.environ.get(LEASES, "").split()
        try:
            with _standing_timeout():
                for key in lease_keys(self._memoized, parents, candidates):
                    lease = self._turn.enter_context(
                        store.lease(
                            key,
                            who=self._task,
                            on_wait=_say_for_whom,
                            is_done=self._is_found,
                            within=outer,
                        )
                    )
                    if not lease.is_held:
                        break
                    self._leases.append(lease)
        except BackendUnreachableError as error:
            self._go_without(error)
        except (BackendError, UndecidedError) as error:
            tell(f"[memoize] going on without a lease: {error}")
        except BaseException:
            self._turn.close()
            raise
        if self._verdict.entry is not None:
            self._turn.close()
        else:
            os.environ[LEASES] = " ".join([*outer, *(lease.id for lease in self._leases)])

    def _is_found(self) -> bool:
        assert self._parents is not None
        verdict = look_up(self._memoized, self._parents, self._session, fresh=True, explains=False)
        if verdict.entry is not None:
            self._verdict = verdict
        return verdict.entry is not None

    def _current(self, name: str) -> Any:
        wanted = revisions.parse(f"current.{name}")
        if wanted is not None:
            try:
                seen = revisions.seen(f"current.{name}")
            except UsageError as error:
                raise UndecidedError(str(error)) from error
            origin = current.origin_run_id
            return seen or self._memoized.commit_of(wanted, str(current.run_id), origin)
        value = getattr(current, name, None)
        return sorted(value) if name == "tags" and value is not None else value

    def _replay(self, flow: Any, *inputs: Any) -> None:
        """Bind the results of a hit in place of running the step."""
        entry = self._verdict.entry
        assert entry is not None
        bound = TaskArtifacts.of_flow(flow)
        for name, artifact in entry.artifacts.items():
            bound.bind(name, artifact.sha1, artifact.info)
        transition.restore_on(flow, entry.next_step)

    def _record(self, watch: AttributeTracker) -> tuple[str | None, str]:
        """Return the key that the result was recorded under, or None and why it was not."""
        store, recorder = self._session.context.store, self._recorder
        assert store is not None
        assert recorder is not None
        if self._following is None:
            return None, "its reads could not be followed"
        found = recorder.record(watch, self._following.found, self._left, self._task)
        if isinstance(found, Uncached):
            uncached.remember(self._memoized, store, found)
            if not found.lasts:
                self._remarks.say(found.line)
            elif not self._decision.is_uncached:
                self._remarks.say_once(found.kind, found.line)
            return None, found.text
        self._tally(hit=False, saved_s=0.0)
        card.keep_at_exit(self._task, found, self._session.context, self._memoized)
        return str(found.key), ""

    def _register(self, fields: dict[str, Any]) -> None:
        output = self._output
        tags = [f"attempt_id:{self._attempt}"]
        self._metadata.register_metadata(
            output.run_id,
            output.step_name,
            output.task_id,
            [MetaDatum(field, value, field, tags) for field, value in fields.items()],
        )

    def _tally(self, *, hit: bool, saved_s: float) -> None:
        store, output = self._session.context.store, self._output
        if store is not None:
            store.index.record_outcomes(
                [
                    (
                        str(current.flow_name),
                        output.run_id,
                        output.step_name,
                        output.task_id,
                        hit,
                        saved_s,
                        time.time(),
                    )
                ]
            )


def _say_for_whom(holder: str) -> None:
    tell(f"[memoize] waiting for {holder}, which computes the same")


@contextlib.contextmanager
def _standing_timeout() -> Iterator[None]:
    """Let time pass that does not count for @timeout: it is for the step, not for others."""
    left_s = signal.alarm(0)
    try:
        yield
    finally:
        signal.alarm(left_s)
