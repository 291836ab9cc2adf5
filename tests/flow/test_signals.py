"""A signal's handler may save, in the middle of a save and of whatever else the task does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tests.flow import saver
from tests.spooling import stored
from tests.waiting import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]

PREPARED = """
    import concurrent.futures.thread, faulthandler, os, signal, sys, threading, time
    from pathlib import Path
    from tests.flow.saver import Saver, digest
    from memoflow.backends import Local

    faulthandler.dump_traceback_later(900, exit=True)
    saver = Saver(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, saver.handle)

    def interrupt(number=signal.SIGUSR1):
        os.kill(os.getpid(), number)

    def in_the_middle(act):
        # Called once, by a thread of the save, when its first pack has been written.
        write = Local.write
        def written(self, name, *arguments, **options):
            if not name.startswith("blobs/"):
                return write(self, name, *arguments, **options)
            Local.write = write
            done = write(self, name, *arguments, **options)
            act()
            return done
        Local.write = written
"""


def python(folder: Path, *arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    begin = ["-c", textwrap.dedent(PREPARED) + textwrap.dedent(code)] if code else []
    return subprocess.run(
        [sys.executable, *begin, *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    )


def script(folder: Path, code: str, *, ends_with: int = 0) -> str:
    done = python(folder, str(folder), code=code)
    assert done.returncode == ends_with, done.stdout
    return done.stdout


def save_at_signals(folder: Path, doing: str, times: int) -> None:
    done = python(folder, "-m", saver.__name__, str(folder), doing, str(times))
    assert done.returncode == 0, done.stdout
    counts = done.stdout.split()
    assert int(counts[-1]) >= times, done.stdout


@pytest.mark.parametrize("doing", saver.DOING)
def test_what_handlers_save_at_random_moments_is_whole(tmp_path: Path, doing: str) -> None:
    save_at_signals(tmp_path, doing, 7)


@pytest.mark.stress
@pytest.mark.parametrize("round", range(20))
def test_five_hundred_signals_at_random_moments_of_saves(tmp_path: Path, round: int) -> None:
    save_at_signals(tmp_path, "saves", 25)


def test_a_handler_saves_where_the_interrupted_code_holds_locks_of_pythons(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        with concurrent.futures.thread._global_shutdown_lock, threading._active_limbo_lock:
            interrupt()
        saver.compare_handled()
        """,
    )


def test_two_handlers_save_in_each_other(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        def nested(number, frame):
            in_the_middle(interrupt)
            saver.handle(number, frame)
        signal.signal(signal.SIGUSR2, nested)
        in_the_middle(lambda: interrupt(signal.SIGUSR2))
        reference, wanted = saver.checkpoint.save(saver.tree), digest(saver.tree)
        assert len(saver.handled) == 2
        saver.compare_handled()
        saver.compare(reference, wanted)
        """,
    )


def test_what_a_handler_saves_is_newer_than_the_save_that_it_interrupts(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        in_the_middle(interrupt)
        interrupted = saver.checkpoint.save(saver.tree)
        (handled, _), = saver.handled
        later = saver.checkpoint.save(saver.tree)
        assert [each["key"] for each in saver.checkpoint.list()] == [
            later["key"], handled["key"], interrupted["key"]]
        """,
    )


def test_what_a_handler_saves_before_it_exits_is_stored(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        def leave(number, frame):
            saver.handle(number, frame)
            sys.exit(7)
        signal.signal(signal.SIGUSR1, leave)
        in_the_middle(interrupt)
        saver.checkpoint.save(saver.tree)
        """,
        ends_with=7,
    )
    assert stored(tmp_path)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_save_that_a_handler_ends_has_no_ref_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        handled = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: (handled.set(), sys.exit(7)))
        in_the_middle(lambda: (interrupt(), handled.wait()))
        saver.checkpoint.save(saver.tree)
        """,
        ends_with=7,
    )
    assert stored(tmp_path) == []
    assert not list(tmp_path.rglob(".tmp-*"))


def test_an_interrupt_stops_a_load_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    script(
        tmp_path,
        """
        reference = saver.checkpoint.save(saver.tree)
        handled = threading.Event()
        def stop(number, frame):
            handled.set()
            raise KeyboardInterrupt
        signal.signal(signal.SIGUSR1, stop)
        opened = Local.open
        def interrupted(self, name):
            Local.open = opened
            interrupt()
            handled.wait()
            return opened(self, name)
        Local.open = interrupted
        out = Path(sys.argv[1], "out")
        try:
            saver.checkpoint.load(reference, out)
        except KeyboardInterrupt:
            assert not out.exists()
            assert not [path for path in out.parent.iterdir() if ".memoflow" in path.name]
            sys.exit(9)
        """,
        ends_with=9,
    )


def test_the_directory_that_a_handler_saves_is_not_removed_by_the_load_it_interrupts(
    tmp_path: Path,
) -> None:
    script(
        tmp_path,
        """
        reference = saver.checkpoint.save(saver.tree)
        Path(saver.checkpoint.directory, "mine").write_text("not saved yet")
        found = []
        signal.signal(signal.SIGUSR1, lambda *_: found.append(saver.checkpoint.save()))
        opened = Local.open
        def interrupted(self, name):
            Local.open = opened
            interrupt()
            return opened(self, name)
        Local.open = interrupted
        saver.checkpoint.load(reference)
        saver.checkpoint.load(found[0], Path(sys.argv[1], "out"))
        assert Path(sys.argv[1], "out", "mine").read_text() == "not saved yet"
        """,
    )


def test_saves_of_several_threads_each_get_a_key_of_their_own(tmp_path: Path) -> None:
    one = saver.Saver(tmp_path)
    found: list[str] = []

    def save() -> None:
        found.append(one.checkpoint.save(one.tree)["key"])

    threads = [threading.Thread(target=save) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len({key.rpartition("/")[2][:8] for key in found}) == 8
