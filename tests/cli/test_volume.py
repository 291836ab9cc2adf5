"""How much a verb says: -h, -q and -v, before the verb and after it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from memoflow.cli.main import main
from memoflow.cli.verb import CommandContext
from memoflow.log import log
from memoflow.store import open_store
from tests.cli.conftest import Shelf
from tests.s3 import Server


@pytest.mark.parametrize("name", [None, *main.commands])
def test_h_is_help(name: str | None):
    words = [] if name is None else [name]
    short = CliRunner().invoke(main, [*words, "-h"])
    assert short.exit_code == 0
    assert short.stdout == CliRunner().invoke(main, [*words, "--help"]).stdout
    assert "-h, --help" in short.stdout


QUIET = [
    ("verify",),
    ("gc", "--yes"),
    ("gc", "--max-size", "1B", "--yes"),
    ("reindex",),
    ("report", "--html", "r.html"),
    ("get", "model/Train", "--into", "got"),
    ("export", "results.db"),
]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("words", QUIET, ids=" ".join)
def test_quiet_verbs_print_nothing(
    shelf: Shelf, words: tuple[str, ...], before: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(shelf.folder)
    loud = shelf.run(*words)
    for made in ("results.db", "got/weights.bin", "got/sub/config.json"):
        (shelf.folder / made).unlink(missing_ok=True)
    quiet = shelf.run("-q", *words) if before else shelf.run(*words, "--quiet")
    assert (loud.exit_code, quiet.exit_code) == (0, 0), quiet.output
    assert loud.output
    assert quiet.output == ""


def test_quiet_verify_says_damage_by_its_exit_code(shelf: Shelf):
    blob = max(shelf.root.glob("blobs/*/*/*"), key=lambda path: path.stat().st_size)
    blob.unlink()
    done = shelf.run("verify", "-q")
    assert (done.exit_code, done.output) == (3, "")


def test_quiet_keeps_what_was_asked_for_and_errors(shelf: Shelf):
    assert shelf.run("show", "model/Train", "-q").output == shelf.run("show", "model/Train").output
    assert shelf.run("show", "nothing", "-q").stderr.startswith("Error: ")
    assert shelf.run("verify", "-q", "--json").stdout == shelf.run("verify", "--json").stdout


@pytest.mark.parametrize("words", [("-v", "ls"), ("ls", "-v"), ("ls", "--verbose")])
def test_times_are_on_the_error_stream(shelf: Shelf, words: tuple[str, ...]):
    done = shelf.run(*words)
    assert done.stdout == shelf.run("ls").stdout
    assert re.search(r"^INFO opened .* in \d+\.\d{3} s$", done.stderr, re.MULTILINE)
    assert re.search(r"^INFO ls took \d+\.\d{3} s$", done.stderr, re.MULTILINE)


def test_requests_are_counted_and_listed(s3_server: Server, tmp_path: Path):
    store = open_store(s3_server.backend(), cache_dir=tmp_path)
    before = store.backend.traffic()[0]
    asked = CommandContext()
    asked.store = store
    done = CliRunner().invoke(main, ["-v", "reindex", "-v"], obj=asked)
    counted = re.search(r"^INFO (\d+) requests to the server", done.stderr, re.MULTILINE)
    listed = re.findall(r"^DEBUG request: \w+ s3://", done.stderr, re.MULTILINE)
    assert counted is not None
    assert int(counted[1]) - before == len(listed) > 0


def test_quiet_and_verbose_exclude_each_other(shelf: Shelf):
    assert "-q and -v exclude each other" in shelf.refused("-q", "verify", "-v")


def test_the_log_is_as_before_afterwards(shelf: Shelf):
    before = log.level, log.propagate, list(log.handlers)
    for words in (("ls", "-vv"), ("ls", "-q"), ("show", "nothing", "-v")):
        shelf.run(*words)
        assert (log.level, log.propagate, list(log.handlers)) == before
    assert logging.getLogger().level == logging.WARNING
