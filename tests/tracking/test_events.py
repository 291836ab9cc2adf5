"""What code reads that is not Python's, and what other processes read for it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from memoflow.tracking.kernel import Event
from tests.tracking.cases import NOTHING, Case, c_read, c_write, put, settle

HIDDEN = "x=a; cat $x > /dev/null"  # names no file


def forked() -> None:
    child = os.fork()
    if child == 0:
        c_read("a")
        os._exit(0)
    os.waitpid(child, 0)


def executed() -> None:
    child = os.fork()
    if child == 0:
        os.execvp("sh", ["sh", "-c", HIDDEN])
    os.waitpid(child, 0)


def pool(method: str, act: Callable[..., Any], argument: Any) -> None:
    try:
        with multiprocessing.get_context(method).Pool(2) as workers:
            workers.map(act, [argument])
    finally:
        if method == "forkserver":
            forkserver._forkserver._stop()  # Or the next test finds it running.


def executor() -> None:
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(2, mp_context=fork) as workers:
        list(workers.map(Path.read_text, [Path("a")]))


def spawned() -> None:
    os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", HIDDEN], os.environ), 0)


async def started() -> None:
    process = await asyncio.create_subprocess_exec("cat", "a", stdout=subprocess.DEVNULL)
    await process.wait()


READERS: dict[str, Callable[[], Any]] = {
    "a library in C": lambda: c_read("a"),
    "a library in C, after it was looked for": lambda: os.path.exists("a") and c_read("a"),
    "a library in C in a fork": forked,
    "a library in C in a pool": lambda: pool("fork", c_read, "a"),
    "a pool": lambda: pool("fork", Path.read_text, Path("a")),
    "an executor": executor,
    "a spawned pool": lambda: pool("spawn", Path.read_text, Path("a")),
    "a fork server": lambda: pool("forkserver", Path.read_text, Path("a")),
    "a shell": lambda: os.system(HIDDEN),
    "popen": lambda: os.popen(HIDDEN).read(),
    "a subprocess": lambda: subprocess.run(["sh", "-c", HIDDEN]),
    "asyncio": lambda: asyncio.run(started()),
    "fork and exec": executed,
    "spawnlp": lambda: os.spawnlp(os.P_WAIT, "sh", "sh", "-c", HIDDEN),
    "posix_spawn": spawned,
    "a terminal": lambda: pty.spawn(["sh", "-c", HIDDEN]),
    "Python in a subprocess": lambda: subprocess.run([sys.executable, "-c", "open('a').read()"]),
    "make": lambda: subprocess.run(["make", "-s"]),
}


@pytest.mark.parametrize("who", READERS)
def test_a_change_of_what_others_read_is_a_difference(who: str, watched: Case) -> None:
    if who == "make" and shutil.which("make") is None:
        pytest.skip("make is not installed")
    put("a")
    put("Makefile", "built: a\n\tcat a > built\n")
    settle()
    watched.run(READERS[who])
    assert watched.differs() == NOTHING
    put("a", "new!")
    assert watched.differs() == "file a"


def test_a_folder_that_others_list_counts(watched: Case) -> None:
    put("d/a")
    watched.run(lambda: subprocess.run("x=d; ls $x", shell=True, stdout=subprocess.DEVNULL))
    assert watched.differs() == NOTHING
    put("d/b")
    assert watched.differs() == "directory d"


def test_modules_that_a_subprocess_imports_count_though_they_are_compiled(watched: Case) -> None:
    put("tracked_module.py", "X = 1\n")
    run = [sys.executable, "-c", "import tracked_module"]
    subprocess.run(run, check=True)
    settle()
    watched.run(lambda: subprocess.run(run, check=True))
    put("tracked_module.py", "X = 22\n")
    assert watched.differs() == "file tracked_module.py"


def test_a_database_that_is_attached_counts(watched: Case) -> None:
    def write() -> None:
        with closing(sqlite3.connect("a.db")) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS t (x)")
            db.execute("INSERT INTO t VALUES (1)")

    def read() -> None:
        with closing(sqlite3.connect(":memory:")) as db:
            db.execute("ATTACH 'a.db' AS other")
            db.execute("SELECT * FROM other.t").fetchall()

    write()
    settle()
    watched.run(read)
    assert watched.differs() == NOTHING
    write()
    assert watched.differs() == "file a.db"


OWN: dict[str, Callable[[], Any]] = {
    "by a subprocess": lambda: (os.system("echo x > o"), Path("o").read_text()),
    "by a shell that reads it back": lambda: os.system("echo x > o; cat o > /dev/null"),
    "by a library in C": lambda: (c_write("o"), c_read("o")),
    "by Python": lambda: (Path("o").write_text("x"), c_read("o")),
    "in a fork": lambda: (pool("fork", c_write, "o"), Path("o").read_text()),
    "in a folder": lambda: os.system("mkdir out; echo x > out/x; cat out/x > /dev/null; ls out"),
}


@pytest.mark.parametrize("how", OWN)
def test_what_others_make_is_no_input(how: str, watched: Case) -> None:
    settle()
    watched.run(OWN[how])
    assert watched.differs() == NOTHING
    assert watched.names.keys() <= {"file o"}  # "absent", at most


@pytest.mark.parametrize("how", ["by a library in C", "by a subprocess", "by Python"])
def test_what_is_written_over_is_no_input(how: str, watched: Case) -> None:
    put("o")
    settle()

    def act() -> None:
        if how == "by a subprocess":
            os.system("x=o; echo x > $x")
        elif how == "by Python":
            Path("o").write_text("x")
        else:
            c_write("o")
        watched.take_events()  # Of one file, those that come at once have no order.
        c_read("o")

    watched.run(act)
    assert watched.differs() == NOTHING


CHANGED: dict[str, Callable[[Case], Any]] = {
    "C, then C": lambda case: (c_read("a"), c_write("a")),
    "C, later C": lambda case: (c_read("a"), case.take_events(), c_write("a")),
    "C, then Python": lambda case: (c_read("a"), Path("a").write_text("new!")),
    "Python, then C": lambda case: (Path("a").read_text(), c_write("a")),
    "a shell": lambda case: os.system("x=a; y=$(cat $x); echo $y$$ > $x"),
    "sed": lambda case: subprocess.run(["sed", "-i", "s/o/p/", "a"]),
    "sed of a name that is hidden": lambda case: os.system("x=a; sed -i s/o/p/ $x"),
}


@pytest.mark.parametrize("who", CHANGED)
def test_what_others_read_and_change_is_never_known_again(who: str, watched: Case) -> None:
    put("a")
    settle()
    assert "file a" in watched.run(lambda: CHANGED[who](watched)).never


LATE = {
    "a read, and a write": ({"opened", "read"}, {"opened", "written"}),
    "an open, and what came after": ({"opened"}, {"opened", "read", "written"}),
    "all at once": ({"opened", "read", "written"},),
}


@pytest.mark.parametrize("told", LATE.values(), ids=LATE)
def test_a_read_that_is_told_after_the_file_changed_is_never_known_again(
    told: tuple[set[str], ...], project: Path
) -> None:
    put("a")
    settle()
    path = str(project / "a")
    case = Case(project, sees_kernel=False)

    def act() -> None:
        c_write("a")
        for fields in told:
            is_true = {field: field in fields for field in Event._fields[2:]}
            case.tracker._on_event(Event(path, mine=True, **is_true))

    assert "file a" in case.run(act).never


def test_an_output_that_is_declared_may_be_read_and_changed_by_others(project: Path) -> None:
    put("a")
    settle()
    case = Case(project, outputs=("a",))
    case.run(lambda: os.system("x=a; y=$(cat $x); echo $y$$ > $x"))
    assert case.differs() == NOTHING


def test_a_file_outside_that_a_link_leads_to_counts_by_the_link(
    watched: Case, tmp_path: Path
) -> None:
    put(str(tmp_path / "v1" / "a"), "one")
    put(str(tmp_path / "v2" / "a"), "two")
    os.symlink(tmp_path / "v1", "data")
    os.symlink(tmp_path / "v1" / "a", "single")
    watched.run(lambda: (c_read("data/a"), c_read("single")))
    assert watched.names.keys() == {"file data/a", "file single"}
    os.unlink("single")
    os.symlink(tmp_path / "v2" / "a", "single")
    assert watched.differs() == "file single"


def test_a_link_inside_that_leads_elsewhere_counts(watched: Case) -> None:
    put("v1/a", "one")
    put("v2/a", "two")
    os.symlink("v1", "now")
    watched.run(lambda: c_read("now/a"))
    os.unlink("now")
    os.symlink("v2", "now")
    assert watched.differs() == "file now/a"


def test_files_outside_count_where_a_value_names_their_folder(
    watched: Case, tmp_path: Path
) -> None:
    outside = put(str(tmp_path / "data" / "a"))
    settle()  # What is temporary counts if it was there before.

    def act() -> None:
        watched.tracker.note_value({"train": [outside.parent]})
        c_read(str(outside))

    watched.run(act)
    put(str(outside), "new!")
    assert watched.differs() == f"file {outside}"


def test_what_goes_on_by_itself_ends(watched: Case) -> None:
    for i in range(50):
        put(f"d{i}/x")
    watched.run(lambda: [subprocess.run(["ls", *(f"d{i}" for i in range(50))], stdout=-3)])
    assert watched.tracker.is_full is False


def test_more_events_than_the_queue_holds_are_said(watched: Case) -> None:
    os.mkdir("d")
    for i in range(20_000):
        os.close(os.open(f"d/{i}", os.O_CREAT | os.O_WRONLY))
    watched.run(lambda: subprocess.run("cat d/* > /dev/null 2>&1 || true", shell=True))
    reads = watched.reads
    assert (
        "it opens more files than can be followed" in reads.unsettled or len(reads.parts) > 19_999
    )


def test_without_events_the_arguments_of_a_command_count(unwatched: Case) -> None:
    put("a")
    unwatched.run(lambda: subprocess.run("cat a > copy", shell=True))
    assert unwatched.tracker.unseen == {"files that its subprocesses read by themselves": None}
    assert unwatched.differs() == NOTHING
    put("a", "new!")
    assert unwatched.differs() == "file a"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_without_events_it_is_said_that_workers_are_not_seen(method: str, unwatched: Case) -> None:
    unwatched.run(lambda: pool(method, Path.exists, Path("a")))
    assert "files that its subprocesses read by themselves" in unwatched.tracker.unseen


@pytest.mark.parametrize("who", ["a pool", "an executor"])
def test_without_events_forks_tell_what_they_read(who: str, unwatched: Case) -> None:
    put("a")
    unwatched.run(READERS[who])
    put("a", "new!")
    assert unwatched.differs() == "file a"


def test_without_events_a_file_that_a_value_names_counts(unwatched: Case) -> None:
    put("a.bin")
    unwatched.run(lambda: unwatched.tracker.note_value(["a.bin"]))
    put("a.bin", "new!")
    assert unwatched.differs() == "file a.bin"


def test_without_events_a_value_may_name_an_output(unwatched: Case) -> None:
    put("a.bin")

    def act() -> None:
        unwatched.tracker.note_value(["a.bin"])
        Path("a.bin").write_text("x")
        Path("a.bin").read_text()

    unwatched.run(act)
    assert unwatched.differs() == NOTHING


def table(name: str, value: int) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"x": [value]}), name)


def by_pyarrow() -> Any:
    return pytest.importorskip("pyarrow.parquet").read_table("a.parquet")


def by_polars() -> Any:
    return pytest.importorskip("polars").scan_parquet("*.parquet").collect()


def by_duckdb() -> Any:
    return pytest.importorskip("duckdb").sql("SELECT * FROM 'a.parquet'").fetchall()


@pytest.mark.parametrize("read", [by_pyarrow, by_polars, by_duckdb])
def test_readers_of_tables_count(read: Callable[[], Any], watched: Case) -> None:
    table("a.parquet", 1)
    settle()
    watched.run(read)
    assert watched.differs() == NOTHING
    table("a.parquet", 2)
    assert watched.differs() == "file a.parquet"
