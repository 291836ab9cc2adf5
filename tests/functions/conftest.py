"""A store of its own for each test of memoized functions, and modules of the user's."""

from __future__ import annotations

import importlib
import logging
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from memoflow.functions.place import PLACES
from memoflow.store import Store, open_store

Load = Callable[..., ModuleType]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    yield made
    made.close()


@pytest.fixture
def load(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Write a module of the user's and import it, with `memoize` for this test's store."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    # By the script that runs, names of files are told.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(folder / "main.py"), raising=False)
    made: list[str] = []

    values = Values()
    logger = logging.getLogger("memoflow-test-ran")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [values]

    def loaded(text: str, name: str = "") -> ModuleType:
        name = name or f"m{uuid.uuid4().hex[:12]}"
        made.append(name)
        (folder / f"{name}.py").write_text(_HEAD + textwrap.dedent(text))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        values.values.clear()
        module = importlib.import_module(name)
        module.ran = values.values  # type: ignore[attr-defined]
        return module

    place = ModuleType("memoflow_test_place")
    place.store = store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "memoflow_test_place", place)
    yield loaded
    for name in made:
        sys.modules.pop(name, None)
    PLACES.__init__()  # type: ignore[misc]


_HEAD = """
import logging
from functools import partial
from memoflow import memoize, map
import memoflow_test_place as place
memo = partial(memoize, store=place.store)
_ran = logging.getLogger("memoflow-test-ran")
def note(value):
    _ran.info(value)
"""


class Values(logging.Handler):
    """Keeps what memoized functions were run with: a list of theirs would be one of their reads."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.values.append(record.msg)
