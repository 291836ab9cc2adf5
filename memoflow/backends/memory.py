"""Memory: a backend that forgets everything when the process ends, for tests and dry runs."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from memoflow.backends.backend import (
    LARGEST_READ_BYTES,
    BlobLocation,
    Found,
    check_name,
    chunks_of,
    folder,
)
from memoflow.backends.failures import translated


class Memory:
    """Keep bytes in a dict; safe to share between threads."""

    is_local = True

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._files: dict[str, tuple[bytes, float, int]] = {}
        self._versions = itertools.count()
        self._lock = threading.Lock()

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        with self._lock:
            file = self._files.get(check_name(name))
        return None if file is None else file[0][: most_bytes + 1]

    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        with self._lock:
            if if_absent and check_name(name) in self._files:
                return False
            self._files[check_name(name)] = (bytes(data), self._clock(), next(self._versions))
        return True

    def exists(self, names: Sequence[str]) -> list[bool]:
        return [size is not None for size in self.sizes(names)]

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

    def open(self, name: str) -> BinaryIO | None:
        data = self.read(name)
        return None if data is None else io.BytesIO(data)

    def write_from(
        self,
        name: str,
        source: Path | Iterable[bytes | memoryview],
        *,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        if isinstance(source, Path):
            with translated("read", source):
                data = source.read_bytes()
        else:
            gathered = bytearray()
            for chunk in source:
                gathered += chunk
            data = bytes(gathered)
        return self.write(name, data, if_absent=if_absent)

    def adopt(self, name: str, source: Path | BlobLocation) -> bool:
        if isinstance(source, BlobLocation):
            return self.write_from(name, chunks_of(source), if_absent=True)
        return self.write_from(name, source, if_absent=True)

    def path(self, name: str) -> Path | None:
        return None

    def bring(self, names: Sequence[str]) -> None:
        pass

    def doubt(self, name: str) -> bool:
        return False

    def tidy(self, *, before: float, dry_run: bool = False) -> int:
        return 0
