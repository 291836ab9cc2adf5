"""Hooks: the functions that are replaced meanwhile behave as they do without, and never harm."""

# ruff: noqa: SIM115 (how files are opened is what is tested)

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import os
import pickle
import posix
import resource
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from memoflow.tracking import AccessTracker, ReadSet, active, begin, end, tracking
from memoflow.tracking.kernel import KernelEvents
from tests.tracking.cases import NOTHING, Case, put
from tests.unprivileged import as_nobody
from tests.waiting import PATIENCE_S, until

NAMES = ("stat", "lstat", "access", "readlink", "open")


@pytest.fixture
def hooked(case: Case) -> Any:
    with tracking(case.tracker):
        case.tracker.start()
        yield case
        case.tracker.stop()


def test_what_was_replaced_is_put_back(case: Case) -> None:
    before = [getattr(os, name) for name in NAMES]
    environ, importing = vars(type(os.environ)).copy(), importlib.import_module
    case.run(lambda: None)
    assert [getattr(os, name) for name in NAMES] == before
    assert vars(type(os.environ)) == environ
    assert importlib.import_module is importing
    assert active() is None


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_those_of_the_originals(name: str, hooked: Case) -> None:
    assert inspect.signature(getattr(os, name)) == inspect.signature(getattr(posix, name))


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_pickled_by_name(name: str, hooked: Case) -> None:
    function = getattr(os, name)
    assert pickle.loads(pickle.dumps(function)) is function


def test_import_module_is_pickled_by_name(hooked: Case) -> None:
    function = importlib.import_module
    assert pickle.loads(pickle.dumps(function)) is function


def test_arguments_may_be_given_by_keyword(hooked: Case) -> None:
    put("a")
    folder = os.open(path=".", flags=os.O_RDONLY)
    try:
        assert os.stat(path="a") == os.stat("a", dir_fd=folder)
        assert os.stat("a", follow_symlinks=False) == os.lstat(path="a", dir_fd=folder)
        assert os.access(path="a", mode=os.R_OK, dir_fd=folder)
        assert os.stat(folder).st_ino == os.stat(".").st_ino
        os.close(os.open("a", os.O_RDONLY, 0o600, dir_fd=folder))
    finally:
        os.close(folder)


@pytest.mark.parametrize(
    "call", [lambda: os.stat("x\0y"), lambda: os.stat(None), lambda: os.stat()]
)
def test_errors_are_those_of_the_originals(call: Callable[[], Any], hooked: Case) -> None:
    with pytest.raises((TypeError, ValueError), match=r"stat|null byte"):
        call()


def test_an_error_names_the_path_as_it_was_given(hooked: Case) -> None:
    with pytest.raises(FileNotFoundError, match="'nowhere/x'"):
        os.stat("nowhere/x")
    with pytest.raises(KeyError, match="NOWHERE"):
        os.environ["NOWHERE"]
    with pytest.raises(TypeError, match="str expected"):
        os.environ[1]  # type: ignore[index]


@pytest.mark.parametrize(
    "group",
    ["fd", "dir_fd", "follow_symlinks", "effective_ids"],
)
def test_what_functions_support_is_told_of_them(group: str, case: Case) -> None:
    before = {each.__name__ for each in getattr(os, f"supports_{group}")}
    with tracking(case.tracker):
        held = [getattr(os, name) in getattr(os, f"supports_{group}") for name in NAMES]
    assert held == [name in before for name in NAMES]
    assert {each.__name__ for each in getattr(os, f"supports_{group}")} == before


def test_links_are_copied_as_links(hooked: Case) -> None:
    put("a")
    os.symlink("a", "link")
    shutil.copy2("link", "copy", follow_symlinks=False)
    assert os.readlink("copy") == "a"


def test_a_function_that_is_held_beyond_the_end_goes_on(case: Case) -> None:
    put("a")
    held = case.run(lambda: None) and None
    with tracking(case.tracker):
        held = os.stat
    assert held("a") == os.stat("a")


def test_another_replacement_is_left_as_it_is(case: Case) -> None:
    original = os.stat
    try:
        with tracking(case.tracker):
            mine = os.stat = lambda *a, **k: original(*a, **k)
        assert os.stat is mine
    finally:
        os.stat = original


def test_the_latest_tracker_takes_notes(case: Case, project: Path) -> None:
    put("a")
    other = Case(project)
    begin(case.tracker)
    begin(other.tracker)
    end(case.tracker)
    assert active() is other.tracker
    end(other.tracker)
    assert active() is None


class TooLongError(Exception):
    """The exception by which a signal ends a step."""


def test_an_exception_of_a_signal_is_not_swallowed(case: Case) -> None:
    for i in range(200):
        put(f"d/{i}")

    rung: list[int] = []

    def ring(number: int, frame: FrameType | None) -> None:
        rung.append(number)
        raise TooLongError

    def act() -> None:
        for _ in range(40):
            with contextlib.suppress(TooLongError):
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                while True:
                    for i in range(200):
                        os.path.exists(f"d/{i}")
        assert len(rung) == 40

    before = signal.signal(signal.SIGALRM, ring)
    gc.disable()  # Python swallows what is raised in a callback of its collector.
    try:
        case.run(act)
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)


