"""export: results as tables of an SQLite file, whole or not at all."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from memoflow import memoize
from memoflow.errors import BackendDeniedError, NoRoomError, UsageError
from memoflow.index.export import ExportedResult, export
from tests.cli.conftest import Shelf
from tests.unprivileged import as_nobody
from tests.waiting import PATIENCE_S


def rows(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.fixture
def both(shelf: Shelf) -> Shelf:
    """Two results of a step, and two of a function that reads a file."""
    data = shelf.folder / "data.txt"

    @memoize(store=shelf.store, ttl="30d")
    def size(path, scale=1):
        with open(path) as file:
            return len(file.read()) * scale

    for text in ("a", "bb"):
        data.write_text(text)
        size(str(data))
    return shelf


def test_results_of_steps_and_functions_are_in_one_table(both: Shelf) -> None:
    file = both.folder / "results.db"
    assert both.json("export", str(file)) == {"file": str(file), "results": 4, "left_out": 0}
    listed = {each["key"]: each for each in both.json("ls", "--kind", "memo")["entries"]}
    found = rows(file, "SELECT key, kind, name, module, flow, size_bytes, created FROM results")
    assert {row[0] for row in found} == listed.keys()
    for key, kind, name, module, flow, size_bytes, created in found:
        is_step = name == "fit"
        assert (kind, flow is None) == (("step", False) if is_step else ("function", True))
        assert (flow if is_step else module) == listed[key]["flow"]
        assert (size_bytes, created) == (listed[key]["size_bytes"], listed[key]["created"])
    expires = "SELECT expires > created, count(*) FROM results GROUP BY flow"
    assert rows(file, expires) == [(1, 2), (None, 2)]


def test_inputs_and_reads_belong_to_their_result(both: Shelf) -> None:
    file = both.folder / "results.db"
    both.json("export", str(file))
    sql = "SELECT origin, inputs.name, summary FROM inputs JOIN results ON result = results.id"
    found = [row for row in rows(file, sql) if row[0].startswith("Sweep")]
    assert found == [("Sweep/1/fit/1", "x", "1"), ("Sweep/1/fit/2", "x", "2")]
    of_files = (
        "SELECT count(*), count(DISTINCT result), count(DISTINCT digest) FROM reads"
        " WHERE name LIKE '%data.txt'"
    )
    assert rows(file, of_files) == [(2, 2, 2)]


def test_only_named_results_are_written(both: Shelf) -> None:
    file = both.folder / "results.db"
    assert both.json("export", str(file), "Sweep/fit")["results"] == 2
    done = both.run("export", str(both.folder / "none.db"), "Nothing/here")
    assert done.exit_code == 1
    assert "has no entry named 'Nothing/here'" in done.output
    assert not (both.folder / "none.db").exists()


def test_a_checkpoint_is_no_result(shelf: Shelf) -> None:
    done = shelf.run("export", str(shelf.folder / "none.db"), "checkpoint/Train")
    assert (done.exit_code, (shelf.folder / "none.db").exists()) == (1, False)


def test_an_empty_store_makes_empty_tables(empty: Shelf) -> None:
    file = empty.folder / "results.db"
    assert empty.json("export", str(file))["results"] == 0
    for table in ("results", "inputs", "reads"):
        assert rows(file, f"SELECT * FROM {table}") == []


def test_a_damaged_result_is_left_out_and_counted(both: Shelf) -> None:
    key = both.record(3)
    path = both.store.backend.path(f"refs/{key}")
    assert path is not None
    both.json("ls")  # Which the index knows from now on.
    path.chmod(0o600)
    path.write_bytes(b"garbage")
    file = both.folder / "results.db"
    done = both.run("export", str(file))
    assert done.exit_code == 0
    assert "wrote 4 results" in done.output
    assert "1 damaged one left out" in done.output
    assert rows(file, "SELECT count(*) FROM results") == [(4,)]


def test_an_existing_file_is_replaced_only_if_told_to(shelf: Shelf) -> None:
    file = shelf.folder / "results.db"
    file.write_text("mine")
    done = shelf.run("export", str(file))
    assert done.exit_code == 1
    assert "exists already; replace it with --replace" in done.output
    assert file.read_text() == "mine"
    assert shelf.json("export", str(file), "--replace")["results"] == 2
    assert rows(file, "SELECT count(*) FROM results") == [(2,)]
    assert not list(shelf.folder.glob(".results.db*"))


def test_a_folder_that_is_not_there_is_named(shelf: Shelf) -> None:
    done = shelf.run("export", str(shelf.folder / "no" / "results.db"))
    assert done.exit_code == 1
    assert f"cannot write {shelf.folder / 'no' / 'results.db'}: No such file" in done.output


def test_a_folder_that_may_not_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "theirs")
        folder.mkdir()
        folder.chmod(0o555)
        Path(name).chmod(0o755)

        def act() -> None:
            said = r"cannot write .*results\.db: Permission denied; check its owner"
            with pytest.raises(BackendDeniedError, match=said):
                export(folder / "results.db", [])

        as_nobody(act)


RESULT = ExportedResult(
    key="memo/a/b", kind="function", name="b", module="a", flow=None, code="c", origin="a/p/b/1",
    run_time_s=1.0, size_bytes=1, created="2026-01-01", expires=None,
    inputs=(("x", "xxh3:1", "1"),), reads=(),
)  # fmt: skip


def test_what_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "results.db"
    file.write_text("old")

    def failing():
        yield RESULT
        raise UsageError("midway")

    with pytest.raises(UsageError, match="midway"):
        export(file, failing(), replace=True)
    assert (file.read_text(), os.listdir(tmp_path)) == ("old", ["results.db"])


def test_a_disk_without_room_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from memoflow.errors import BackendError
from tests.cli.test_export import RESULT
from memoflow.index.export import export
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    many = (RESULT._replace(key=str(n)) for n in range(5000))
    export(Path({str(tmp_path / "results.db")!r}), many)
except BackendError as error:
    print(error)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert "results.db: disk I/O error; see whether its disk or your quota is full" in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_database_that_is_full_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def small(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA max_page_count = 16")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    many = (RESULT._replace(key=str(n)) for n in range(5000))
    with pytest.raises(NoRoomError, match="No space left on device"):
        export(tmp_path / "results.db", many)
    assert os.listdir(tmp_path) == []


def test_many_results_keep_their_inputs(tmp_path: Path) -> None:
    file = tmp_path / "results.db"
    many = (
        RESULT._replace(key=str(n), inputs=(("x", f"xxh3:{n}", str(n)),) * 2) for n in range(2500)
    )
    assert export(file, many) == 2500
    sql = "SELECT count(*) FROM inputs JOIN results ON result = results.id WHERE summary = key"
    assert rows(file, sql) == [(5000,)]
    plan = rows(file, "EXPLAIN QUERY PLAN SELECT * FROM inputs WHERE name = 'x' AND digest = 'y'")
    assert "USING INDEX" in plan[0][3]
