"""Commands: the files that the arguments of a subprocess name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from memoflow.tracking.commands import files_named
from tests.tracking.cases import put


@pytest.fixture(autouse=True)
def files(project: Path) -> None:
    for name in ("a.csv", "b c.csv", "train.py", "d/x", "pkg/tool.py", "pkg/run/__main__.py"):
        put(name)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["cat", "a.csv"], ["a.csv"]),
        (["cat", b"a.csv"], ["a.csv"]),
        (["cat", Path("a.csv")], ["a.csv"]),
        (["python", "train.py", "--data=a.csv"], ["train.py", "a.csv"]),
        (["python", "-m", "pkg.tool"], ["pkg/tool.py"]),
        (["python3.11", "-m", "pkg.run"], ["pkg/run/__main__.py"]),
        (["tool", "-Id", "--in=a.csv,train.py"], ["a.csv", "train.py"]),
        (["curl", "@a.csv"], ["a.csv"]),
        (["docker", "run", "-v", "a.csv:ro"], ["a.csv"]),
        (["sh", "-c", "cat a.csv | sort > d/x"], ["a.csv"]),
        (["bash", "-lc", "cat 'b c.csv'; cat < a.csv"], ["b c.csv", "a.csv"]),
        (["sh", "-c", 'x=$(cat a.csv) && echo "$x'], ["a.csv"]),
        (["sh", "-c", "cat a.csv 2>> d/x"], ["a.csv"]),
        (["echo", "no such file", "", "-", "."], []),
        (["echo", "x" * 10_000, "a\0b"], []),
        ([], []),
        (None, []),
    ],
)
def test_files_that_are_there_are_named(arguments: Any, names: list[str]) -> None:
    assert files_named(None, arguments, None) == [os.path.abspath(name) for name in names]


def test_a_line_for_the_shell_is_split() -> None:
    assert files_named(None, "cat a.csv", None, shell=True) == [os.path.abspath("a.csv")]


def test_names_are_relative_to_where_the_command_runs() -> None:
    assert files_named(None, ["cat", "x"], "d") == [os.path.abspath("d/x")]


def test_the_executable_is_a_file_too() -> None:
    assert files_named("./train.py", ["train"], None) == [os.path.abspath("train.py")]
