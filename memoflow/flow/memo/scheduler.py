"""The scheduler's side: hits decided in the launching process, before a worker exists."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Any

from memoflow.errors import NoFingerprintError, is_away
from memoflow.flow.host import task_output
from memoflow.flow.host.foreach import Foreach
from memoflow.flow.hub import revisions
from memoflow.flow.memo import audit, task_logs
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.external_reads import is_elsewhere
from memoflow.flow.memo.handoff import Handoff
from memoflow.flow.memo.hit import Hit
from memoflow.flow.memo.inputs import OF_ONE_RUN, InputDigests, UndecidedError, current_of_step
from memoflow.flow.memo.lookup import LookupResult, MemoizedStep, MissError, look_up
from memoflow.flow.memo.task_logs import FollowedTask
from memoflow.flow.memo.uncached import Seen
from memoflow.kinds.decision import Decision, Reason
from memoflow.log import WARNING

_LOAD_LIMIT_BYTES = 64 << 20


def prepare(cli_args: Any, attempt: int, memoized: MemoizedStep, session: Session) -> None:
    """Answer a task from the store, or pass its worker the decision.

    Raises MissError under `--memo only`. Other trouble never fails the run: the step runs.
    """
    task = cli_args.task
    context, log = session.context, session.log
    session.prefetch.is_on = True
    log.is_shadow |= memoized.mode == "shadow"
    log.run = f"{task.flow_name}/{task.run_id}"
    log.steps.setdefault(memoized.step)
    context.metadata = task.metadata.metadata_str()
    try:
        verdict = _decide(cli_args, attempt, memoized, session)
    except Exception as error:
        # Anything of Metaflow's or of a user's class may be met here; none may fail the run.
        trouble = f"{type(error).__name__}: {error}"
        if is_away(error):
            context.cut_off(error)
        else:
            context.say_once(f"lookup failed, steps run as usual: {trouble}", WARNING)
        verdict = LookupResult(Decision.miss(Reason.LOOKUP_FAILED, trouble))
    if verdict.entry is not None:
        return
    decision = verdict.decision
    if verdict.undecided:
        log.undecided[task.task_id] = memoized.step
    else:
        if memoized.mode == "only":
            raise MissError(memoized.step, decision.line)
        log.add_miss(memoized.step, task.task_id, decision)
    seen: Seen | None = None
    follows = False
    if context.store is not None and memoized.mode != "off":
        with suppress(NoFingerprintError):
            seen = memoized.seen
        follows = task_logs.is_on()
        if follows:
            output = FollowedTask(task, session.logs, context.store.index)
            task_output.follow(task, output)
    Handoff(
        decision=None if verdict.undecided else decision,
        mode=memoized.mode,
        refresh=memoized.refresh,
        began=log.began,
        seen=seen,
        off=context.is_cut_off,
        quiet=decision.is_uncached and not log.is_news(memoized.step, decision),
        follows=follows,
    ).put(cli_args.env)


def _decide(cli_args: Any, attempt: int, memoized: MemoizedStep, session: Session) -> LookupResult:
    """Look the task up, and answer it if there is a result."""
    context, task = session.context, cli_args.task
    unwritten = session.log.unwritten.pop(task.path, None)
    if unwritten is not None:
        return LookupResult(Decision.miss(Reason.NOT_WRITTEN, unwritten))
    if context.store is None or memoized.mode == "off" or not task.input_paths:
        return look_up(memoized, None, session)
    datastores = context.tasks.open(task.input_paths)
    split_index = None if task.split_index is None else int(task.split_index)
    foreach = Foreach.of_new_task(
        memoized.shape.flow, memoized.step, datastores, memoized.join_type, split_index
    )
    session.lines.follow(task, foreach.stack)
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
        environment={**os.environ, **cli_args.env},
        is_here=not is_elsewhere(memoized),
    )
    entry = verdict.entry
    if entry is not None and memoized.mode == "shadow":
        return LookupResult(Decision.miss(Reason.UNDECIDED, "to be compared"))
    share = memoized.options.audit
    if entry is not None and share and audit.is_due(share, entry, task.run_id):
        return LookupResult(Decision.miss(Reason.UNDECIDED, "to be audited"))
    if entry is not None:
        context.candidates(memoized.code_key, memoized.mask).touch(entry)
        hit = Hit(
            memoized,
            session,
            task=task,
            attempt=attempt,
            entry=entry,
            datastores=datastores,
            foreach=foreach,
        )
        hit.answer(cli_args)
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
