"""What Python code reads counts, however it reads: a change of it is a difference."""

# ruff: noqa: SIM115 (how files are opened is what is tested)

from __future__ import annotations

import asyncio
import bz2
import configparser
import csv
import filecmp
import fileinput
import glob
import gzip
import importlib.resources
import linecache
import lzma
import mmap
import os
import pathlib
import pickle
import pkgutil
import shelve
import shutil
import sqlite3
import sys
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.cases import NOTHING, Case, put


def from_descriptor() -> bytes:
    handle = os.open("a", os.O_RDONLY)
    try:
        return os.read(handle, 10)
    finally:
        os.close(handle)


def from_folder() -> None:
    folder = os.open("d", os.O_RDONLY)
    os.close(os.open("a", os.O_RDONLY, dir_fd=folder))
    os.close(folder)


def from_map() -> bytes:
    with open("a", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return mapped[:]


def from_proc() -> str:
    with open("a") as file, open(f"/proc/self/fd/{file.fileno()}") as again:
        return again.read()


def elsewhere() -> str:
    os.chdir("d")
    try:
        return Path("a").read_text()
    finally:
        os.chdir("..")


def in_thread() -> None:
    thread = threading.Thread(target=Path("a").read_text)
    thread.start()
    thread.join()


def in_pool() -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(Path.read_text, [Path("a")]))


def packed() -> bytes:
    with zipfile.ZipFile("a.zip") as file:
        return file.read("x")


def shelved() -> Any:
    with shelve.open("s", flag="r") as kept:
        return kept["k"]


def memory_mapped() -> Any:
    numpy = pytest.importorskip("numpy")
    return numpy.memmap("a", dtype="u1", mode="r").sum()


def linked_anew() -> str:
    os.symlink(os.path.abspath("a"), "link")
    return Path("link").read_text()


def linked_from_where_it_is() -> str:
    os.symlink("a", "d/link")
    return Path("d/link").read_text()


def hard_linked() -> str:
    os.link("a", "other")
    return Path("other").read_text()


def removed_others() -> str:
    shutil.rmtree("d")  # Which holds a file of the same name.
    return Path("a").read_text()


READS: dict[str, tuple[str, Callable[[], Any]]] = {
    "open": ("a", lambda: open("a").read()),
    "open by bytes": ("a", lambda: open(b"a").read()),
    "io.open": ("a", lambda: open("a").read()),
    "an absolute path": ("a", lambda: open(os.path.abspath("a")).read()),
    "Path.read_bytes": ("a", lambda: Path("a").read_bytes()),
    "os.open": ("a", from_descriptor),
    "os.open below an open folder": ("d/a", from_folder),
    "mmap": ("a", from_map),
    "numpy.memmap": ("a", memory_mapped),
    "/proc/self/fd": ("a", from_proc),
    "another working directory": ("d/a", elsewhere),
    "a thread": ("a", in_thread),
    "a thread pool": ("a", in_pool),
    "asyncio": ("a", lambda: asyncio.run(asyncio.to_thread(Path("a").read_text))),
    "exec": ("a", lambda: exec("open('a').read()", {"__name__": "generated"})),
    "fileinput": ("a", lambda: list(fileinput.input(["a"]))),
    "linecache": ("a", lambda: linecache.getlines("a")),
    "filecmp": ("a", lambda: filecmp.cmp("a", "d/a", shallow=False)),
    "csv": ("a", lambda: list(csv.reader(open("a")))),
    "configparser": ("a.ini", lambda: configparser.ConfigParser().read("a.ini")),
    "copyfile": ("a", lambda: shutil.copyfile("a", "copy")),
    "copytree": ("d/a", lambda: shutil.copytree("d", "copy")),
    "make_archive": ("d/a", lambda: shutil.make_archive("packed", "zip", "d")),
    "tarfile": ("d/a", lambda: tarfile.open("packed.tar", "w").add("d")),
    "a symbolic link that it makes": ("a", linked_anew),
    "a relative link that it makes": ("d/a", linked_from_where_it_is),
    "a hard link that it makes": ("a", hard_linked),
    "a name as of a file it removes elsewhere": ("a", removed_others),
}


@pytest.mark.parametrize("how", READS)
def test_a_change_of_a_file_that_was_read_is_a_difference(how: str, case: Case) -> None:
    name, read = READS[how]
    for each in ("a", "d/a"):
        put(each)
    put("a.ini", "[a]\nb = 1\n")
    case.run(read)
    assert case.differs() == NOTHING
    put(name, "[a]\nb = 2\n")
    assert case.differs() == f"file {name}"


@pytest.mark.parametrize("how", READS)
def test_a_change_of_another_file_is_none(how: str, case: Case) -> None:
    for each in ("a", "d/a"):
        put(each)
    put("a.ini", "[a]\nb = 1\n")
    case.run(READS[how][1])
    put("unrelated")
    assert case.differs() == NOTHING


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_compressed_files_count(module: Any, case: Case) -> None:
    with module.open("a", "wb") as file:
        file.write(b"old")
    case.run(lambda: module.open("a").read())
    with module.open("a", "wb") as file:
        file.write(b"new")
    assert case.differs() == "file a"


