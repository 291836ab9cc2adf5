"""A Hub on loopback: repositories with revisions, over HTTP as the real one speaks it.

    python tests/hubs.py org/name=FOLDER ...

serves folders as models until it is stopped. In tests it also counts requests, knows private and
gated repositories, moves branches, and does on request what a bad day does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.waiting import PATIENCE_S

_SIGNATURE = "signed-by-the-stand-in"  # a secret, in effect: whoever has the address has the file
_LFS_FROM_BYTES = 10_000  # smaller files are in git itself
_ROUTE = re.compile(
    r"/api/(?P<api>model|dataset|space)s/(?P<id>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<rev>[^/]+)"
    r"|/(?:(?P<type>dataset|space)s/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<at>[^/]+)/(?P<path>.+)"
    r"|/lfs/(?P<lfs>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Request:
    """What was asked: "info", "tree", "head" or "get" of a file, and how it was answered."""

    what: str
    path: str
    status: int
    range: str | None = None
    token: str | None = None


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match."""

    kind: str
    what: str
    path: str = ""
    times: int = 1
    fired: int = 0
    retry_after: int | str | None = None
    ratelimit: str | None = None
    text: str = ""
    then: Callable[[], None] | None = None

    def matches(self, what: str, path: str) -> bool:
        return self.fired < self.times and what == self.what and self.path in path


class File:
    """A file's bytes, hashed once."""

    def __init__(self, path: str, data: bytes) -> None:
        self.data = data
        self.is_lfs = len(data) >= _LFS_FROM_BYTES or path.endswith((".safetensors", ".npz"))
        self.oid = hashlib.sha256(data).hexdigest()
        self.git_id = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        """Return how a tree lists it."""
        size = len(self.data)
        entry = {"type": "file", "oid": self.git_id, "size": size, "path": path}
        if self.is_lfs:
            entry["lfs"] = {"oid": self.oid, "size": size, "pointerSize": 134}
        return entry


@dataclass
class Repo:
    """Commits with their files, and what branches and tags stand for."""

    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    tokens: frozenset[str] = frozenset()


