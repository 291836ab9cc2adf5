"""Of tasks that compute the same at the same time, one runs; the others wait, and hit."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Project
from tests.stories.world import once
from tests.waiting import PATIENCE_S, until

FLOW = """
    import os, time
    from metaflow import FlowSpec, current, memoize, step

    def until(holds):
        for _ in range(9000):
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

        @memoize(ignore=["go"])
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

    def of(self, step: str) -> str:
        """What was said of the tasks of a step."""
        return "\n".join(line for line in self.text.splitlines() if re.search(f"/{step}/", line))

    def end(self, *, ok: bool = True) -> str:
        self.process.wait(PATIENCE_S)
        assert (self.process.returncode == 0) == ok, self.text
        return self.text


@pytest.fixture
def flow(project: Any) -> Any:
    project.write("flow.py", FLOW)
    return project


@contextmanager
def side_by_side(project: Project) -> Iterator[Callable[..., Running]]:
    """Start runs; each is on a machine of its own, as far as memoflow can tell."""
    started: list[Running] = []

    def start(*arguments: str, **env: str) -> Running:
        log = project.folder / f"run-{len(started)}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "flow.py", "--no-pylint", "run", *arguments],
                cwd=project.folder,
                env=project.env
                | {"METAFLOW_MEMOFLOW_CACHE_DIR": str(project.folder / f".cache-{len(started)}")}
                | env,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        started.append(Running(process, log))
        return started[-1]

    try:
        yield start
    finally:
        project.folder.joinpath("go").touch()
        for running in started:
            if running.process.poll() is None:
                running.process.terminate()
                running.process.wait(PATIENCE_S)


@pytest.fixture
def start(flow: Any) -> Iterator[Callable[..., Running]]:
    with side_by_side(flow) as start:
        yield start


def began(flow: Any, step: str = "began") -> int:
    path = flow.folder / step
    return path.stat().st_size if path.exists() else 0


def go(flow: Any) -> None:
    flow.folder.joinpath("go").touch()


@once
def pair(project: Project) -> dict[str, Any]:
    """Two runs of a flow that never ran, the second while the first is in its step."""
    project.write("flow.py", FLOW)
    with side_by_side(project) as start:
        first = start()
        until(lambda: began(project))
        second = start()
        until(lambda: second.waits)
        go(project)
        texts = first.end(), second.end()
    leases = project.store.joinpath("leases").exists()
    return {"texts": texts, "began": began(project), "leases": leases}


def test_the_second_run_says_for_whom_it_waits_and_hits(pair):
    first, second = pair["texts"]
    assert "sum 1000" in first
    assert pair["began"] == 1
    assert "sum 1000" in second
    run = first.partition("run-id ")[2].partition(")")[0]
    assert f"[memoize] waiting for F/{run}/slow/" in second
    assert second.count("waiting for") == 1
    assert f"[memoize] hit: F/{run}/slow/" in second
    assert "[memoize] 1 hit, 0 misses" in second


def test_no_lease_is_left_when_all_is_done(pair):
    assert not pair["leases"]


