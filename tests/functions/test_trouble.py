"""Trouble with stores, arguments and code: the function's own result comes back, with one line."""

from __future__ import annotations

import errno
import functools
import shutil
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memoflow.functions.decorator import memoize
from memoflow.functions.place import PLACES
from memoflow.store import Store, open_store
from tests.faults import SystemFaults
from tests.mounts import UnmountableError, fill, mounted
from tests.unprivileged import as_nobody

Said = Callable[[], list[str]]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    """Return the lines that memoflow said, of the index as well."""
    yield lambda: [each.getMessage() for each in caplog.records if each.name == "memoflow"]
    PLACES.__init__()  # type: ignore[misc]


def large(n: int) -> bytes:
    return bytes(n << 20)


def squares(n: int) -> list[int]:
    return [x * x for x in range(n)]


def fails(n: int) -> None:
    raise ValueError(n)


def expect_own(function: Callable[..., Any], store: Any, *arguments: Any) -> None:
    """Call a function memoized, with each argument twice: it is as without."""
    memoized = memoize(function, store=store)
    for each in arguments:
        for _ in range(2):
            assert outcome(memoized, each) == outcome(function, each)


def outcome(function: Callable[..., Any], argument: Any) -> Any:
    try:
        return function(argument)
    except ValueError as error:
        return error.args


def expect_all_own(store: Any) -> None:
    expect_own(large, store, 2, 3)
    expect_own(squares, store, 2, 3)
    expect_own(fails, store, 2, 3)


@pytest.mark.parametrize(
    ("what", "remedy"), [("bytes", "free some space"), ("inodes", "delete some files of any size")]
)
def test_a_full_disk(tmp_path: Path, what: str, remedy: str, said: Said) -> None:
    inodes = 400 if what == "inodes" else None
    try:
        with mounted(tmp_path / "disk", "tmpfs", inodes=inodes) as disk:
            store = open_store(disk / "store", cache_dir=tmp_path / "cache")
            expect_own(large, store, 1)
            fill(disk / "other", what)
            expect_all_own(store)
            memoized = memoize(large, store=store)
            assert (memoized(1), memoized.hits) == (large(1), 1)
            store.close()
    except UnmountableError as error:
        pytest.skip(str(error))
    (line,) = said()
    assert line.startswith("[memoize] results cannot be stored or found: cannot write ")
    assert remedy in line


@pytest.mark.parametrize("call", ["open", "write", "link", "mkdir"])
def test_a_disk_that_is_full_at_any_moment(
    store: Store, call: str, said: Said, system_faults: SystemFaults
) -> None:
    memoized = memoize(large, store=store)
    memoized(0)
    for nth in range(1, 100):
        system_faults.fail_at(call, nth=nth, code=errno.ENOSPC)
        assert memoized(nth) == large(nth)
        system_faults.relent()
        if not system_faults.fired:
            break
        assert memoized(nth) == large(nth)
    assert nth > 1
    assert memoized.is_stored(nth)
    (line,) = [each for each in said() if "[memoize]" in each]
    assert "No space left on device" in line


def test_a_store_that_cannot_be_written_is_read(said: Said) -> None:
    folder = Path(tempfile.mkdtemp(prefix="memoflow-read-only-"))
    try:
        store = open_store(folder / "store", cache_dir=folder / "cache")
        expect_own(large, store, 1)
        expect_own(squares, store, 1)
        store.close()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)

        def act() -> None:
            store = open_store(folder / "store", cache_dir=folder / "cache")
            memoized = memoize(large, store=store)
            assert memoized(1) == large(1)
            assert memoized.hits == 1
            expect_all_own(store)
            (line,) = [each for each in said() if "[memoize]" in each]
            assert "cannot write" in line
            assert "check its owner and its mode" in line

        as_nobody(act)
    finally:
        shutil.rmtree(folder)


def test_a_store_that_is_a_file(tmp_path: Path, said: Said) -> None:
    (tmp_path / "file").write_text("")
    expect_all_own(str(tmp_path / "file"))
    (line,) = said()
    assert line.startswith("[memoize] off: cannot write ")


