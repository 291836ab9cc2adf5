"""Of tasks that compute the same at the same time, one runs; the others wait, and hit."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stories.test_trouble import AS_OWNER

FLOW = """
    import os, time
    from metaflow import FlowSpec, current, memoize, step

    def until(holds):
        for _ in range(1200):
            if holds():
                return
            time.sleep(0.1)
        raise RuntimeError("nobody let the step go on")

    def began():
        return os.path.getsize("began")

    class F(FlowSpec):
        @step
        def start(self):
            self.x = 20
            self.next(self.slow)

        @memoize
        @step
        def slow(self):
            with open("began", "a") as log:
                log.write(".")
            until(lambda: os.path.exists("go"))
            self.value = [self.x] * 50
            self.next(self.end)

        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        F()
"""


class Running:
    """A run under way."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def text(self) -> str:
        return self._log.read_text()

    @property
    def waits(self) -> bool:
        return "[memoize] waiting for " in self.text

    def end(self, *, ok: bool = True) -> str:
        self.process.wait(300)
        assert (self.process.returncode == 0) == ok, self.text
        return self.text


@pytest.fixture
def flow(project: Any) -> Any:
    project.write("flow.py", FLOW)
    return project


@pytest.fixture
def start(flow: Any) -> Iterator[Callable[..., Running]]:
    """Start runs; each is on a machine of its own, as far as memoflow can tell."""
    started: list[Running] = []

    def start(*arguments: str, **env: str) -> Running:
        log = flow.folder / f"run-{len(started)}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "flow.py", "--no-pylint", "run", *arguments],
                cwd=flow.folder,
                env=flow.env
                | {"METAFLOW_MEMOFLOW_CACHE_DIR": str(flow.folder / f".cache-{len(started)}")}
                | env,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        started.append(Running(process, log))
        return started[-1]

    yield start
    flow.folder.joinpath("go").touch()
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(60)


