"""Storage: the bytes behind a flow's datastore, and a way of our own to read its tasks."""

from __future__ import annotations

from typing import Any

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.storage import reader, storage_of
from tests.flow.host.conftest import World


class Cache:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def load_key(self, key: str) -> bytes | None:
        return self.blobs.get(key)

    def store_key(self, key: str, blob: bytes) -> None:
        self.blobs[key] = blob


def test_the_storage_knows_where_an_artifact_lies(world: World) -> None:
    sha1 = TaskArtifacts(world.task("start", x=1)).sha1s()["x"]
    storage = storage_of(world.datastore)
    path = storage.path_join("Sweep", "data", f"{sha1[:2]}/{sha1}")
    there, meta = storage.info_file(path)
    assert there
    assert meta == {"cas_raw": False, "cas_version": 1}


def test_a_reader_sees_what_tasks_left_and_keeps_their_bytes(world: World) -> None:
    left = world.task("start", x=1)
    cache = Cache()
    assert through(cache, world, left)["x"] == 1
    assert list(cache.blobs) == [TaskArtifacts(left).sha1("x")]


def test_a_reader_takes_bytes_from_its_cache(world: World) -> None:
    left = world.task("start", x=1)
    cache = Cache()
    assert through(cache, world, left)["x"] == 1
    for file in (world.root / "Sweep" / "data").rglob("*"):
        if file.is_file():
            file.unlink()
    assert through(cache, world, left)["x"] == 1


def test_the_runtimes_own_way_gets_no_cache(world: World) -> None:
    left = world.task("start", x=1)
    cache = Cache()
    reader(world.datastore, cache)
    assert world.reopened(left)["x"] == 1
    assert cache.blobs == {}


def through(cache: Cache, world: World, left: Any) -> Any:
    """Return a finished task's datastore, opened by a reader with this cache."""
    return reader(world.datastore, cache).get_task_datastore(
        world.run, left.step_name, left.task_id
    )
