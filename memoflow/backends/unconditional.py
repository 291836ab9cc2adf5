"""Unconditional: a backend on a server that ignores conditions, made to look before it writes.

Of two that write at the same moment both may take themselves for the winner; then the later one's
bytes are there. What is named by its content does not mind, and a ref that is not the one that
was found is noticed by its digest. So work may be done twice, and no answer is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from memoflow.backends.backend import LARGEST_READ_BYTES, Backend, BlobLocation, Found


class Unconditional:
    """Wrap a backend with an unreliable `if_absent`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.is_local = backend.is_local

    def __repr__(self) -> str:
        return repr(self._backend)

    def __str__(self) -> str:
        return str(self._backend)

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        return self._backend.read(name, most_bytes=most_bytes)

    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        if not if_absent:
            return self._backend.write(name, data, durable=durable)
        if self.exists([name])[0]:
            return False
        self._backend.write(name, data, durable=durable)
        # Not ours if another wrote in between: the last one is who is there now.
        return self._backend.read(name) == data

    def exists(self, names: Sequence[str]) -> list[bool]:
        return self._backend.exists(names)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        return self._backend.sizes(names)

    def list(self, prefix: str) -> Iterator[Found]:
        return self._backend.list(prefix)

    def delete(self, names: Sequence[str]) -> None:
        self._backend.delete(names)

    def open(self, name: str) -> BinaryIO | None:
        return self._backend.open(name)

    def write_from(
        self,
        name: str,
        source: Path | Iterable[bytes | memoryview],
        *,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        if if_absent and self.exists([name])[0]:
            return False
        return self._backend.write_from(name, source, durable=durable)

    def adopt(self, name: str, source: Path | BlobLocation) -> bool:
        if self.exists([name])[0]:
            return False
        return self._backend.adopt(name, source)

    def path(self, name: str) -> Path | None:
        return self._backend.path(name)

    def bring(self, names: Sequence[str]) -> None:
        self._backend.bring(names)

    def doubt(self, name: str) -> bool:
        return self._backend.doubt(name)

    def tidy(self, *, before: float, dry_run: bool = False) -> int:
        return self._backend.tidy(before=before, dry_run=dry_run)
