"""The worker's side: watches a step that runs, records what it leaves, decides late hits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from metaflow.metadata_provider import MetaDatum
from metaflow.metaflow_current import current

from memoflow.errors import BackendError, LeaseLostError, RequestError
from memoflow.fingerprint import Part
from memoflow.flow.hub import revisions
from memoflow.flow.memo import audit, card, hints, task_record, transition
from memoflow.flow.memo.audit import Audit
from memoflow.flow.memo.card_page import Shown, of_audit, of_hit
from memoflow.flow.memo.current_memo import CurrentMemo
from memoflow.flow.memo.lookup import (
    Memoized,
    MissError,
    Verdict,
    lease_keys,
    look_up,
    never,
)
from memoflow.flow.memo.parents import INTERNAL, Parents, UndecidedError, collapse, label
from memoflow.flow.memo.scope import edited_since
from memoflow.flow.memo.session import LEASES, TOLD, Session
from memoflow.flow.memo.watch import Watch
from memoflow.flow.reference import find_in
from memoflow.kinds import memo
from memoflow.kinds.memo import Entry
from memoflow.store import Lease
from memoflow.units import span

_NO_LIMIT = 1 << 62
_NOT_RECORDED = "not recorded: "


class Task:
    """One attempt of a memoized task, in the process that runs it."""

    skip_step = False  # The rest of what Metaflow asks of a wrapper around a step.

    def __init__(
        self,
        memoized: Memoized,
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
        self._watch: Watch | None = None
        self._parents: Parents | None = None
        self._began = time.monotonic()
        self._run_time_s = 0.0
        self._going_on: dict[str, Any] = {}
        self._refers_to: set[str] = set()
        self._all_looked_at = True
        self._leases: list[Lease] = []
        self._turn = contextlib.ExitStack()
        self._audited: Entry | None = None
        self._audit: Audit | None = None
        self._notes: list[str] = []
        self._inputs: tuple[Part, ...] | None = None
        if memoized.options.show_card:
            _ = session.cards  # Now: where they are may go by the working directory.
        told = json.loads(os.environ.pop(TOLD, '{"look": true}'))
        memoized.mode = told.get("mode", memoized.mode)
        memoized.refresh = told.get("refresh", memoized.refresh)
        self._verdict = Verdict(reason=told.get("reason", ""), record=told.get("record", True))
        if session.store is not None and memoized.mode != "off":
            self._parents = Parents(
                datastores,
                shape=memoized.shape,
                join_type=memoized.join_type,
                frames=list(flow._foreach_stack),
                current=self._current,
                facts=session.store.index,
                lists=session.lists,
                load_limit_bytes=_NO_LIMIT,
            )
            if told["look"]:
                self._verdict = look_up(memoized, self._parents, session)
            self._draw()
        elif told["look"]:
            self._verdict = Verdict(reason="off", record=False)
        if self.records and memoized.options.single_flight and not memoized.refresh:
            self._take_turns()
        entry = self._verdict.entry
        if entry is None and self._audited is None and memoized.mode == "only":
            raise MissError(memoized.step, self._verdict.reason)
        current._update_env({"memo": CurrentMemo.of(self._verdict, memoized)})
        if entry is not None:
            print(f"[memoize] hit: {entry.origin}, {span(entry.run_time_s)} saved", flush=True)
        elif self._audited is not None:
            print(f"[memoize] audit: runs anew what {self._audited.origin} came to", flush=True)
        elif self._verdict.reason != "off":
            print(f"[memoize] miss: {self._verdict.reason or 'no result yet'}", flush=True)

    @property
    def records(self) -> bool:
        return (
            self._parents is not None
            and self._memoized.mode == "on"
            and self._verdict.entry is None
            and self._verdict.record
        )

    # Metaflow calls these around all of a step: its body and the user's own step decorators.

    def pre_step(self, step: str, flow: Any, inputs: Any) -> Callable[..., None] | None:
        if self._verdict.entry is not None:
            return self._replay
        if self._audited is not None:
            self._audit = Audit(flow, self._audited)
        if self.records:
            by_label = {}
            if inputs is not None:
                by_label = {label(one._datastore, self._memoized.join_type): one for one in inputs}
            self._watch = Watch(flow, by_label, self._memoized.shape)
            if self._memoized.join_type is not None:
                self._watch.note("inputs")
            for name in self._memoized.loads:
                self._watch.note(name)
            revisions.listen(self._watch.hear)
            self._watch.start()
        self._began = time.monotonic()
        return None

    def post_step(self, step: str, flow: Any, exception: Exception | None) -> Exception | None:
        self._run_time_s = time.monotonic() - self._began
        if self._watch is not None:
            self._watch.stop_reads()
        if self._audit is not None:
            if exception is None:
                self._compare(self._audit)
            elif self._audit.absorb(exception, self._memoized.node):
                self._say(f"audit: {self._memoized.step} {self._audit.line}")
                return None
        elif exception is None:
            self._going_on = transition.keep(flow, self._memoized.node)
            if self._watch is not None:
                # Now, while what was set is still in memory.
                held = [value for name, value in vars(flow).items() if name not in INTERNAL]
                self._refers_to, self._all_looked_at = find_in(held)
        return exception

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
            self._register(task_record.origin(entry))
            self._tally(hit=True, saved_s=entry.run_time_s)
            self._show(of_hit(self._task, entry, self._memoized.scope.parts))
            card.replace_at_exit(self._task, entry, self._session, self._memoized)
        elif self._audited is not None and task_ok and not self._failed:
            self._finish_audit(self._audited)
        elif self._watch is not None and task_ok and not self._failed:
            for lease in self._leases:
                try:
                    lease.check()
                except LeaseLostError as error:
                    print(f"[memoize] {error}", flush=True)
            key, failed = None, False
            try:
                key = self._record(self._watch)
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
            self._note_miss(key)
            if key is not None:
                self._hint(self._watch)
            self._show_miss(key)
        elif self._parents is not None and task_ok and not self._failed:
            self._note_miss(None)

    @property
    def _task(self) -> str:
        return f"{current.flow_name}/{self._output.pathspec}"

    def _draw(self) -> None:
        """Take a hit that is to be audited for none, so that the step runs."""
        entry = self._verdict.entry
        share = self._memoized.options.audit
        if entry is not None and audit.is_due(share, entry, self._output.run_id):
            self._audited = entry
            self._verdict = Verdict(reason="audited", record=False)

    def _compare(self, audit: Audit) -> None:
        wanted = self._memoized.options.outputs
        try:
            audit.compare(self._memoized.node, wanted)
        except Exception as error:  # An audit never fails its step.
            audit.differences.append(f"nothing can be told: {type(error).__name__}: {error}")
        self._say(f"audit: {self._memoized.step} {audit.line}")

    def _finish_audit(self, entry: Entry) -> None:
        assert self._audit is not None
        came_to = self._audit.line
        self._register({**task_record.origin(entry), "memo-audit": came_to})
        self._tally(hit=True, saved_s=0.0)
        self._show(of_audit(self._task, entry, self._memoized.scope.parts, came_to))

    def _note_miss(self, key: str | None, trouble: str = "") -> None:
        """Leave in the task's metadata what `why` will be asked."""
        fields = {"memo-reason": self._verdict.reason or "no result yet"}
        told = [note for note in self._notes if note.startswith(_NOT_RECORDED)]
        if key is not None:
            fields["memo-key"] = key
        elif trouble:
            fields["memo-unrecorded"] = trouble
        elif told:
            fields["memo-unrecorded"] = told[-1].removeprefix(_NOT_RECORDED)
        elif not self._verdict.record:
            fields["memo-unrecorded"] = "nothing that it leaves could be found again"
        else:
            fields["memo-unrecorded"] = f"the mode is {self._memoized.mode}"
        self._register(fields)

    def _show_miss(self, key: str | None) -> None:
        output, took = self._output, span(self._run_time_s)
        set_here = self._watch.writes & output._objects.keys() - INTERNAL if self._watch else ()
        self._show(
            Shown(
                self._task,
                "miss",
                self._verdict.reason or "no result yet",
                {"run time": took, "key": key or "not recorded"},
                code=self._memoized.scope.parts,
                inputs=self._inputs,
                outputs={name: int(output._info[name].get("size") or 0) for name in set_here},
                notes=self._notes,
            )
        )

    def _show(self, shown: Shown) -> None:
        if self._memoized.options.show_card:
            card.of_worker(shown, self._session)

    def _hint(self, watch: Watch) -> None:
        """Tell what the step uses that its key does not have: in the card, and once in a log."""
        store = self._session.store
        assert store is not None
        try:
            hint = hints.of_step(self._memoized, watch.files)
            if hint is None:
                return
            if hints.is_news(self._memoized, hint, store):
                self._say(f"hint: {hint.line}")
            else:
                self._notes.append(f"hint: {hint.line}")
        except Exception as error:  # Whatever is met in code of the user's: it is recorded already.
            print(f"[memoize] no hints: {type(error).__name__}: {error}", flush=True)

    def _say(self, line: str) -> None:
        """Tell the task's log, and its card."""
        self._notes.append(line)
        print(f"[memoize] {line}", flush=True)

    def _take_turns(self) -> None:
        """Lease what the task would record, or find what another has recorded meanwhile."""
        store, parents = self._session.store, self._parents
        assert store is not None
        assert parents is not None
        if self._verdict.undecided:
            return  # Nor will the next one find what this one leaves.
        outer = os.environ.get(LEASES, "").split()
        try:
            with _standing_timeout():
                for key in lease_keys(self._memoized, parents, store):
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
        except (BackendError, UndecidedError) as error:
            print(f"[memoize] going on without a lease: {error}", flush=True)
        except BaseException:
            self._turn.close()
            raise
        if self._verdict.entry is not None:
            self._turn.close()
        else:
            os.environ[LEASES] = " ".join([*outer, *(lease.id for lease in self._leases)])

    def _is_found(self) -> bool:
        assert self._parents is not None
        verdict = look_up(self._memoized, self._parents, self._session, fresh=True)
        if verdict.entry is not None:
            self._verdict = verdict
        return verdict.entry is not None

    def _current(self, name: str) -> Any:
        wanted = revisions.parse(f"current.{name}")
        if wanted is not None:
            try:
                seen = revisions.seen(f"current.{name}")
            except RequestError as error:
                raise UndecidedError(str(error)) from error
            origin = current.origin_run_id
            return seen or self._memoized.commit_of(wanted, str(current.run_id), origin)
        value = getattr(current, name, None)
        return sorted(value) if name == "tags" and value is not None else value

    def _replay(self, flow: Any, *inputs: Any) -> None:
        """Bind the results of a hit in place of running the step."""
        entry = self._verdict.entry
        assert entry is not None
        # Whatever the flow's datastore holds, `persist` carries over without loading it.
        for name, artifact in entry.artifacts.items():
            flow._datastore._objects[name] = artifact.sha1
            flow._datastore._info[name] = artifact.info
        for name, value in transition.restore(entry.going_on).items():
            setattr(flow, name, value)

    def _record(self, watch: Watch) -> str | None:
        memoized, session = self._memoized, self._session
        store, parents = session.store, self._parents
        assert store is not None
        assert parents is not None
        reads = collapse(watch.reads, parents)
        listed = memoized.listed()
        if listed is not None:
            self._warn_unlisted_reads(reads, listed)
            names: tuple[str, ...] = listed
        else:
            trouble = never(reads, watch.blind, memoized)
            if trouble:
                self._say(f"{_NOT_RECORDED}{trouble}")
                return None
            names = tuple(name for name in reads if not memoized.ignores(name))
        try:
            inputs = self._inputs = tuple(parents.read(name) for name in names)
        except UndecidedError as error:
            self._say(f"{_NOT_RECORDED}{error}")
            return None
        if not self._all_looked_at:
            self._say(f"{_NOT_RECORDED}the outputs are too many to look through")
            return None
        edited = edited_since(memoized.looked_at)
        if edited:
            self._say(f"{_NOT_RECORDED}{edited} was edited while the task ran")
            return None
        ttl = memoized.options.ttl
        ref = memo.record(
            store,
            memoized.scope_key,
            memoized.scope.parts,
            memo.Result(
                origin=self._task,
                run_time_s=round(self._run_time_s, 3),
                artifacts=self._outputs(watch),
                going_on=self._going_on,
                inputs=inputs,
                refs=tuple(sorted(watch.refs)),
                refers_to=tuple(sorted(self._refers_to)),
            ),
            expires=None if ttl is None else time.time() + ttl.total_seconds(),
        )
        self._tally(hit=False, saved_s=0.0)
        card.keep_at_exit(self._task, ref, session, memoized)
        return str(ref.key)

    def _outputs(self, watch: Watch) -> dict[str, Any]:
        """Return what the step set or changed, as far as `outputs=` wants it."""
        output, memoized = self._output, self._memoized
        if memoized.join_type is None:
            before = self._datastores[0]._objects
        else:
            before = {name: output._objects.get(name) for name in memoized.shape.parameters}
        changed = watch.writes & output._objects.keys() - (INTERNAL - {"name"})
        changed |= {
            name
            for name, sha1 in output._objects.items()
            if before.get(name) != sha1
            and name not in INTERNAL
            and name not in memoized.shape.constants
        }
        wanted = memoized.options.outputs
        if wanted is not None:
            unlisted = sorted(changed - set(wanted))
            if unlisted:
                self._say(
                    f"{memoized.step} also sets {', '.join(unlisted)}, which "
                    "outputs=[...] does not list: a hit will not have it"
                )
            unset = sorted(set(wanted) - changed)
            if unset:
                self._say(
                    f"{memoized.step} did not set {', '.join(unset)}, which outputs=[...] lists"
                )
            changed &= set(wanted)
        return {
            name: self._session.artifacts.packed(output._objects[name], output._info[name])
            for name in sorted(changed)
        }

    def _warn_unlisted_reads(self, reads: dict[str, None], listed: tuple[str, ...]) -> None:
        known = {name.rpartition(".")[2] for name in listed} | set(listed) | {"inputs"}
        known |= self._memoized.options.ignore
        also = [
            name
            for name in reads
            if name not in known
            and not (name.startswith("inputs") and name.rpartition(".")[2] in known)
        ]
        if also:
            self._say(
                f"{self._memoized.step} also reads {', '.join(also)}, which "
                "inputs=[...] does not list: a change in it will not be noticed"
            )

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
        store, output = self._session.store, self._output
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
    print(f"[memoize] waiting for {holder}, which computes the same", flush=True)


@contextlib.contextmanager
def _standing_timeout() -> Iterator[None]:
    """Let time pass that does not count for @timeout: it is for the step, not for others."""
    left_s = signal.alarm(0)
    try:
        yield
    finally:
        signal.alarm(left_s)
