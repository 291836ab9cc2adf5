"""Claims: a file that is read by Rust or C++ decides the result."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import Load

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked")


def parquet(path: str, value: int) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    pyarrow.write_table(sys.modules["pyarrow"].table({"a": [value] * 10}), path)


def csv(path: str, value: int) -> None:
    Path(path).write_text("a\n" + f"{value}\n" * 10)


# Each reads the file of its kind into a column "a".
READS: dict[str, tuple[str, Callable[[str, int], None]]] = {
    "polars.read_csv({})['a']": ("t.csv", csv),
    "polars.scan_csv({}).collect()['a']": ("t.csv", csv),
    "polars.read_parquet({})['a']": ("t.parquet", parquet),
    "polars.scan_parquet({}).collect()['a']": ("t.parquet", parquet),
    "pyarrow.parquet.read_table({}).to_pydict()['a']": ("t.parquet", parquet),
    "pyarrow.csv.read_csv({}).to_pydict()['a']": ("t.csv", csv),
    "pyarrow.dataset.dataset({}).to_table().to_pydict()['a']": ("t.parquet", parquet),
    "pandas.read_parquet({})['a']": ("t.parquet", parquet),
    "pandas.read_csv({})['a']": ("t.csv", csv),
    "pandas.read_csv({}, engine='pyarrow')['a']": ("t.csv", csv),
}


@pytest.mark.parametrize("where", ["", "data/", "../elsewhere/"])
@pytest.mark.parametrize("expression", READS)
def test_a_changed_file_is_a_miss(load: Load, expression: str, where: str) -> None:
    file, write = READS[expression]
    library = re.match(r"(pyarrow\.)?\w+", expression)[0]  # type: ignore[index]
    for each in (library, "pyarrow") if "pyarrow" in expression else (library,):
        pytest.importorskip(each)
    path = where + file
    os.makedirs(where or ".", exist_ok=True)
    write(path, 1)
    text = f"""
        import {library}
        @memo
        def read():
            note(1)
            return int(sum({expression.format(repr(path))}))
    """
    check(load, text, write, path)


@pytest.mark.parametrize(
    "text",
    [
        """
        @memo
        def read(path="../elsewhere/t.csv"):
            note(1)
            return int(polars.read_csv(path)["a"].sum())
        """,
        """
        FOLDER = "../elsewhere"
        @memo
        def read():
            note(1)
            return int(polars.read_csv(FOLDER + "/t.csv")["a"].sum())
        """,
        """
        class Reader:
            def read(self):
                return polars.read_csv(os.path.join("../elsewhere", "t.csv"))
        @memo
        def read():
            note(1)
            return int(Reader().read()["a"].sum())
        """,
        """
        PATHS = {"train": [pathlib.Path("../elsewhere/t.csv")]}
        def table(name):
            return [polars.read_csv(each) for each in PATHS[name]][0]
        @memo
        def read():
            note(1)
            return int(table("train")["a"].sum())
        """,
    ],
)
def test_a_file_outside_of_the_project_that_the_code_names(load: Load, text: str) -> None:
    pytest.importorskip("polars")
    os.makedirs("../elsewhere")
    csv("../elsewhere/t.csv", 1)
    text = "import os, pathlib, polars\n" + textwrap.dedent(text)
    check(load, text, csv, "../elsewhere/t.csv")


def check(load: Load, text: str, write: Callable[[str, int], None], path: str) -> None:
    module = load(text)
    assert (module.read(), module.read(), module.ran) == (10, 10, [1])
    again: Any = load(text, module.__name__)
    assert (again.read(), again.ran) == (10, [])
    write(path, 2)
    assert (again.read(), again.read(), again.ran) == (20, 20, [1])
