"""On a terminal: aligned, shortened, and never wider than it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import Shelf
from tests.waiting import PATIENCE_S

pty = pytest.importorskip("pty")


def on_a_terminal(
    shelf: Shelf, *words: str, columns: int = 80, answer: str | None = None, code: int = 0
) -> str:
    """Run a verb with a terminal for its output, and its input if there is an `answer` to type.

    Return what the terminal shows.
    """
    shelf.store.close()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "memoflow", "--root", str(shelf.root), *words]
    env = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    shown = b""
    source = subprocess.DEVNULL if answer is None else theirs
    with subprocess.Popen(command, stdin=source, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        os.write(ours, (answer or "").encode())
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:
            pass  # The other end is closed: how a terminal says that it was all.
        assert process.wait(PATIENCE_S) == code, shown
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def test_entries_fit_on_a_terminal_of_80_columns(shelf: Shelf):
    shown = on_a_terminal(shelf, "ls")
    assert max(map(len, shown.splitlines())) <= 80
    assert "\t" not in shown
    ids = [each["id"] for each in shelf.json("ls")["entries"]]
    assert [each for each in ids if f"\n{each} " in shown] == ids


def test_a_terminal_is_told_how_many_there_are_and_how_to_see_all(shelf: Shelf):
    assert "6 entries" in on_a_terminal(shelf, "ls")
    assert "2 of them listed; --limit 0 lists all" in on_a_terminal(shelf, "ls", "--limit", "2")


@pytest.mark.parametrize("words", [("stats",), ("show", "model/Train"), ("verify",)])
def test_other_verbs_fit_as_well(shelf: Shelf, words: tuple[str, ...]):
    shown = on_a_terminal(shelf, *words)
    assert max(map(len, shown.splitlines())) <= 80


def test_on_a_narrow_terminal_ids_stay_whole(shelf: Shelf):
    ids = [each["id"] for each in shelf.json("ls")["entries"]]
    shown = on_a_terminal(shelf, "ls", columns=40)
    assert [each for each in ids if f"\n{each} " in shown] == ids


def test_a_result_is_told_by_the_values_that_it_was_computed_from(shelf: Shelf):
    shown = on_a_terminal(shelf, "ls", "--kind", "memo")
    assert re.findall(r"x=\d", shown) == ["x=1", "x=2"]


def test_one_entry_is_not_called_entries(shelf: Shelf):
    assert "\n1 entry, " in on_a_terminal(shelf, "ls", "model")


REMOVALS = [("gc", "--max-size", "1B"), ("forget", "model", "--all")]


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_what_nobody_agrees_to_stays(shelf: Shelf, words: tuple[str, ...], answer: str):
    shown = on_a_terminal(shelf, *words, answer=answer, code=1)
    assert "? [y/N]" in shown
    assert "Nothing was removed." in shown
    assert len(shelf.json("ls")["entries"]) == 6


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
def test_what_is_agreed_to_goes_after_it_was_shown(shelf: Shelf, words: tuple[str, ...]):
    shown = on_a_terminal(shelf, *words, answer="y\n")
    before, _, after = shown.partition("? [y/N]")
    assert " frees " in before
    assert "kind " in before
    assert "Freed" in after or "forgot 1 entry" in after
    assert max(map(len, before.splitlines())) <= 80
    assert len(shelf.json("ls")["entries"]) < 6


def test_only_the_first_of_many_are_listed_on_a_terminal(empty: Shelf):
    for number in range(23):
        empty.record(number)
    shown = on_a_terminal(empty, "gc", "--max-size", "1B", "--dry-run")
    assert "and 3 more (all with --json)" in shown
    assert shown.count("over the budget; last used") == 20


def test_a_closed_output_is_no_crash(shelf: Shelf):
    shelf.store.close()
    command = f'"{sys.executable}" -m memoflow --root "{shelf.root}" ls >&-'
    done = subprocess.run(
        command, shell=True, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stderr) == (0, "")
