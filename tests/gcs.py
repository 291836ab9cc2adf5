"""GCS: a server in this process that speaks as much of Google's JSON API as is asked of it.

It honours `ifGenerationMatch=0`, which gcp-storage-emulator and others do not.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from memoflow.backends.gcs import Gcs

_PAGE = 1000


@dataclass
class _Object:
    data: bytes
    metadata: dict[str, str]
    generation: int
    updated: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


class Server:
    """Buckets of one's own. `breaks` names what befalls the next request of a kind, once."""

    def __init__(self) -> None:
        self.url = ""
        self.buckets: dict[str, dict[str, _Object]] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.requests: Counter[str] = Counter()
        self.breaks: dict[str, str] = {}
        self.lock = threading.RLock()
        self._generation = int(time.time() * 1e6)

    def client(self, url: str = "") -> Client:
        return Client(
            project="someone",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": url or self.url},
        )

    def bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.buckets[name] = {}
        return name

    def backend(self, bucket: str | None = None, prefix: str = "store") -> Gcs:
        return Gcs(self.client, bucket or self.bucket(), prefix)

    def environment(self, bucket: str, folder: Path) -> dict[str, str]:
        """Return what makes a flow keep its data in a bucket; its login lies in a folder."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        account = {
            "type": "service_account",
            "project_id": "someone",
            "client_email": "someone@somewhere",
            "token_uri": f"{self.url}/token",
            "private_key": key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
        }
        login = folder / "login.json"
        login.write_text(json.dumps(account))
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(login),
            "STORAGE_EMULATOR_HOST": self.url,
            "METAFLOW_DEFAULT_DATASTORE": "gs",
            "METAFLOW_DATASTORE_SYSROOT_GS": f"gs://{bucket}/metaflow",
        }

    def keep(
        self, bucket: str, name: str, data: bytes, metadata: dict[str, str], asked: dict[str, str]
    ) -> _Object | None:
        """Write an object; None if it was not to be there and is."""
        with self.lock:
            there = self.buckets[bucket]
            if asked.get("ifGenerationMatch") == "0" and name in there:
                return None
            self._generation += 1
            there[name] = _Object(data, metadata, self._generation)
            return there[name]


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # The client gave up.
                self.close_connection = True

        def act(self) -> None:
            url = urlsplit(self.path)
            self.asked = dict(parse_qsl(url.query))
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.fault = ""
            if url.path == "/token":
                token = {"access_token": "some", "expires_in": 3600, "token_type": "Bearer"}
                return self.say(200, token)
            parts = [unquote(part) for part in url.path.split("/") if part]
            kind, bucket, *names = _parsed(parts)
            with server.lock:
                if kind != "bucket":
                    server.requests[kind if self.command == "GET" else self.command] += 1
                self.fault = server.breaks.pop(self.command, "")
            if self.fault == "503":
                return self.say(503, {})
            if bucket not in server.buckets:
                return self.say(404, _error("The specified bucket does not exist."))
            return getattr(self, f"do_{kind}")(bucket, *names)

        do_GET = do_POST = do_PUT = do_DELETE = act

        def do_upload(self, bucket: str) -> None:
            how = self.asked["uploadType"]
            if self.command == "PUT":
                return self.go_on(bucket)
            if how == "resumable":
                told = json.loads(self.body)
                upload = uuid.uuid4().hex
                server.uploads[upload] = {**told, "asked": self.asked, "data": b""}
                where = f"{server.url}/upload/storage/v1/b/{bucket}/o"
                where += f"?uploadType=resumable&upload_id={upload}"
                return self.say(200, {}, {"Location": where})
            boundary = re.search(r"boundary=['\"]?([^'\";]+)", self.headers["Content-Type"])[1]
            _, told, data, _ = self.body.split(f"--{boundary}".encode(), 3)
            said = json.loads(told.split(b"\r\n\r\n", 1)[1])
            data = data.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            return self.kept(bucket, said, data, self.asked)

        def go_on(self, bucket: str) -> None:
            upload = server.uploads[self.asked["upload_id"]]
            upload["data"] += self.body
            if self.headers["Content-Range"].endswith("/*"):
                done = {"Range": f"bytes=0-{len(upload['data']) - 1}"}
                return self.say(308, {}, done)
            return self.kept(bucket, upload, upload["data"], upload["asked"])

        def kept(self, bucket: str, said: Any, data: bytes, asked: dict[str, str]) -> None:
            made = server.keep(bucket, said["name"], data, said.get("metadata", {}), asked)
            if made is None:
                return self.say(412, _error("At least one of the pre-conditions did not hold."))
            return self.say(200, _resource(bucket, said["name"], made))

        def do_bucket(self, bucket: str) -> None:
            # Asked for by the client in the background, for its traces.
            self.say(200, {"name": bucket, "location": "US"})

        def do_list(self, bucket: str) -> None:
            with server.lock:
                there = dict(server.buckets[bucket])
            after, prefix = self.asked.get("pageToken", ""), self.asked.get("prefix", "")
            names = sorted(name for name in there if name.startswith(prefix) and name > after)
            folders = set()
            delimiter = self.asked.get("delimiter")
            if delimiter:
                for name in list(names):
                    inside, found, _ = name[len(prefix) :].partition(delimiter)
                    if found:
                        folders.add(prefix + inside + delimiter)
                        names.remove(name)
            page = names[:_PAGE]
            answer: dict[str, Any] = {"prefixes": sorted(folders)}
            answer["items"] = [_resource(bucket, name, there[name]) for name in page]
            if len(names) > len(page):
                answer["nextPageToken"] = page[-1]
            self.say(200, answer)

        def do_object(self, bucket: str, name: str) -> None:
            with server.lock:
                found = server.buckets[bucket].get(name)
                if found is not None and self.command == "DELETE":
                    del server.buckets[bucket][name]
            if found is None:
                return self.say(404, _error(f"No such object: {bucket}/{name}"))
            if self.command == "DELETE":
                return self.say(204, None)
            if self.asked.get("alt") == "media":
                return self.media(found)
            return self.say(200, _resource(bucket, name, found))

        def media(self, found: _Object) -> None:
            data, status = found.data, 200
            headers = {
                "X-Goog-Hash": f"crc32c={_crc(found.data)}",
                "X-Goog-Generation": str(found.generation),
                "Content-Type": "application/octet-stream",
            }
            told = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if told:
                start, end = int(told[1]), int(told[2] or len(data) - 1)
                if start >= len(data):
                    return self.say(416, _error("The requested range cannot be satisfied."))
                data, status = data[start : end + 1], 206
                ends = start + len(data) - 1
                headers["Content-Range"] = f"bytes {start}-{ends}/{len(found.data)}"
            return self.send(status, data, headers)

        def do_rewrite(self, bucket: str, name: str, there: str, target: str) -> None:
            found = server.buckets[bucket].get(name)
            if found is None:
                return self.say(404, _error(f"No such object: {bucket}/{name}"))
            said = json.loads(self.body or b"{}")
            metadata = said.get("metadata", {}) if said else found.metadata
            made = server.keep(there, target, found.data, metadata, self.asked)
            size = str(len(found.data))
            answer = {"done": True, "objectSize": size, "totalBytesRewritten": size}
            return self.say(200, {**answer, "resource": _resource(there, target, made)})

        def say(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send(status, data, {"Content-Type": "application/json", **(headers or {})})

        def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            if self.fault == "lost":
                self.close_connection = True
                return
            if self.fault == "flipped":
                data = bytes([data[0] ^ 1]) + data[1:]
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.fault == "truncated":
                data, self.close_connection = data[: len(data) // 2], True
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _parsed(parts: list[str]) -> tuple[str, ...]:
    """Return what is asked for, the bucket, and the names."""
    kind = parts[0]
    parts = parts[parts.index("b") + 1 :]
    if kind == "upload":
        return "upload", parts[0]
    if "rewriteTo" in parts:
        return "rewrite", parts[0], parts[2], parts[5], parts[7]
    if len(parts) > 2:
        return "object", parts[0], parts[2]
    return ("list" if len(parts) > 1 else "bucket"), parts[0]


def _resource(bucket: str, name: str, found: _Object) -> dict[str, Any]:
    return {
        "bucket": bucket,
        "name": name,
        "size": str(len(found.data)),
        "generation": str(found.generation),
        "updated": found.updated.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "metadata": found.metadata,
        "crc32c": _crc(found.data),
    }


def _crc(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "errors": [{"message": message}]}}
