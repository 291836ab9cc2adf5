"""The lines of a task's process, and those that are added when it has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.mflog import mflog
from metaflow.runtime import TruncatedBuffer, Worker

from memoflow.flow.host import task_output
from memoflow.flow.host.task_output import Add, Line

RunTask = Callable[..., tuple[list[Line], list[str], dict[str, list[bytes]]]]


class Follower:
    def __init__(self, added: list[Line], *, is_printed: bool) -> None:
        self.seen: list[Line] = []
        self._added, self._is_printed = added, is_printed

    def add(self, stream: str, line: bytes) -> None:
        self.seen.append((stream, line))

    def end(self, add: Add, *, is_ok: bool) -> None:
        self.seen.append(("ok", str(is_ok).encode()))
        add(self._added, is_printed=self._is_printed)


@pytest.fixture
def run() -> RunTask:
    """Run a task to its end: what its follower saw, the terminal, and the log."""

    def run(
        code: str, added: list[Line], *, is_printed: bool = False
    ) -> tuple[list[Line], list[str], dict[str, list[bytes]]]:
        printed: list[str] = []
        saved: dict[str, Any] = {}
        worker = object.__new__(Worker)
        worker.task = SimpleNamespace(
            is_cloned=False,
            results={"_foreach_num_splits": None},
            log=lambda text, **_: printed.append(text),
            save_logs=saved.update,
            save_metadata=lambda *_: None,
        )
        worker.killed, worker._encoding, worker._spin_pathspec = False, "utf-8", None
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        worker._proc = subprocess.Popen([sys.executable, "-c", code], **pipes)
        worker._stdout = TruncatedBuffer("stdout", 1 << 20)
        worker._stderr = TruncatedBuffer("stderr", 1 << 20)
        out, err = worker._proc.stdout, worker._proc.stderr
        worker._logs = {
            err.fileno(): (err, worker._stderr),
            out.fileno(): (out, worker._stdout),
        }
        follower = Follower(added, is_printed=is_printed)
        task_output.follow(worker.task, follower)
        worker.terminate()
        logs = {
            stream: [line.msg for line in mflog.merge_logs([buffer.read()])]
            for stream, buffer in saved.items()
        }
        return follower.seen, printed, logs

    return run


ADDED = [("stdout", b"of the origin\n"), ("stderr", b"error of the origin")]
CODE = "import sys; print('1%\\r2%'); print('no end', end=''); print('err', file=sys.stderr)"


def test_each_line_is_told_as_it_was_printed(run: RunTask) -> None:
    seen, _, _ = run(CODE, [])
    assert sorted(seen) == [
        *(("ok", b"True"), ("stderr", b"err\n"), ("stdout", b"1%\r2%\n"), ("stdout", b"no end")),
    ]


def test_lines_are_added_to_the_log_alone(run: RunTask) -> None:
    seen, printed, logs = run(CODE, ADDED)
    assert logs["stdout"] == [b"1%\r2%", b"no end", b"of the origin"]
    assert logs["stderr"] == [b"err", b"error of the origin"]
    assert "of the origin" not in printed
    assert ("stdout", b"of the origin\n") not in seen


def test_or_printed_before_the_task_is_said_to_be_finished(run: RunTask) -> None:
    _, printed, logs = run(CODE, ADDED, is_printed=True)
    assert printed[-3:] == ["of the origin", "error of the origin", "Task finished successfully."]
    assert logs["stdout"][-1] == b"of the origin"


def test_a_task_that_failed_is_told_to_have(run: RunTask) -> None:
    seen, printed, _ = run("print('x'); raise SystemExit(1)", [])
    assert seen == [("stdout", b"x\n"), ("ok", b"False")]
    assert printed[-1] == "Task failed."


def test_lines_from_another_machine_are_stored_there(run: RunTask) -> None:
    line = mflog.set_should_persist(mflog.decorate("task", b"far away\n"))
    seen, printed, _ = run(f"import os; os.write(1, {line!r})", [])
    assert seen == [("ok", b"True")]
    assert "far away" in printed
