"""Progress of long work: counted whole by the store, and shown on a terminal alone."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memoflow.kinds import retention
from memoflow.names import Key
from memoflow.progress import Advance, counted, each, is_watched, watched_by
from memoflow.store import Store, open_store
from tests.cli.conftest import Shelf
from tests.waiting import PATIENCE_S

MODEL = Key.parse("model/Train/fit/9f2c")
Told = list[tuple[str, int, int]]  # label, total and what was counted in the end


@pytest.fixture
def told() -> Iterator[Told]:
    told: Told = []

    @contextmanager
    def watch(label: str, total: int, in_bytes: bool) -> Iterator[Advance]:
        numbers: list[int] = []
        yield numbers.append
        told.append((label, total, sum(numbers)))

    with watched_by(watch):
        yield told


def reopened(shelf: Shelf, tmp_path: Path) -> Store:
    """Return the shelf's store as a machine opens it that does not know it."""
    return open_store(shelf.root, cache_dir=tmp_path / "new")


WORK: dict[str, Callable[[Store, Path], object]] = {
    "verify": lambda store, _: store.verify(read_data=False),
    "verify --read-data": lambda store, _: store.verify(read_data=True),
    "gc": lambda store, _: retention.tidy(store, now=True),
    "reindex": lambda store, _: store.reindex(),
    "get": lambda store, folder: store.load(store.find(MODEL), folder / "got"),
}


@pytest.mark.parametrize("verb", WORK)
def test_the_store_counts_all_that_it_does(verb: str, shelf: Shelf, told: Told, tmp_path: Path):
    store = reopened(shelf, tmp_path)
    told.clear()
    WORK[verb](store, tmp_path)
    assert told
    assert all(total == done > 0 for _, total, done in told), told


def test_nothing_is_counted_unless_it_is_shown():
    assert not is_watched()
    with counted("Nothing", 3) as advance:
        advance(1)
    assert list(each([1, 2], "Nothing")) == [1, 2]


def test_an_error_ends_what_shows_it(told: Told):
    with pytest.raises(KeyError), counted("Work", 3):
        raise KeyError
    assert not told  # The watcher met the error; nobody is left watching below.
    with counted("More", 1) as advance:
        advance(1)
    assert told == [("More", 1, 1)]


SHOWN = """
import sys, time
from memoflow.cli import bar
from memoflow.names import Key
from memoflow.progress import counted
with bar.shown(is_wanted={wanted}, after_s=0.0):
    with counted("Reading blobs", 3000, in_bytes=True) as advance:
        for _ in range(3):
            advance(1000)
            time.sleep(0.15)
print("done")
"""


def screen(code: str, columns: int = 80, **variables: str) -> str:
    """Return all that a process writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **variables},
    )
    os.close(theirs)
    written, end = b"", time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:  # The other side is closed.
                break
            if not data:
                break
            written += data
    assert child.wait(PATIENCE_S) == 0
    os.close(ours)
    return written.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_bar_keeps_to_one_line_and_goes_when_it_is_done(columns: int):
    written = screen(SHOWN.format(wanted=True), columns)
    assert "Reading" in written
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert all(len(line) <= columns for line in re.split(r"[\r\n]+", plain))
    assert written.rstrip().endswith("done")
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # The cursor is back.


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_bar_does_without_colours_and_unicode(variables: dict[str, str]):
    written = screen(SHOWN.format(wanted=True), **variables)
    assert "Reading" in written
    if "NO_COLOR" in variables:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", written)
    else:
        assert written.isascii()


def test_no_bar_is_shown_where_none_is_wanted():
    assert screen(SHOWN.format(wanted=False)).split() == ["done"]


def test_no_bar_is_written_to_a_pipe():
    done = subprocess.run(
        [sys.executable, "-c", SHOWN.format(wanted=True)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
