"""An index that is lost, locked, damaged or misplaced has forgotten; it never raises."""

from __future__ import annotations

import os
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.index import Index, private_directory
from memoflow.names import Digest, Key, Ref
from tests.unprivileged import as_nobody
from tests.waiting import PATIENCE_S

KEY = Key.of("memo", "F")
REF = Ref(KEY, Digest.of(b"ref"), 7, 1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(path: Path):
    index = Index(path, patience=timedelta(seconds=0.2), mounts=lambda: "")
    yield index
    index.close()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def another_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE entries (other)")
    db.close()


def a_key_that_is_none(path: Path) -> None:
    Index(path).record([REF])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET key = 'memo/%'")
    db.close()


def a_key_that_is_no_text(path: Path) -> None:
    Index(path).record([REF])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET key = CAST(x'6d656d6f2fff' AS TEXT)")
    db.close()


def newer_version(path: Path) -> None:
    Index(path).record([REF])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def without_a_table(path: Path) -> None:
    index = Index(path)
    index.record([REF])
    index.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE entries")
    db.close()


def holes(path: Path) -> None:
    index = Index(path)
    index.record(Ref(KEY / str(n), REF.digest, 7, 1.5) for n in range(2000))
    index.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [garbage, another_database, newer_version, without_a_table, holes]
)
def test_an_unusable_file_is_moved_aside_and_rebuilt_with_one_warning(
    path: Path, index: Index, damage
) -> None:
    damage(path)
    assert index.lookup(KEY) is None
    index.record([REF])
    assert index.lookup(KEY) == REF
    assert [line.count("moved to index.sqlite.damaged") for line in index.warnings] == [1]


def test_an_empty_file_becomes_an_index(path: Path, index: Index) -> None:
    path.touch()
    index.record([REF])
    assert index.lookup(KEY) == REF
    assert index.warnings == []


def test_locked_beyond_the_limit_is_absent_with_one_warning(path: Path, index: Index) -> None:
    index.record([REF])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    index.record([Ref(KEY / "a", REF.digest, 1, 1.0)])
    index.record([Ref(KEY / "b", REF.digest, 1, 1.0)])
    other.execute("ROLLBACK")
    other.close()
    assert index.keys(KEY) == []
    assert len(index.warnings) == 1
    assert "database is locked" in index.warnings[0]


def test_locked_for_a_moment_is_waited_for(path: Path) -> None:
    index = Index(path, patience=timedelta(seconds=20))
    index.record([REF])
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    timer.start()
    index.record([Ref(KEY / "a", REF.digest, 1, 1.0)])
    timer.join()
    assert index.lookup(KEY / "a") is not None
    assert index.warnings == []
    other.close()
    index.close()


def test_deleted_while_open_it_starts_again(path: Path, index: Index) -> None:
    index.record([REF])
    for file in path.parent.glob("index.sqlite*"):
        file.unlink()
    index.record([Ref(KEY / "new", REF.digest, 1, 1.0)])
    assert Index(path).lookup(KEY / "new") is not None
    assert index.warnings == []


def test_overwritten_while_open_it_never_raises(path: Path, index: Index) -> None:
    index.record([REF])
    garbage(path)
    for n in range(5):
        index.record([Ref(KEY / str(n), REF.digest, 1, 1.0)])
        index.lookup(KEY / str(n))


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre", "9p"])
def test_on_a_network_file_system_it_is_kept_in_a_private_directory(path: Path, kind: str) -> None:
    mounts = f"/dev/sda / ext4 rw 0 0\nserver:/x {path.parent} {kind} rw 0 0\n"
    index = Index(path, mounts=lambda: mounts)
    index.record([REF])
    assert index.path is not None
    assert index.path.parent == private_directory()
    assert kind in index.warnings[0]
    assert not path.exists()
    index.close()
    index.path.unlink()


def test_a_local_mount_below_a_network_one_is_local(path: Path) -> None:
    mounts = f"server:/x / nfs rw 0 0\n/dev/sda {path.parent} ext4 rw 0 0\n"
    index = Index(path, mounts=lambda: mounts)
    index.record([REF])
    assert index.path == path
    index.close()


def test_in_a_directory_that_may_not_be_written_it_goes_to_a_private_one(path: Path) -> None:
    def act() -> None:
        index = Index(Path("/proc/memoflow") / f"test-{os.getpid()}.sqlite")
        index.record([REF])
        assert index.lookup(KEY) == REF
        assert index.path is not None
        assert index.path.parent == private_directory()
        assert "cannot be written" in index.warnings[0]
        index.close()
        index.path.unlink()

    as_nobody(act)


def test_a_private_directory_of_somebody_else_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"memoflow-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"memoflow-{os.getuid()}").chmod(0o777)
    assert private_directory() is None
    index = Index(Path("/proc/memoflow/index.sqlite"))
    index.record([REF])
    assert index.lookup(KEY) == REF
    assert index.path is None


def test_where_nothing_can_be_made_at_all_it_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    index = Index(tmp_path / "file" / "index.sqlite", mounts=lambda: "")
    index.record([REF])
    index.set({"a": "b"})
    assert len(index.warnings) == 1
    index.close()


@pytest.mark.parametrize("spoil", [a_key_that_is_none, a_key_that_is_no_text])
def test_a_flipped_bit_in_a_key_is_found_and_the_index_made_anew(path: Path, spoil) -> None:
    spoil(path)
    index = Index(path, mounts=lambda: "")
    assert [text.split(" (")[0] for text in index.damage()] == ["is unusable"]
    assert index.entries() == {}
    assert index.damage() == []
    index.close()


def test_what_interrupted_code_has_in_hand_is_done_without(path: Path) -> None:
    index = Index(path, mounts=lambda: "", patience=timedelta(milliseconds=50))
    index.record([REF])
    found: list[object] = ["not asked"]
    with index._db._lock:  # As where a signal's handler waits for the thread that asks.
        asking = threading.Thread(target=lambda: found.append(index.lookup(KEY)))
        asking.start()
        asking.join(PATIENCE_S)
    assert found == ["not asked", None]
    assert "locked by another thread" in index.warnings[0]
    index.close()
