"""Early reads: files and variables that the user's modules ask for while they are imported."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memoflow.flow.memo import import_reads

Import = Callable[[str], None]


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """Import a module of the user's with this code, in a process that runs one step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["flow.py", "step", "fit"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("data.txt").write_text("1")

    def imported(code: str) -> None:
        Path("early_module.py").write_text(textwrap.dedent(code))
        importlib.invalidate_caches()
        importlib.import_module("early_module")

    import_reads.begin()
    yield imported
    import_reads.end()
    import_reads.files.clear()
    import_reads.variables.clear()
    for name in ("early_module", "early_helper"):
        sys.modules.pop(name, None)


def names() -> set[str]:
    return {os.path.basename(path) for path in import_reads.files}


def test_a_file_is_noted_with_the_state_that_it_is_in(imports, tmp_path):
    imports("open('data.txt').close()")
    assert import_reads.files == {str(tmp_path / "data.txt"): os.stat("data.txt")}


def test_a_file_that_is_not_there_is_noted_as_missing(imports, tmp_path):
    imports(
        """
        try:
            open("missing.txt")
        except FileNotFoundError:
            pass
        """
    )
    assert import_reads.files == {str(tmp_path / "missing.txt"): None}


def test_a_file_that_is_written_is_no_read(imports):
    imports("open('made.txt', 'w').close()")
    assert names() == set()


def test_modules_that_are_imported_are_no_reads(imports):
    Path("early_helper.py").write_text("open('data.txt').close()")
    imports("import early_helper")
    assert names() == {"data.txt"}


@pytest.mark.parametrize("library", ["metaflow.config", "memoflow.store"])
def test_reads_of_metaflow_and_memoflow_do_not_count(imports, library):
    imports(f"exec(\"open('data.txt').close()\", {{'__name__': {library!r}}})")
    assert names() == set()


@pytest.mark.parametrize(
    "read", ["os.environ['EARLY']", "os.environ.get('EARLY')", "os.getenv('EARLY')"]
)
def test_a_variable_is_noted_however_it_is_asked_for(imports, monkeypatch, read):
    monkeypatch.setenv("EARLY", "1")
    imports(f"import os\nassert {read} == '1'")
    assert list(import_reads.variables) == ["EARLY"]


def test_a_variable_that_is_not_set_is_noted_and_still_missing(imports, monkeypatch):
    monkeypatch.delenv("EARLY", raising=False)
    imports("import os\nassert os.environ.get('EARLY') is None")
    assert list(import_reads.variables) == ["EARLY"]


def test_nothing_is_noted_after_the_end(imports, monkeypatch):
    monkeypatch.setenv("EARLY", "1")
    import_reads.end()
    imports("import os\nopen('data.txt').close()\nos.environ['EARLY']")
    assert not import_reads.files
    assert not import_reads.variables


def test_a_process_that_runs_no_step_notes_nothing(imports, monkeypatch):
    import_reads.end()
    monkeypatch.setattr(sys, "argv", ["flow.py", "run"])
    import_reads.begin()
    imports("open('data.txt').close()")
    assert not import_reads.files
