"""The worker's side: runs a step and records its result, or replays a hit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from metaflow.metaflow_current import current

from memoflow.dataclass import dataclass
from memoflow.errors import BackendUnreachableError, NoFingerprintError, UsageError
from memoflow.flow.host import foreach, transition
from memoflow.flow.host.artifacts import INTERNAL, TaskArtifacts
from memoflow.flow.host.client import add_to_current
from memoflow.flow.hub import revisions
from memoflow.flow.memo import audit, card, card_page, task_notes, uncached
from memoflow.flow.memo.audit import Audit
from memoflow.flow.memo.card import CardFiles
from memoflow.flow.memo.card_page import Shown
from memoflow.flow.memo.comparison import raised
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.handoff import Handoff
from memoflow.flow.memo.inputs import InputDigests, UndecidedError
from memoflow.flow.memo.lookup import LookupResult, MemoizedStep, MissError, lease_keys, look_up
from memoflow.flow.memo.recorder import Recorder
from memoflow.flow.memo.remarks import Remarks
from memoflow.flow.memo.shadow import compare
from memoflow.flow.memo.single_flight import SingleFlightLock
from memoflow.flow.memo.step_reads import TrackedStep
from memoflow.flow.memo.task_logs import WorkerLog
from memoflow.flow.memo.task_notes import TaskNotes, note_decision
from memoflow.flow.memo.uncached import Uncached
from memoflow.flow.task.process import tell
from memoflow.kinds.decision import SAVED, Decision, Reason
from memoflow.kinds.memo import MemoEntry
from memoflow.log import WARNING
from memoflow.units import span

_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class CurrentMemo:
    """The hit or miss of this task, its key, and the task that computed its results.

    `key` is the code key until the step has run, since what a step reads is part of the
    whole key; None if the step cannot be memoized. `origin` is None on a miss.
    """

    hit: bool
    key: str | None
    origin: str | None

    @classmethod
    def of(cls, verdict: LookupResult, memoized: MemoizedStep) -> CurrentMemo:
        entry = verdict.entry
        if entry is not None:
            return cls(True, str(entry.ref.key), entry.origin)
        try:
            return cls(False, str(memoized.code_key), None)
        except NoFingerprintError:
            return cls(False, None, None)


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
        context = session.context
        self._memoized = memoized
        self._session = session
        self._failed = False
        self._run_time_s, self._began = 0.0, 0.0
        self._recorder: Recorder | None = None
        self._tracked: TrackedStep | None = None
        self._audited: MemoEntry | None = None
        self._audit: Audit | None = None
        self._shadowed: MemoEntry | None = None  # by which it would have been a hit
        self._raised = ""
        self._lock = SingleFlightLock()
        self._notes = TaskNotes(
            memoized, context, output=output, metadata=metadata, attempt=attempt
        )
        _ = card.cards_of(memoized, context)  # Now: where they are may go by the working directory.
        told = Handoff.take()
        self._is_told = told.decision is not None
        self._log = WorkerLog(self._notes.task, context, is_followed=told.follows)
        self._remarks = Remarks(memoized, context, run=output.run_id, quiet=told.quiet)
        memoized.mode = memoized.mode if told.mode is None else told.mode
        memoized.refresh = memoized.refresh if told.refresh is None else told.refresh
        session.log.run = f"{current.flow_name}/{output.run_id}"
        session.log.began = session.log.began if told.began is None else told.began
        if told.off:
            context.cut_off()
        try:
            self._decide(told, flow, output, datastores)
            if self._waits:
                self._take_lock()
        except BackendUnreachableError as error:
            self._go_without(error)
        if self._verdict.entry is None and self._audited is None and memoized.mode == "only":
            raise MissError(memoized.step, self._decision.line)
        add_to_current("memo", CurrentMemo.of(self._verdict, memoized))
        self._announce()

    def _go_without(self, error: BackendUnreachableError) -> None:
        """Run the step as if there were no store: each further question would wait as long."""
        self._session.context.cut_off(error)
        self._verdict = LookupResult(Decision.miss(Reason.OFF))
        self._lock.close()

    def _decide(self, told: Handoff, flow: Any, output: Any, datastores: list[Any]) -> None:
        """Settle on the scheduler's decision, or make it where the scheduler could not."""
        memoized, context = self._memoized, self._session.context
        if context.store is None or memoized.mode == "off":
            self._verdict = LookupResult(told.decision or Decision.miss(Reason.OFF))
            return
        parents = InputDigests(
            datastores,
            shape=memoized.shape,
            join_type=memoized.join_type,
            frames=foreach.stack_of_flow(flow),
            current=self._current,
            facts=context.store.index,
            lists=context.lists,
            load_limit_bytes=_NO_LIMIT,
            mask=memoized.mask,
        )
        self._recorder = Recorder(
            memoized,
            context,
            parents,
            output=output,
            datastores=datastores,
            seen=told.seen,
            say=self._remarks.say,
        )
        if told.decision is None:
            self._verdict = look_up(memoized, parents, self._session)
        else:
            self._verdict = LookupResult(told.decision)
        self._draw()
        if told.seen is not None and self._verdict.entry is None and self._decision.records:
            try:
                unlike = uncached.differing(told.seen, memoized, context.store)
            except NoFingerprintError as error:
                unlike = Decision.miss(Reason.NO_FINGERPRINT, f"{error}")
            self._verdict = self._verdict if unlike is None else LookupResult(unlike)

    @property
    def _waits(self) -> bool:
        """True if another task that computes the same is waited for."""
        memoized = self._memoized
        is_single = memoized.options.single_flight and memoized.mode != "shadow"
        return self.records and is_single and not memoized.refresh

    def _draw(self) -> None:
        """Take a hit that is to be audited or shadowed for none, so that the step runs."""
        entry = self._verdict.entry
        share = self._memoized.options.audit
        if entry is not None and self._memoized.mode == "shadow":
            self._shadowed = entry
            self._verdict = LookupResult(Decision.miss(Reason.SHADOWED))
        elif entry is not None and audit.is_due(share, entry, self._notes.run_id):
            self._audited = entry
            self._verdict = LookupResult(Decision.miss(Reason.AUDITED))

    def _take_lock(self) -> None:
        """Lease the keys of the task's result, or find a result recorded meanwhile."""
        memoized, context, recorder = self._memoized, self._session.context, self._recorder
        assert context.store is not None
        assert recorder is not None
        if self._verdict.undecided:
            return  # Nor will the next one find what this one leaves.
        parents = recorder.parents
        # Another process may have recorded one since this one listed them.
        candidates = context.candidates(memoized.code_key, memoized.mask).anew()

        def is_found() -> bool:
            verdict = look_up(
                memoized, parents, self._session, candidates=candidates, explains=False
            )
            if verdict.entry is not None:
                self._verdict = verdict
            return verdict.entry is not None

        keys = lease_keys(memoized, parents, candidates)
        self._lock.take(context.store, keys, who=self._notes.task, is_done=is_found)
        if self._verdict.entry is not None:
            self._lock.close()

    @property
    def _decision(self) -> Decision:
        return self._verdict.decision

    def _announce(self) -> None:
        """Write the decision to the task's log; a line for a whole step only once."""
        decision = self._decision
        if decision.reason is not Reason.OFF:
            note_decision(decision, self._verdict.entry)
        if self._audited is not None:
            tell(f"[memoize] audit: runs again, to be compared with {self._audited.origin}")
        elif decision.is_uncached:
            self._remarks.print_once(decision.reason.value, decision.log_line)
        elif decision.reason not in (Reason.OFF, Reason.SHADOWED):
            tell(f"[memoize] {decision.log_line}")

    @property
    def records(self) -> bool:
        return (
            self._recorder is not None
            and self._session.context.store is not None
            and self._memoized.mode in ("on", "shadow")
            and self._verdict.entry is None
            and self._decision.records
        )

    # Metaflow calls these around all of a step: its body and the user's own step decorators.

    def pre_step(self, step: str, flow: Any, inputs: Any) -> Callable[..., None] | None:
        memoized, context = self._memoized, self._session.context
        if self._verdict.entry is not None:
            return self._replay
        if self._audited is not None:
            self._audit = Audit(flow, self._audited, memoized.mask)
        if self.records or self._shadowed is not None:
            self._tracked = TrackedStep(
                memoized, context, flow=flow, inputs=inputs, say=self._remarks.say
            )
            self._tracked.start()
        self._began = time.monotonic()
        return None

    def _replay(self, flow: Any, *inputs: Any) -> None:
        """Bind the results of a hit: the task's end carries them over without loading any."""
        entry = self._verdict.entry
        assert entry is not None
        bound = TaskArtifacts.of_flow(flow)
        for name, artifact in entry.artifacts.items():
            bound.bind(name, artifact.sha1, artifact.info)
        transition.restore_on(flow, entry.next_step)

    def post_step(self, step: str, flow: Any, exception: Exception | None) -> Exception | None:
        self._run_time_s = time.monotonic() - self._began
        if self._tracked is not None:
            self._tracked.stop(failed=exception is not None)
        if exception is not None:
            self._raised = raised(exception)
        done, memoized = self._audit, self._memoized
        if done is None or (exception is not None and not done.absorb(exception, memoized.node)):
            return exception
        if exception is None:
            try:
                done.compare(memoized.node, memoized.options.outputs)
            except Exception as error:  # An audit never fails its step.
                done.differences.append(f"nothing can be told: {type(error).__name__}: {error}")
        self._remarks.say(f"audit: {memoized.step} {done.line}")
        return None

    def settled(self) -> None:
        """Finish the audit: all decorators around the step are done."""
        if self._audit is not None:
            self._audit.settle()

    def failed(self) -> None:
        """Record nothing: the step raised, and @catch may have caught it."""
        self._failed = True
        if self._shadowed is not None:
            self._note_shadow(self._shadowed, f"raised {self._raised}")
        self._lock.close()

    def finished(self, task_ok: bool) -> None:
        """All artifacts are written: record them, if the step went well."""
        try:
            self._finish(task_ok)
        finally:
            self._lock.close()

    def _finish(self, task_ok: bool) -> None:
        if self._tracked is not None:
            self._tracked.close()
        entry = self._verdict.entry
        if entry is not None and task_ok:
            self._finish_hit(entry)
        elif self._failed or not task_ok:
            return
        elif self._audited is not None:
            self._finish_audit(self._audited)
        elif self._shadowed is not None and self._tracked is not None:
            self._finish_shadow(self._shadowed, self._tracked)
        elif self._tracked is not None:
            self._finish_miss(self._tracked)
        elif self._recorder is not None:
            decision, mode = self._decision, self._memoized.mode
            lost = decision.detail or "nothing that it leaves could be found again"
            self._note_miss(None, f"the mode is {mode}" if decision.records else lost)

    def _finish_hit(self, entry: MemoEntry) -> None:
        """Note the use of the result and its origin, and take over the cards of that."""
        memoized, context, notes = self._memoized, self._session.context, self._notes
        context.candidates(memoized.code_key, memoized.mask).touch(entry)
        notes.register(task_notes.origin(entry))
        notes.tally(hit=True, saved_s=entry.run_time_s)
        notes.show(card_page.of_hit(notes.task, entry, memoized.code.parts))
        card.at_exit(CardFiles.replace, notes.task, entry, context, memoized)
        self._keep_log(lambda: self._log.used(entry.ref))

    def _finish_miss(self, tracked: TrackedStep) -> None:
        """Record the result of the step, and note the decision and its outcome."""
        self._lock.check()
        key, failed, trouble = None, False, ""
        try:
            key, trouble = self._record(tracked)
        except Exception as error:
            failed = True
            self._note_miss(None, f"recording failed: {type(error).__name__}: {error}")
            raise
        finally:
            if key is None:
                # Those who wait will find nothing, so they need not wait for one another; nor
                # those to come, unless it was a failure.
                self._lock.lift(lasting=not failed)
        self._note_miss(key, trouble)
        if key is not None:
            assert tracked.reads is not None
            self._remarks.add_hint()
            self._remarks.add_unmatched()
            self._remarks.add_uncertain(tracked.reads.unseen)
        self._show_miss(key, tracked)

    def _record(self, tracked: TrackedStep) -> tuple[str | None, str]:
        """Return the key that the result was recorded under, or None and why it was not."""
        context, recorder, task = self._session.context, self._recorder, self._notes.task
        assert context.store is not None
        assert recorder is not None
        if tracked.reads is None:
            return None, "its reads could not be followed"
        found = recorder.record(tracked.attributes, tracked.reads, tracked.left, task)
        if isinstance(found, Uncached):
            uncached.remember(self._memoized, context.store, found)
            if not found.lasts:
                self._remarks.say(found.line, WARNING)
            elif not self._decision.is_uncached:
                self._remarks.say_once(found.kind, found.line)
            return None, found.text
        self._notes.tally(hit=False, saved_s=0.0)
        card.at_exit(CardFiles.keep, task, found, context, self._memoized)
        self._keep_log(lambda: self._log.recorded(found))
        return str(found.key), ""

    def _keep_log(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # What a task printed is no reason to fail it.
            self._remarks.say(f"no log is kept: {type(error).__name__}: {error}")

    def _note_miss(self, key: str | None, unrecorded: str) -> None:
        """Leave the decision in the task's metadata, for `why`."""
        decision = replace(
            self._decision, unrecorded=unrecorded, run_time_s=round(self._run_time_s, 3)
        )
        self._verdict = replace(self._verdict, decision=decision)
        self._notes.register_miss(decision, key)
        self._notes.note_cost(decision, self._run_time_s)
        if not self._is_told:
            self._notes.keep_last_miss(self._decision)

    def _show_miss(self, key: str | None, tracked: TrackedStep) -> None:
        decision, recorder = self._decision, self._recorder
        assert recorder is not None
        facts = {"run time": span(tracked.left.run_time_s), "key": key or "not recorded"}
        if decision.nearest:
            facts["compared with"] = decision.nearest
        self._notes.show(
            Shown(
                self._notes.task,
                "miss",
                decision.line,
                facts,
                code=self._memoized.code.parts,
                inputs=recorder.inputs,
                outputs=recorder.sizes(tracked.attributes.writes - INTERNAL),
                notes=self._remarks.lines,
            )
        )

    def _finish_audit(self, entry: MemoEntry) -> None:
        assert self._audit is not None
        memoized, notes, came_to = self._memoized, self._notes, self._audit.line
        self._session.context.candidates(memoized.code_key, memoized.mask).touch(entry)
        notes.register({**task_notes.origin(entry), SAVED: "0.0", "memo-audit": came_to})
        notes.tally(hit=True, saved_s=0.0)
        shown = card_page.of_hit(notes.task, entry, memoized.code.parts)
        notes.show(replace(shown, outcome="audit", why=came_to))

    def _finish_shadow(self, entry: MemoEntry, tracked: TrackedStep) -> None:
        """Compare the outputs of the step with the stored result, which stays as it is."""
        recorder = self._recorder
        assert recorder is not None
        outputs = recorder.outputs(tracked.attributes)
        context, mask = self._session.context, self._memoized.mask
        try:
            found = compare(entry, outputs, tracked.left, recorder.datastores[0], context, mask)
        except Exception as error:  # A comparison never fails its step.
            found = f"cannot be compared: {type(error).__name__}: {error}"
        self._note_shadow(entry, found)

    def _note_shadow(self, entry: MemoEntry, difference: str) -> None:
        decision = Decision.shadow(entry.origin, entry.ref.created, entry.run_time_s, difference)
        self._verdict = LookupResult(decision)
        self._remarks.say(decision.log_line)
        self._notes.register_miss(decision, None)
        shown = card_page.of_hit(self._notes.task, entry, self._memoized.code.parts)
        self._notes.show(replace(shown, outcome=decision.outcome, why=decision.line))

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
