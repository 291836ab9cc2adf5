"""S3: a server of moto's on loopback, and a proxy that counts requests or breaks them."""

from __future__ import annotations

import logging
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer

from memoflow.backends import Backend, Local
from memoflow.backends.s3 import S3
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]

# For this process's clients and, as variables, for those of flows.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_UNHURRIED = Config(
    max_pool_connections=40,
    connect_timeout=60,
    read_timeout=60,
    retries={"max_attempts": 12, "mode": "standard"},
)


class Server:
    """A server with buckets of one's own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, url: str | None = None, config: Config = _UNHURRIED) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=config,
        )

    def bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def backend(self, bucket: str | None = None, prefix: str = "store", url: str = "") -> S3:
        return S3(lambda: self.client(url or None), bucket or self.bucket(), prefix)

    def root(self) -> str:
        """Return what `backend_at` makes a new and empty backend of, in any process."""
        return f"{self.url}/{self.bucket()}/store"

    def environment(self, bucket: str) -> dict[str, str]:
        """Return what makes a flow keep its data in a bucket."""
        return {
            **CREDENTIALS,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{bucket}/metaflow",
            "METAFLOW_S3_ENDPOINT_URL": self.url,
        }


@contextmanager
def serving() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It would tell of each request.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DomainDispatcherApplication, "__call__", _one_at_a_time())
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield Server(f"http://{host}:{port}")
        finally:
            server.stop()


@contextmanager
def serving_elsewhere() -> Iterator[Server]:
    """Serve in a process of its own, which shares no processor time with this one's threads."""
    command = [sys.executable, "-m", "tests.s3"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip())
    finally:
        process.communicate(timeout=PATIENCE_S)  # The end of its input is its end.


def _one_at_a_time() -> Callable[..., Any]:
    """Return how moto answers, but for conditional writes, of which it lets two win at times."""
    lock, answer = threading.Lock(), DomainDispatcherApplication.__call__

    def call(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return answer(self, environ, start_response)
        with lock:
            return answer(self, environ, start_response)

    return call


def backend_at(root: str) -> Backend:
    """Return the backend of a directory, or of the url of a server with bucket and prefix."""
    if not root.startswith("http://"):
        return Local(Path(root))
    url, bucket, prefix = root.rsplit("/", 2)
    return Server(url).backend(bucket, prefix)


class Proxy:
    """What stands before a server: counts what passes, may delay it, and may break some of it.

    `share` of requests meet one of FAULTS; the others pass. The same seed breaks the same ones,
    as far as requests come in the same order. Each request waits for `delay_s` by itself, however
    many come at once, and clients keep their connections: a network's latency.
    """

    FAULTS = ("500", "503", "reset", "stall", "truncated", "flipped", "lost")
    # Of answers of any status: half of the headers, or of the body; another page in its place.
    TORN = ("half headers", "half body", "login page")

    def __init__(
        self, target: str, *, share: float = 0.0, seed: int = 0, delay_s: float = 0.0
    ) -> None:
        self.requests: Counter[str] = Counter()  # by method, and LIST and COPY by themselves
        self.broken: Counter[str] = Counter()
        self.sent_bytes = 0
        self.log: list[str] = []
        self.share = share
        self.delay_s = delay_s
        self.faults: tuple[str, ...] = self.FAULTS
        self.ignores_conditions = False
        self.refuses: Callable[[str, str], bool] = lambda method, path: False
        self.is_silent = threading.Event()  # from when on it accepts what comes, and never answers
        self._target = target.removeprefix("http://")
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def chosen(self, kind: str, path: str, sent_bytes: int) -> str:
        """Note a request, and return how it is to be broken; "" for not at all."""
        with self._lock:
            self.requests[kind] += 1
            self.sent_bytes += sent_bytes
            self.log.append(f"{kind} {path}")
            if self._random.random() >= self.share:
                return ""
            fault = self._random.choice(self.faults)
            if fault in ("truncated", "flipped") and kind != "GET":
                fault = "lost"  # Such an answer has no body to break.
            if fault == "login page" and kind != "LIST":
                fault = "half body"  # Of others nobody could tell it from what was wanted.
            self.broken[fault] += 1
            return fault

    @contextmanager
    def running(self) -> Iterator[str]:
        server = _ManyClients(("127.0.0.1", 0), _handler(self, self._target))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _ManyClients(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # Beyond the usual 5, a client's next try comes a second later.


@contextmanager
def silence() -> Iterator[str]:
    """Yield the url of a server that accepts whoever comes, and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _handler(proxy: Proxy, target: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE_S
        disable_nagle_algorithm = True  # Else a body waits 40 ms for the client to note its head.

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # The client gave up.
                self.close_connection = True

        def pass_on(self) -> None:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = _kind(self.command, self.path, self.headers)
            fault = proxy.chosen(kind, self.path, len(body))
            if proxy.delay_s:
                threading.Event().wait(proxy.delay_s)  # Some tests take the sleep away.
            if proxy.is_silent.is_set():
                threading.Event().wait(PATIENCE_S)
                return self.drop()
            if proxy.refuses(self.command, self.path):
                return self.answer(403, "Forbidden", {}, _error("AccessDenied"))
            if fault in ("500", "503"):
                code = {"500": "InternalError", "503": "SlowDown"}[fault]
                return self.answer(int(fault), code, {}, _error(code))
            if fault == "reset":
                return self.drop()
            if fault == "stall":
                self.rfile.read(1)  # Nothing comes until the client gives up.
                return self.drop()
            headers = dict(self.headers.items())
            if proxy.ignores_conditions:
                headers.pop("If-None-Match", None)
            connection = HTTPConnection(target, timeout=PATIENCE_S)
            try:
                connection.request(self.command, self.path, body=body, headers=headers)
                answer = connection.getresponse()
                data = answer.read()
            finally:
                connection.close()
            if fault == "lost":
                return self.drop()
            if fault == "login page":
                return self.answer(200, "OK", {}, b"<html><body>log in</body></html>")
            if fault in ("half headers", "half body"):
                return self.tear(fault, answer, data)
            if fault == "flipped" and data and answer.status < 300:
                position = len(data) // 2
                data = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
            return self.answer(
                answer.status,
                answer.reason,
                dict(answer.getheaders()),
                data,
                cut=len(data) // 2 if fault == "truncated" else None,
            )

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        def answer(
            self, status: int, reason: str, headers: dict[str, str], data: bytes, cut: Any = None
        ) -> None:
            self.send_response_only(status, reason)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", len(data))
            length = length if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self.drop()

        def tear(self, fault: str, answer: Any, data: bytes) -> None:
            """Break off within an answer, whatever it says, as a machine does that goes down."""
            length = answer.headers["Content-Length"] if self.command == "HEAD" else len(data) + 9
            head = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Length: {length}\r\n"
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    head += f"{name}: {value}\r\n"
            whole = head.encode() if fault == "half headers" else head.encode() + b"\r\n"
            cut = len(whole) // 2 if fault == "half headers" else len(whole) + len(data) // 2
            self.connection.sendall((whole + data)[:cut])
            time.sleep(0.02)  # So that it arrives before what ends it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # A reset: an orderly end would pass for the end.
            self.close_connection = True

        def drop(self) -> None:
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _kind(method: str, path: str, headers: Any) -> str:
    if method == "GET" and ("list-type=" in path or path.endswith("?uploads")):
        return "LIST"
    if method == "PUT" and headers.get("x-amz-copy-source"):
        return "COPY"
    return method


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()


if __name__ == "__main__":
    with serving() as served:
        print(served.url, flush=True)
        sys.stdin.read()