def until(holds: Callable[[], object]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def began(flow: Any) -> int:
    path = flow.folder / "began"
    return path.stat().st_size if path.exists() else 0


def go(flow: Any) -> None:
    flow.folder.joinpath("go").touch()


def test_the_second_run_says_for_whom_it_waits_and_hits(flow, start):
    first = start()
    until(lambda: began(flow))
    second = start()
    until(lambda: second.waits)
    go(flow)
    assert "sum 1000" in first.end()
    text = second.end()
    assert began(flow) == 1
    assert "sum 1000" in text
    run = first.text.partition("run-id ")[2].partition(")")[0]
    assert f"[memoize] waiting for F/{run}/slow/" in text
    assert text.count("waiting for") == 1
    assert f"[memoize] hit: F/{run}/slow/" in text
    assert "[memoize] 1 hit, 0 misses" in text


@pytest.mark.stress
def test_8_runs_at_once_run_it_once(flow, start):
    runs = [start() for _ in range(8)]
    until(lambda: sum(running.waits for running in runs) == 7)
    go(flow)
    texts = [running.end() for running in runs]
    assert began(flow) == 1
    assert sum("[memoize] hit: " in text for text in texts) == 7
    assert all("sum 1000" in text for text in texts)


@pytest.mark.stress
def test_no_lease_is_left_when_all_is_done(flow, start):
    go(flow)
    start().end()
    assert not flow.store.joinpath("leases").exists()


@pytest.mark.stress
def test_two_runs_that_start_elsewhere_but_read_the_same(flow, start):
    go(flow)
    start(SEED="0").end()  # From now on it is known what the step reads.
    flow.folder.joinpath("go").unlink()
    flow.edit("flow.py", "self.x = 20", "self.x = 30; self.y = os.environ['SEED']")
    first = start(SEED="1")
    until(lambda: began(flow) == 2)
    second = start(SEED="2")
    until(lambda: second.waits)
    go(flow)
    assert "sum 1500" in first.end()
    assert "sum 1500" in second.end()
    assert began(flow) == 2


@pytest.mark.stress
def test_other_inputs_are_not_waited_for(flow, start):
    flow.edit("flow.py", "self.x = 20", "self.x = int(os.environ['X'])")
    runs = [start(X="1"), start(X="2")]
    until(lambda: began(flow) == 2)
    go(flow)
    assert not any("waiting for" in running.end() for running in runs)


@pytest.mark.stress
def test_single_flight_off_runs_both(flow, start):
    flow.edit("flow.py", "@memoize", "@memoize(single_flight=False)")
    runs = [start(), start()]
    until(lambda: began(flow) == 2)
    go(flow)
    assert not any("waiting for" in running.end() for running in runs)


@pytest.mark.stress
def test_single_flight_off_on_the_command_line(flow, start):
    flow.edit("flow.py", "@memoize", "")
    runs = [start("--with", "memoize:single_flight=no") for _ in range(2)]
    until(lambda: began(flow) == 2)
    go(flow)
    assert not any("waiting for" in running.end() for running in runs)


def test_single_flight_is_on_or_off(flow):
    flow.edit("flow.py", "@memoize", "@memoize(single_flight='perhaps')")
    ran = flow.run(ok=False)
    assert "@memoize(single_flight=...) is True or False, not 'perhaps'" in ran.text


@pytest.mark.stress
def test_a_refresh_waits_for_nobody(flow, start):
    first = start()
    until(lambda: began(flow))
    second = start("--memo-refresh", "slow")
    until(lambda: began(flow) == 2)
    go(flow)
    first.end()
    second.end()


@pytest.mark.stress
def test_the_next_one_runs_when_the_first_has_failed(flow, start):
    fail = 'if os.environ.get("FAIL"): raise ValueError("no")'
    flow.edit("flow.py", "self.value = ", f"{fail}\n        self.value = ")
    first = start(FAIL="1")
    until(lambda: began(flow))
    second = start()
    until(lambda: second.waits)
    go(flow)
    first.end(ok=False)
    assert "sum 1000" in second.end()
    assert began(flow) == 2


@pytest.mark.stress
def test_outputs_that_cannot_be_pickled_keep_nobody_waiting(flow, start):
    flow.edit("flow.py", "self.value = ", "self.bad = (n for n in ())\n        self.value = ")
    go(flow)
    start().end(ok=False)
    assert began(flow) == 1
    assert not flow.store.joinpath("leases").exists()


@pytest.mark.stress
def test_a_retry_after_a_kill_does_not_wait_for_itself(flow, start):
    flow.edit("flow.py", "@memoize", "@retry(times=1, minutes_between_retries=0)\n    @memoize")
    flow.edit("flow.py", "memoize, step", "memoize, retry, step")
    flow.edit(
        "flow.py",
        "self.value = ",
        "if current.retry_count == 0:\n            os.kill(os.getpid(), 9)\n        self.value = ",
    )
    flow.edit("flow.py", "@memoize", "@memoize(ignore=['current.retry_count'])")
    go(flow)
    text = start().end()
    assert "sum 1000" in text
    assert "waiting for" not in text


@pytest.mark.stress
def test_a_step_that_is_never_recorded_keeps_others_waiting_but_once(flow, start):
    flow.edit("flow.py", "self.value = ", "self.run = current.run_id\n        self.value = ")
    flow.edit("flow.py", 'os.path.exists("go"))', 'began() > 1 or os.path.exists("go"))')
    flow.edit("flow.py", "self.value = ", "until(lambda: began() != 2)\n        self.value = ")
    first = start()
    until(lambda: began(flow))
    others = [start(), start()]
    until(lambda: all(running.waits for running in others))
    go(flow)
    # Each of the others ends only once both have begun.
    assert "not recorded: " in first.end()
    assert all("sum 1000" in running.end() for running in others)
    assert began(flow) == 3


@pytest.mark.stress
def test_a_flow_that_a_step_runs_does_not_wait_for_that_step(flow, start):
    flow.edit(
        "flow.py",
        "self.value = ",
        """if not os.environ.get("INNER"):
            import subprocess, sys
            env = os.environ | {"INNER": "1"}
            inner = [sys.executable, "flow.py", "--no-pylint", "run"]
            subprocess.run(inner, env=env, check=True)
        self.value = """,
    )
    go(flow)
    assert "sum 1000" in start().end()
    assert began(flow) == 2


@pytest.mark.stress
def test_the_wait_does_not_count_for_timeout(flow, start):
    first = start()
    until(lambda: began(flow))
    second = start("--with", "timeout:seconds=8")
    until(lambda: second.waits)
    time.sleep(9)
    go(flow)
    first.end()
    assert "[memoize] hit: " in second.end()


@pytest.mark.stress
def test_a_store_that_cannot_be_written_goes_without_a_lease(flow, start):
    go(flow)
    start().end()
    flow.edit("flow.py", "self.x = 20", "self.x = 30")
    folders = [flow.store, *(path for path in flow.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        done = subprocess.run(
            [*AS_OWNER, sys.executable, "flow.py", "--no-pylint", "run"],
            cwd=flow.folder,
            env=flow.env,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sum 1500" in done.stdout
    assert done.stdout.count("[memoize] going on without a lease: ") == 1
