"""What a bad day at the Hub does to a download: nothing wrong is stored, and each error says why.

In this process, not in a flow: the store, the code that downloads, and huggingface_hub are real.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _headers

from memoflow.errors import IntegrityError, MemoflowError
from memoflow.flow.artifact_store import ArtifactStore
from memoflow.flow.hub.current_hub import CurrentHub
from memoflow.flow.hub.snapshots import Revalidate, Run, Snapshots
from memoflow.flow.hub.upstream import Transfer, Upstream
from memoflow.flow.journal import Journal
from memoflow.flow.scratch import Scratch
from memoflow.kinds.hub import Scope, Snapshot, Wanted
from memoflow.store import open_store
from tests.hubs import Hub

LARGE = random.Random(0).randbytes(1_500_000)
FILES = {"config.json": b'{"layers": 2}', "model.safetensors": LARGE, "sub/notes.txt": b"notes"}
REPO = "org/name"
ROOT = Path(__file__).parents[2]
SECRET = "hf_secretsecretsecret"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept for: nobody waits for it."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


class World:
    """A store, a cache of huggingface_hub's, and tasks that load from a Hub."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder = folder
        self.hub = hub
        self.said: list[str] = []
        self.store = open_store(folder / "store", cache_dir=folder / "index")

    def snapshots(
        self,
        *,
        run: str = "1",
        user: str = "alice",
        revalidate: str = "run",
        scope: tuple[str, ...] = ("flow", "Train"),
    ) -> Snapshots:
        """Return those of one task."""
        return Snapshots(
            self.store,
            Scope(scope, user),
            Run("Train", run),
            Revalidate.parse(revalidate),
            task=f"Train/{run}/start/1",
            attempt=0,
            say=self.said.append,
        )

    def get(self, repo_id: str = REPO, *, force: bool = False, **options: Any) -> Snapshot:
        transfer = {
            "endpoint": self.hub.endpoint,
            "cache_dir": str(self.folder / "hf"),
            "etag_timeout": 0.5,
        }
        for name in Transfer.__dataclass_fields__:
            if name in options:
                transfer[name] = options.pop(name)
        task = {
            name: options.pop(name)
            for name in ("run", "user", "revalidate", "scope")
            if name in options
        }
        wanted = Wanted.of(repo_id, **options)
        upstream = Upstream(Transfer(**transfer), self.said.append)
        return self.snapshots(**task).get(wanted, upstream, force=force)[0]

    def load(self, snapshot: Snapshot) -> dict[str, bytes]:
        into = self.store.load(snapshot.ref, self.folder / f"out{time.monotonic_ns()}")
        return {
            path.relative_to(into).as_posix(): path.read_bytes()
            for path in sorted(into.rglob("*"))
            if path.is_file()
        }

    def stored(self) -> set[str]:
        """Return all that the store holds, but for what a branch stood for."""
        root = self.folder / "store"
        names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        return {name for name in names if not name.startswith("refs/hub/revision")}


@pytest.fixture
def world(tmp_path: Path, hub: Hub, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> World:
    hub.add(REPO, FILES)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    # Once a day it asks the real Hub what programs there are that it may be run by.
    monkeypatch.setattr(_headers, "detect_agent", lambda: None, raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return World(tmp_path, hub)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        *product(("info", "tree", "head", "get"), ("status 503", "status 429")),
        *product(("info", "tree", "get"), ("stall", "truncate", "reset")),
    ],
)
def test_what_passes_is_tried_again(world, hub, what, kind):
    fault = hub.fault(kind, what, "model" if what in ("head", "get") else "")
    assert world.load(world.get()) == FILES
    assert fault.fired == 1


@pytest.mark.parametrize("what", ["info", "tree", "head", "get"])
def test_the_hub_says_how_long_to_wait(world, hub, slept, what):
    # After the first answer to HEAD huggingface_hub asks once more at once.
    path, times = ("model", 2) if what == "head" else ("", 1)
    hub.fault("status 429", what, path, retry_after=7, times=times)
    assert world.load(world.get()) == FILES
    assert any(7 <= nap < 9 for nap in slept)


