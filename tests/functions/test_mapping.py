"""Maps: order, errors, processes, and what is left of one that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from memoflow import map as memoflow_map
from memoflow.errors import UsageError
from tests.functions.conftest import Load
from tests.waiting import PATIENCE_S, until

SQUARE = """
    import time
    @memo
    def square(x):
        note(x)
        if x == 13:
            raise ValueError("unlucky")
        return x * x
"""


def test_results_are_in_order_and_kept(load: Load) -> None:
    module = load(SQUARE)
    items = [*range(10), 3]
    assert memoflow_map(module.square, items, workers=4) == [x * x for x in items]
    assert memoflow_map(module.square, iter(items), workers=1) == [x * x for x in items]
    assert sorted(module.ran) == list(range(10))
    assert memoflow_map(module.square, []) == []


def test_an_error_is_raised_and_what_is_finished_is_kept(load: Load) -> None:
    module = load(SQUARE)
    with pytest.raises(ValueError, match="unlucky"):
        memoflow_map(module.square, range(10, 20), workers=1)
    done = [x for x in module.ran if x != 13]
    assert set(done) >= {10, 11, 12}
    module.ran.clear()
    memoflow_map(module.square, done)
    assert module.ran == []


def test_errors_are_returned_in_their_places(load: Load) -> None:
    module = load(SQUARE)
    found = memoflow_map(module.square, [1, 13, 2], on_error="return")
    assert found[::2] == [1, 4]
    assert isinstance(found[1], ValueError)


def test_any_function_is_mapped() -> None:
    assert memoflow_map(abs, [-1, 2]) == [1, 2]


@pytest.mark.parametrize(
    ("given", "message"), [((5, []), "a function"), ((abs, [], "ignore"), "on_error")]
)
def test_wrong_arguments_are_told(given: tuple[Any, ...], message: str) -> None:
    function, items, *on_error = given
    with pytest.raises(UsageError, match=message):
        memoflow_map(function, items, **({"on_error": on_error[0]} if on_error else {}))


SCRIPT = """
    import multiprocessing, os, sys, time
    import memoflow
    from memoflow import memoize

    class Model:
        scale = 3

    @memoize(store="store")
    def work(x):
        with open(f"{os.environ['MEMOFLOW_TEST_RAN']}/{x}", "a") as log:
            log.write("x")
        time.sleep(float(os.environ["MEMOFLOW_TEST_TAKES"]))
        return [x * Model.scale]

    if __name__ == "__main__":
        multiprocessing.set_start_method(os.environ.get("MEMOFLOW_TEST_START", "fork"))
        found = memoflow.map(
            work, range(int(sys.argv[1])), workers=int(sys.argv[2]),
            processes=sys.argv[3] == "processes", progress=False,
        )
        assert found == [[3 * x] for x in range(int(sys.argv[1]))]
        print("done", flush=True)
"""


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = folder.parent / "ran"  # Not among what the project's files are.
        self.ran.mkdir()
        (folder / "script.py").write_text(textwrap.dedent(SCRIPT))

    def start(self, *arguments: object, takes_s: float = 0, **more: str) -> subprocess.Popen[str]:
        env = {
            **os.environ,
            "MEMOFLOW_TEST_RAN": str(self.ran),
            "MEMOFLOW_TEST_TAKES": str(takes_s),
            **more,
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(self.folder.parent / "cache"),
        }
        return subprocess.Popen(
            [sys.executable, "script.py", *map(str, arguments)],
            cwd=self.folder,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def runs(self) -> dict[int, int]:
        return {int(path.name): path.stat().st_size for path in self.ran.iterdir()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_share_the_store_with_their_parent(project: Project, method: str) -> None:
    for how in ("processes", "threads", "processes"):
        ran = project.start(20, 2, how, MEMOFLOW_TEST_START=method)
        said, _ = ran.communicate(timeout=PATIENCE_S)
        assert (ran.returncode, said) == (0, "done\n")
    assert project.runs() == dict.fromkeys(range(20), 1)


def test_eight_processes_with_one_key_run_it_once(project: Project) -> None:
    started = [project.start(1, 1, "threads", takes_s=0.3) for _ in range(8)]
    for each in started:
        said, _ = each.communicate(timeout=PATIENCE_S)
        assert each.returncode == 0, said
    assert project.runs() == {0: 1}


def test_an_interrupt_leaves_what_is_finished(project: Project) -> None:
    ran = project.start(1000, 2, "threads", takes_s=0.02)
    until(lambda: len(project.runs()) > 20)
    ran.send_signal(signal.SIGINT)
    said, _ = ran.communicate(timeout=PATIENCE_S)
    assert "KeyboardInterrupt" in said
    begun = project.runs()
    assert 20 < len(begun) < 1000
    again = project.start(len(begun), 2, "threads")
    assert again.communicate(timeout=PATIENCE_S)[0].endswith("done\n")
    twice = [x for x, times in project.runs().items() if times > 1]
    assert len(twice) <= 2


def kill_and_go_on(project: Project, moments: int, items: int, workers: int) -> list[int]:
    """Kill a map at random moments until it ends; return how many items ran twice each time."""
    random_ = random.Random(workers)
    again = []
    for _ in range(moments):
        before = project.runs()
        ran = project.start(items, workers, "threads", takes_s=0.01)
        time.sleep(random_.uniform(0.5, 2.0))
        ran.kill()
        ran.communicate(timeout=PATIENCE_S)
        after = project.runs()
        again.append(sum(after[x] - before[x] for x in before if after[x] > before[x]))
    ran = project.start(items, workers, "threads")
    said, _ = ran.communicate(timeout=PATIENCE_S)
    assert ran.returncode == 0, said
    assert said.endswith("done\n")
    return again


def test_a_map_that_is_killed_goes_on(project: Project) -> None:
    assert max(kill_and_go_on(project, 4, 200, 4)) <= 4


@pytest.mark.stress
def test_a_map_that_is_killed_fifty_times_goes_on(project: Project) -> None:
    again = kill_and_go_on(project, 50, 1000, 4)
    print(f"\nitems that ran again after each of {len(again)} kills: at most {max(again)}")
    assert max(again) <= 4
    assert len(project.runs()) == 1000
