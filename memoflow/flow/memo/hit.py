"""Hit: a task that a stored result answers, and the writing of its record."""

from __future__ import annotations

import time
from typing import Any

from memoflow.display import printable
from memoflow.errors import is_away
from memoflow.flow.host import answers, task_output, task_record, transition
from memoflow.flow.host.answers import AnswerProcess
from memoflow.flow.host.foreach import Foreach
from memoflow.flow.host.task_ids import TaskIds
from memoflow.flow.memo import card, task_notes
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.flags import given
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.task_logs import ReplayedTask
from memoflow.flow.memo.task_notes import note_decision
from memoflow.kinds.decision import Decision
from memoflow.kinds.memo import MemoEntry
from memoflow.log import INFO, WARNING, is_shown, report
from memoflow.units import span

_SLOW_SECONDS = 5.0  # for half a dozen requests


class Hit:
    """One attempt of a task, the result that answers it, and the tasks that it starts from."""

    def __init__(
        self,
        memoized: MemoizedStep,
        session: Session,
        *,
        task: Any,
        attempt: int,
        entry: MemoEntry,
        datastores: list[Any],
        foreach: Foreach,
    ) -> None:
        self._memoized = memoized
        self._session = session
        self._task = task
        self._attempt = attempt
        self._entry = entry
        self._parent = datastores[0]
        self._foreach = foreach
        self._names = task.flow_name, task.run_id, task.step, task.task_id
        found = self._found = Decision.hit(entry.origin, entry.ref.created, entry.run_time_s)
        self._line = printable(f"[memoize] {found.log_line}") if is_shown(INFO) else ""

    def answer(self, cli_args: Any) -> None:
        """Have the record written in place of a worker, by a thread where a server is slow."""
        session = self._session
        is_here = session.context.is_all_here(self._task.metadata)
        if not is_here:
            self._expect_tasks()
        answered = AnswerProcess(self._write, self._give_up)
        answers.answer(cli_args, answered, None if is_here else session.threads)

    def _write(self) -> str:
        context, memoized, entry = self._session.context, self._memoized, self._entry
        shape = memoized.shape
        began = time.monotonic()
        lines = self._session.logs.find(entry.ref.key, entry.ref.digest)
        if given["replay"]:
            task_output.follow(self._task, ReplayedTask(lines))
        left = task_record.write(
            self._task,
            flow_datastore=context.flow_datastore,
            blobs=context.new_blobs,
            attempt=self._attempt,
            parent=self._parent,
            passed=None if memoized.join_type is None else {*shape.parameters, *shape.constants},
            artifacts={name: (each.sha1, each.info) for name, each in entry.artifacts.items()},
            next_step=entry.next_step,
            foreach=self._foreach,
            fields=task_notes.of_hit(entry, self._task.clone_run_id),
            log=[("stdout", self._line.encode(errors="replace")), *lines],
        )
        took_s = time.monotonic() - began
        if took_s > _SLOW_SECONDS:
            slow = "the metadata service or the datastore is slow"
            context.say_once(f"{slow}: to write down one hit took {span(took_s)}", WARNING)
        context.tasks.settle(self._task, left)
        self._session.log.hits.append((*self._names, entry.run_time_s))
        card.of_hit("/".join(self._names), entry, memoized, context)
        names = dict(zip(("flow", "run", "step", "task"), self._names, strict=True))
        note_decision(self._found, entry, **names)
        return _logged(self._line)

    def _give_up(self, error: Exception) -> str:
        trouble = f"{type(error).__name__}: {error}"
        if is_away(error):
            self._session.context.cut_off(error)
        self._session.log.unwritten[self._task.path] = trouble
        line = printable(f"[memoize] hit, but it could not be written down: {trouble}")
        return _logged(line, WARNING)

    def _expect_tasks(self) -> None:
        """Expect the other splits, and the one task that follows unless it joins several."""
        task, session = self._task, self._session
        if self._attempt or task.clone_run_id:
            return  # They are expected already, or `resume` may have cloned some.
        ids = session.task_ids
        if ids is None:
            ids = TaskIds(task.metadata, session.context.flow_datastore, session.threads)
            session.task_ids = ids
        if task.split_index is not None:
            rest = self._foreach.stack[-1].num_splits - int(task.split_index) - 1
            ids.expect(task.run_id, task.step, at_least=rest)
        graph = self._memoized.graph
        for step in transition.single_steps(self._entry.next_step):
            if graph[step].type != "join":
                ids.expect(task.run_id, step, more=1)


def _logged(line: str, level: int = INFO) -> str:
    """Log a line; return it for the task's log, or "" if it is shown already or not to be."""
    shown: list[str] = []
    report(line, shown.append, level)
    return "".join(shown)
