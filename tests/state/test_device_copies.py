"""Claims: copies of a GPU's storages begin after what was queued, and are waited for once."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.state.device_copies import DeviceCopies


class FakeTorch:
    """A GPU whose streams run what they were given when somebody waits for them."""

    uint8 = "uint8"

    def __init__(self) -> None:
        self.cuda = self
        self.queued: list[Any] = []
        self.current: Any = "default"
        self.events: list[Any] = []

    def empty(self, size: int, **options: Any) -> Any:
        return FakeTensor(self, bytearray(size), options.get("pin_memory", False))

    def Stream(self, device: Any) -> Any:
        return SimpleNamespace(
            wait_stream=lambda other: self.events.append(("wait", device, other)),
            synchronize=self.run,
        )

    def current_stream(self, device: Any) -> str:
        return f"current {device.index}"

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Any:
        self.current = stream
        yield
        self.current = "default"

    def run(self) -> None:
        for copy in self.queued:
            copy()
        self.queued.clear()


class FakeTensor:
    def __init__(self, torch: FakeTorch, memory: bytearray, pinned: bool) -> None:
        self.torch, self.memory, self.pinned = torch, memory, pinned

    def set_(self, storage: Any) -> FakeTensor:
        self.memory = storage.memory
        return self

    def copy_(self, source: FakeTensor, *, non_blocking: bool) -> None:
        assert self.pinned
        assert non_blocking
        assert self.torch.current != "default"
        self.torch.queued.append(lambda: self.memory.__setitem__(slice(None), source.memory))

    def untyped_storage(self) -> bytearray:
        return self.memory


def storage(content: bytes, index: int = 0) -> Any:
    device = DEVICES[index]
    return SimpleNamespace(
        device=device, memory=bytearray(content), nbytes=lambda: len(content), cpu=lambda: "copied"
    )


class Device:
    def __init__(self, type: str, index: int) -> None:
        self.type, self.index = type, index


DEVICES = [Device("cuda", 0), Device("cuda", 1), Device("mps", 0)]


def test_copies_run_on_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    copies = DeviceCopies()
    made = [copies.copy(storage(*each)) for each in ((b"abc",), (b"de",), (b"f", 1))]
    assert torch.events == [("wait", DEVICES[0], "current 0"), ("wait", DEVICES[1], "current 1")]
    assert len(torch.queued) == 3
    copies.wait()
    assert made == [b"abc", b"de", b"f"]


def test_storages_of_other_devices_are_copied_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", FakeTorch())  # type: ignore[arg-type]
    assert DeviceCopies().copy(storage(b"abc", 2)) == "copied"
