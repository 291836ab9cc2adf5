"""Metaflow's metadata service: a stand-in on loopback that speaks its REST API.

    python -m tests.service --delay-ms 15

serves until its input ends. It knows what Metaflow's runtime, Client and command line ask for; of
what other programs ask for, it lacks pages (`_limit`, `_cursor`) and filters of runs and tasks.

Compared with Netflix/metaflow-service 2.5.0 on PostgreSQL 15: statuses and bodies are equal for
1,023 recorded requests of runs, a resume, cards, tags and the Client, and for 192 made-up ones but
for the wording of errors, and names of flows beyond 255 characters.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tests.metadata_rows import Answer, Tables, shape_of
from tests.waiting import PATIENCE_S

VERSION = "2.5.0"
LOST = -1  # The request is carried out, and its connection closed before the answer.
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True)
class Request:
    """A request, its path shape with `*` for each id, and how many came before it."""

    method: str
    path: str
    shape: str
    body: Any
    number: int

    @property
    def is_heartbeat(self) -> bool:
        return self.shape.endswith("/heartbeat")


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    method: str
    path: str
    body: Any
    status: int
    answer: Any


class Service:
    """A metadata service of one's own, which can be slow, fail and go away.

    `fails` gets each request before it is carried out, and returns the status to answer instead,
    LOST, or 0. It may call `go_away`.
    """

    def __init__(self, *, delay_s: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        self.delay_s = delay_s
        self.fails: Callable[[Request], int] = lambda request: 0
        self.requests: Counter[str] = Counter()  # by method and path shape
        self.failed: Counter[int] = Counter()  # by status
        self.is_recording = False
        self.exchanges: list[Exchange] = []
        self._tables = Tables(clock)
        self._lock = threading.Lock()  # of rows and counts
        self._connections: set[socket.socket] = set()
        self._switch = threading.Lock()  # of the four below
        self._is_stopped = False
        self._listener: socket.socket | None = None
        self._reserved = self._bound(0)
        self._back = threading.Event()  # clear while it accepts whoever comes, and never answers
        self._port = self._reserved.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """Return what makes a flow keep its metadata here."""
        return {"METAFLOW_DEFAULT_METADATA": "service", "METAFLOW_SERVICE_URL": self.url}

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Answer a request as if it had come over HTTP, without counts and faults."""
        with self._lock:
            return self._tables.answer(method, path, body)

    # Presence

    def come_back(self) -> None:
        with self._switch:
            if self._listener is None and not self._is_stopped:
                self._listener, self._reserved = self._reserved, self._bound(None)
                self._listener.listen(512)
                threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
            self._back.set()

    def go_away(self, *, silent: bool = False) -> None:
        """Refuse connections and end those there are; or, if silent, stop answering."""
        with self._switch:
            if silent:
                self._back.clear()
                return
            if self._listener is not None:
                with suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)  # It wakes the thread in accept().
                self._listener.close()
                # Bound again and not listening: refused, and nobody else gets the port.
                self._listener, self._reserved = None, self._bound(self._port)
        self._end_connections()

    def stop(self) -> None:
        self._is_stopped = True
        self.go_away()
        self._back.set()
        self._reserved.close()

    def _bound(self, port: int | None) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port is not None:
            made.bind(("127.0.0.1", port))
        return made

    def _end_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._connections.add(connection)
        if self._listener is None:  # It went between the two.
            connection.close()
        try:
            with connection, connection.makefile("rb") as reader:
                while (read := _read(reader)) is not None:
                    if not self._respond(connection, *read):
                        return
        except (OSError, ValueError):
            pass  # The client went, or this service did.
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _respond(self, connection: socket.socket, method: str, path: str, sent: bytes) -> bool:
        """Answer one request; tell whether the connection goes on."""
        body = json.loads(sent) if sent else None
        shape = shape_of(path)
        with self._lock:
            request = Request(method, path, shape, body, self.requests.total())
            self.requests[f"{method} {shape}"] += 1
        if self.delay_s:
            threading.Event().wait(self.delay_s)  # Some tests take the sleep away.
        fault = self.fails(request)
        if self._listener is None:
            return False
        if not self._back.is_set():
            self._back.wait(PATIENCE_S)
            return False
        if fault:
            with self._lock:
                self.failed[fault] += 1
        if fault > 0:
            status, answer = fault, b"on purpose"
        else:
            status, answer = self.ask(method, path, body)
        if fault == LOST:
            return False
        if self.is_recording:
            self.exchanges.append(Exchange(method, path, body, status, answer))
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        connection.sendall(_head(status, len(data)) + data)
        return True


@contextmanager
def serving(*, delay_s: float = 0.0, clock: Callable[[], float] = time.time) -> Iterator[Service]:
    service = Service(delay_s=delay_s, clock=clock)
    service.come_back()
    try:
        yield service
    finally:
        service.stop()


def every(count: int, status: int, *, but_heartbeats: bool = True) -> Callable[[Request], int]:
    """Return a `fails` for every `count`th request, heartbeats not counted unless asked for."""
    seen = 0
    lock = threading.Lock()

    def fails(request: Request) -> int:
        nonlocal seen
        if but_heartbeats and request.is_heartbeat:
            return 0
        with lock:
            seen += 1
            return 0 if seen % count else status

    return fails


def _read(reader: Any) -> tuple[str, str, bytes] | None:
    """Read one request; None at the end of a connection."""
    line = reader.readline(65536)
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(None, 2)
    length = 0
    while (header := reader.readline(65536)) not in (b"\r\n", b"\n", b""):
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return method, path, reader.read(length) if length else b""


def _head(status: int, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"METADATA_SERVICE_VERSION: {VERSION}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    with serving(delay_s=parser.parse_args().delay_ms / 1000) as served:
        print(served.url, flush=True)
        sys.stdin.read()
