"""Small results lie in the index: found without reading a file, and not once that is gone."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path
from types import ModuleType

import pytest

from memoflow.backends import Local
from memoflow.store import Store
from tests.functions.conftest import Load

CODE = """
    @memo
    def square(x):
        note(x)
        return {"square": x * x}
"""


@pytest.fixture
def module(load: Load, store: Store) -> ModuleType:
    """A function with a stored result of 3, of which only store and index know."""
    module = load(CODE)
    module.square(3)
    forget_memory(module, store)
    return module


def forget_memory(module: ModuleType, store: Store, name: str = "square") -> None:
    store.index.flush()
    getattr(module, name)._small._recent.clear()


def test_a_hit_reads_no_file_of_the_store(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Local, "read", lambda *_, **__: pytest.fail("read"))
    assert module.square(3) == {"square": 9}
    assert module.ran == [3]


def test_each_hit_is_an_object_of_its_own(module: ModuleType) -> None:
    module.square(3)["square"] = 0
    assert module.square(3) == {"square": 9}


def test_a_result_from_its_file_is_found_in_the_index_from_then_on(
    module: ModuleType, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(store.index.path or "") as db:
        db.execute("DELETE FROM small_values")
    module.square(3)
    forget_memory(module, store)
    monkeypatch.setattr(Local, "read", lambda *_, **__: pytest.fail("read"))
    assert module.square(3) == {"square": 9}


@pytest.mark.parametrize("at", [0, 15, 16, 24, -1])
def test_flipped_bits_in_the_index_are_never_served(
    module: ModuleType, store: Store, at: int
) -> None:
    with sqlite3.connect(store.index.path or "") as db:
        data = bytearray(db.execute("SELECT value FROM small_values").fetchone()[0])
        data[at] ^= 1
        db.execute("UPDATE small_values SET value = ?", (bytes(data),))
    assert module.square(3) == {"square": 9}
    assert module.ran == [3]  # Its file is whole.


def test_a_forgotten_result_is_not_served(module: ModuleType, store: Store) -> None:
    module.square.forget(3)
    module.square(3)
    assert module.ran == [3, 3]
    forget_memory(module, store)
    store.evict(max_size_bytes=0)
    module.square(3)
    assert module.ran == [3, 3, 3]


def test_a_result_that_another_machine_forgot_is_not_served(
    module: ModuleType, store: Store, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "store" / "refs")
    module.square(3)
    assert module.ran == [3, 3]


def test_a_result_that_another_machine_wrote_again_is_read_again(
    module: ModuleType, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in (tmp_path / "store/refs").rglob("00000001") if path.is_file())
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    read: list[str] = []
    as_ever = Local.read

    def noted(self: Local, name: str, **options: int) -> bytes | None:
        read.append(name)
        return as_ever(self, name, **options)

    monkeypatch.setattr(Local, "read", noted)
    assert module.square(3) == {"square": 9}
    assert len(read) == 1


def test_a_result_made_anew_replaces_it(load: Load, store: Store) -> None:
    module = load("""
        values = []
        @memo(ignore=["values"])
        def draw():
            values.append(0)
            note(0)
            return len(values)
    """)
    assert module.draw() == 1
    forget_memory(module, store, "draw")
    assert module.draw.call() == 2
    forget_memory(module, store, "draw")
    assert module.draw() == 2


@pytest.mark.parametrize("large", ["'x' * 10_000", "np.ones(1 << 18)"])
def test_a_large_result_made_anew_replaces_a_small_one(load: Load, large: str) -> None:
    module = load(f"""
        import numpy as np
        values = []
        @memo(ignore=["values"])
        def draw():
            values.append(0)
            note(0)
            return "x" if len(values) == 1 else {large}
    """)
    assert len(module.draw()) == 1
    size = len(module.draw.call())
    assert len(module.draw()) == size > 1


def test_a_file_that_a_result_names_has_to_be_there(load: Load, store: Store) -> None:
    module = load("""
        @memo
        def write(path):
            note(0)
            with open(path, "w") as file:
                file.write("text")
            return path
    """)
    path = Path("out.txt").absolute()
    for count in (1, 2):
        assert module.write(str(path)) == str(path)
        assert path.read_text() == "text"
        assert len(module.ran) == count
        path.unlink()


def test_with_a_time_to_live_the_file_decides(load: Load, store: Store) -> None:
    module = load("""
        @memo(ttl="0.1s")
        def square(x):
            note(x)
            return x * x
    """)
    module.square(3)
    forget_memory(module, store)
    time.sleep(0.2)
    module.square(3)
    assert module.ran == [3, 3]


def test_an_index_of_an_earlier_version_keeps_its_outcomes(
    module: ModuleType, store: Store
) -> None:
    store.index.record_outcomes([("F", "1", "s", "2", 1, 3.0, 4.0)])
    store.close()
    with sqlite3.connect(store.index.path or "") as db:
        for trigger in ("small_values_go", "details_go"):
            db.execute(f"DROP TRIGGER {trigger}")
        for table in ("small_values", "misses", "details"):
            db.execute(f"DROP TABLE {table}")
    module.square(3)
    forget_memory(module, store)
    assert store.index.outcomes("F", "1")
    assert store.index.inspect()["small_values"] == 1


def test_a_result_with_reads_replaces_one_without(load: Load, store: Store, tmp_path: Path) -> None:
    data = tmp_path / "project" / "data.txt"
    data.write_text("new")
    module = load(f"""
        import os
        @memo
        def look():
            note(0)
            if len(ran_before()) < 2:
                return "old"
            return open({str(data)!r}).read()
        def ran_before():
            import logging
            return logging.getLogger("memoflow-test-ran").handlers[0].values
    """)
    assert module.look() == "old"
    assert module.look.call() == "new"
    forget_memory(module, store, "look")
    assert module.look() == "new"
