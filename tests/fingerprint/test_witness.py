"""Witness: what tells that a fingerprint does not hold any more."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from memoflow.fingerprint import of_function, watched

HELPER = """
LIMIT = 3
def help(x):
    return x + LIMIT
"""
MAIN = """
import witness_helper as helper
from witness_helper import help
SIZES = [1, 2]
PLAIN = 7
UNUSED = 1
class Kept:
    rate = 2
    def get(self):
        return self.rate
kept = Kept()
def outer(x, y=PLAIN):
    def inner():
        return helper.LIMIT
    return help(x) + inner() + sum(SIZES) + kept.get() + PLAIN
def lazy(x):
    import witness_lazy
    return witness_lazy.value(x)
"""
LAZY = "def value(x):\n    return x\n"


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, text in (("main", MAIN), ("helper", HELPER), ("lazy", LAZY)):
        (tmp_path / f"witness_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("witness_main")
    for name in ("main", "helper", "lazy"):
        sys.modules.pop(f"witness_{name}", None)


Change = Callable[[ModuleType], object]
CHANGES: dict[str, Change] = {
    "SIZES": lambda main: main.SIZES.append(3),
    "help": lambda main: setattr(main, "help", len),
    "LIMIT": lambda main: setattr(main.helper, "LIMIT", 4),
    "PLAIN": lambda main: setattr(main, "PLAIN", 8),
    "Kept": lambda main: setattr(main.Kept, "rate", 3),
    "witness_main.kept": lambda main: setattr(main.kept, "rate", 3),
    "outer": lambda main: setattr(main.outer, "__defaults__", (8,)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_by_name(main: ModuleType, name: str) -> None:
    found, witness = watched(main.outer)
    assert witness.change() is None
    CHANGES[name](main)
    assert name in str(witness.change())
    assert watched(main.outer)[0] != found


def test_what_it_does_not_reach_may_change(main: ModuleType) -> None:
    _, witness = watched(main.outer)
    main.UNUSED = 2
    main.another = main.UNUSED
    assert witness.change() is None


def test_a_module_that_it_imports_later_may_change_on_disk(
    main: ModuleType, tmp_path: Path
) -> None:
    _, witness = watched(main.lazy)
    (tmp_path / "witness_lazy.py").write_text(LAZY.replace("return x", "return x + 1000"))
    assert str(witness.change()).endswith("witness_lazy.py")


def test_a_module_that_was_loaded_since_is_looked_at_anew(main: ModuleType) -> None:
    _, witness = watched(main.lazy)
    assert not witness.has_loaded
    main.lazy(1)
    assert (witness.has_loaded, witness.change()) == (True, None)
    _, witness = watched(main.lazy)
    assert (witness.has_loaded, witness.change()) == (False, None)
    sys.modules["witness_lazy"].value = abs  # type: ignore[attr-defined]
    assert witness.change() == "value"


def test_it_is_the_fingerprint_of_the_function(main: ModuleType) -> None:
    assert watched(main.outer)[0] == of_function(main.outer)
