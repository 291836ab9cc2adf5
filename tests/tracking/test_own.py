"""What code has written is its own; what it reads and then changes cannot be known again."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from memoflow.tracking import ReadSet
from tests.tracking.cases import NOTHING, Case, put


def write(name: str = "o", text: str = "x", mode: str = "w") -> None:
    with open(name, mode) as file:
        file.write(text)


def replaced() -> str:
    write("o.tmp")
    os.replace("o.tmp", "o")
    return Path("o").read_text()


def made_safely() -> None:
    folder = os.open(".", os.O_RDONLY)
    write()
    os.fsync(folder)
    os.close(folder)


def published() -> None:
    os.mkdir("building")
    write("building/a")
    os.rename("building", "built")
    Path("built/a").read_text()
    os.listdir("built")


def made_anew() -> None:
    shutil.rmtree("out", ignore_errors=True)
    os.makedirs("out")
    write("out/x")
    Path("out/x").read_text()
    os.listdir("out")


def looked_for() -> None:
    if os.path.exists("o"):
        os.remove("o")
    write()
    Path("o").read_text()


def overwritten() -> None:
    os.path.exists("o")
    write()
    Path("o").read_text()


def temporary() -> None:
    with tempfile.NamedTemporaryFile("w+") as file, tempfile.TemporaryDirectory() as folder:
        file.write("x")
        Path(file.name).read_text()
        write(os.path.join(folder, "x"))
        os.listdir(folder)


def logged() -> None:
    handler = logging.FileHandler("log")
    logging.getLogger("tracked").addHandler(handler)
    logging.getLogger("tracked").warning("x")
    logging.getLogger("tracked").removeHandler(handler)
    handler.close()
    os.path.exists("log")


def locked() -> None:
    handle = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.close(handle)


def listed_and_filled() -> None:
    os.listdir("out")
    write("out/new")
    os.listdir("out")


OWN: dict[str, Callable[[], Any]] = {
    "written and read back": lambda: (write(), Path("o").read_text()),
    "written in place of another and read back": replaced,
    "written with its folder": made_safely,
    "published with its folder": published,
    "made anew": made_anew,
    "looked for and made": looked_for,
    "looked for and written over": overwritten,
    "temporary": temporary,
    "appended to": logged,
    "locked": locked,
    "touched": lambda: Path("touched").touch(),
    "in a folder that was listed": listed_and_filled,
    "in a folder made if missing": lambda: os.makedirs("out", exist_ok=True),
    "moved": lambda: (write("m"), shutil.move("m", "n"), Path("n").read_text()),
    "rotated": lambda: (os.rename("log", "log.1"), write("log")),
}


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("how", OWN)
def test_a_file_of_its_own_is_no_input(how: str, there: bool, case: Case) -> None:
    put("log")
    put("out/x")
    for name in ("o", "lock", "touched") if there else ():
        put(name)
    case.run(OWN[how])
    assert case.differs() == NOTHING


def test_a_folder_made_if_missing_may_go_again(case: Case) -> None:
    os.mkdir("out")
    case.run(lambda: (os.makedirs("out", exist_ok=True), Path("out").mkdir(exist_ok=True)))
    os.rmdir("out")
    assert case.differs() == NOTHING


def moved() -> str:
    os.rename("d", "work")
    return Path("work/a").read_text()


def moved_alone() -> str:
    os.rename("d/a", "b")
    return Path("b").read_text()


def in_place() -> None:
    with open("a", "r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text + "1")


def at_the_end() -> None:
    with open("a", "a+") as file:
        file.seek(0)
        file.write(file.read())


def counted() -> None:
    with closing(sqlite3.connect("a.db")) as db, db:
        db.execute("INSERT INTO t SELECT count(*) FROM t")


CHANGED: dict[str, Callable[[], Any]] = {
    "read and written": lambda: (Path("a").read_text(), write("a", "more")),
    "read and removed": lambda: (Path("a").read_text(), os.remove("a")),
    "read and replaced": lambda: (Path("a").read_text(), write("b"), os.replace("b", "a")),
    "read and moved": lambda: (Path("a").read_text(), os.rename("a", "b")),
    "read and appended to": lambda: (Path("a").read_text(), write("a", mode="a")),
    "appended to and read": lambda: (write("a", mode="a"), Path("a").read_text()),
    "changed in place": in_place,
    "opened to append and read": at_the_end,
    "moved with its folder and read": moved,
    "moved and read": moved_alone,
    "a database": counted,
}


@pytest.mark.parametrize("how", CHANGED)
def test_what_is_read_and_changed_is_never_known_again(how: str, case: Case) -> None:
    put("a")
    put("d/a")
    with closing(sqlite3.connect("a.db")) as db:
        db.execute("CREATE TABLE t (x)")
    assert list(case.run(CHANGED[how]).never) != []


def test_a_file_that_others_change_meanwhile_is_not_kept_this_time(case: Case) -> None:
    put("a")

    def act() -> None:
        Path("a").read_text()
        with case.tracker.quiet:  # As if another process had started it.
            subprocess.run("echo by somebody else > a", shell=True)

    reads = case.run(act)
    assert reads.never == {}
    assert reads.unsettled == ["file a changed while it ran"]


def test_what_is_only_appended_to_counts_nothing(case: Case) -> None:
    put("log")
    case.run(logged)
    put("log", "by somebody else")
    assert case.differs() == NOTHING


def test_a_listing_leaves_out_what_the_code_has_made(case: Case) -> None:
    put("d/a")
    put("e/b")
    case.run(lambda: (write("d/b"), os.listdir("d"), os.listdir("e")))
    assert case.differs() == NOTHING
    os.unlink("e/b")
    assert case.differs() == "directory e"


def test_a_pipe_is_never_known_again(case: Case) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: subprocess.run("echo x > pipe", shell=True))

    def read() -> None:
        writer.start()
        Path("pipe").read_text()
        writer.join()

    assert case.run(read).never == {"file pipe": "pipe is a pipe, whose content has no digest"}


def test_what_a_thread_reads_on_after_the_end_breaks_nothing(case: Case) -> None:
    for i in range(300):
        put(f"d/{i}")
    ended = threading.Event()

    def read_on() -> None:
        while not ended.is_set():
            for i in range(300):
                Path(f"d/{i}").read_text()

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    found: list[ReadSet] = []
    try:
        found.append(case.run(lambda: [thread.start() for thread in threads]))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert found[0].never == {}
