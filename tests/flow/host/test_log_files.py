"""Lines as Metaflow stores them, and the files of a task in a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from metaflow.mflog import mflog

from memoflow.flow.host.log_files import LogFiles, decorated

LINES = [
    ("stdout", b"a]|b\n"),
    ("stderr", b"1%\r2%\n"),
    ("stdout", b"\xff no end"),
    ("stdout", b"\n"),
]

# As a step in a container: Metaflow's own tee is between it and the files.
TASK = """
import os, subprocess, sys
from memoflow.flow.host.log_files import LogFiles
print("before")
files = LogFiles.of("Flow/1/step/2")
files._wait()
files = LogFiles.of("Flow/1/step/2")
for number in range(3):
    print("out", number)
    print("err", number, file=sys.stderr)
subprocess.run(["sh", "-c", "echo of a shell"])
with open(sys.argv[1], "w") as seen:
    print(list(files.lines()), file=seen)
files.append([("stdout", b"added\\n"), ("stderr", b"to both")])
"""


def test_metaflow_reads_lines_in_their_order() -> None:
    blobs: dict[str, bytes] = {}
    for stream, line in decorated(LINES):
        blobs[stream] = blobs.get(stream, b"") + line
    read = [line.msg for line in mflog.merge_logs([blobs["stdout"]])]
    assert read == [b"a]|b", b"\xff no end", b""]
    assert [line.msg for line in mflog.merge_logs(blobs.values())] == [
        *(b"a]|b", b"1%\r2%", b"\xff no end", b""),
    ]


def test_a_task_without_such_files_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LogFiles.of("Flow/1/step/2") is None
    monkeypatch.setenv("MF_PATHSPEC", "Flow/1/step/2")
    assert LogFiles.of("Flow/1/step/2") is None
    monkeypatch.setenv("MFLOG_STDOUT", "out")
    monkeypatch.setenv("MFLOG_STDERR", "err")
    assert LogFiles.of("Flow/1/step/2") is not None
    assert LogFiles.of("Flow/7/step/2") is None, "of the task around this one"


def test_all_that_was_printed_is_read_and_more_is_added(tmp_path: Path) -> None:
    out, err, seen = (tmp_path / name for name in ("out", "err", "seen"))
    tee = f"{sys.executable} -m metaflow.mflog.tee task"
    command = f'({sys.executable} -c "$TASK" {seen}) 1>> >({tee} {out}) 2>> >({tee} {err} >&2)'
    environment = {
        **os.environ,
        "MF_PATHSPEC": "Flow/1/step/2",
        "MFLOG_STDOUT": str(out),
        "MFLOG_STDERR": str(err),
        "PYTHONUNBUFFERED": "x",
        "TASK": TASK,
    }
    subprocess.run(["bash", "-c", command], env=environment, check=True, capture_output=True)
    lines = eval(seen.read_text())
    assert [line for stream, line in lines if stream == "stdout"] == [
        *(b"out 0\n", b"out 1\n", b"out 2\n", b"of a shell\n"),
    ]
    assert [line for stream, line in lines if stream == "stderr"] == [
        *(b"err 0\n", b"err 1\n", b"err 2\n"),
    ]
    read = [line.msg for line in mflog.merge_logs([out.read_bytes()])]
    assert (read[0], read[-1]) == (b"before", b"added")
    assert [line.msg for line in mflog.merge_logs([err.read_bytes()])][-1] == b"to both"