def test_each_wait_is_longer_than_the_one_before(world, hub, slept):
    hub.fault("status 503", "info", times=4)
    world.get()
    waits = [nap for nap in slept if nap >= 0.4]
    assert len(waits) == 4
    assert waits[-1] > 2 * waits[0]


@pytest.fixture
def in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a download that stops is kept by chunks, of ten megabytes as a rule."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)


@pytest.fixture(params=["small files", "large ones"])
def either_way(request: pytest.FixtureRequest) -> None:
    """A file below one chunk comes at once, a larger one so that it can go on."""
    if request.param == "large ones":
        request.getfixturevalue("in_small_chunks")


def ranges(hub: Hub) -> list[str | None]:
    return [one.range for one in hub.requests if one.what == "get" and "model" in one.path]


@pytest.mark.usefixtures("in_small_chunks")
@pytest.mark.parametrize("kind", ["truncate", "stall", "reset"])
def test_a_download_goes_on_where_it_stopped(world, hub, kind):
    hub.fault(kind, "get", "model")
    assert world.load(world.get()) == FILES
    first, second = ranges(hub)
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(LARGE) // 2


_CHILD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from huggingface_hub import constants
from tests.stories.test_hub_faults import World

constants.DOWNLOAD_CHUNK_SIZE = 50_000
World(Path(sys.argv[1]), SimpleNamespace(endpoint=sys.argv[2])).get()
"""


@pytest.mark.usefixtures("in_small_chunks")
def test_a_download_goes_on_after_its_process_was_killed(world, hub):
    hub.fault("stall", "get", "model")
    env = os.environ | hub.env(world.folder / "home") | {"HF_HUB_DOWNLOAD_TIMEOUT": "60"}
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(world.folder), hub.endpoint], cwd=ROOT, env=env
    )
    try:
        assert hub.stalled.wait(30)
        half = len(LARGE) // 2
        for _ in range(1000):
            if half in [path.stat().st_size for path in world.folder.rglob("*.incomplete")]:
                break
            hub.closing.wait(0.01)  # Since nobody sleeps here.
    finally:
        child.kill()
        child.wait()
    assert world.load(world.get()) == FILES
    assert ranges(hub) == [None, f"bytes={half}-"]


@pytest.mark.usefixtures("in_small_chunks")
@pytest.mark.parametrize("size_bytes", [1000, len(LARGE), len(LARGE) + 1])
def test_a_beginning_that_is_wrong_is_not_gone_on_from(world, hub, size_bytes):
    blobs = world.folder / "hf" / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    name = f"{hashlib.sha256(LARGE).hexdigest()}.memoflow.incomplete"
    (blobs / name).write_bytes(b"0" * size_bytes)
    assert world.load(world.get()) == FILES
    assert not list(blobs.glob("*.incomplete"))


def test_files_that_came_before_a_failure_do_not_come_again(world, hub):
    hub.fault("status 404", "get", "model")
    with pytest.raises(MemoflowError):
        world.get(max_workers=1)
    before = hub.count("get", "config.json")
    assert world.load(world.get()) == FILES
    assert hub.count("get", "config.json") == before == 1


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_a_wrong_file_is_fetched_again(world, hub, path):
    hub.fault("flip", "get", path)
    assert world.load(world.get()) == FILES
    assert hub.count("get", path) == 2


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_a_file_that_stays_wrong_is_an_error_and_is_not_stored(world, hub, path):
    hub.fault("flip", "get", path, times=9)
    before = world.stored()
    with pytest.raises(IntegrityError) as error:
        world.get()
    for part in (path, REPO, "should be", "what came was"):
        assert part in str(error.value)
    assert hub.count("get", path) == 2
    assert world.stored() == before


def test_a_wrong_file_in_the_cache_is_not_taken_from_there(world, hub):
    hub.fault("flip", "get", "model", times=2)
    with pytest.raises(IntegrityError):
        world.get()
    assert world.load(world.get()) == FILES


@pytest.mark.parametrize("what", ["head", "tree"])
def test_a_wrong_size_is_an_error_and_is_not_stored(world, hub, what):
    hub.fault("size", what, "model" if what == "head" else "", times=9)
    before = world.stored()
    with pytest.raises(IntegrityError, match=r"model\.safetensors|config\.json"):
        world.get()
    assert world.stored() == before


def test_a_path_that_leaves_the_directory_is_an_error_before_anything_is_fetched(world, hub):
    hub.fault("path", "tree")
    with pytest.raises(IntegrityError, match=r"\.\./x"):
        world.get()
    assert hub.count("get") == 0
    assert not (world.folder / "x").exists()


def test_a_hub_that_fails_and_fails_is_an_error_that_ends(world, hub):
    hub.fault("status 503", "get", "model", times=99)
    before = world.stored()
    with pytest.raises(MemoflowError, match="answered 503"):
        world.get()
    assert world.stored() == before


def test_a_branch_that_moves_while_it_is_loaded_is_one_commit(world, hub):
    second = {**FILES, "config.json": b"of the next commit"}
    hub.fault("move", "info", then=lambda: hub.add(REPO, second))
    assert world.load(world.get()) == FILES
    assert world.load(world.get()) == FILES
    assert world.load(world.get(run="2")) == second


def test_a_tree_of_many_pages_is_read_to_its_end(world, hub):
    hub.page = 2
    many = {f"{number:03d}.txt": b"%d" % number for number in range(7)}
    hub.add("org/many", many)
    assert world.load(world.get("org/many")) == many


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"repo_id": "org/unknown"}, "org/unknown"),
        ({"repo_id": "not a name"}, "not a name"),
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"revision": "0" * 40}, "no revision '0000"),
        ({"allow_patterns": ["*.onnx"]}, r"\['\*\.onnx'\]"),
        ({"repo_id": "org/private"}, "HF_TOKEN"),
        ({"repo_id": "org/gated"}, "gated.*HF_TOKEN"),
    ],
)
def test_bad_input_is_a_clear_error_and_leaves_the_store_as_it_was(world, hub, asked, told):
    hub.add("org/private", FILES, private=True, tokens=(SECRET,))
    hub.add("org/gated", FILES, gated=True, tokens=(SECRET,))
    before = world.stored()
    with pytest.raises(MemoflowError, match=f"(?s){told}"):
        world.get(**asked)
    assert world.stored() == before
    assert hub.count("get") == 0


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_as_it_was(world, hub, monkeypatch):
    real = os.write

    def full(file: int, data: Any) -> int:
        if len(data) > 100_000:
            raise OSError(28, "No space left on device")
        return real(file, data)

    before = world.stored()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "link", _no_link)
        with pytest.raises(MemoflowError, match="No space left"):
            world.get()
    assert world.stored() == before
    assert world.load(world.get()) == FILES


def _no_link(*arguments: object, **options: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_a_full_disk_at_the_cache_is_a_clear_error(world, hub, monkeypatch):
    from huggingface_hub import file_download

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device", "/cache/blobs")

    before = world.stored()
    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", full)
        with pytest.raises(MemoflowError, match=r"No space left.*/cache/blobs"):
            world.get()
    assert world.stored() == before


@pytest.mark.parametrize("kind", ["status 503", "status 403", "truncate"])
def test_no_error_shows_an_address_or_a_token(world, hub, kind, caplog):
    hub.add("org/private", FILES, private=True, tokens=(SECRET,))
    hub.fault(kind, "get", times=9999)
    with pytest.raises(MemoflowError) as error:
        world.get("org/private", token=SECRET)
    told = f"{error.value!r} {error.value.__cause__!r} {world.said} {caplog.text}"
    assert SECRET not in told
    assert "127.0.0.1" not in f"{error.value}{world.said}"


@pytest.mark.usefixtures("either_way")
def test_a_token_is_passed_on_to_the_hub_alone(world, hub):
    hub.add("org/private", FILES, private=True, tokens=(SECRET,))
    assert world.load(world.get("org/private", token=SECRET)) == FILES
    assert {one.token for one in hub.requests if "private" in one.path} == {SECRET, None}
    held = [path.read_bytes() for path in (world.folder).rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in held)


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
    (blob,) = (path for path in (world.folder / "store" / "blobs").rglob("*") if _is_large(path))
    blob.chmod(0o600)
    blob.write_bytes(b"damaged" + LARGE[7:])
    with pytest.raises(MemoflowError):
        world.load(snapshot)
    hub.forget()
    assert world.load(world.get()) == FILES


def _is_large(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == len(LARGE)


@pytest.mark.usefixtures("either_way")
def test_force_downloads_again(world, hub):
    world.get()
    hub.forget()
    assert world.load(world.get(force=True)) == FILES
    assert hub.count("get") == len(FILES)


@pytest.mark.parametrize("what", ["info", "tree", "head"])
@pytest.mark.parametrize("etag_timeout", [0.5, 60])
def test_an_answer_is_waited_for_as_long_as_etag_timeout_says(world, hub, what, etag_timeout):
    hub.add("org/one", {"config.json": b"{}"})
    late = hub.fault("late", what, "org/one", then=lambda: hub.closing.wait(2))
    assert world.load(world.get("org/one", etag_timeout=etag_timeout)) == {"config.json": b"{}"}
    assert late.fired == 1
    asked = hub.count(what, "org/one")
    assert asked > 1 if etag_timeout < 2 else asked == 1


class Crowd:
    """Those who are inside at a time: each waits a while for more than there should be."""

    def __init__(self, *, at_most: int) -> None:
        self.most = self._inside = 0
        self._at_most = at_most
        self._too_many = threading.Event()
        self._lock = threading.Lock()

    def pass_through(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        if self.most > self._at_most:
            self._too_many.set()
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


@pytest.mark.parametrize("pinned", [False, True])
def test_a_second_load_of_a_run_asks_the_hub_nothing(world, hub, pinned):
    options = {"revision": world.get().about.commit} if pinned else {}
    world.get(**options)
    hub.forget()
    world.get(**options, run="2" if pinned else "1")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("revalidate", "asked"), [("run", 1), ("never", 0), ("always", 1), ("7d", 0)]
)
def test_another_run_asks_as_it_was_told_to(world, hub, revalidate, asked):
    world.get(revalidate=revalidate)
    hub.forget()
    world.get(revalidate=revalidate, run="2")
    assert hub.count("info") == asked


def test_after_a_time_the_hub_is_asked_again(world, hub, monkeypatch):
    world.get(revalidate="7d")
    hub.add(REPO, {"new": b"new"})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6 * 86400)
    assert world.load(world.get(revalidate="7d", run="2")) == FILES
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86400)
    assert world.load(world.get(revalidate="7d", run="3")) == {"new": b"new"}


def test_always_asks_at_each_load(world, hub):
    world.get(revalidate="always")
    hub.add(REPO, {"new": b"new"})
    assert world.load(world.get(revalidate="always")) == {"new": b"new"}


def test_without_a_hub_the_store_serves_what_it_has(world, hub):
    commit = world.get().about.commit
    nowhere = "http://127.0.0.1:9"
    assert world.load(world.get(endpoint=nowhere, run="2")) == FILES
    assert world.load(world.get(endpoint=nowhere, revision=commit)) == FILES
    assert world.load(world.get(local_files_only=True, run="3")) == FILES


def test_without_a_hub_an_error_says_what_is_missing_and_what_is_there(world, hub):
    commit = world.get(revision="main").about.commit
    world.get(allow_patterns="*.json")
    for options in ({"endpoint": "http://127.0.0.1:9"}, {"local_files_only": True}):
        with pytest.raises(MemoflowError) as error:
            world.get(revision="v2", **options)
        told = str(error.value)
        assert "revision v2 of model org/name is not in the store" in told
        assert f"main ({commit})" in told
        assert "allow_patterns=['*.json']" in told


@pytest.mark.parametrize("kind", ["private", "gated"])
def test_what_not_everybody_may_have_is_served_to_nobody_else(world, hub, kind):
    hub.add("org/kept", FILES, **{kind: True}, tokens=(SECRET,))
    commit = world.get("org/kept", token=SECRET).about.commit
    for options in ({"run": "1"}, {"run": "2"}, {"revision": commit}, {"revalidate": "never"}):
        with pytest.raises(MemoflowError, match="org/kept"):
            world.get("org/kept", user="bob", **options)
    assert world.load(world.get("org/kept", user="bob", token=SECRET)) == FILES
    hub.forget()
    assert world.load(world.get("org/kept")) == FILES
    assert hub.requests == []


GLOBAL, OTHER = ("global",), ("flow", "Other")


def test_a_public_snapshot_is_taken_into_another_scope_without_a_question(world, hub):
    world.get()
    hub.forget()
    taken = world.get(scope=OTHER)
    assert world.load(taken) == FILES
    assert taken.ref.new_bytes == 0
    assert hub.requests == []


def test_other_patterns_of_a_public_snapshot_are_asked_for(world, hub):
    world.get()
    hub.forget()
    taken = world.get(scope=OTHER, allow_patterns="*.json")
    assert world.load(taken).keys() == {"config.json"}
    assert hub.count("tree") == 1


def test_a_public_snapshot_that_was_cut_off_is_not_taken_into_another_scope(world, hub):
    world.get()
    (blob,) = (path for path in (world.folder / "store" / "blobs").rglob("*") if _is_large(path))
    blob.unlink()
    blob.write_bytes(LARGE[:-1])
    assert world.load(world.get(scope=OTHER)) == FILES


@pytest.mark.parametrize("kind", ["private", "gated"])
@pytest.mark.parametrize("scope", [GLOBAL, OTHER])
def test_what_not_everybody_may_have_is_asked_for_in_each_scope(world, hub, kind, scope):
    hub.add("org/kept", FILES, **{kind: True}, tokens=(SECRET,))
    commit = world.get("org/kept", token=SECRET, scope=scope).about.commit
    for options in ({"run": "1"}, {"run": "2"}, {"revision": commit}):
        with pytest.raises(MemoflowError, match="org/kept"):
            world.get("org/kept", **options)
    hub.forget()
    assert world.load(world.get("org/kept", token=SECRET)) == FILES
    assert {"tree", "head"} <= {one.what for one in hub.requests}


def test_what_turns_out_damaged_while_it_is_loaded_comes_from_the_hub_again(world, hub):
    hub_of_task = CurrentHub(
        ArtifactStore("local", str(world.folder), str(world.folder / "store")),
        world.snapshots(),
        scratch=Scratch("hf", str(world.folder), 0, str(world.folder / "scratch")),
        say=world.said.append,
        noticed=lambda wanted, commit: None,
        journal=Journal(),
    )
    options = {"endpoint": hub.endpoint, "cache_dir": str(world.folder / "hf")}
    hub_of_task.snapshot_download(REPO, **options)
    (blob,) = (path for path in (world.folder / "store" / "blobs").rglob("*") if _is_large(path))
    blob.unlink()
    with hub_of_task.load(REPO, **options) as folder:
        assert Path(folder, "model.safetensors").read_bytes() == LARGE
    assert any("damaged in the store" in line for line in world.said)
