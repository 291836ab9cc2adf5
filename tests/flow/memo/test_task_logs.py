"""Word between a worker and the process that launched it, of the result that a log belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow import metaflow_config

from memoflow.backends import Memory
from memoflow.flow.memo.task_logs import FollowedTask, TaskLogs, WorkerLog, is_on
from memoflow.index import Index
from memoflow.kinds.task_log import Line
from memoflow.names import Key, Ref
from memoflow.store import Payload, Store
from tests.faults import Faulty

RESULT = Key.of("memo", "F", "fit", "c0de", "results", "1", "2", "00000001")
TASK = SimpleNamespace(flow_name="F", run_id="1", step="fit", task_id="2")
LINES: list[Line] = [("stdout", b"hello\n"), ("stderr", b"oh\n")]


class Context:
    """The store of a process, and what it said."""

    def __init__(self, store: Store) -> None:
        self.store: Store | None = store
        self.said: list[str] = []

    def say_once(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def backend() -> Faulty:
    return Faulty(Memory())


@pytest.fixture
def context(tmp_path: Path, backend: Faulty) -> Context:
    return Context(Store("id", backend, Index(tmp_path / "index.sqlite")))


@pytest.fixture
def result(context: Context) -> Ref:
    assert context.store is not None
    return context.store.save(RESULT, Payload(), meta={})


def ended(context: Context, logs: TaskLogs, *, is_ok: bool = True) -> list[tuple[list[Line], bool]]:
    """Return what was added to the log of a task that printed two lines."""
    added: list[tuple[list[Line], bool]] = []

    def add(lines: Iterable[Line], *, is_printed: bool) -> None:
        added.append((list(lines), is_printed))

    assert context.store is not None
    task = FollowedTask(TASK, logs, context.store.index)
    for stream, line in LINES:
        task.add(stream, line)
    task.end(add, is_ok=is_ok)
    return added


def worker(context: Any, *, is_followed: bool = True) -> WorkerLog:
    return WorkerLog("F/1/fit/2", context, is_followed=is_followed)


def test_a_log_is_kept_with_the_result_that_the_worker_recorded(
    context: Context, result: Ref
) -> None:
    logs = TaskLogs(context)  # type: ignore[arg-type]
    worker(context).recorded(result)
    assert ended(context, logs) == []
    assert logs.find(result.key, result.digest) == LINES


def test_that_of_the_result_is_added_where_the_worker_used_one(
    context: Context, result: Ref
) -> None:
    logs = TaskLogs(context)  # type: ignore[arg-type]
    worker(context).recorded(result)
    ended(context, logs)
    worker(context).used(result)
    assert ended(context, logs) == [(LINES, False)]
    assert ended(context, logs) == [], "the word is taken once"


def test_the_log_of_a_failed_attempt_is_not_kept(context: Context, result: Ref) -> None:
    logs = TaskLogs(context)  # type: ignore[arg-type]
    worker(context).recorded(result)
    ended(context, logs, is_ok=False)
    ended(context, logs)
    assert logs.find(result.key, result.digest) == []


def test_without_word_nothing_is_kept(context: Context, result: Ref) -> None:
    logs = TaskLogs(context)  # type: ignore[arg-type]
    worker(context, is_followed=False).recorded(result)
    ended(context, logs)
    assert logs.find(result.key, result.digest) == []


def test_a_store_that_fails_costs_a_line(context: Context, result: Ref, backend: Faulty) -> None:
    logs = TaskLogs(context)  # type: ignore[arg-type]
    worker(context).recorded(result)
    backend.fail_at("write")
    ended(context, logs)
    assert len(context.said) == 1
    assert context.said[0].startswith("logs are not kept with results: ")


def test_word_that_nobody_here_wrote_costs_a_line(context: Context) -> None:
    assert context.store is not None
    context.store.index.set({"log of F/1/fit/2": "[1]"})
    ended(context, TaskLogs(context))  # type: ignore[arg-type]
    assert len(context.said) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), (True, True), ("0", False), ("no", False), ("perhaps", False)],
)
def test_the_setting(monkeypatch: pytest.MonkeyPatch, value: Any, expected: bool) -> None:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_LOGS", value)
    assert is_on() is expected
