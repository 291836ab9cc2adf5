"""The scheduler's side: hits decided in the launching process, before a worker exists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from memoflow.display import printable
from memoflow.errors import BackendUnreachableError, NoFingerprintError
from memoflow.flow.host import task_record
from memoflow.flow.host.command_line import run_instead
from memoflow.flow.host.foreach import Foreach
from memoflow.flow.hub import revisions
from memoflow.flow.memo import audit, card, task_notes
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.decision import Decision, Reason
from memoflow.flow.memo.external_reads import is_elsewhere
from memoflow.flow.memo.handoff import Handoff
from memoflow.flow.memo.inputs import OF_ONE_RUN, InputDigests, UndecidedError, current_of_step
from memoflow.flow.memo.lookup import LookupResult, MemoizedStep, MissError, look_up
from memoflow.flow.memo.uncached import Seen

_LOAD_LIMIT_BYTES = 64 << 20


def prepare(cli_args: Any, attempt: int, memoized: MemoizedStep, session: Session) -> None:
    """Answer a task from the store, or pass its worker the decision.

    Raises MissError under `--memo only`. Other trouble never fails the run: the step runs.
    """
    task = cli_args.task
    context, log = session.context, session.log
    session.prefetch.is_on = True
    log.run = f"{task.flow_name}/{task.run_id}"
    context.metadata = task.metadata.metadata_str()
    try:
        environment = {**os.environ, **cli_args.env}
        verdict = _decide(task, attempt, memoized, session, environment)
    except Exception as error:
        # Anything of Metaflow's or of a user's class may be met here; none may fail the run.
        trouble = f"{type(error).__name__}: {error}"
        if isinstance(error, BackendUnreachableError):
            context.cut_off(error)
        else:
            context.say_once(f"lookup failed, steps run as usual: {trouble}")
        verdict = LookupResult(Decision.miss(Reason.LOOKUP_FAILED, trouble))
    decision = verdict.decision
    if verdict.entry is not None:
        run_instead(cli_args, ["echo", printable(f"[memoize] {decision.log_line}")])
        names = task.flow_name, task.run_id, task.step, task.task_id
        log.hits.append((*names, verdict.entry.run_time_s))
        card.of_hit("/".join(names), verdict.entry, memoized, context)
        return
    if not verdict.undecided:
        if memoized.mode == "only":
            raise MissError(memoized.step, decision.line)
        log.add_miss(memoized.step, task.task_id, decision)
    seen: Seen | None = None
    if context.store is not None and memoized.mode != "off":
        with suppress(NoFingerprintError):
            seen = memoized.seen
    Handoff(
        decision=None if verdict.undecided else decision,
        mode=memoized.mode,
        refresh=memoized.refresh,
        began=log.began,
        seen=seen,
        off=context.is_cut_off,
        quiet=decision.is_uncached and not log.is_news(memoized.step, decision),
    ).put(cli_args.env)


def _decide(
    task: Any,
    attempt: int,
    memoized: MemoizedStep,
    session: Session,
    environment: Mapping[str, str],
) -> LookupResult:
    context = session.context
    if context.store is None or memoized.mode == "off" or not task.input_paths:
        return look_up(memoized, None, session)
    paths = task.input_paths
    if len(paths) == 1:
        datastores = [context.task(paths[0])]
    else:
        open_task = context.reader.get_task_datastore
        datastores = [open_task(*path.split("/")[:3]) for path in paths]
    split_index = None if task.split_index is None else int(task.split_index)
    foreach = Foreach.of_new_task(
        memoized.shape.flow, memoized.step, datastores, memoized.join_type, split_index
    )
    parents = InputDigests(
        datastores,
        shape=memoized.shape,
        join_type=memoized.join_type,
        frames=foreach.stack,
        current=partial(_current, task, memoized),
        facts=context.store.index,
        lists=context.lists,
        load_limit_bytes=_LOAD_LIMIT_BYTES,
        mask=memoized.mask,
    )
    verdict = look_up(
        memoized,
        parents,
        session,
        environment=environment,
        is_here=not is_elsewhere(memoized),
    )
    entry = verdict.entry
    share = memoized.options.audit
    if entry is not None and share and audit.is_due(share, entry, task.run_id):
        return LookupResult(Decision.miss(Reason.UNDECIDED, "to be audited"))
    if entry is not None:
        shape = memoized.shape
        task_record.write(
            task,
            flow_datastore=context.flow_datastore,
            attempt=attempt,
            parent=datastores[0],
            passed=None if memoized.join_type is None else {*shape.parameters, *shape.constants},
            artifacts={name: (each.sha1, each.info) for name, each in entry.artifacts.items()},
            next_step=entry.next_step,
            foreach=foreach,
            fields=task_notes.origin(entry),
        )
        context.candidates(memoized.code_key, memoized.mask).touch(entry)
    return verdict


def _current(task: Any, memoized: MemoizedStep, name: str) -> Any:
    """Return the value that `current` would have in the task's worker."""
    wanted = revisions.parse(f"current.{name}")
    if wanted is not None:
        return memoized.commit_of(wanted, task.run_id, task.clone_run_id)
    if name in OF_ONE_RUN:
        raise UndecidedError(f"current.{name} differs in each run")
    if name == "tags":
        return sorted(task.metadata.sticky_tags)
    return current_of_step(name, memoized, known_in="task")
