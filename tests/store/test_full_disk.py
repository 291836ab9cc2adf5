"""A disk without bytes or inodes is what gc is for: it frees where nothing can be written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.errors import NoRoomError
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from memoflow.store.deletion_log import DELETING, time_there
from tests.mounts import UnmountableError, fill, mounted
from tests.store.conftest import contents

KEPT = Key.of("model", "kept")
Made = Callable[..., Store]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Make a store on a small disk, its index beside it, then fill the disk."""
    with ExitStack() as stack:

        def make(
            kind: str,
            what: str,
            *,
            forgotten: int = 3,
            kept: int = 0,
            reserve: bool = True,
            copies: int = 0,
        ) -> Store:
            inodes = 400 if what == "inodes" else None
            try:
                place = stack.enter_context(mounted(tmp_path / "disk", kind, inodes=inodes))
            except UnmountableError as error:
                pytest.skip(str(error))
            store = open_store(place / "store", cache_dir=place / "cache")
            store.save(KEPT, Payload(files={"kept": os.urandom(50_000)}))
            for number in range(kept):
                key = Key.of("model", f"kept{number}")
                store.save(key, Payload(files={"kept": os.urandom(5000)}))
            for number in range(forgotten):
                key = Key.of("model", f"gone{number}")
                store.save(key, Payload(files={"gone": os.urandom(300_000)}))
                store.forget(key)
            if not reserve:
                store.backend.delete([f"gc/reserve/{number}" for number in range(6)])
            for number in range(copies):
                store.backend.write(f"bundles/memo/{number}", os.urandom(5000))
            store.close()
            fill(place / "other", what)
            return open_store(place / "store", cache_dir=place / "cache")

        yield make


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("what", ["bytes", "inodes"])
@pytest.mark.parametrize("leftovers", [False, True])
def test_gc_frees_on_a_full_disk(
    made: Made, tmp_path: Path, kind: str, what: str, leftovers: bool
) -> None:
    store = made(kind, what)
    swept = store.sweep(now=True, leftovers=leftovers)
    assert swept.blobs == 3
    kept = store.find(KEPT)
    assert kept is not None
    assert len(contents(store.load(kept, tmp_path / "out"))["kept"]) == 50_000


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_what_is_evicted_makes_room_to_say_what_goes(made: Made, what: str) -> None:
    store = made("tmpfs", what, forgotten=0, kept=3, reserve=False)
    assert len(store.evict(max_size_bytes=0).refs) == 4
    assert store.sweep(now=True).blobs == 4


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_without_a_reserve_what_may_go_unsaid_goes_first(made: Made, what: str) -> None:
    store = made("tmpfs", what, reserve=False, copies=3)
    assert store.sweep(now=True).blobs == 3


def test_a_sweep_by_the_way_frees_too_on_a_full_disk(made: Made) -> None:
    store = made("tmpfs", "bytes")
    # No room to note since when they are reached by nothing: so they are not waited for.
    assert store.sweep(keep_newer=timedelta(0)).blobs == 3


def test_housekeeping_is_due_where_there_is_no_room_to_claim_it(made: Made) -> None:
    assert made("tmpfs", "inodes").housekeeping_due()


def test_the_clock_of_a_full_disk_goes_on(made: Made) -> None:
    store = made("tmpfs", "bytes")
    assert abs(time_there(store.backend) - time.time()) < 60


def test_where_nothing_can_be_freed_that_is_said(made: Made) -> None:
    store = made("tmpfs", "inodes", reserve=False)
    with pytest.raises(NoRoomError, match=r"nothing could be deleted: .* no inodes are free"):
        store.sweep(now=True)
    assert list(store.backend.list(DELETING)) == []


def test_a_sweep_in_good_times_keeps_a_reserve(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    store.backend.delete([found.name for found in store.backend.list("gc/reserve")])
    store.sweep()
    assert sum(found.size_bytes for found in store.backend.list("gc/reserve")) == 24 << 10


def test_a_new_store_has_a_reserve(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    assert isinstance(store.backend, Local)
    assert len(list(store.backend.list("gc/reserve"))) == 6
