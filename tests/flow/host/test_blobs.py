"""Blobs: equal artifacts of many tasks are written once, and read from memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memoflow.flow.host import blobs, storage
from memoflow.flow.host.blobs import BlobCache, NewBlobs
from memoflow.threads import for_each
from tests.flow.host.conftest import World


@pytest.fixture
def written(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are written from now on, by a datastore that is not on this machine."""
    paths: list[str] = []
    impl = world.datastore._storage_impl
    save = impl.save_bytes

    def saved(pairs: Any, **options: Any) -> None:
        kept = list(pairs)
        paths.extend(path for path, _ in kept)
        save(iter(kept), **options)

    monkeypatch.setattr(impl, "save_bytes", saved)
    monkeypatch.setattr(impl, "TYPE", "s3")
    monkeypatch.setattr(impl, "is_file", lambda paths: pytest.fail("asked whether it is there"))
    return paths


def test_equal_blobs_are_written_once_and_not_asked_for(world: World, written: list[str]) -> None:
    new = NewBlobs(world.datastore, BlobCache())
    first = new.save_blobs(iter([b"one", b"two", b"one"]))
    second = new.save_blobs(iter([b"two", b"three"]))
    assert [each.key for each in (first[1], first[2])] == [second[0].key, first[0].key]
    assert len(written) == 3


def test_what_was_written_is_read_as_metaflow_reads_it(world: World, written: list[str]) -> None:
    (saved,) = NewBlobs(world.datastore, BlobCache()).save_blobs(iter([b"one"]))
    assert list(world.datastore.ca_store.load_blobs([saved.key])) == [(saved.key, b"one")]


def test_what_was_written_is_in_the_cache_of_the_reader(world: World, written: list[str]) -> None:
    cache = BlobCache()
    (saved,) = NewBlobs(world.datastore, cache).save_blobs(iter([b"one"]))
    world.datastore._storage_impl.load_bytes = None
    reader = storage.reader(world.datastore, cache)
    reader.ca_store._storage_impl.load_bytes = lambda paths: _none(paths)
    assert list(reader.ca_store.load_blobs([saved.key])) == [(saved.key, b"one")]


class _none:
    """What a storage answers that is asked for nothing."""

    def __init__(self, paths: list[str]) -> None:
        assert paths == []

    def __enter__(self) -> Any:
        return iter(())

    def __exit__(self, *_: object) -> None:
        pass


def test_of_two_threads_one_writes_a_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    impl = world.datastore._storage_impl
    save, writing = impl.save_bytes, threading.Lock()
    written: list[str] = []

    def saved(pairs: Any, **options: Any) -> None:
        assert writing.acquire(blocking=False)
        kept = list(pairs)
        written.extend(path for path, _ in kept)
        save(iter(kept), **options)
        writing.release()

    monkeypatch.setattr(impl, "save_bytes", saved)
    new = NewBlobs(world.datastore, BlobCache())
    for_each(lambda _: new.save_blobs(iter([b"one"])), range(20), threads=4)
    assert len(written) == 1


def test_of_threads_that_write_equal_blobs_at_once_one_does(
    world: World, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    impl, ready = world.datastore._storage_impl, threading.Barrier(8)
    save = impl.save_bytes

    def slow(pairs: Any, **options: Any) -> None:
        ready.wait(10)  # until all have claimed what they write
        save(pairs, **options)

    monkeypatch.setattr(impl, "save_bytes", slow)
    new = NewBlobs(world.datastore, BlobCache())

    def write(number: int) -> list[str]:
        saved = new.save_blobs(iter([b"equal", b"%d" % number]))
        assert len(written) == len({*written})
        return [each.key for each in saved]

    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(write, range(8)))
    assert len({key for key, _ in keys}) == 1
    assert len(written) == 9


def test_what_another_thread_failed_to_write_is_tried_again(
    world: World, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    impl = world.datastore._storage_impl
    save, fails, may_fail = impl.save_bytes, threading.Event(), threading.Event()

    def saved(pairs: Any, **options: Any) -> None:
        if fails.is_set():
            return save(pairs, **options)
        fails.set()
        may_fail.wait(10)
        raise OSError("no")

    monkeypatch.setattr(impl, "save_bytes", saved)
    new = NewBlobs(world.datastore, BlobCache())
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(new.save_blobs, iter([b"one"]))
        fails.wait(10)
        second = threads.submit(new.save_blobs, iter([b"one"]))
        may_fail.set()
        assert isinstance(first.exception(10), OSError)
        assert len(second.result(10)) == 1
    assert len(written) == 1


def test_the_cache_holds_what_was_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_MOST_BYTES", 10)
    cache = BlobCache()
    for key in "abc":
        cache.store_key(key, bytes(4))
        cache.load_key("a")
    assert [cache.load_key(key) is not None for key in "abc"] == [True, False, True]


def test_a_large_blob_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_MOST_BYTES_OF_ONE", 3)
    cache = BlobCache()
    cache.store_key("a", bytes(4))
    assert cache.load_key("a") is None