def test_a_store_that_is_deleted_between_calls(store: Store, tmp_path: Path, said: Said) -> None:
    memoized = memoize(large, store=store)
    assert [memoized(1), memoized(1)] == [large(1)] * 2
    shutil.rmtree(tmp_path / "store")
    assert [memoized(1), memoized(1)] == [large(1)] * 2
    expect_all_own(store)
    (line,) = said()
    assert "large: " in line
    assert "it must be made again; it runs again" in line


def test_a_store_that_is_deleted_while_the_function_runs(
    store: Store, tmp_path: Path, said: Said
) -> None:
    runs = []

    def deletes(n: int, runs: list[int]) -> bytes:
        if not runs:
            shutil.rmtree(tmp_path / "store")
        runs.append(n)
        return bytes(n << 20)

    memoized = memoize(deletes, store=store, ignore=["runs"])
    assert [memoized(1, runs), memoized(1, runs)] == [large(1)] * 2
    fresh = open_store(tmp_path / "store", cache_dir=tmp_path / "fresh")
    assert fresh.verify() == []
    assert said() == []


def test_an_index_that_is_locked(store: Store, tmp_path: Path, said: Said) -> None:
    expect_own(large, store, 1)
    (path,) = (tmp_path / "cache").rglob("*.sqlite")
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        expect_all_own(store)
        memoized = memoize(large, store=store)
        assert (memoized(2), memoized.hits) == (large(2), 1)
    database.close()
    (line,) = said()
    assert "(database is locked); going on without it" in line


class Guarded:
    """Holds an object without a state beside its own."""

    def __init__(self, held: Any) -> None:
        self.held, self.by = held, 2

    def times(self, n: int) -> int:
        return self.by * n


@pytest.fixture(params=[threading.Lock, socket.socket])
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    made = Guarded(request.param())
    yield made
    getattr(made.held, "close", lambda: None)()


def test_an_object_without_a_stable_state_as_argument(
    store: Store, guarded: Guarded, said: Said
) -> None:
    memoized = memoize(Guarded.times, store=store)
    assert [memoized(guarded, n) for n in (1, 1, 2)] == [2, 2, 4]
    assert memoized.hits == 0
    (line,) = said()
    assert "Guarded.times: not cached: self.held has no stable fingerprint" in line


def test_a_method_of_an_object_goes_by_the_rest_of_its_state(
    store: Store, guarded: Guarded, said: Said
) -> None:
    for method in (guarded.times, functools.partial(Guarded.times, guarded)):
        guarded.by = 2
        memoized = memoize(method, store=store)
        assert [memoized(1), memoized(1)] == [2, 2]
        guarded.by = 3
        assert memoized(1) == 3
        assert memoized.hits == 1
    assert said() == []


def test_functions_without_a_source_are_told_apart(store: Store, said: Said) -> None:
    for more in (1, 2):
        made: dict[str, Any] = {}
        exec(f"def named(n):\n    return n + {more}\nshort = lambda n: n * {more}", made)
        for name in ("named", "short"):
            memoized = memoize(made[name], store=store)
            assert [memoized(5), memoized(5)] == [made[name](5)] * 2
            assert (memoized.misses, memoized.hits) == (1, 1)
    assert said() == []


class Node:
    """An object that leads back to itself."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.others = [self, {number: self}]


def linked(node: Node) -> Node:
    return Node(node.number + 1)


def test_objects_that_lead_back_to_themselves(store: Store, said: Said) -> None:
    memoized = memoize(linked, store=store)
    for number in (1, 2):
        for _ in range(2):
            found = memoized(Node(number))
            assert found.number == number + 1
            assert found.others[0] is found.others[1][number + 1] is found
    assert (memoized.misses, memoized.hits) == (2, 2)
    assert said() == []


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def test_what_is_nested_too_deeply(store: Store, said: Said) -> None:
    result, argument = memoize(nested, store=store), memoize(len, store=store)
    for _ in range(2):
        assert argument(result(100_000)) == 1
    deep, long = sorted(said(), key=len)
    assert "nested: not stored: its result cannot be pickled (it is nested too deeply)" in deep
    assert "has no stable fingerprint: it is nested more than 200 levels deep" in long
    assert len(long) < 200
