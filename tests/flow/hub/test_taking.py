"""What is there already, in the store or in the cache of huggingface_hub, is taken from there."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from memoflow.errors import MemoflowError
from memoflow.flow.hub.resuming import supported_options
from tests.flow.hub.world import FILES, LARGE, REPO, is_large
from tests.waiting import PATIENCE_S


def test_files_shared_by_revisions_and_repositories_are_fetched_and_stored_once(world, hub):
    world.get()
    hub.add(REPO, {**FILES, "config.json": b"new"}, revision="v2")
    hub.add("org/copy", {"renamed.safetensors": LARGE, "notes": b"notes"})
    hub.forget()
    second = world.get(revision="v2")
    third = world.get("org/copy")
    assert [one.path for one in hub.requests if one.what == "get"] == [f"{REPO}/config.json"]
    assert world.load(second)["config.json"] == b"new"
    assert world.load(third) == {"renamed.safetensors": LARGE, "notes": b"notes"}
    assert second.ref.new_bytes < 1000
    assert third.ref.new_bytes < 1000


@pytest.mark.usefixtures("either_way")
def test_what_the_cache_of_huggingface_hub_has_is_taken_from_there(world, hub):
    from huggingface_hub import snapshot_download

    snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=world.folder / "hf")
    hub.forget()
    assert world.load(world.get()) == FILES
    assert hub.count("get") == 0


MANY = {
    f"{size}.txt": random.Random(size).randbytes(size) for size in (1024, 5000, 90_000, 999_999)
}


@pytest.mark.parametrize("by", ["huggingface_hub", "memoflow"])
def test_what_is_in_the_cache_of_huggingface_hub_is_not_kept_twice(world, hub, by):
    from huggingface_hub import snapshot_download

    files = MANY | {"model.safetensors": LARGE}
    hub.add("org/many", files)
    cache, blobs = world.folder / "hf", world.folder / "store" / "blobs"
    if by == "huggingface_hub":
        snapshot_download("org/many", endpoint=hub.endpoint, cache_dir=cache)
    else:
        world.get("org/many")
    downloaded = sum(allocated(cache).values())
    saved = world.get("org/many")
    assert hub.count("get") == len(files)
    assert sum(allocated(cache, blobs).values()) == downloaded
    assert allocated(blobs).keys() <= allocated(cache).keys()
    assert len(allocated(blobs)) == len(files)
    assert world.load(saved) == files


def allocated(*folders: Path) -> dict[int, int]:
    """Return what files take on disk, each once, by inode."""
    found = (path.stat() for folder in folders for path in folder.rglob("*") if path.is_file())
    return {info.st_ino: 512 * info.st_blocks for info in found}


def test_a_small_file_that_is_wrong_in_the_cache_is_not_linked_from_there(world, hub):
    from huggingface_hub import hf_hub_download

    hub.add("org/many", MANY)
    found = hf_hub_download(
        "org/many", "5000.txt", endpoint=hub.endpoint, cache_dir=world.folder / "hf"
    )
    Path(found).resolve().write_bytes(b"0" * 5000)
    assert world.load(world.get("org/many")) == MANY


def test_what_was_damaged_in_the_store_is_fetched_again(world, hub):
    snapshot = world.get()
    (blob,) = (path for path in (world.folder / "store" / "blobs").rglob("*") if is_large(path))
    blob.chmod(0o600)
    blob.write_bytes(b"damaged" + LARGE[7:])
    with pytest.raises(MemoflowError):
        world.load(snapshot)
    hub.forget()
    assert world.load(world.get()) == FILES


@pytest.mark.usefixtures("either_way")
def test_force_downloads_again(world, hub):
    world.get()
    hub.forget()
    assert world.load(world.get(force=True)) == FILES
    assert hub.count("get") == len(FILES)


class Crowd:
    """Those who are inside at a time: each waits for two, and a while for more than allowed."""

    def __init__(self, *, at_most: int) -> None:
        self.most = self._inside = 0
        self._at_most = at_most
        self._enough, self._too_many = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def pass_through(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        if self.most >= min(2, self._at_most):
            self._enough.set()
        if self.most > self._at_most:
            self._too_many.set()
        self._enough.wait(PATIENCE_S)
        self._too_many.wait(0.3)
        with self._lock:
            self._inside -= 1


@pytest.mark.parametrize("max_workers", [1, 3])
def test_as_many_files_come_at_a_time_as_max_workers_says(world, hub, max_workers):
    files = {f"{number}.txt": b"%d" % number for number in range(6)}
    hub.add("org/six", files)
    crowd = Crowd(at_most=max_workers)
    hub.fault("late", "get", times=6, then=crowd.pass_through)
    assert world.load(world.get("org/six", max_workers=max_workers)) == files
    assert min(2, max_workers) <= crowd.most <= max_workers
    assert hub.count("get", "org/six") == len(files), "someone gave up, and asked again"


def test_a_small_file_alone_is_taken_from_the_blob_that_has_its_name(world, hub):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == world.folder.stat().st_dev:
        pytest.skip("there is no second file system")
    data = random.Random(9).randbytes(60_000)
    hub.add("org/small", {"config.json": b"{}", "model.npz": data})
    elsewhere = Path(tempfile.mkdtemp(dir=memory))
    try:
        # By a copy, since its cache is on another file system.
        assert world.load(world.get("org/small", cache_dir=str(elsewhere))) == world.load(
            world.on_another_machine().get("org/small", cache_dir=str(elsewhere / "other"))
        )
    finally:
        shutil.rmtree(elsewhere)
    assert hub.count("get", "model.npz") == 1


@pytest.mark.parametrize("path", ["config.json", "model.safetensors", "sub/notes.txt"])
def test_force_repairs_what_is_damaged_in_the_store(world, hub, path):
    files = {name: data * (2000 if len(data) < 100 else 1) for name, data in FILES.items()}
    hub.add("org/three", files)
    world.get("org/three")
    for blob in (world.folder / "store" / "blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size == len(files[path]):
            data = blob.read_bytes()
            blob.unlink()
            blob.write_bytes(data[:-1] + b"?")
            blob.chmod(0o444)
    assert world.load(world.get("org/three", force=True)) == files


def test_bars_of_the_callers_own_are_followed_as_well(world, hub):
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import tqdm

    if not supported_options(hf_hub_download, tqdm_class=None):
        pytest.skip("this huggingface_hub is too old for that")

    class Mine(tqdm):
        made = 0

        def __init__(self, *arguments: object, **options: object) -> None:
            Mine.made += 1
            super().__init__(*arguments, **options)

    assert world.load(world.get(tqdm_class=Mine)) == FILES
    assert Mine.made >= 1


def test_what_another_machine_has_stored_is_not_downloaded_again(world, hub):
    world.get()
    hub.add(REPO, {**FILES, "new.txt": b"new"})
    hub.forget()
    there = world.on_another_machine()
    options = {"cache_dir": str(world.folder / "other hf"), "scope": ("flow", "Other"), "run": "2"}
    assert there.load(there.get(**options)) == {**FILES, "new.txt": b"new"}
    assert [one.path for one in hub.requests if one.what == "get"] == [f"{REPO}/new.txt"]
