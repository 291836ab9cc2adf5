"""What others write to meanwhile is saved as it was at one time."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.errors import UsageError
from memoflow.objects import unpack
from tests.objects.test_trees import MIB, Disturbed, save, snapshot


@contextlib.contextmanager
def all_the_time(act: Callable[[int], object]) -> Iterator[None]:
    stop = threading.Event()

    def work() -> None:
        for number in itertools.count():
            if stop.wait(0.0005):
                return
            act(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "weights").write_bytes(os.urandom(3 * MIB))
    (root / "sub" / "small").write_text("small")
    return root


@pytest.mark.parametrize("whole", [False, True])
def test_logs_that_grow_are_saved_up_to_some_size(tree: Path, tmp_path: Path, whole: bool) -> None:
    logs = [tree / "log.txt", tree / "events", tree / "sub" / "metrics.csv"]
    logs[1].write_bytes(os.urandom(2 * MIB))

    def append(number: int) -> None:
        for log in logs:
            with open(log, "ab") as file:
                file.write(b"%d,%d\n" % (number, number * number) * 50)

    append(0)
    with all_the_time(append):
        for number in range(50):
            backend = Memory()
            unpack(backend, save(backend, tree, whole=whole), tmp_path / str(number))
    for number, log in itertools.product(range(50), logs):
        found = (tmp_path / str(number) / log.relative_to(tree)).read_bytes()
        assert found
        assert log.read_bytes().startswith(found)


def test_a_file_that_is_replaced_all_the_time_is_one_of_those(tree: Path, tmp_path: Path) -> None:
    def replace(number: int) -> None:
        (tmp_path / "new").write_bytes(bytes([number % 251]) * MIB)
        os.replace(tmp_path / "new", tree / "latest")
        turns.acquire(timeout=1)  # Once a save: one that is replaced more often is never whole.

    turns = threading.Semaphore()
    replace(0)
    with all_the_time(replace):
        for number in range(10):
            turns.release()
            backend = Memory()
            unpack(backend, save(backend, tree), tmp_path / str(number))
    for number in range(10):
        found = (tmp_path / str(number) / "latest").read_bytes()
        assert found == found[:1] * MIB


class Restless(Memory):
    """A backend during whose every write something happens."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def write(self, *args, **kwargs):
        self._act()
        return super().write(*args, **kwargs)


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_that_never_holds_still_is_an_error(tree: Path, whole: bool) -> None:
    def rewrite() -> None:
        (tree / "weights").write_bytes(os.urandom(3 * MIB))

    with pytest.raises(UsageError, match="weights changed while it was being saved"):
        save(Restless(rewrite), tree, whole=whole)


def test_what_was_appended_to_and_changed_before_that_is_not_taken_for_a_log(
    tree: Path, tmp_path: Path
) -> None:
    def change() -> None:
        with open(tree / "weights", "r+b") as file:
            file.write(b"changed")
            file.seek(0, os.SEEK_END)
            file.write(b"appended")

    backend = Disturbed(change)
    unpack(backend, save(backend, tree), tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(tree)


def test_only_what_changed_is_stored_again(tree: Path) -> None:
    (tree / "sub" / "other").write_bytes(os.urandom(3 * MIB))
    backend = Disturbed(lambda: (tree / "sub" / "small").write_bytes(os.urandom(2000)))
    save(backend, tree)
    assert sum(found.size_bytes for found in backend.list("blobs")) < 6.1 * MIB


def test_patterns_leave_files_and_folders_out(tree: Path, tmp_path: Path) -> None:
    for name in ("a.tmp", "sub/b.tmp", "logs/c", "keep/logs.txt", "keep/x/d"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(name)
    backend = Memory()
    unpack(backend, save(backend, tree, ignore=["*.tmp", "logs", "keep/x"]), tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert found == {"weights", "sub", "sub/small", "keep", "keep/logs.txt"}
