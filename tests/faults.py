"""Faults: what breaks at the nth call, and fails the test if it never broke."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from memoflow.backends import Backend, BlobLocation, Data, Forwarding, Found
from memoflow.errors import BackendUnavailableError


class Died(BaseException):
    """The process ended here, as far as the code under test can tell."""


class Faulty(Forwarding):
    """A backend that fails, dies or truncates at the nth call of a verb, counting from now."""

    def __init__(self, backend: Backend, *, takes_round_trips: bool = False) -> None:
        super().__init__(backend)
        self.takes_round_trips = takes_round_trips
        self.calls: dict[str, int] = {}
        self.before_write: Callable[[str], None] | None = None  # given the name
        self._planned: dict[str, tuple[int, str]] = {}

    def fail_at(self, verb: str, *, nth: int = 1) -> None:
        """Raise BackendUnavailableError before anything is done."""
        self._plan(verb, nth, "fail")

    def die_at(self, verb: str, *, nth: int = 1) -> None:
        """Raise Died before anything is done."""
        self._plan(verb, nth, "die")

    def die_after(self, verb: str, *, nth: int = 1) -> None:
        """Raise Died when it is done, but before the caller learns of it."""
        self._plan(verb, nth, "die after")

    def truncate_at(self, verb: str, *, nth: int = 1) -> None:
        """Keep or return only the first half of the bytes."""
        self._plan(verb, nth, "truncate")

    @property
    def pending(self) -> dict[str, tuple[int, str]]:
        """The faults that have not fired yet."""
        return dict(self._planned)

    def relent(self) -> None:
        """Take back what has not fired yet."""
        self._planned.clear()

    def read(self, name: str, **options: int) -> bytes | None:
        return self._call("read", lambda half: half(self.backend.read(name, **options)))

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        def write(half: Callable[[Any], Any]) -> bool:
            if not isinstance(data, (bytes, Path)):
                cut: Data = [half(bytes(chunk)) for chunk in data]
            else:
                cut = half(data) if isinstance(data, bytes) else data
            return self.backend.write(name, cut, if_absent=if_absent, durable=durable)

        self._is_written(name)
        return self._call("write", write)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        return self._call("sizes", lambda half: self.backend.sizes(names))

    def list(self, prefix: str) -> Iterator[Found]:
        return self._call("list", lambda half: self.backend.list(prefix))

    def delete(self, names: Sequence[str]) -> None:
        return self._call("delete", lambda half: self.backend.delete(names))

    def open(self, name: str) -> BinaryIO | None:
        return self._call("open", lambda half: half(self.backend.open(name)))

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        return self._call("write", lambda half: self.backend.link_or_copy(name, source))

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        return self._call(
            "cleanup", lambda half: self.backend.cleanup(before=before, dry_run=dry_run)
        )

    def _is_written(self, name: str) -> None:
        if self.before_write is not None:
            self.before_write(name)

    def _plan(self, verb: str, nth: int, how: str) -> None:
        self._planned[verb] = (self.calls.get(verb, 0) + nth, how)

    def _call(self, verb: str, act: Callable[[Callable[[Any], Any]], Any]) -> Any:
        self.calls[verb] = self.calls.get(verb, 0) + 1
        nth, how = self._planned.get(verb, (0, ""))
        if self.calls[verb] != nth:
            return act(lambda data: data)
        del self._planned[verb]
        if how == "fail":
            raise BackendUnavailableError(f"{verb} failed on purpose")
        if how == "die":
            raise Died
        result = act(_half if how == "truncate" else lambda data: data)
        if how == "die after":
            raise Died
        return result


class SystemFaults:
    """System calls that fail with an errno at the nth call, counting from now."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.fired = True

    def fail_at(self, call: str, *, nth: int, code: int) -> None:
        """Let the nth `os.<call>` fail; a write that fails for want of space writes half first."""
        real = getattr(os, call)
        seen = 0
        self.fired = False

        def faulty(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen != nth:
                return real(*args, **kwargs)
            self.fired = True
            if call == "write" and code == errno.ENOSPC:
                # Whole blocks, of the same memory: O_DIRECT takes nothing else.
                half = len(args[1]) // 2
                real(args[0], memoryview(args[1])[: half // 4096 * 4096 or half])
            raise OSError(code, os.strerror(code), "on purpose")

        self._patch.setattr(os, call, faulty)

    def relent(self) -> None:
        """Let every call work again."""
        self._patch.undo()


def _half(data: Any) -> Any:
    if isinstance(data, io.BytesIO):
        return io.BytesIO(_half(data.getvalue()))
    return data if data is None else data[: len(data) // 2]