def test_archives_count(case: Case) -> None:
    zipfile.ZipFile("a.zip", "w").writestr("x", "old")
    case.run(packed)
    zipfile.ZipFile("a.zip", "w").writestr("x", "new")
    assert case.differs() == "file a.zip"


def test_pickles_count(case: Case) -> None:
    Path("a").write_bytes(pickle.dumps(1))
    case.run(lambda: pickle.loads(Path("a").read_bytes()))
    Path("a").write_bytes(pickle.dumps(2))
    assert case.differs() == "file a"


def test_a_shelf_counts(case: Case) -> None:
    with shelve.open("s") as kept:
        kept["k"] = "old"
    case.run(shelved)
    with shelve.open("s") as kept:
        kept["k"] = "new"
    assert case.differs() != NOTHING


def test_a_file_of_a_name_that_is_no_text_counts(case: Case) -> None:
    name = os.fsdecode(b"a\xff")
    put(name)
    case.run(lambda: open(name).read())
    put(name, "new!")
    assert case.differs() == f"file {name}"


def test_files_beside_the_code_of_a_package_count(case: Case, project: Path) -> None:
    put("tracked_pkg/__init__.py", "")
    put("tracked_pkg/data.txt")

    def read() -> None:
        pkgutil.get_data("tracked_pkg", "data.txt")
        importlib.resources.files("tracked_pkg").joinpath("data.txt").read_text()

    case.run(read)
    put("tracked_pkg/data.txt", "new!")
    assert case.differs() == "file tracked_pkg/data.txt"


def test_a_file_of_the_same_content_is_no_difference(case: Case) -> None:
    put("a")
    case.run(lambda: open("a").read())
    put("other")
    os.replace("other", "a")
    assert case.differs() == NOTHING


def test_a_link_counts_by_what_it_leads_to(case: Case) -> None:
    put("v1/a", "one")
    put("v2/a", "two")
    os.symlink("v1", "now")
    case.run(lambda: open("now/a").read())
    os.unlink("now")
    os.symlink("v2", "now")
    assert case.differs() == "file now/a"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: os.readlink("now"),
        lambda: os.path.realpath("now"),
        lambda: Path("now").resolve(),
        lambda: Path("now").readlink(),
    ],
    ids=["readlink", "realpath", "resolve", "Path.readlink"],
)
def test_the_target_of_a_link_counts_where_it_was_asked_for(ask: Any, case: Case) -> None:
    put("v1")
    put("v2")
    os.symlink("v1", "now")
    case.run(ask)
    assert case.differs() == NOTHING
    os.unlink("now")
    os.symlink("v2", "now")
    assert case.differs() == "file now (link)"


def test_to_ask_where_a_file_really_is_reads_no_folder(case: Case) -> None:
    put("d/a")
    case.run(lambda: (Path(__file__).resolve(), Path("d/a").resolve()))
    assert case.names == {}


def failing() -> None:
    with suppress(OSError):
        open("a")


LOOKS: dict[str, Callable[[], Any]] = {
    "open": failing,
    "os.path.exists": lambda: os.path.exists("a"),
    "os.path.isfile": lambda: os.path.isfile("a"),
    "os.path.isdir": lambda: os.path.isdir("a"),
    "Path.exists": lambda: Path("a").exists(),
    "Path.is_file": lambda: Path("a").is_file(),
    "os.access": lambda: os.access("a", os.R_OK),
    "configparser": lambda: configparser.ConfigParser().read(["a"]),
    "getmtime": lambda: suppressed(os.path.getmtime, "a"),
    "os.stat": lambda: suppressed(os.stat, "a"),
    "lstat": lambda: suppressed(os.lstat, "a"),
}


def suppressed(act: Callable[..., Any], *arguments: Any) -> Any:
    with suppress(OSError):
        return act(*arguments)


@pytest.mark.parametrize("how", LOOKS)
def test_a_file_that_was_not_there_counts(how: str, case: Case) -> None:
    case.run(LOOKS[how])
    assert case.differs() == NOTHING
    put("a", "[a]\n")
    assert case.differs() == "file a"


def test_a_file_where_a_folder_would_have_to_be_counts(case: Case) -> None:
    put("a")
    case.run(lambda: suppressed(open, "a/deep/x"))
    assert case.differs() == NOTHING
    os.unlink("a")
    assert case.differs() == "file a"


@pytest.mark.parametrize("how", [how for how in LOOKS if how not in ("open", "configparser")])
def test_a_file_that_was_looked_for_counts_no_content(how: str, case: Case) -> None:
    put("a")
    case.run(LOOKS[how])
    put("a", "NEW")
    assert case.differs() == NOTHING
    os.unlink("a")
    assert case.differs() == "file a"


