"""Device copies: storages of a GPU on the CPU, through pinned memory."""

from __future__ import annotations

import sys
from typing import Any


class DeviceCopies:
    """Copies that run together, on a stream of their own for each device, until `wait`.

    What the program has queued for a storage before comes first. Memory that is pinned once is kept
    by torch for the next copies.
    """

    def __init__(self) -> None:
        self._streams: dict[Any, Any] = {}

    def copy(self, storage: Any) -> Any:
        """Return a storage on the CPU, whose bytes are there after `wait`."""
        torch: Any = sys.modules["torch"]
        if storage.device.type != "cuda" or not storage.nbytes():
            return storage.cpu()
        stream = self._stream(storage.device)
        source = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        pinned = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=True)
        with torch.cuda.stream(stream):
            pinned.copy_(source, non_blocking=True)
        return pinned.untyped_storage()

    def wait(self) -> None:
        """Wait for all copies: from then on storages may be changed."""
        for stream in self._streams.values():
            stream.synchronize()

    def _stream(self, device: Any) -> Any:
        if device not in self._streams:
            torch: Any = sys.modules["torch"]
            stream = self._streams[device] = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
        return self._streams[device]