# Most of its steps end only once both runs are in them, or for a run that is alone.
BOTH = """
    import os, time
    from metaflow import FlowSpec, current, memoize, retry, step

    def there(name):  # By its time, which is no input: it comes while the step runs.
        try:
            return os.path.getmtime(name) > 0
        except OSError:
            return False

    def until(holds):
        for _ in range(9000):
            if holds():
                return
            time.sleep(0.1)
        raise RuntimeError("nobody let the step go on")

    def began(step):
        return os.path.getsize(step) if os.path.exists(step) else 0

    def begin(step):
        with open(step, "a") as log:
            log.write(".")

    def meet(step, x):
        begin(f"{step}-{x}")
        until(lambda: began(f"{step}-{x}") == 2 or os.environ["WHO"] == "nobody")

    class F(FlowSpec):
        @memoize(mode="off")
        @step
        def start(self):
            self.x = int(os.environ["X"])
            self.who = os.environ["WHO"]
            self.next(self.killed)

        @retry(times=1, minutes_between_retries=0)
        @memoize(ignore=["current.retry_count", "*-*", "go"])
        @step
        def killed(self):
            if current.retry_count == 0:
                os.kill(os.getpid(), 9)
            self.next(self.slow)

        @memoize(ignore=["*-*", "go"])
        @step
        def slow(self):
            begin(f"slow-{self.x}")
            until(lambda: os.path.exists("go"))
            self.value = [self.x] * 50
            self.next(self.alone)

        @memoize(single_flight=False, ignore=["*-*", "go"])
        @step
        def alone(self):
            meet("alone", self.x)
            self.next(self.flagged)

        @step
        def flagged(self):
            meet("flagged", self.x)
            self.next(self.other)

        @memoize(ignore=["*-*", "go"])
        @step
        def other(self):
            self.reads = self.who
            meet("other", self.x)
            self.next(self.refreshed)

        @memoize(ignore=["*-*", "go"])
        @step
        def refreshed(self):
            meet("refreshed", self.x)
            if os.environ["WHO"] == "second":
                until(lambda: began("fails-30"))
            self.next(self.fails)

        @memoize(ignore=["*-*", "go"])
        @step
        def fails(self):
            begin(f"fails-{self.x}")
            if os.environ["WHO"] == "first":
                until(lambda: os.path.exists("go on"))
                raise ValueError("no")
            self.next(self.unpickled)

        @memoize(ignore=["*-*", "go"])
        @step
        def unpickled(self):
            begin("unpickled")
            if os.environ["WHO"] == "nobody":
                self.bad = (n for n in ())
            self.next(self.end)

        @memoize(mode="off")
        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        F()
"""


@once
def both(project: Project) -> dict[str, Any]:
    """A run of its own, which fails half way, and two that are in each step together."""
    project.write("flow.py", BOTH)
    with side_by_side(project) as start:
        go(project)
        nobody = start(X="20", WHO="nobody").end(ok=False)
        leases = project.store.joinpath("leases").exists()
        project.folder.joinpath("go").unlink()

        flags = ("--with", "memoize:single_flight=no")
        first = start(*flags, X="30", WHO="first")
        until(lambda: began(project, "slow-30"))
        second = start(*flags, "--memo-refresh", "refreshed", X="30", WHO="second")
        until(lambda: second.waits)
        go(project)
        until(lambda: "waiting for" in second.of("fails"))
        project.folder.joinpath("go on").touch()
        first.end(ok=False)
        second.end()
    return {
        "nobody": nobody,
        "leases": leases,
        "first": {name: first.of(name) for name in STEPS},
        "second": {name: second.of(name) for name in STEPS},
        "began": {name: began(project, f"{name}-30") for name in STEPS},
        "unpickled": began(project, "unpickled"),
    }


STEPS = ["slow", "alone", "flagged", "other", "refreshed", "fails", "end"]


@pytest.mark.stress
def test_a_retry_after_a_kill_does_not_wait_for_itself(both):
    assert "/slow/" in both["nobody"]
    assert "waiting for" not in both["nobody"]


@pytest.mark.stress
def test_outputs_that_cannot_be_pickled_keep_nobody_waiting(both):
    assert both["unpickled"] == 2  # The second that began it was not kept waiting.
    assert not both["leases"]


@pytest.mark.stress
def test_two_runs_that_start_elsewhere_but_read_the_same(both):
    assert "[memoize] waiting for F/" in both["second"]["slow"]
    assert "[memoize] hit: F/" in both["second"]["slow"]
    assert both["began"]["slow"] == 1
    assert "sum 1500" in both["second"]["end"]


def ran_side_by_side(both, step):
    waited = "waiting for" in both["first"][step] + both["second"][step]
    return both["began"][step] == 2 and not waited


@pytest.mark.stress
def test_other_inputs_are_not_waited_for(both):
    assert ran_side_by_side(both, "other")


@pytest.mark.stress
def test_single_flight_off_runs_both(both):
    assert ran_side_by_side(both, "alone")


@pytest.mark.stress
def test_single_flight_off_on_the_command_line(both):
    assert ran_side_by_side(both, "flagged")


@pytest.mark.stress
def test_a_refresh_waits_for_nobody(both):
    assert ran_side_by_side(both, "refreshed")


@pytest.mark.stress
def test_the_next_one_runs_when_the_first_has_failed(both):
    assert "ValueError: no" in both["first"]["fails"]
    assert "[memoize] waiting for F/" in both["second"]["fails"]
    assert both["began"]["fails"] == 2
    assert "sum 1500" in both["second"]["end"]


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
    assert "not cached: " in first.end()
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
