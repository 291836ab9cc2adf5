"""`%%memo` in IPython: what is the same cell, what is not, and what is said about it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from traitlets.config import Config

from memoflow.functions.place import PLACES
from tests.pages import ROOT


class Notebook:
    """Cells of a shell of its own, and what they print."""

    def __init__(self, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        self._shell = InteractiveShell(config=config)
        self._store = store
        self._capsys = capsys
        self.run("%load_ext memoflow")

    def run(self, text: str, *, store_history: bool = True) -> str:
        """Run a cell as it is; return what it printed."""
        self._capsys.readouterr()
        self.result = self._shell.run_cell(textwrap.dedent(text), store_history=store_history)
        return self._capsys.readouterr().out

    def memo(self, line: str, text: str) -> str:
        return self.run(f"%%memo {line} --store '{self._store}'\n{textwrap.dedent(text)}")

    def __getitem__(self, name: str) -> Any:
        return self._shell.user_ns[name]

    def has(self, name: str) -> bool:
        return name in self._shell.user_ns


@pytest.fixture
def open_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], Notebook]]:
    """Return a maker of notebooks, each as in a kernel that was just started, with one store."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # A shell replaces it.
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    yield lambda: Notebook(tmp_path / "store", capsys)
    PLACES.__init__()  # type: ignore[misc]


SETUP = """
class Point:
    def __init__(self, x):
        self.x = x
    def twice(self):
        return 2 * self.x
def helper(x):
    return x + OFFSET
OFFSET = 1
base = [1, 2]
"""
CELL = """
total = 0
for each in base:
    total += helper(each)
point = Point(total).twice()
"""


def test_a_cell_that_ran_is_a_hit_in_another_session(open_notebook: Any) -> None:
    first = open_notebook()
    first.run(SETUP)
    assert "; kept: total, point; also sets: each" in first.memo("total point", CELL)
    assert first["total"] == 5
    again = open_notebook()
    again.run(SETUP)
    assert "[memo] hit: total, point from 2" in again.memo("total point", CELL)
    assert (again["total"], again["point"]) == (5, 10)
    assert not again.has("each")


def test_a_cell_that_runs_twice_in_a_session_is_a_hit(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run(SETUP)
    assert "kept" in notebook.memo("total point", CELL)
    assert "[memo] hit" in notebook.memo("total point", CELL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("total = 0", "total = 0  # from nothing"),
        ("return x + OFFSET", "return x + OFFSET  # moved"),
        ("for each in base:\n", "for each in (\n        base\n    ):\n"),
        ("def helper(x):", "def helper(x):\n    'Move it.'"),
    ],
)
def test_comments_and_layout_do_not_count(open_notebook: Any, old: str, new: str) -> None:
    assert old in SETUP + CELL
    first = open_notebook()
    first.run(SETUP)
    first.memo("total point", CELL)
    again = open_notebook()
    again.run(SETUP.replace(old, new))
    assert "[memo] hit" in again.memo("total point", CELL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "total"),
    [
        ("total = 0", "total = 1", 6),
        ("return x + OFFSET", "return x - OFFSET", 1),
        ("OFFSET = 1", "OFFSET = 2", 7),
        ("base = [1, 2]", "base = [1, 3]", 6),
        ("return 2 * self.x", "return 3 * self.x", 5),
    ],
)
def test_an_edit_runs_the_cell_again(open_notebook: Any, old: str, new: str, total: int) -> None:
    assert old in SETUP + CELL
    first = open_notebook()
    first.run(SETUP)
    first.memo("total point", CELL)
    again = open_notebook()
    again.run(SETUP.replace(old, new))
    assert "kept: total, point" in again.memo("total point", CELL.replace(old, new))
    assert again["total"] == total


