"""Bucket: the part of a backend on a server that is alike for all protocols.

Named by content, most things can be written by plain requests. Where one writer may win, the
request is conditional and carries a nonce: clients repeat a request whose answer was lost, and the
second is then refused because of the first.

Every request goes through `patiently`: whatever a server or what lies before it may do to an answer
is told from what it says, asked for again a bounded number of times, and then an error of ours.
"""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar, cast

import xxhash
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_random_exponential,
)

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
from memoflow.backends.spans import PART_BYTES, SPAN_BYTES, THREADS, Spans, parts_of
from memoflow.dataclass import dataclass
from memoflow.errors import (
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
    NotFoundError,
    UsageError,
)
from memoflow.log import log
from memoflow.threads import for_each

P = ParamSpec("P")
T = TypeVar("T")

# Said here: inside the class, `list` is one of its verbs.
_Keys = list[str]
_Listed = list[tuple[str, int, float, str]]

_TRIES = 12
# After so many seconds of trying none is added, whoever tries again inside the clients.
_PATIENCE_S = 60.0
_PATIENCE_WITH_SILENCE_S = 20.0
_SILENCE_LASTS_S = 30.0


class TornError(Exception):
    """An answer was incomplete, or its bytes are not those on the server.

    A second argument is the result if the last answer is no better.
    """


class TakenError(Exception):
    """A conditional request was refused: the name is taken."""


@dataclass(frozen=True)
class Head:
    """The size of an object and its metadata, as the server states them."""

    size_bytes: int
    said: Mapping[str, str] = field(default_factory=dict)