@pytest.mark.parametrize(
    "ask",
    [lambda: os.path.getsize("a"), lambda: os.stat("a"), lambda: Path("a").stat().st_size],
    ids=["getsize", "stat", "Path.stat"],
)
def test_a_file_whose_size_was_asked_for_counts_by_it(ask: Any, case: Case) -> None:
    put("a", "old")
    case.run(ask)
    put("a", "new")
    assert case.differs() == NOTHING
    put("a", "longer")
    assert case.differs() == "file a"


def test_a_file_below_an_open_folder_is_looked_for_there(case: Case) -> None:
    put("d/a")

    def look() -> None:
        folder = os.open("d", os.O_RDONLY)
        os.stat("a", dir_fd=folder)
        os.close(folder)

    case.run(look)
    os.unlink("d/a")
    assert case.differs() == "file d/a"


def old_glob() -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return glob.glob1("d", "*.csv")


def by_descriptor() -> list[str]:
    folder = os.open("d", os.O_RDONLY)
    try:
        return os.listdir(folder)
    finally:
        os.close(folder)


LISTINGS: dict[str, Callable[[], Any]] = {
    "listdir": lambda: os.listdir("d"),
    "listdir of an open folder": by_descriptor,
    "scandir": lambda: list(os.scandir("d")),
    "walk": lambda: list(os.walk("d")),
    "fwalk": lambda: [each[:3] for each in os.fwalk("d")],
    "iterdir": lambda: list(Path("d").iterdir()),
    "glob1": old_glob,
    "copytree": lambda: shutil.copytree("d", "copy"),
}
if sys.version_info >= (3, 12):
    LISTINGS["Path.walk"] = lambda: list(Path("d").walk())
PATTERNS: dict[str, Callable[[], Any]] = {
    "glob": lambda: glob.glob("d/*.csv"),
    "iglob": lambda: list(glob.iglob("d/*.csv")),
    "glob below a root": lambda: glob.glob("*.csv", root_dir="d"),
    "glob of all below": lambda: glob.glob("d/**/*.csv", recursive=True),
    "Path.glob": lambda: list(Path("d").glob("*.csv")),
    "Path.rglob": lambda: list(Path("d").rglob("*.csv")),
}


@pytest.mark.parametrize("how", LISTINGS | PATTERNS)
def test_a_new_name_in_a_folder_that_was_listed_is_a_difference(how: str, case: Case) -> None:
    put("d/a.csv")
    case.run((LISTINGS | PATTERNS)[how])
    assert case.differs() == NOTHING
    put("d/b.csv")
    assert case.differs().startswith("directory d")


@pytest.mark.parametrize("how", PATTERNS)
def test_a_new_name_that_a_pattern_does_not_match_is_none(how: str, case: Case) -> None:
    put("d/a.csv")
    case.run(PATTERNS[how])
    put("d/b.txt")
    assert case.differs() == NOTHING


def test_a_folder_that_a_walk_leaves_out_does_not_count(case: Case) -> None:
    put("d/in/x")
    put("d/out/y")

    def walk() -> None:
        for _, folders, _ in os.walk("d"):
            folders[:] = [each for each in folders if each != "out"]

    case.run(walk)
    put("d/out/z")
    assert case.differs() == NOTHING
    put("d/in/z")
    assert case.differs() == "directory d/in"


@pytest.mark.parametrize("name", ["glob.py", "pathlib_tools.py", "my pathlib/lists.py"])
def test_code_that_is_named_like_the_library_lists_folders_itself(name: str, case: Case) -> None:
    put("d/a")
    put(name, "import os\ndef names(): return os.listdir('d')\n")
    scope: dict[str, Any] = {"__name__": "lists"}
    exec(compile(Path(name).read_text(), os.path.abspath(name), "exec"), scope)
    case.run(scope["names"])
    put("d/b")
    assert case.differs() == "directory d"


def test_a_folder_of_100_000_names_is_listed(case: Case) -> None:
    os.mkdir("d")
    for i in range(100_000):
        os.close(os.open(f"d/{i}", os.O_CREAT | os.O_WRONLY))
    case.run(lambda: os.listdir("d"))
    assert case.differs() == NOTHING
    os.unlink("d/5")
    assert case.differs() == "directory d"


@pytest.mark.parametrize("target", ["a.db", "file:a.db?mode=ro"])
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_counts(target: str, journal: str, case: Case) -> None:
    def write(value: str) -> None:
        with closing(sqlite3.connect("a.db")) as db, db:
            db.execute(f"PRAGMA journal_mode = {journal}")
            db.execute("CREATE TABLE IF NOT EXISTS t (x)")
            db.execute("INSERT INTO t VALUES (?)", (value,))

    def read() -> None:
        with closing(sqlite3.connect(target, uri=True)) as db:
            db.execute("SELECT * FROM t").fetchall()

    write("old")
    case.run(read)
    assert case.differs() == NOTHING
    write("new")
    assert case.differs() == "file a.db"


def test_pathlib_is_known_by_its_files() -> None:
    from memoflow.tracking.files import is_of_pathlib

    assert is_of_pathlib(pathlib.Path.iterdir.__code__.co_filename)
    assert not is_of_pathlib("/home/me/pathlib-tools/walk.py")
