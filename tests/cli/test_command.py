"""The command as a whole: how it ends, what it says of itself, what it can be imported as."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import memoflow
from memoflow.cli.main import main
from memoflow.cli.verb import CommandContext, Verb
from memoflow.store import Store
from tests.cli.conftest import Shelf
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]


def verbs() -> dict[str, click.Command]:
    return main.commands


def test_the_page_of_the_docs_is_what_the_verbs_say():
    made = runpy.run_path(str(ROOT / "docs" / "cli.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text() == made, "run python docs/cli.py > docs/cli.md"


def test_each_option_says_what_it_does():
    for name, command in verbs().items():
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, f"{name} {param.opts}"


@pytest.mark.parametrize("verb", ["ls", "stats", "gc", "verify", "reindex", "doctor"])
def test_the_fields_of_the_json_are_those_that_are_documented(shelf: Shelf, verb: str):
    command = verbs()[verb]
    assert isinstance(command, Verb)
    declared = {name for field in command.fields for name in field.split(", ")}
    assert set(shelf.json(verb)) == declared


def test_the_fields_of_an_entry_are_those_that_are_documented(shelf: Shelf):
    for verb in ("show", "get"):
        command = verbs()[verb]
        assert isinstance(command, Verb)
        declared = {name for field in command.fields for name in field.split(", ")}
        options = ("--into", str(shelf.folder / "got")) if verb == "get" else ()
        assert set(shelf.json(verb, "model/Train", *options)) == declared


def test_what_removes_has_a_dry_run():
    for verb in ("forget", "gc"):
        assert any("--dry-run" in param.opts for param in verbs()[verb].params)


def test_where_there_is_no_store_it_is_said_what_to_do(tmp_path: Path):
    done = CliRunner().invoke(main, ["--root", str(tmp_path / "none"), "ls"])
    assert done.exit_code == 1
    assert str(tmp_path / "none") in done.output
    assert "@memoize" in done.output
    assert "--root" in done.output
    assert not (tmp_path / "none").exists()


def test_an_unknown_verb_is_not_understood():
    assert CliRunner().invoke(main, ["frobnicate"]).exit_code == 2


def test_an_error_prints_nothing_as_json(shelf: Shelf):
    done = subprocess.run(
        [sys.executable, "-m", "memoflow", "--root", shelf.root, "show", "nothing", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")


def test_a_reader_that_goes_away_ends_it_quietly(shelf: Shelf):
    command = [sys.executable, "-m", "memoflow", "--root", str(shelf.root), "ls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        assert (process.wait(PATIENCE_S), said) == (141, b"")


@dataclass
class _Interrupted(CommandContext):
    @property
    def store(self) -> Store:  # type: ignore[override]
        raise KeyboardInterrupt


def test_an_interrupt_ends_it_quietly():
    done = CliRunner().invoke(main, ["ls"], obj=_Interrupted())
    assert (done.exit_code, done.output) == (130, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(shell: str):
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_MEMOFLOW_COMPLETE" in done.stdout


def test_verbs_and_keys_are_completed(shelf: Shelf):
    complete = ShellComplete(main, {}, "memoflow", "_MEMOFLOW_COMPLETE")
    assert "verify" in [each.value for each in complete.get_completions([], "ver")]
    words = ["--root", str(shelf.root), "show"]
    found = [each.value for each in complete.get_completions(words, "model/")]
    assert found == ["model/Train/fit/9f2c"]


def test_nothing_is_completed_where_there_is_no_store(tmp_path: Path):
    complete = ShellComplete(main, {}, "memoflow", "_MEMOFLOW_COMPLETE")
    assert complete.get_completions(["--root", str(tmp_path / "none"), "show"], "m") == []


def test_why_without_a_flow_wants_a_task(shelf: Shelf):
    done = shelf.run("why")
    assert done.exit_code == 2
    assert "python flow.py memo why" in done.output


def test_importing_memoflow_imports_neither_metaflow_nor_anything_else():
    code = """
import sys
import memoflow
print([name for name in ("metaflow", "click", "rich", "typing", "memoflow.store")
       if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_looking_at_a_store_in_a_directory_does_not_import_metaflow(shelf: Shelf):
    code = f"""
import sys
from memoflow.cli.main import main
try:
    main(["--root", {str(shelf.root)!r}, "ls"])
finally:
    print([name for name in ("metaflow", "rich") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="frobnicate"):
        memoflow.frobnicate  # noqa: B018


def test_each_name_of_the_package_is_listed_and_declared_for_editors():
    tree = ast.parse(Path(memoflow.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.asname
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert declared == set(memoflow._HOMES)
    assert declared <= set(dir(memoflow))


def test_what_editors_show_of_a_decorator_are_its_options_and_defaults():
    from metaflow.plugins import FLOW_DECORATORS, STEP_DECORATORS

    stub = ROOT / "memoflow" / "flow" / "signatures.pyi"
    for node in ast.parse(stub.read_text()).body:
        is_of_functions = isinstance(node, ast.FunctionDef) and "_Memoize" in ast.unparse(node)
        if isinstance(node, ast.FunctionDef) and node.args.kwonlyargs and not is_of_functions:
            (real,) = [
                each for each in (*STEP_DECORATORS, *FLOW_DECORATORS) if each.name == node.name
            ]
            shown = {
                argument.arg: ast.literal_eval(default)
                for argument, default in zip(
                    node.args.kwonlyargs, node.args.kw_defaults, strict=True
                )
                if default is not None
            }
            assert shown == real.defaults


def test_the_help_of_each_verb_has_examples_of_it(shelf: Shelf):
    for name, verb in main.commands.items():
        if isinstance(verb, Verb):
            assert verb.examples
            text = shelf.run(name, "--help").stdout
            assert all(f"\n  {each}\n" in text for each in verb.examples)
            assert all(name in each for each in verb.examples)


def test_the_report_is_written_where_it_is_asked_for(shelf: Shelf):
    path = shelf.folder / "report.html"
    done = shelf.run("report", "--html", str(path), "--json")
    assert json.loads(done.stdout)["html"] == str(path)
    assert "<html" in path.read_text().lower()


def test_a_flow_whose_datastore_is_in_azure_is_not_taken_for_a_directory():
    pytest.importorskip("azure.storage.blob")
    datastore = SimpleNamespace(TYPE="azure", datastore_root="container/metaflow")
    asked = CommandContext(flow=SimpleNamespace(flow_datastore=datastore))
    assert "container" in repr(asked.backend)
    assert "Azure" in repr(asked.backend)