class Hub:
    """Serve repositories; `with` starts and stops it."""

    def __init__(self, *, port: int = 0, page: int = 1000) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.large: dict[str, File] = {}
        self.renamed: dict[str, str] = {}
        self.has_xet = False
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.page = page
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.stalled = threading.Event()
        self._port = port
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> Hub:
        for port in (self._port, 0):  # The second is where large files are sent to.
            server = _Server(("127.0.0.1", port), type("H", (_Handler,), {"hub": self}))
            self._servers.append(server)
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be there no more: who asks is refused a connection."""
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def env(self, home: Path) -> dict[str, str]:
        """Return what points huggingface_hub here, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_ETAG_TIMEOUT": "60",
            "HF_HUB_DOWNLOAD_TIMEOUT": "60",
        }

    def add(
        self,
        repo_id: str,
        files: dict[str, bytes],
        *,
        repo_type: str = "model",
        revision: str = "main",
        private: bool = False,
        gated: bool = False,
        tokens: tuple[str, ...] = (),
    ) -> str:
        """Commit files, let a branch or tag stand for that, and return the commit."""
        repo = self.repos.setdefault((repo_type, repo_id), Repo())
        repo.private, repo.gated, repo.tokens = private, gated, frozenset(tokens)
        held = {path: File(path, data) for path, data in files.items()}
        self.large |= {file.oid: file for file in held.values() if file.is_lfs}
        oids = json.dumps([repo_id, {path: file.oid for path, file in held.items()}])
        commit = hashlib.sha1(oids.encode()).hexdigest()
        repo.commits[commit] = held
        repo.revisions[revision] = commit
        return commit

    def fault(self, kind: str, what: str, path: str = "", **more: Any) -> Fault:
        """Plan a fault: "status 503", "stall", "truncate", "flip", "size", "reset", "path", "move".

        "says" answers with `text`. "move" calls `then` after the request was answered, "late"
        before; others spoil the answer.
        """
        self.faults.append(Fault(kind, what, path, **more))
        return self.faults[-1]

    def stall(self) -> None:
        """Hold an answer back in the middle; whoever asked gives up."""
        self.stalled.set()
        self.closing.wait(PATIENCE_S)

    def take_fault(self, what: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.matches(what, path):
                    fault.fired += 1
                    return fault
        return None

    def count(self, what: str | None = None, path: str = "") -> int:
        with self.lock:
            return sum(what in (None, one.what) and path in one.path for one in self.requests)

    def forget(self) -> None:
        """Begin to count anew."""
        with self.lock:
            self.requests.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # Whoever asked has gone, which is nobody's business here.


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.hub.closing.is_set():
            self.close_connection = True  # It was open from before.
            return
        url = urlsplit(self.path)
        match = _ROUTE.fullmatch(url.path)
        if match is None:
            self._refuse("unknown", 404, url.path)
            return
        if match["lfs"]:
            self._lfs(match["lfs"])
            return
        repo_type = match["api"] or match["type"] or "model"
        repo_id = match["id"] or match["repo"]
        if repo_id in self.hub.renamed:
            there = self.path.replace(repo_id, self.hub.renamed[repo_id], 1)
            self._send("moved", 307, b"", repo_id, {"Location": there}, None)
            return
        what = {"revision": "info", "tree": "tree", None: "get"}[match["what"]]
        if self.command == "HEAD":
            what = "head"
        repo = self.hub.repos.get((repo_type, repo_id))
        subject = repo_id if match["path"] is None else f"{repo_id}/{unquote(match['path'])}"
        if repo is None or (repo.private and self._token() not in repo.tokens):
            self._refuse(what, 404 if self._token() else 401, subject, code="RepoNotFound")
            return
        # Of a gated repository everybody may see what there is, and not have it.
        if repo.gated and self._token() not in repo.tokens and what in ("head", "get"):
            self._refuse(what, 403 if self._token() else 401, subject, code="GatedRepo")
            return
        revision = unquote(match["rev"] or match["at"])
        commit = repo.revisions.get(revision, revision)
        if commit not in repo.commits:
            self._refuse(what, 404, subject, code="RevisionNotFound")
            return
        files = repo.commits[commit]
        if what == "info":
            fields: dict[str, Any] = {
                "id": repo_id,
                "sha": commit,
                "private": repo.private,
                "gated": repo.gated,
            }
            fields["siblings"] = [{"rfilename": path} for path in files]
            if repo_type != "space":
                fields |= {"downloads": 0, "likes": 0, "tags": []}
            self._json("info", fields, subject)
        elif what == "tree":
            self._tree(files, subject, parse_qs(url.query))
        else:
            self._file(what, files, unquote(match["path"]), commit, subject)

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _tree(self, files: dict[str, File], subject: str, query: dict[str, list[str]]) -> None:
        entries = [file.entry(path) for path, file in sorted(files.items())]
        folders = sorted({path.rpartition("/")[0] for path in files if "/" in path})
        entries += [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders
        ]
        start = int(query.get("cursor", ["0"])[0])
        end = start + self.hub.page
        headers = {}
        if end < len(entries):
            target = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={end}"
            headers["Link"] = f'<{target}>; rel="next"'
        self._json("tree", entries[start:end], subject, headers)

    def _json(
        self, what: str, value: Any, subject: str, headers: dict[str, str] | None = None
    ) -> None:
        fault = self.hub.take_fault(what, subject)
        if fault is not None and fault.kind == "path":
            value = [{**value[0], "path": "../x"}, *value[1:]]
        if fault is not None and fault.kind == "size":
            value = [{**each, "size": each["size"] + 1, "lfs": None} for each in value]
        data = json.dumps(value).encode()
        if fault is not None and fault.kind == "says":
            data = fault.text.encode()
        self._send(
            what, 200, data, subject, {"Content-Type": "application/json", **(headers or {})}, fault
        )

    def _file(
        self, what: str, files: dict[str, File], path: str, commit: str, subject: str
    ) -> None:
        if path not in files:
            self._refuse(what, 404, subject, code="EntryNotFound", commit=commit)
            return
        file = files[path]
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        fault = self.hub.take_fault(what, subject)
        if not file.is_lfs:
            headers["ETag"] = f'"{file.git_id}"'
            self._send(what, 200, file.data, subject, headers, fault)
            return
        oid = file.oid
        wrong = fault is not None and fault.kind == "size"
        headers |= {
            "ETag": f'"{file.git_id}"',
            "X-Linked-Etag": f'"{oid}"',
            "X-Linked-Size": str(len(file.data) + (1 if wrong else 0)),
            "Location": f"{self.hub.cdn}/lfs/{oid}?Signature={_SIGNATURE}&name={quote(subject)}",
        }
        if self.hub.has_xet:
            token = f"{self.hub.endpoint}/xet-read-token"
            headers |= {"X-Xet-Hash": oid, "Link": f'<{token}>; rel="xet-auth"'}
        if what == "get":  # Who follows the redirect is counted there.
            fault = None
        self._send(what if what == "head" else "redirect", 302, b"", subject, headers, fault)

    def _lfs(self, oid: str) -> None:
        subject = parse_qs(urlsplit(self.path).query).get("name", [""])[0]
        file = self.hub.large.get(oid)
        if file is not None:
            fault = self.hub.take_fault("get", subject)
            self._send("get", 200, file.data, subject, {"Accept-Ranges": "bytes"}, fault)
            return
        self._refuse("get", 404, subject)

    def _refuse(
        self, what: str, status: int, subject: str, *, code: str = "", commit: str = ""
    ) -> None:
        headers = {"X-Error-Code": code} if code else {}
        if commit:
            headers["X-Repo-Commit"] = commit
        self._send(what, status, b"{}", subject, headers, None)

    def _send(
        self,
        what: str,
        status: int,
        data: bytes,
        subject: str,
        headers: dict[str, str],
        fault: Fault | None,
    ) -> None:
        kind = "" if fault is None else fault.kind
        asked = self.headers.get("Range")
        if kind.startswith("status"):
            status, data, headers = int(kind.split()[1]), b"{}", {}
            if fault is not None and fault.retry_after is not None:
                headers["Retry-After"] = str(fault.retry_after)
            if fault is not None and fault.ratelimit is not None:
                headers["ratelimit"] = fault.ratelimit
        elif asked and status == 200:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            status, data = 206, data[start:]
        with self.hub.lock:
            self.hub.requests.append(Request(what, subject, status, asked, self._token()))
        if kind == "late" and fault is not None and fault.then is not None:
            fault.then()
        if kind == "flip" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self._body(kind, data)
        if kind == "move" and fault is not None and fault.then is not None:
            fault.then()

    def _body(self, kind: str, data: bytes) -> None:
        if kind not in ("stall", "truncate", "reset"):
            self.wfile.write(data)
            return
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        if kind == "stall":
            self.hub.stall()
        if kind == "reset":
            import socket
            import struct

            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="ORG/NAME=FOLDER")
    parser.add_argument("--port", type=int, default=8765)
    given = parser.parse_args()
    with Hub(port=given.port) as hub:
        for model in given.models:
            repo_id, _, folder = model.partition("=")
            commit = hub.add(repo_id, dict(_folder(Path(folder))))
            print(f"{hub.endpoint}/{repo_id} at {commit}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
