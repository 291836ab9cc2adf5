"""Tiered: the contract, and that the cache is never the reason for a wrong answer or an error."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from memoflow.backends import Backend, Local, Memory, Tiered, Unconditional
from tests.contracts import BackendContract
from tests.faults import Faulty


def tiered(
    far: Backend,
    near: Path,
    *,
    limit_bytes: int = 1 << 30,
    is_whole: Callable[[Backend, str], bool] = lambda backend, name: True,
) -> Tiered:
    return Tiered(
        Local(near),
        far,
        is_cached=lambda name: name.startswith("blobs/"),
        is_whole=is_whole,
        limit_bytes=limit_bytes,
    )


class TestTiered(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return tiered(Memory(), tmp_path / "near")


class TestTieredOfEverything(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return Tiered(
            Local(tmp_path / "near"),
            Memory(),
            is_cached=lambda name: True,
            is_whole=lambda backend, name: True,
            limit_bytes=1 << 30,
        )


class TestUnconditional(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return Unconditional(Memory())

    def test_of_many_writers_if_absent_one_wins(self, backend: Backend) -> None:
        """Not promised here: what it wraps cannot do that."""


@pytest.fixture
def far() -> Faulty:
    return Faulty(Memory(), takes_round_trips=True)


def test_a_blob_is_fetched_once(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path)
    far.write("blobs/a", b"data")
    for _ in range(3):
        with backend.open("blobs/a") as file:
            assert file.read() == b"data"
        assert backend.read("blobs/a") == b"data"
    assert far.calls["open"] == 1
    assert "read" not in far.calls


def test_what_may_change_is_asked_for_each_time(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path)
    far.write("refs/a", b"old")
    assert backend.read("refs/a") == b"old"
    far.write("refs/a", b"new")
    assert backend.read("refs/a") == b"new"


def test_what_came_torn_is_fetched_again(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path, is_whole=lambda near, name: near.read(name) == b"twice as long")
    far.write("blobs/a", b"twice as long")
    far.truncate_at("open", nth=1)
    with backend.open("blobs/a") as file:
        assert file.read() == b"twice as long"
    assert not far.pending


def test_what_is_damaged_there_is_handed_to_its_reader_and_not_kept(
    far: Faulty, tmp_path: Path
) -> None:
    backend = tiered(far, tmp_path, is_whole=lambda near, name: False)
    far.write("blobs/a", b"damaged")
    with backend.open("blobs/a") as file:
        assert file.read() == b"damaged"
    assert backend.path("blobs/a") is None


def test_a_doubted_copy_is_dropped_and_fetched_anew(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path)
    far.write("blobs/a", b"good")
    backend.prefetch(["blobs/a"])
    path = backend.path("blobs/a")
    assert path is not None
    os.chmod(path, 0o644)
    path.write_bytes(b"bad!")
    assert backend.read("blobs/a") == b"bad!"
    assert backend.evict_cached("blobs/a") is True
    assert backend.read("blobs/a") == b"good"


def test_there_is_nothing_to_doubt_without_a_copy(far: Faulty, tmp_path: Path) -> None:
    assert tiered(far, tmp_path).evict_cached("blobs/a") is False


def test_the_cache_holds_no_more_than_its_limit_and_drops_what_was_used_least_recently(
    far: Faulty, tmp_path: Path
) -> None:
    backend = tiered(far, tmp_path, limit_bytes=10_000)
    for n in range(30):
        far.write(f"blobs/{n}", bytes(1000))
        backend.prefetch([f"blobs/{n}"])
        backend.read("blobs/0")
    kept = {found.name for found in Local(tmp_path).list("")}
    assert sum(found.size_bytes for found in Local(tmp_path).list("")) <= 10_000
    assert {"blobs/0", "blobs/29"} <= kept


def test_one_larger_than_the_limit_is_served_all_the_same(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path, limit_bytes=10)
    far.write("blobs/a", bytes(1000))
    with backend.open("blobs/a") as file:
        assert file.read() == bytes(1000)


def test_a_cache_that_cannot_be_written_is_done_without_and_said_once(
    far: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    backend = tiered(far, tmp_path / "file" / "below")
    far.write("blobs/a", b"data")
    far.write("blobs/b", b"more")
    with backend.open("blobs/a") as file:
        assert file.read() == b"data"
    assert backend.read("blobs/b") == b"more"
    backend.delete(["blobs/a"])
    assert far.read("blobs/a") is None
    assert caplog.text.count("nothing more is cached") == 1


def test_a_failure_of_the_far_end_is_not_taken_for_one_of_the_cache(
    far: Faulty, tmp_path: Path
) -> None:
    from memoflow.errors import BackendUnavailableError

    backend = tiered(far, tmp_path)
    far.write("blobs/a", b"data")
    far.fail_at("open")
    with pytest.raises(BackendUnavailableError):
        backend.open("blobs/a")


def test_what_is_adopted_from_this_machine_is_here_already(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path / "near")
    source = tmp_path / "source"
    source.write_bytes(b"data")
    backend.link_or_copy("blobs/a", source)
    assert backend.path("blobs/a").samefile(source)
    assert far.read("blobs/a") == b"data"


def test_what_is_cached_is_private_and_read_only(far: Faulty, tmp_path: Path) -> None:
    backend = tiered(far, tmp_path / "near")
    far.write("blobs/a", b"data")
    backend.prefetch(["blobs/a"])
    assert stat.S_IMODE(os.stat(backend.path("blobs/a")).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(tmp_path / "near").st_mode) == 0o700


def test_many_readers_of_one_blob_fetch_it_once(far: Faulty, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend = tiered(far, tmp_path)
    far.write("blobs/a", bytes(5_000_000))

    def read(_: int) -> int:
        with backend.open("blobs/a") as file:
            return len(file.read())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(16))) == {5_000_000}
    assert far.calls["open"] == 1
