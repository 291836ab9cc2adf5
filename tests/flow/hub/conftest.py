"""A Hub on loopback, and a world of tasks that load from it without waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _headers

from tests.flow.hub.world import FILES, REPO, World
from tests.hubs import Fault, Hub


class Stalling(Hub):
    """Shortens how long huggingface_hub waits for bytes, once an answer is to stall.

    Elsewhere it waits as long as a busy machine needs: a download that goes on is asked for twice.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch

    def fault(self, kind: str, what: str, path: str = "", **more: Any) -> Fault:
        if kind == "stall":
            self._wait_s(2)
        return super().fault(kind, what, path, **more)

    def stall(self) -> None:
        if not any(fault.kind == "stall" and fault.fired < fault.times for fault in self.faults):
            self._wait_s(60)  # The request that is held back has its own from before.
        super().stall()

    def _wait_s(self, seconds: float) -> None:
        self._monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", seconds)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 60)
    with Stalling(monkeypatch) as hub:
        yield hub


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept for: nobody waits for it."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


@pytest.fixture
def world(tmp_path: Path, hub: Hub, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> World:
    hub.add(REPO, FILES)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    # Once a day it asks the real Hub what programs there are that it may be run by.
    monkeypatch.setattr(_headers, "detect_agent", lambda: None, raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return World(tmp_path, hub)


@pytest.fixture
def in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a download that stops is kept by chunks, of ten megabytes as a rule."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)


@pytest.fixture(params=["small files", "large ones"])
def either_way(request: pytest.FixtureRequest) -> None:
    """A file below one chunk comes at once, a larger one so that it can go on."""
    if request.param == "large ones":
        request.getfixturevalue("in_small_chunks")
