"""Modules that are loaded by a name which only the run knew count as code; others do not."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import runpy
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memoflow.fingerprint import of_function
from tests.tracking.cases import NOTHING, Case, put


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("loaded_")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def by_spec() -> None:
    spec = importlib.util.spec_from_file_location("loaded_other", "loaded_a.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


LOADED: dict[str, Callable[[], Any]] = {
    "import_module": lambda: importlib.import_module("loaded_a"),
    "__import__": lambda: __import__("loaded_a"),
    "run_path": lambda: runpy.run_path("loaded_a.py"),
    "run_module": lambda: runpy.run_module("loaded_a"),
    "spec_from_file_location": by_spec,
    "resolve_name": lambda: pkgutil.resolve_name("loaded_a:X"),
}


@pytest.mark.parametrize("how", LOADED)
def test_a_change_of_code_that_was_loaded_by_name_is_a_difference(how: str, case: Case) -> None:
    put("loaded_a.py", "X = 1\n")
    case.run(LOADED[how])
    assert case.differs() == NOTHING
    put("loaded_a.py", "X = 1  # A comment.\n")
    assert case.differs() == NOTHING
    put("loaded_a.py", "X = 2\n")
    assert case.differs() == "code loaded_a.py"


def test_code_that_was_compiled_by_hand_counts(case: Case) -> None:
    put("loaded_a.py", "X = 1\n")
    text = Path("loaded_a.py").read_text()
    case.run(lambda: exec(compile(text, "loaded_a.py", "exec"), {}))
    put("loaded_a.py", "X = 2\n")
    assert case.differs() == "code loaded_a.py"


def test_code_that_is_loaded_already_counts_where_it_is_asked_for(case: Case) -> None:
    put("loaded_a.py", "X = 1\n")
    importlib.import_module("loaded_a")
    case.run(lambda: importlib.import_module("loaded_a"))
    put("loaded_a.py", "X = 2\n")
    assert case.differs() == "code loaded_a.py"


def test_what_such_code_imports_counts(case: Case) -> None:
    put("loaded_a.py", "import loaded_b\n")
    put("loaded_b.py", "Y = 1\n")
    case.run(lambda: importlib.import_module("loaded_a"))
    put("loaded_b.py", "Y = 2\n")
    assert case.differs() == "code loaded_b.py"


def test_an_import_statement_counts_nothing(case: Case) -> None:
    put("loaded_a.py", "import loaded_b\n")
    put("loaded_b.py", "Y = 1\n")
    scope: dict[str, Any] = {"__name__": "some_flow"}
    exec(
        compile("def step():\n    import loaded_a\n", str(Path("flow.py").resolve()), "exec"), scope
    )
    case.run(scope["step"])
    assert case.names == {}


def test_what_a_module_reads_while_it_is_loaded_counts(case: Case) -> None:
    put("a")
    put("loaded_a.py", "TEXT = open('a').read()\n")
    case.run(lambda: importlib.import_module("loaded_a"))
    put("a", "new!")
    assert case.differs() == "file a"


def test_code_in_an_archive_counts_by_the_archive(case: Case) -> None:
    zipfile.ZipFile("code.zip", "w").writestr("loaded_zipped.py", "X = 1\n")
    sys.path.insert(0, "code.zip")
    try:
        case.run(lambda: importlib.import_module("loaded_zipped"))
    finally:
        sys.path.remove("code.zip")
    zipfile.ZipFile("code.zip", "w").writestr("loaded_zipped.py", "X = 22\n")
    assert case.differs() == "file code.zip"


def test_to_load_a_library_counts_nothing(case: Case) -> None:
    sys.modules.pop("wave", None)
    case.run(lambda: importlib.import_module("wave"))
    assert case.names == {}


def test_the_fingerprint_sees_the_original_of_what_is_replaced_meanwhile(case: Case) -> None:
    code = "from os import stat\nfrom importlib import import_module\n"
    code += "def look(path): return stat(path), import_module('x')\n"
    put("loaded_before.py", code)
    before = of_function(importlib.import_module("loaded_before").look)
    del sys.modules["loaded_before"]
    case.run(lambda: importlib.import_module("loaded_before"))
    after = of_function(sys.modules["loaded_before"].look)
    assert after.parts == before.parts
