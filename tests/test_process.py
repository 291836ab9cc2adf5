"""Processes are known by more than a number, and ended ones for certain."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

import pytest

from memoflow.process import has_ended, this_process
from tests.unprivileged import as_nobody

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


@pytest.mark.parametrize("shown", ["noaccess", "invisible"])
def test_a_live_process_of_another_user_that_is_hidden_has_not_ended(shown: str) -> None:
    mine = this_process()
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            _mount_proc(f"hidepid={shown}")
            as_nobody(lambda: os.write(writing, b"%d" % has_ended(mine)) and None)
            code = 0
        finally:
            os._exit(code)
    code = os.waitpid(pid, 0)[1]
    os.close(writing)
    answer = os.read(reading, 10)
    os.close(reading)
    if code and not answer:
        pytest.skip("nothing can be mounted here")
    assert answer == b"0"


def test_with_the_proc_of_another_namespace_nothing_is_told() -> None:
    unshare = ["unshare", "--pid", "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("there can be no namespace here")
    found = subprocess.run(
        [*unshare, sys.executable, "-c", TELL],
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == ""


def _mount_proc(options: str) -> None:
    """Mount /proc anew, for this process and its children only."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, private_and_below = 0x20000, 0x40000 | 0x4000
    mount = libc.mount
    mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    done = [
        libc.unshare(new_mounts),
        mount(b"none", b"/", None, private_and_below, None),
        mount(b"proc", b"/proc", b"proc", 0, options.encode()),
    ]
    if any(done):
        raise OSError(ctypes.get_errno(), "not mounted")
