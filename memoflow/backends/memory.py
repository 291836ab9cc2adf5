"""Memory: a backend that forgets everything when the process ends, for tests and dry runs."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from memoflow.backends.backend import (
    LARGEST_READ_BYTES,
    Backend,
    BlobLocation,
    Data,
    Found,
    check_name,
    chunks_of,
    folder,
)
from memoflow.backends.failures import translated


class Memory(Backend):
    """Keep bytes in a dict; safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._files: dict[str, tuple[bytes, float, int]] = {}
        self._versions = itertools.count()
        self._lock = threading.Lock()

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        with self._lock:
            file = self._files.get(check_name(name))
        return None if file is None else file[0][: most_bytes + 1]

    def open(self, name: str) -> BinaryIO | None:
        data = self.read(name)
        return None if data is None else io.BytesIO(data)

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        if isinstance(data, Path):
            with translated("read", data):
                data = data.read_bytes()
        elif not isinstance(data, bytes):
            # Copied one by one: they may come in the same memory.
            data = b"".join(map(bytes, data))
        with self._lock:
            if if_absent and check_name(name) in self._files:
                return False
            self._files[check_name(name)] = (data, self._clock(), next(self._versions))
        return True

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        data = chunks_of(source) if isinstance(source, BlobLocation) else source
        return self.write(name, data, if_absent=True)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        with self._lock:
            files = [self._files.get(check_name(name)) for name in names]
        return [None if file is None else len(file[0]) for file in files]

    def list(self, prefix: str) -> Iterator[Found]:
        start = folder(prefix)
        with self._lock:
            files = [item for item in self._files.items() if item[0].startswith(start)]
        return iter([Found(name, len(data), at, f"{count}") for name, (data, at, count) in files])

    def delete(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._files.pop(check_name(name), None)
