"""A download goes on where it stopped, whatever stopped it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.flow.hub.world import FILES, LARGE, REPO
from tests.hubs import Hub
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[3]


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
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from huggingface_hub import constants
from tests.flow.hub.world import World

constants.DOWNLOAD_CHUNK_SIZE = 50_000
World(Path(sys.argv[1]), SimpleNamespace(endpoint=sys.argv[2])).get()
"""


def sizes(paths: Iterable[Path]) -> Iterator[int]:
    """Yield the sizes of files, but for those that are renamed meanwhile."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path.stat().st_size


@pytest.mark.usefixtures("in_small_chunks")
def test_a_download_goes_on_after_its_process_was_killed(world, hub):
    hub.fault("stall", "get", "model")
    env = os.environ | hub.env(world.folder / "home")
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(world.folder), hub.endpoint], cwd=ROOT, env=env
    )
    try:
        assert hub.stalled.wait(PATIENCE_S)
        half = len(LARGE) // 2
        until(lambda: half in sizes(world.folder.rglob("*.incomplete")))
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


@pytest.mark.parametrize("size", ["small files", "large ones"])
@pytest.mark.parametrize("has_package", [True, False])
def test_what_is_kept_by_xet_goes_on_where_it_stopped_as_well(
    world, hub, monkeypatch, request, size, has_package
):
    if size == "large ones":
        request.getfixturevalue("in_small_chunks")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not has_package, raising=False)
    hub.has_xet = True
    hub.fault("truncate", "get", "model")
    assert world.load(world.get()) == FILES
    assert len(ranges(hub)) == 2
    if size == "large ones":
        assert ranges(hub)[1] is not None
    assert hub.count("unknown") == 0  # such as the token that Xet would need


def test_a_large_file_is_asked_for_once_and_lies_where_huggingface_hub_looks_for_it(world, hub):
    from huggingface_hub import try_to_load_from_cache

    commit = world.get().about.commit
    assert hub.count("head", "model") == 1
    found = try_to_load_from_cache(
        REPO, "model.safetensors", revision=commit, cache_dir=world.folder / "hf"
    )
    assert Path(found).read_bytes() == LARGE


def test_what_is_kept_by_xet_is_forced_to_come_again(world, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False, raising=False)
    hub.has_xet = True
    world.get()
    hub.forget()
    assert world.load(world.get(force=True)) == FILES
    assert hub.count("get") == len(FILES)
    assert hub.count("unknown") == 0