def test_a_helper_that_is_edited_in_the_same_session_counts(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run(SETUP)
    notebook.memo("total", CELL)
    notebook.run("def helper(x):\n    return 10 * x")
    assert "kept" in notebook.memo("total", CELL)
    assert notebook["total"] == 30


def test_a_module_that_the_cell_imports_counts_and_is_no_change(
    open_notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "memo_helpers_of_cell.py").write_text("def add(x):\n    return x + 1\n")
    cell = "from memo_helpers_of_cell import add\nx = add(1)"
    try:
        assert "kept: x; also sets: add" in open_notebook().memo("x", cell)
        assert "[memo] hit" in open_notebook().memo("x", cell)
    finally:
        sys.modules.pop("memo_helpers_of_cell", None)
    assert "[memo] hit" in open_notebook().memo("x", cell)


LOOPS = {
    "a loop variable": "for i in range(3):\n    x = i\ny = i + x",
    "with": "import contextlib\nwith contextlib.suppress(ValueError):\n    x = 1\ny = x",
    "a walrus": "y = (x := 3) and x + 1\ny += x",
    "a function that is defined first": "def f():\n    return g()\ndef g():\n    return 1\ny = f()",
    "a class": "class A:\n    def f(self):\n        return later\nlater = 1\ny = A().f()",
    "branches": "if y0:\n    x = 1\nelse:\n    x = 2\ny = x",
    "handlers": "try:\n    x = 1 // y0\nexcept ZeroDivisionError as e:\n    x = 0\ny = x",
    "a deleted name": "x = 1\ny = x\ndel x",
    "a comprehension": "y = [x for x in range(3)]\nx = 1",
    "match": "match y0:\n    case [x]:\n        y = x\n    case x:\n        y = x",
    "while": "n = 3\nwhile n:\n    n -= 1\n    x = n\ny = x",
}


@pytest.mark.parametrize("kind", LOOPS)
def test_names_of_the_cells_own_do_not_count(open_notebook: Any, kind: str) -> None:
    notebook = open_notebook()
    notebook.run("y0 = 0")
    assert "; kept: y" in notebook.memo("y", LOOPS[kind])
    notebook.run("if 'x' in globals(): x = 'of another cell'")
    assert "[memo] hit" in notebook.memo("y", LOOPS[kind])


@pytest.mark.parametrize(
    "cell",
    [
        "y = x\nx = 0",
        "if flag:\n    x = 5\ny = x",
        "y = x\nfor x in []:\n    pass",
        "y = (lambda: x)()\nx = 0",
        "y = [x for _ in range(2)]\nx = 0",
        "def f():\n    return x\ny = f()\nx = 0",
        "try:\n    raise ValueError\n    x = 0\nexcept ValueError:\n    pass\ny = x",
    ],
)
def test_a_name_that_is_read_before_it_is_set_counts(open_notebook: Any, cell: str) -> None:
    notebook = open_notebook()
    seen = []
    for x in (1, 2, 1):
        notebook.run(f"x, flag = {x}, False")
        line = notebook.memo("y x", cell)
        seen.append((notebook["y"], "[memo] hit" in line))
    assert [value in (x, [x] * 2) for (value, _), x in zip(seen, (1, 2, 1), strict=True)]
    assert seen[0][0] != seen[1][0]
    assert [is_hit for _, is_hit in seen] == [False, False, True]


def test_a_result_that_is_not_set_each_time_counts_as_it_was(open_notebook: Any) -> None:
    notebook = open_notebook()
    for x, is_hit in ((1, False), (2, False), (1, True)):
        notebook.run(f"x, flag = {x}, False")
        assert ("[memo] hit" in notebook.memo("x", "if flag:\n    x = 5")) is is_hit
        assert notebook["x"] == x


def test_other_names_for_results_are_another_cell(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.memo("a_b", "a = b = a_b = 1")
    assert "; kept: a, b" in notebook.memo("a b", "a = b = a_b = 1")


def test_what_a_loop_may_have_set_is_unset_first_and_then_back(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run("last = 'old'")
    notebook.memo("y", "for last in []:\n    pass\ny = last")
    assert isinstance(notebook.result.error_in_exec, NameError)
    assert notebook["last"] == "old"


@pytest.mark.parametrize("change", ["base.append(3)", "base[0] = 3", "extend(base)", "base += [3]"])
def test_a_changed_variable_has_to_be_a_result(open_notebook: Any, change: str) -> None:
    setup = "def extend(x):\n    x.append(3)\nbase = [1, 2]"
    first = open_notebook()
    first.run(setup)
    line = first.memo("y", f"{change}\ny = 1")
    assert "not kept: it changes base, which it reads: name it as a result" in line
    first.run(setup)
    assert "; kept: y, base" in first.memo("y base", f"{change}\ny = 1")
    again = open_notebook()
    again.run(setup)
    assert "[memo] hit" in again.memo("y base", f"{change}\ny = 1")
    assert again["base"] == first["base"] != [1, 2]


def test_a_changed_variable_has_no_other_name(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run("base = [1]\nother = base")
    line = notebook.memo("base", "base.append(2)")
    assert "not kept: it changes base, which other is as well: name it as a result" in line


def test_tables_and_arrays(open_notebook: Any) -> None:
    cell = """
        table["b"] = table["a"] * 2
        large = np.full(300_000, table["b"].sum())
        large[0] += 1
    """
    for is_hit in (False, True):
        notebook = open_notebook()
        notebook.run("import numpy as np, pandas as pd\ntable = pd.DataFrame({'a': [1, 2]})")
        assert ("[memo] hit" in notebook.memo("table large", cell)) is is_hit
        assert notebook["table"]["b"].tolist() == [2, 4]
        assert notebook["large"][:2].tolist() == [7, 6]
    line = notebook.memo("large", "table.loc[0, 'a'] = 5\nlarge = 1")
    assert "it changes table, which it reads: name it as a result" in line


@pytest.mark.parametrize("cell", ['x = table.query("a < @limit").a.sum()', "x = !echo {limit}"])
def test_a_variable_that_a_text_names_counts(open_notebook: Any, cell: str) -> None:
    notebook = open_notebook()
    notebook.run("import pandas as pd\ntable = pd.DataFrame({'a': range(5)})")
    seen = []
    for limit in (2, 3):
        notebook.run(f"limit = {limit}")
        assert "[memo] hit" not in notebook.memo("x", cell)
        seen.append(str(notebook["x"]))
    assert seen[0] != seen[1]


def test_instances_are_of_the_classes_of_the_notebook(open_notebook: Any) -> None:
    for is_hit in (False, True):
        notebook = open_notebook()
        notebook.run(SETUP)
        assert ("[memo] hit" in notebook.memo("p", "p = Point(1)")) is is_hit
        assert type(notebook["p"]) is notebook["Point"]


def test_functions_that_the_cell_defines_can_be_results(open_notebook: Any) -> None:
    for is_hit in (False, True):
        notebook = open_notebook()
        line = notebook.memo("f a", "def f():\n    return 3\nclass A:\n    n = 1\na = A()")
        assert ("[memo] hit" in line) is is_hit
        assert (notebook["f"](), notebook["a"].n) == (3, 1)


def test_a_last_expression_is_displayed(open_notebook: Any) -> None:
    notebook = open_notebook()
    assert "1234" in notebook.memo("x", "x = 1234\nx")
    assert "1234" not in notebook.memo("x", "x = 1234\nx")
    assert "4321" not in notebook.memo("x", "x = 4321\nx;")


def test_options(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run("a, b, verbose = 1, 2, False")
    cell = "x = a\nif verbose:\n    print('told')"
    assert "kept" in notebook.memo("x --ignore verbose,b", cell)
    notebook.run("verbose = True")
    assert "[memo] hit" in notebook.memo("x --ignore verbose,b", cell)
    assert "told" in notebook.memo("x --ignore verbose,b --anew", cell)
    assert "told" in notebook.memo("x --ignore verbose,b --version 2", cell)
    assert "not kept: mode off" in notebook.memo("x --ignore verbose,b --mode off", cell)
    assert "[memo] hit" in notebook.memo("x --ignore verbose,b --mode read-only", cell)
    assert "not kept: mode read-only" in notebook.memo("y --mode read-only", "y = 1")
    notebook.memo("z --mode only", "z = 1")
    assert "only those are used" in str(notebook.result.error_in_exec)
    assert not notebook.has("z")
    assert "kept" in notebook.memo("x --ttl 30d", "x = a")


def test_results_expire(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.memo("x", "x = 1")
    assert "[memo] hit" in notebook.memo("x --ttl 1h", "x = 1")
    assert "[memo] hit" not in notebook.memo("x --ttl 0.000001s", "x = 1")


@pytest.mark.parametrize(
    ("line", "cell", "said"),
    [
        ("", "x = 1", "name the results of the cell"),
        ("a.b", "x = 1", "'a.b' is no name of a variable"),
        ("if", "x = 1", "'if' is no name of a variable"),
        ("x --ttl soon", "x = 1", "30d"),
        ("x --nope", "x = 1", "--nope"),
        ("x --mode maybe", "x = 1", "maybe"),
        ("scroe", "score = 1", "does not set scroe (did you mean score?)"),
        ("base", "x = 1", "does not set base"),
        ("x", "x = 1\ndel x", "does not set x"),
    ],
)
def test_bad_input_is_an_error(open_notebook: Any, line: str, cell: str, said: str) -> None:
    notebook = open_notebook()
    notebook.run("base = 1")
    for _ in range(2):
        output = notebook.memo(line, cell)
        assert "[memo] hit" not in output
        assert "[memo]" not in output
        assert type(notebook.result.error_in_exec).__name__ == "UsageError"
        assert said in str(notebook.result.error_in_exec)


def test_a_syntax_error_is_the_cells_own(open_notebook: Any) -> None:
    notebook = open_notebook()
    output = notebook.memo("x", "y = 1\nx = (1 +* 2)")
    assert isinstance(notebook.result.error_in_exec, SyntaxError)
    assert "x = (1 +* 2)" in output
    assert notebook.result.error_in_exec.lineno == 2
    assert not notebook.has("y")


def test_an_error_has_the_cells_traceback_and_keeps_nothing(open_notebook: Any) -> None:
    notebook = open_notebook()
    for _ in range(2):
        output = notebook.memo("x", "x = 1\nx = x / 0")
        assert isinstance(notebook.result.error_in_exec, ZeroDivisionError)
        assert "----> 2 x = x / 0" in output
        assert "memoized.py" not in output
        assert "notebook.py" not in output
    assert notebook["x"] == 1


@pytest.mark.parametrize(
    ("setup", "cell", "why"),
    [
        ("g = (i for i in [1])", "x = list(g)", "g has no stable fingerprint"),
        ("import sqlite3; c = sqlite3.connect(':memory:')", "x = bool(c)", "c has no stable"),
        ("", "x = (i for i in [1])", "its result cannot be pickled"),
        ("", "from os.path import *\nx = 1", "import * only allowed"),
        ("y = 1", "x = eval('y')", "eval may read any variable"),
    ],
)
def test_what_cannot_be_kept_runs_each_time(
    open_notebook: Any, setup: str, cell: str, why: str
) -> None:
    notebook = open_notebook()
    for _ in range(2):
        notebook.run(setup)
        assert f"not kept: {why}" in notebook.memo("x", cell)
        assert notebook.has("x")


def test_a_store_that_cannot_be_had_harms_nothing(open_notebook: Any, tmp_path: Path) -> None:
    notebook = open_notebook()
    (tmp_path / "file").write_text("")
    output = notebook.run(f"%%memo x --store {tmp_path / 'file'}\nx = 1")
    assert "not kept: its store cannot be used" in output
    assert notebook["x"] == 1


def executed(notebook: Any, folder: Path) -> list[str]:
    """Run a notebook in a kernel of its own; return what each cell printed."""
    variables = dict(os.environ, METAFLOW_DATASTORE_SYSROOT_LOCAL=str(folder))
    # The kernel finds Metaflow's extensions as users do, not as the tests around it.
    variables.pop("METAFLOW_EXTENSIONS_SEARCH_DIRS", None)
    variables["IPYTHONDIR"] = str(folder / "ipython")
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    client.create_kernel_manager()
    client.execute(env=variables)
    return [
        "".join(each.get("text", "") for each in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_in_a_kernel_and_again_in_another(tmp_path: Path) -> None:
    texts = ["%load_ext memoflow", SETUP, f"%%memo total point\n{CELL}", "print(total, point)"]
    lines = []
    for _ in range(2):
        cells = [nbformat.v4.new_code_cell(text.strip()) for text in texts]
        *_, line, values = executed(nbformat.v4.new_notebook(cells=cells), tmp_path)
        assert values == "5 10\n"
        lines.append(line)
    assert "kept: total, point" in lines[0]
    assert "[memo] hit: total, point" in lines[1]


def test_the_notebook_of_the_documentation(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "functions.ipynb").read_text()
    first, again = (executed(nbformat.reads(text, as_version=4), tmp_path) for _ in range(2))
    for lines, is_hit in ((first, False), (again, True)):
        _, embedded, stored, why, _, cell, changing, best = lines
        assert "[226, 234, 210]" in embedded
        assert stored == "True\nFalse\n"
        assert "SCALE" in why
        assert ("[memo] hit: center, spread" in cell) is is_hit
        assert "it changes vectors, which it reads: name it as a result" in changing
        assert ("[memo] hit: best" in best) is is_hit
