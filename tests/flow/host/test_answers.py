"""Answers: what the runtime takes for a process writes a record, and says whether it could."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.runtime import NativeRuntime, Worker

from memoflow.flow.host import answers
from memoflow.flow.host.answers import AnswerProcess
from memoflow.threads import Pool


def failing() -> str:
    raise ValueError("500")


def told(error: Exception) -> str:
    return f"it failed: {error}"


def test_it_ends_well_with_its_line_once_the_record_is_written() -> None:
    process = AnswerProcess(lambda: "hit", told)
    assert process.poll() is None
    process.run()
    assert (process.wait(), process.poll()) == (0, 0)
    assert process.stdout.read() == b"hit\n"
    assert process.stderr.read() == b""
    assert process.pid == os.getpid()


def test_it_ends_badly_and_says_why_if_the_record_cannot_be_written() -> None:
    process = AnswerProcess(failing, told)
    process.run()
    assert process.wait() == 1
    assert process.stdout.read() == b"it failed: 500\n"


def test_a_line_of_any_length_waits_for_no_reader() -> None:
    process = AnswerProcess(lambda: "x" * 1_000_000, told)
    process.run()
    assert process.wait() == 0


def test_who_waits_is_woken_by_the_thread_that_writes() -> None:
    may_end = threading.Event()
    process = AnswerProcess(lambda: (may_end.wait(60) and "hit") or "late", told)
    cli_args = SimpleNamespace(task=SimpleNamespace())
    with Pool(1) as pool:
        answers.answer(cli_args, process, pool)
        assert process.poll() is None
        may_end.set()
        assert process.wait() == 0


def worker_of(process: Any, retries: int = 0) -> Any:
    """Return a worker as far as the runtime has brought it when its process has ended."""
    worker = object.__new__(Worker)
    saved: list[Any] = []
    worker.task = SimpleNamespace(
        retries=retries,
        is_cloned=False,
        results={"_foreach_num_splits": None},
        log=lambda *_, **__: None,
        save_logs=saved.append,
        save_metadata=lambda *given: saved.append(given),
    )
    worker.saved = saved
    worker.killed, worker._encoding, worker._spin_pathspec = False, "utf-8", None
    worker._proc = process
    buffer = SimpleNamespace(write=lambda *_, **__: None, get_buffer=lambda: None)
    worker._stdout = worker._stderr = buffer
    pipes = (process.stderr, process.stdout)
    worker._logs = {each.fileno(): (each, buffer) for each in pipes}
    return worker


def test_of_an_answered_task_the_runtime_saves_nothing() -> None:
    process = AnswerProcess(lambda: "hit", told)
    process.run()
    worker = worker_of(process)
    assert worker.terminate() == 0
    assert worker.saved == []


def test_an_answer_that_failed_leaves_the_attempt_as_it_was() -> None:
    process = AnswerProcess(failing, told)
    process.run()
    worker = worker_of(process, retries=2)
    assert worker.terminate() == 1
    launched: list[tuple[int, Any]] = []
    runtime = object.__new__(NativeRuntime)
    worker.task.new_attempt = lambda: None
    runtime._launch_worker = lambda task: launched.append((task.retries, task))
    runtime._retry_worker(worker)
    assert launched == [(2, worker.task)]


def test_each_finished_task_is_told_once_to_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_hooks", [])
    seen: list[Any] = []
    answers.on_finished(seen.append)
    answers.on_finished(seen.append)
    runtime = object.__new__(NativeRuntime)
    runtime._finished, runtime._is_cloned, runtime._graph = {}, {}, {"end": SimpleNamespace()}
    runtime._queue_tasks([])
    assert seen == []
    one = SimpleNamespace(step="end", path="1/end/1", finished_id=1, is_cloned=False, results={})
    runtime._graph["end"] = SimpleNamespace(out_funcs=[], type="end")
    runtime._queue_tasks([one])
    assert seen == [one]