class Bucket(Backend):
    """Keep each name as an object of a bucket, below a prefix.

    `connect` makes a client of the server's; it is called once in each process.
    """

    takes_round_trips = True
    service = ""  # as it is called, in messages
    scheme = ""  # of its addresses
    longest_name_bytes = 1024  # with the prefix
    batch = 1  # names in one request to delete
    refusals: tuple[type[Exception], ...] = (TakenError,)  # of conditional requests

    def __init__(self, connect: Callable[[], Any], bucket: str, prefix: str = "") -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._connect = connect
        self._clients: dict[int, Any] = {}
        self._silence: tuple[float, BackendUnreachableError] | None = None
        self._traffic = 0, 0.0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url('')!r})"

    def __str__(self) -> str:
        return self.url("").rstrip("/")

    def traffic(self) -> tuple[int, float]:
        return self._traffic

    @property
    def client(self) -> Any:
        """This process's client: a forked child must not share its parent's connections."""
        with self._lock:
            process = os.getpid()
            if process not in self._clients:
                self._clients = {process: self._connect()}
            return self._clients[process]

    def read(self, name: str, *, most_bytes: int = LARGEST_READ_BYTES) -> bytes | None:
        return self.patiently("read", name, self._read, name, most_bytes)

    def open(self, name: str) -> BinaryIO | None:
        first = self.patiently("read", name, self._get_span, name, 0)
        if first is None:
            return None
        return io.BufferedReader(Spans(partial(self._read_span, name), *first))

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        return for_each(self._size, names, threads=THREADS)

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        self.key(name)
        if isinstance(data, bytes):
            return self._write(name, data, if_absent=if_absent)
        if isinstance(data, Path):
            with translated("read", data), open(data, "rb", buffering=0) as file:
                chunks = iter(lambda: file.read(PART_BYTES), b"")
                return self.write(name, chunks, if_absent=if_absent)
        parts = parts_of(data)
        first = next(parts, bytearray())
        second = next(parts, None)
        if second is None:
            return self._write(name, bytes(first), if_absent=if_absent)
        return self.upload(name, chain([first, second], parts), if_absent=if_absent)

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        if isinstance(source, Path):
            return self.write(name, source, if_absent=True)
        if self._size(name) is not None:
            return False
        there = source.backend
        if isinstance(there, Bucket) and self.copy(name, there, source.name):
            return True
        return self.write(name, chunks_of(source), if_absent=True)

    def list(self, prefix: str) -> Iterator[Found]:
        start = self.prefix + folder(prefix)
        more: str | None = ""
        while more is not None:
            page, more = self.patiently("list", prefix, self.page, start, more)
            for found in page:
                with suppress(UsageError):  # Not of our making: a folder's marker, perhaps.
                    yield Found(check_name(found[0][len(self.prefix) :]), *found[1:])

    def delete(self, names: Sequence[str]) -> None:
        keys = [self.key(name) for name in names]
        batches = [keys[start : start + self.batch] for start in range(0, len(keys), self.batch)]
        for_each(
            lambda batch: self.patiently("delete from", "", self.delete_batch, batch),
            batches,
            threads=THREADS,
        )

    def url(self, name: str) -> str:
        """Return the address of a name, for messages."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}{name}"

    def key(self, name: str) -> str:
        """Return the server's key for a name; UsageError if it is too long."""
        key = self.prefix + check_name(name)
        if len(key.encode()) > self.longest_name_bytes:
            raise UsageError(
                f"{name!r} is too long for {self.service}: a key has "
                f"{self.longest_name_bytes} bytes"
            )
        return key

    def patiently(
        self,
        verb: str,
        name: str,
        act: Callable[P, T],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T:
        """Return the result of one request, retried while its answer is torn or late.

        BackendUnreachableError for half a minute after the server was silent for as long as is
        waited: waits must not add up.
        """
        self._check_heard_of()
        tries = Retrying(
            stop=_is_enough,
            wait=wait_random_exponential(multiplier=0.02, max=2),
            retry=retry_if_exception_type((TornError, BackendUnavailableError)),
            reraise=True,
        )

        def explained() -> T:
            with self.explained(verb, name), self._counted(verb, name):
                return act(*arguments, **options)

        try:
            return tries(explained)
        except TornError as error:
            if error.args[1:]:
                return cast("T", error.args[1])
            raise BackendUnavailableError(
                f"cannot {verb} {self.url(name)}, tried {_TRIES} times: {error}"
            ) from error
        except BackendUnreachableError as error:
            self._silence = time.monotonic(), error
            raise

    @contextmanager
    def _counted(self, verb: str, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began
            with self._lock:
                number, sum_s = self._traffic
                self._traffic = number + 1, sum_s + took_s
            log.debug("request: %s %s, %.3f s", verb, self.url(name), took_s)

    def _check_heard_of(self) -> None:
        if self._silence is not None:
            since, error = self._silence
            if time.monotonic() - since < _SILENCE_LASTS_S:
                raise BackendUnreachableError(f"{error}") from error
            self._silence = None

    def conditionally(self, name: str, nonce: str, act: Callable[[], Any]) -> bool:
        """Return whether our conditional write won; `nonce` marks it in its metadata."""

        def write() -> bool:
            try:
                act()
                return True
            except self.refusals:
                head = self.head(name)
            if head is None:  # Deleted since: the name is free again.
                raise TornError("others write and delete it at the same time")
            if "nonce" not in head.said:
                raise TornError(
                    "the listing does not name its writer", False
                )  # All we write has one.
            return head.said["nonce"] == nonce

        return self.patiently("write", name, write)

    def head_to_copy(self, name: str) -> Head:
        """Return the head of the source of a copy; NotFoundError if nothing is there."""
        head = self.patiently("read", name, self.head, name)
        if head is None:
            raise NotFoundError(f"{self.url(name)} went away before it could be adopted")
        return head

    @contextmanager
    def explained(self, verb: str, name: str) -> Iterator[None]:
        """Turn an error of the client or of its transport inside into a BackendError."""
        try:
            yield
        except Exception as error:
            failure = self.failure(error, f"cannot {verb} {self.url(name)}")
            if failure is None:
                raise
            raise failure from error

    # What each protocol has its own words for. But for `upload` and `copy` each is one request and
    # raises the client's errors: `patiently` is around it.

    @abstractmethod
    def failure(self, error: Exception, what: str) -> BackendError | None:
        """Return an error of the client as one of ours, with its remedy; None for other errors."""

    @abstractmethod
    def head(self, name: str) -> Head | None:
        """Return size and metadata of a name; None if nothing has it."""

    @abstractmethod
    def get(self, name: str, most_bytes: int) -> tuple[bytes, Mapping[str, str]] | None:
        """Return the bytes and the metadata of a name, or None; TornError may be raised.

        Of more than `most_bytes` one more than these.
        """

    @abstractmethod
    def get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        """Return one span from there on, and the size of all, or None; TornError may be raised.

        Of nothing, nothing is returned, whatever the protocol thinks of such a span.
        """

    @abstractmethod
    def put(self, name: str, data: bytes, said: Mapping[str, str], *, if_absent: bool) -> None:
        """Write in one request; one of `refusals` if `if_absent` and the name is taken."""

    @abstractmethod
    def upload(self, name: str, parts: Iterator[bytearray], *, if_absent: bool) -> bool:
        """Write in parts, of which there are two at least; an error leaves nothing."""

    @abstractmethod
    def copy(self, name: str, there: Bucket, source: str) -> bool:
        """Copy from another bucket without moving the bytes through here; False if that cannot be.

        NotFoundError if there is nothing to copy.
        """

    @abstractmethod
    def page(self, start: str, token: str) -> tuple[_Listed, str | None]:
        """Return key, size, time and version of some objects whose keys start so.

        And the token of the next page; None if there is none. The first page has the token "".
        """

    @abstractmethod
    def delete_batch(self, keys: _Keys) -> None:
        """Delete up to `batch` objects in one request; absent ones are fine."""

    def _write(self, name: str, data: bytes, *, if_absent: bool) -> bool:
        said = {"xxh3": xxhash.xxh3_128_hexdigest(data), "nonce": uuid.uuid4().hex}
        put = partial(self.put, name, data, said, if_absent=if_absent)
        return self.conditionally(name, said["nonce"], put)

    def _size(self, name: str) -> int | None:
        head = self.patiently("read", name, self.head, name)
        return None if head is None else head.size_bytes

    def _read(self, name: str, most_bytes: int) -> bytes | None:
        found = self.get(name, most_bytes)
        if found is None:
            return None
        data, said = found
        told = said.get("xxh3")
        if told and len(data) <= most_bytes and xxhash.xxh3_128_hexdigest(data) != told:
            # Each time: damaged there, as their reader will find.
            raise TornError("its bytes are not those that were written", data)
        return data

    def _get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        found = self.get_span(name, start)
        if found is not None and len(found[0]) != min(SPAN_BYTES, max(0, found[1] - start)):
            raise TornError(f"{len(found[0])} bytes came")
        return found

    def _read_span(self, name: str, start: int) -> bytes:
        found = self.patiently("read", name, self._get_span, name, start)
        if found is None:
            raise NotFoundError(f"{self.url(name)} went away while it was read")
        return found[0]


def garbled(what: str, error: BaseException, said: str = "") -> BackendUnavailableError:
    """Return the error for an answer that is not whole, of which a client said something."""
    return BackendUnavailableError(
        f"{what}: the answer is cut short or garbled ({type(error).__name__}: {said or error}); it "
        "may work later"
    )


def of_status(what: str, status: int) -> BackendError:
    """Return the error for an answer that has no remedy of its own, by its HTTP status."""
    if status >= 500 or status in (408, 429):
        return BackendUnavailableError(f"{what}; it may work later")
    return BackendError(what)


def _is_enough(state: RetryCallState) -> bool:
    """Tell whether to give up, by the number of tries, or by the time where answers are late."""
    error = state.outcome.exception() if state.outcome is not None else None
    took_s = state.seconds_since_start or 0.0
    return (
        state.attempt_number >= _TRIES
        or (isinstance(error, BackendUnreachableError) and took_s >= _PATIENCE_WITH_SILENCE_S)
        or (isinstance(error, BackendUnavailableError) and took_s >= _PATIENCE_S)
    )
