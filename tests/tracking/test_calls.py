"""Trackers of single calls: several at a time, in threads, tasks, calls of calls and forks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memoflow.tracking import AccessTracker, follow_executors, trackers, tracking, tracking_call
from tests.tracking.cases import Case, no_events, put


@contextlib.contextmanager
def call(project: Path) -> Iterator[Case]:
    case = Case(project, sees_kernel=False)
    with tracking_call(case.tracker):
        case.tracker.start()
        yield case
        case.tracker.stop()


def read(case: Case) -> list[str]:
    return sorted(os.path.basename(path) for path in case.tracker.reads)


@pytest.fixture(autouse=True)
def _files(project: Path) -> Iterator[None]:
    for name in "abc":
        put(name)
    follow_executors()
    before = os.stat, os.environ.__class__.__getitem__
    yield
    assert (os.stat, os.environ.__class__.__getitem__) == before


def test_a_call_within_a_call_is_read_by_both(project: Path) -> None:
    with call(project) as outer:
        Path("a").read_text()
        with call(project) as inner:
            Path("b").read_text()
        Path("c").read_text()
    assert (read(outer), read(inner)) == (["a", "b", "c"], ["b"])


def test_calls_in_threads_at_once_read_apart(project: Path) -> None:
    together = threading.Barrier(2)

    def work(name: str) -> list[str]:
        with call(project) as case:
            together.wait(10)
            Path(name).read_text()
            os.environ.get(f"MINE_{name}")
            together.wait(10)
        return read(case) + list(case.tracker.variables)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, "ab")) == [["a", "MINE_a"], ["b", "MINE_b"]]


def test_calls_in_tasks_at_once_read_apart(project: Path) -> None:
    async def work(name: str) -> list[str]:
        with call(project) as case:
            await asyncio.sleep(0.01)
            Path(name).read_text()
            await asyncio.to_thread(Path("c").read_text)
        return read(case)

    async def both() -> list[list[str]]:
        return await asyncio.gather(work("a"), work("b"))

    assert asyncio.run(both()) == [["a", "c"], ["b", "c"]]


def test_a_thread_of_unknown_origin_reads_for_every_call_that_runs(project: Path) -> None:
    with ThreadPoolExecutor(1) as earlier:
        earlier.submit(int).result(10)
        go, done, work = threading.Event(), threading.Event(), []
        pool = threading.Thread(target=lambda: (go.wait(10), work[0](), done.set()))
        pool.start()
        with call(project) as case:
            earlier.submit(Path("a").read_text).result(10)
            work.append(Path("b").read_text)
            go.set()
            assert done.wait(10)
        pool.join(10)
        earlier.submit(Path("c").read_text).result(10)
    assert read(case) == ["a", "b"]


def test_a_call_in_such_a_thread_reads_for_those_that_may_have_started_it(project: Path) -> None:
    found: list[str] = []

    def work() -> None:
        with call(project) as inner:
            Path("a").read_text()
        Path("b").read_text()
        found.extend(read(inner))

    with call(project) as outer:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
    assert found == ["a"]
    assert read(outer) == ["a", "b"]


def test_a_tracker_of_the_process_hears_of_all_calls(case: Case, project: Path) -> None:
    with tracking(case.tracker):
        case.tracker.start()
        with call(project) as inner:
            Path("a").read_text()
        case.tracker.stop()
    with call(project) as later:
        Path("b").read_text()
    assert (read(case), read(inner), read(later)) == (["a"], ["a"], ["b"])
    assert trackers() == ()


def test_a_forked_child_reports_to_the_calls_around_it(project: Path) -> None:
    with call(project) as outer, call(project) as inner:
        child = os.fork()
        if child == 0:
            Path("a").read_text()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert (read(outer), read(inner)) == (["a"], ["a"])


def test_a_call_that_raises_ends_its_tracking(project: Path) -> None:
    tracker = AccessTracker(Case(project).paths, events=no_events)
    with pytest.raises(ValueError, match="no"), tracking_call(tracker):
        raise ValueError("no")
    assert trackers() == ()
