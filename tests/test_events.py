"""Events: whole lines of JSON from many processes; a file out of reach costs one warning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memoflow import events
from tests.waiting import PATIENCE_S

SETTING = "METAFLOW_MEMOFLOW_EVENTS"


def ran(code: str, file: str, folder: Path) -> str:
    """Return what a process of its own in a folder writes to its error stream."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {SETTING: file, "HOME": str(folder), "METAFLOW_USER": "ann"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stderr


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


ONE = "from memoflow import events; events.emit('hit', saved_s=1.5, reason=None, size_bytes=3)"


@pytest.mark.parametrize("name", ["events.jsonl", "~/events.jsonl", "./events.jsonl"])
def test_an_event_is_a_line_with_time_and_place(tmp_path: Path, name: str):
    assert ran(ONE, name, tmp_path) == ""
    (event,) = lines(tmp_path / "events.jsonl")
    assert event["time"].endswith("Z")
    assert (event["event"], event["saved_s"], event["size_bytes"]) == ("hit", 1.5, 3)
    assert (event["user"], "reason" in event) == ("ann", False)
    assert {"host", "pid"} < event.keys()


def test_a_relative_name_is_one_file_after_a_change_of_directory(tmp_path: Path):
    (tmp_path / "else").mkdir()
    ran(f"import os; {ONE}; os.chdir('else'); events.emit('miss')", "events.jsonl", tmp_path)
    assert [each["event"] for each in lines(tmp_path / "events.jsonl")] == ["hit", "miss"]


MANY = """
import os, threading
from memoflow import events

def emit(number):
    for each in range(100):
        events.emit("hit", number=number, line="x" * (37 * each % 5000))

for number in range(8):
    if not os.fork():
        threads = [threading.Thread(target=emit, args=(number,)) for _ in range(2)]
        for each in threads: each.start()
        for each in threads: each.join()
        os._exit(0)
for number in range(8): os.wait()
"""


def test_lines_of_many_processes_and_threads_are_whole(tmp_path: Path):
    assert ran(MANY, "events.jsonl", tmp_path) == ""
    numbers = [each["number"] for each in lines(tmp_path / "events.jsonl")]
    assert [numbers.count(number) for number in range(8)] == [200] * 8
    longest = max(map(len, (tmp_path / "events.jsonl").read_bytes().splitlines(keepends=True)))
    assert longest <= events.MOST_BYTES


@pytest.mark.parametrize("kind", ["folder", "no folder", "file for a folder", "pipe"])
def test_a_file_that_cannot_be_written_is_one_warning(tmp_path: Path, kind: str):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    names = {"no folder": "none/events.jsonl", "file for a folder": "file/events.jsonl"}
    name = names.get(kind, kind)
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    code = f"import sys; sys.argv.append({ONE!r}); {ONE}; {ONE}; {child}"
    (warning,) = ran(code, name, tmp_path).splitlines()
    assert warning.startswith(f"{SETTING}: events are not written to {tmp_path / name}: ")


def test_passwords_are_masked(tmp_path: Path):
    code = "from memoflow import events; events.emit('error', line='s3://me:hunter2@host/x')"
    ran(code, "events.jsonl", tmp_path)
    assert "hunter2" not in (tmp_path / "events.jsonl").read_text()


FUNCTIONS = """
import sys
from memoflow import memoize, open_store

@memoize(store="store")
def double(x):
    return 2 * x

double(int(sys.argv[1] if len(sys.argv) > 1 else 1)); double(1)
"""


def test_functions_note_hits_misses_and_saves(tmp_path: Path):
    (tmp_path / "train.py").write_text(FUNCTIONS)
    code = "import runpy; runpy.run_path('train.py', run_name='__main__')"
    ran(code, "events.jsonl", tmp_path)
    ran(code, "events.jsonl", tmp_path)
    found = [each for each in lines(tmp_path / "events.jsonl") if each["event"] in ("hit", "miss")]
    assert [each["event"] for each in found] == ["miss", "hit", "hit", "hit"]
    assert all(each["function"].endswith("double") and each["key"] for each in found)
    assert any(each["event"] == "save" for each in lines(tmp_path / "events.jsonl"))
