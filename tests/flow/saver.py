"""Saver: a process whose signal handler saves, in the middle of whatever it is doing.

    python saver.py FOLDER DOING TIMES

Prints how many saves of handlers and others were compared with what they saved. What hangs is
ended, with a traceback, after a minute and a half.
"""

from __future__ import annotations

import concurrent.futures.thread
import faulthandler
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memoflow.flow.cards.journal import Journal
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.model.current_model import CurrentModel
from memoflow.flow.references import get_ready
from memoflow.flow.task.scratch import Scratch
from tests.spooling import PATHSPEC, task

MIB = 1 << 20


class Saver:
    """A task with a tree of 30 MiB, and a handler that saves a small one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpointer = task(folder, is_local=True).checkpointer
        where: Any = self.checkpointer.where
        get_ready(where)
        say: Callable[[str], None] = print
        self.checkpoint = CurrentCheckpoint(
            self.checkpointer,
            scratch=Scratch("checkpoint", str(folder), 0, str(folder)),
            code=None,
            say=say,
            noticed=lambda: None,
        )
        self.model = CurrentModel(
            where,
            task=PATHSPEC,
            attempt=0,
            scratch=Scratch("models", str(folder), 0, str(folder)),
            say=lambda line, level=0: None,
            journal=Journal(),
        )
        self.tree = folder / "tree"
        self.tree.mkdir()
        for number in range(30):
            (self.tree / f"{number}.bin").write_bytes(os.urandom(MIB))
        self.handled: list[tuple[dict[str, Any], str]] = []
        self.compared = 0

    def change(self) -> None:
        for number in random.sample(range(30), 6):
            (self.tree / f"{number}.bin").write_bytes(os.urandom(MIB))

    def handle(self, number: int, frame: object) -> None:
        last = Path(tempfile.mkdtemp(dir=self.folder))  # One for each: handlers interrupt handlers.
        (last / "state").write_bytes(os.urandom(20 * MIB))
        self.handled.append((self.checkpoint.save(last), digest(last)))
        shutil.rmtree(last)

    def compare(self, reference: dict[str, Any], wanted: str) -> None:
        out = self.folder / "out"
        self.checkpoint.load(reference, out)
        assert digest(out) == wanted, f"{reference['key']} is not what was saved"
        shutil.rmtree(out)
        self.compared += 1

    def compare_handled(self) -> None:
        handled, self.handled = self.handled, []
        for reference, wanted in handled:
            self.compare(reference, wanted)


def digest(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def saves(saver: Saver) -> None:
    wanted = digest(saver.tree)
    saver.compare(saver.checkpoint.save(saver.tree), wanted)


def saves_a_model(saver: Saver) -> None:
    wanted = digest(saver.tree)
    saver.compare(saver.model.save(saver.tree), wanted)


def lists(saver: Saver) -> None:
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        saver.checkpoint.list()


def starts_threads(saver: Saver) -> None:
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(len, ["a", "b"]))


DOING = {each.__name__: each for each in (saves, saves_a_model, lists, starts_threads)}


def main(folder: Path, doing: Callable[[Saver], None], times: int) -> None:
    saver = Saver(folder)
    for number in (signal.SIGALRM, signal.SIGUSR1):
        signal.signal(number, saver.handle)
    took_s = 0.3
    for _ in range(times):
        faulthandler.dump_traceback_later(900, exit=True)
        saver.change()
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, took_s))
        if random.random() < 0.2:  # Another one, perhaps while the first is handled.
            threading.Timer(
                random.uniform(0, took_s), os.kill, (os.getpid(), signal.SIGUSR1)
            ).start()
        doing(saver)
        took_s = min(2.0, time.monotonic() - began)
        for _ in range(500):
            is_due = signal.getitimer(signal.ITIMER_REAL)[0] > 0
            if saver.handled and not is_due and threading.active_count() == 1:
                break
            time.sleep(0.01)
        saver.compare_handled()
    print(f"compared {saver.compared}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), DOING[sys.argv[2]], int(sys.argv[3]))
