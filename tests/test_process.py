"""Processes are known by more than a number, and ended ones for certain."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from memoflow.process import has_ended, this_process

pytestmark = pytest.mark.skipif(not this_process(), reason="the kernel tells nothing of processes")
TELL = "from memoflow.process import this_process; print(this_process(), flush=True); input()"


@pytest.fixture
def child():
    child = subprocess.Popen(
        [sys.executable, "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield child
    child.communicate("\n", timeout=60)


def test_a_child_has_ended_once_it_is_killed_and_not_before(child) -> None:
    identity = child.stdout.readline().strip()
    assert identity
    assert identity != this_process()
    assert not has_ended(identity)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # Its number is still taken.
    assert has_ended(identity)
    child.wait()
    assert has_ended(identity)


def test_this_process_has_not_ended() -> None:
    assert not has_ended(this_process())


def test_another_process_of_the_same_number_is_not_the_same() -> None:
    process, _, began = this_process().rpartition("@")
    assert has_ended(f"{process}@{int(began) - 1}")


@pytest.mark.parametrize("identity", ["", "x", "@", "a boot pid:[1] 1@2", "a boot pid:[1] 0@"])
def test_of_a_process_elsewhere_nothing_is_known(identity: str) -> None:
    assert not has_ended(identity)


def test_a_forked_child_has_an_identity_of_its_own() -> None:
    reading, writing = os.pipe()
    mine = this_process()
    if (pid := os.fork()) == 0:
        os.write(writing, this_process().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 1000).decode() not in ("", mine)
    os.close(reading)
    os.close(writing)
