"""Opening a store makes one, once, and says clearly why it cannot."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from benchmarks.reindex import opened_at_once, rebuilt
from memoflow.backends import Memory
from memoflow.errors import BackendDeniedError, FormatError, IntegrityError, UsageError
from memoflow.names import Key
from memoflow.store import Payload, open_store
from tests.store.conftest import FILES, KEY, contents
from tests.unprivileged import as_nobody


def test_a_store_keeps_its_id(tmp_path: Path) -> None:
    first = open_store(tmp_path / "store", cache_dir=tmp_path)
    assert open_store(tmp_path / "store", cache_dir=tmp_path).id == first.id


def test_its_index_is_named_for_it_in_the_cache(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    store.find(KEY)
    assert store.index.path == tmp_path / "cache" / "memoflow" / f"{store.id}.sqlite"


def test_the_cache_can_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFLOW_MEMOFLOW_CACHE_DIR", str(tmp_path / "cache"))
    store = open_store(tmp_path / "store")
    assert store.index.path is not None
    assert store.index.path.is_relative_to(tmp_path / "cache")


def test_without_a_home_there_still_is_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "METAFLOW_MEMOFLOW_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path / "store")
    store.find(KEY)
    assert store.index.path is not None
    assert store.index.path.is_absolute()
    assert not (tmp_path / "~").exists()


def test_a_newer_store_is_refused_with_what_to_do() -> None:
    backend = Memory()
    backend.write("format.json", json.dumps({"format": 2, "id": {"new": 1}}).encode())
    with pytest.raises(FormatError, match="upgrade memoflow"):
        open_store(backend)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format":1,"id":"../x"}', b'{"format":"1"}'])
def test_a_damaged_format_is_refused_with_what_to_do(data: bytes) -> None:
    backend = Memory()
    backend.write("format.json", data)
    with pytest.raises(IntegrityError, match=r"remove format\.json"):
        open_store(backend)


def test_an_address_is_refused() -> None:
    with pytest.raises(UsageError, match="give a backend for it"):
        open_store("s3://bucket/prefix")


@pytest.fixture
def open_to_all():
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_store_that_may_not_be_written_still_finds_and_loads(open_to_all: Path) -> None:
    store = open_store(open_to_all / "store", cache_dir=open_to_all / "cache")
    ref = store.save(KEY, FILES)
    for path in (open_to_all / "store").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (open_to_all / "store").chmod(0o555)

    def act() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            reader = open_store(open_to_all / "store", cache_dir=Path(scratch))
            assert reader.find(KEY) == ref
            assert contents(reader.load(ref, Path(scratch) / "out")) == FILES.files
            assert not reader.housekeeping_due()
            with pytest.raises(BackendDeniedError):
                reader.save(Key.of("model", "b"), FILES)

    as_nobody(act)


def test_no_store_where_none_may_be_made_is_a_clear_error(open_to_all: Path) -> None:
    def act() -> None:
        with pytest.raises(BackendDeniedError, match="there is no store yet, and none can be made"):
            open_store(open_to_all / "store", cache_dir=Path("/tmp"))

    (open_to_all).chmod(0o555)
    as_nobody(act)


def _open_and_save(root: Path, n: int, ready: object, ids: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    store = open_store(root / "store", cache_dir=root / "cache")
    ids.put(store.id)  # type: ignore[attr-defined]
    store.append(KEY, Payload(), meta={"n": n})
    assert store.index.warnings == []


def test_sixteen_processes_open_one_new_store_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, ids = context.Barrier(16), context.Queue()
    children = [
        context.Process(target=_open_and_save, args=(tmp_path, n, ready, ids)) for n in range(16)
    ]
    for child in children:
        child.start()
    assert len({ids.get() for _ in children}) == 1
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 16
    assert len(open_store(tmp_path / "store", cache_dir=tmp_path).keys(KEY)) == 16


def test_processes_that_open_a_new_store_at_once_share_it() -> None:
    assert opened_at_once(1, processes=8) == 0


@pytest.mark.stress
def test_16_processes_open_a_new_store_at_once_30_times() -> None:
    assert opened_at_once(30) == 0


def test_a_deleted_index_is_rebuilt() -> None:
    assert len(rebuilt(250, 2)) == 2
