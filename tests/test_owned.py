"""Owned: what dead processes left goes, what a living one has stays, whoever asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memoflow import owned
from tests.waiting import PATIENCE_S

_MAKE = """
import os, signal, sys, time
from memoflow import owned
made = owned.Directory("memo_", sys.argv[1])
open(made.name + "/file", "w").write("x")
if sys.argv[2] == "fork" and os.fork() == 0:
    os.close(1)
    time.sleep(60)
    os._exit(0)
print(made.name, flush=True)
if sys.argv[2] == "live":
    sys.stdin.read()
elif sys.argv[2] != "end":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _made(folder: Path, how: str) -> tuple[Path, subprocess.Popen[str]]:
    command = [sys.executable, "-c", _MAKE, str(folder), how]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert process.stdout is not None
    return Path(process.stdout.readline().strip()), process


def test_a_directory_of_a_killed_process_goes(tmp_path: Path) -> None:
    _, process = _made(tmp_path, "kill")
    process.wait(timeout=PATIENCE_S)
    assert owned.reap(tmp_path, "memo_", most=9) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_a_living_process_stays(tmp_path: Path) -> None:
    made, process = _made(tmp_path, "live")
    assert owned.reap(tmp_path, "memo_", most=9) == 0
    assert (made / "file").exists()
    process.communicate(timeout=PATIENCE_S)
    assert not made.exists()


def test_a_directory_stays_while_a_forked_child_lives(tmp_path: Path) -> None:
    made, process = _made(tmp_path, "fork")
    process.wait(timeout=PATIENCE_S)
    assert owned.reap(tmp_path, "memo_", most=9) == 0
    assert (made / "file").exists()
    os.killpg(process.pid, signal.SIGKILL)
    assert any(owned.reap(tmp_path, "memo_", most=9) for _ in range(10_000))


def test_a_process_that_ends_leaves_nothing(tmp_path: Path) -> None:
    _, process = _made(tmp_path, "end")
    process.wait(timeout=PATIENCE_S)
    assert list(tmp_path.iterdir()) == []


def test_no_more_go_than_were_asked_for(tmp_path: Path) -> None:
    for _ in range(3):
        _made(tmp_path, "kill")[1].wait(timeout=PATIENCE_S)
    assert owned.reap(tmp_path, "memo_", most=2) == 2
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "another machine"])
def test_what_another_machine_may_have_stays(tmp_path: Path, content: str) -> None:
    (tmp_path / "memo_1").mkdir()
    (tmp_path / "memo_1.lock").write_text(content)
    assert owned.reap(tmp_path, "memo_", most=9) == 0
    assert (tmp_path / "memo_1").is_dir()


def test_a_link_in_the_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    made, process = _made(tmp_path, "kill")
    process.wait(timeout=PATIENCE_S)
    (made / "file").unlink()
    made.rmdir()
    dear = tmp_path / "dear"
    dear.mkdir()
    made.symlink_to(dear)
    assert owned.reap(tmp_path, "memo_", most=9) == 0
    assert dear.is_dir()


def test_a_directory_that_is_gone_leaves_no_lock(tmp_path: Path) -> None:
    made, process = _made(tmp_path, "kill")
    process.wait(timeout=PATIENCE_S)
    (made / "file").unlink()
    made.rmdir()
    assert owned.reap(tmp_path, "memo_", most=9) == 1
    assert list(tmp_path.iterdir()) == []