def test_an_error_of_a_path_of_the_users_is_raised(hooked: Case) -> None:
    class Broken:
        def __fspath__(self) -> str:
            raise TooLongError

    with pytest.raises(TooLongError):
        os.stat(Broken())


def test_a_working_directory_that_is_gone_fails_nothing(case: Case) -> None:
    os.mkdir("gone")

    def act() -> None:
        os.chdir("gone")
        os.rmdir("../gone")
        with contextlib.suppress(OSError):
            open("x")
        os.path.exists("x")
        os.chdir(case.project)

    reads = case.run(act)
    assert reads.unsettled != []  # A read by a relative path could not be followed.


def test_a_fork_finds_no_thread_of_the_trackers(watched: Case) -> None:
    def act() -> int:
        names = [each.name for each in threading.enumerate()]
        assert "memoflow-events" in names
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python 3.12 warns of a fork of several threads.
            child = os.fork()
        if child == 0:
            os._exit(len(threading.enumerate()) - 1)
        assert "memoflow-events" in [each.name for each in threading.enumerate()]
        return os.waitpid(child, 0)[1]

    if threading.active_count() > 1:
        pytest.skip("other threads run here")
    watched.run(act)
    assert watched.result == 0


def test_a_fork_that_cannot_report_its_reads_settles_nothing(case: Case) -> None:
    put("a")

    def act() -> None:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # As on a full disk.
            Path("a").read_text()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    assert "a process that it forked could not report its reads" in case.run(act).unsettled


def test_a_fork_while_others_read_goes_on(case: Case) -> None:
    for i in range(100):
        put(f"d/{i}")
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            for i in range(100):
                Path(f"d/{i}").read_text()

    def act() -> list[int]:
        threads = [threading.Thread(target=read_on) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            return [in_child() for _ in range(30)]
        finally:
            done.set()
            for thread in threads:
                thread.join()

    def in_child() -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            Path("d/5").read_text()
            os.path.exists("d/6")
            os._exit(0)
        return os.waitpid(child, 0)[1]

    case.run(act)
    assert case.result == [0] * 30


def test_a_step_that_exits_ends_its_process(project: Path) -> None:
    put(
        "main.py",
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from memoflow.tracking import AccessTracker, Paths, begin\n"
        "tracker = AccessTracker(Paths('.', '.'))\n"
        "begin(tracker)\n"
        "tracker.start()\n"
        "threading.Thread(target=Path('main.py').read_text).start()\n"
        "sys.exit(3)\n",
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "main.py"], env=environment, timeout=PATIENCE_S)
    assert ended.returncode == 3


def test_as_many_trackers_as_there_may_be_queues_and_more(project: Path) -> None:
    put("a")

    def act() -> None:
        held: list[KernelEvents] = []
        with contextlib.suppress(OSError):
            while len(held) < 1000:
                held.append(KernelEvents(lambda event: None))
        try:
            case = Case(project)
            case.run(lambda: Path("a").read_text())
            assert list(case.names) == ["file a"]
            assert len(held) == 1000 or not case.tracker.sees_all
        finally:
            for each in held:
                each.close()

    open_to_all(project)
    as_nobody(act)


def test_without_privileges_the_same_is_seen(project: Path) -> None:
    put("a")
    open_to_all(project)

    def act() -> None:
        case = Case(project)
        case.run(lambda: subprocess.run("x=a; cat $x > /dev/null", shell=True))
        assert not case.tracker.sees_all or list(case.names) == ["file a"]
        assert case.differs() == NOTHING

    as_nobody(act)


def open_to_all(project: Path) -> None:
    project.chmod(0o777)
    for folder in project.parents:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)


def test_memory_of_reads_does_not_hold_content(case: Case) -> None:
    with open("a", "wb") as file:
        file.truncate(300_000_000)
    import tracemalloc

    case.run(lambda: open("a").close())
    tracemalloc.start()
    ReadSet(case.tracker, case.world, case.digests)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5_000_000


def test_thousands_of_files_are_followed(case: Case) -> None:
    for i in range(3000):
        put(f"d/{i}", "")
    case.run(lambda: [open(f"d/{i}").close() for i in range(3000)])
    assert len(case.reads.parts) == 3000
    assert case.reads.unsettled == []


def test_an_interrupt_between_two_lines_of_the_tracker_is_told(case: Case) -> None:
    def act() -> None:
        case.tracker.quiet.depth += 1  # Where an exception came before it was taken back.

    reads = case.run(act)
    assert reads.unsettled == ["the code was interrupted where it was followed"]


def test_a_tracker_that_never_started_stops(project: Path) -> None:
    tracker = AccessTracker(Case(project).paths)
    tracker.stop()
    assert tracker.reads == {}


def test_no_thread_is_left(case: Case) -> None:
    case.run(lambda: None)
    until(lambda: not any(each.name == "memoflow-events" for each in threading.enumerate()))
