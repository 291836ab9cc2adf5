"""Azure: a server of Azurite's on loopback, and logging in to it as Metaflow does."""

from __future__ import annotations

import base64
import ipaddress
import json
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from azure.storage.blob import BlobServiceClient, LinearRetry

from memoflow.backends.azure import Azure
from tests.waiting import PATIENCE_S

# Those of every Azurite.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Server:
    """A server with containers of one's own. `login` is what lets Metaflow log in to it."""

    def __init__(self, url: str, login: dict[str, str]) -> None:
        self.url = f"{url}/{ACCOUNT}"
        self.login = login

    def client(self, url: str | None = None, **settings: Any) -> BlobServiceClient:
        retry = LinearRetry(backoff=0, retry_total=2, random_jitter_range=0)
        if self.login:
            settings["connection_verify"] = self.login["REQUESTS_CA_BUNDLE"]
        return BlobServiceClient(
            url or self.url, **{"credential": KEY, "retry_policy": retry, **settings}
        )

    def container(self) -> str:
        name = f"container-{uuid.uuid4().hex[:12]}"
        with self.client() as client:
            client.create_container(name)
        return name

    def backend(self, container: str | None = None, prefix: str = "store") -> Azure:
        return Azure(self.client, container or self.container(), prefix)

    def environment(self, container: str) -> dict[str, str]:
        """Return what makes a flow keep its data in a container."""
        return {
            **self.login,
            "METAFLOW_DEFAULT_DATASTORE": "azure",
            "METAFLOW_DATASTORE_SYSROOT_AZURE": f"{container}/metaflow",
            "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT": self.url,
        }


def missing() -> str:
    """Return what is not there to run a server with; "" if all is."""
    if shutil.which("azurite-blob") is None:
        return "azurite-blob is not on PATH (npm install -g azurite)"
    return ""


@contextmanager
def serving(folder: Path, *, with_login: bool = False) -> Iterator[Server]:
    """Run a server; `with_login` it takes the tokens of an identity, too, and speaks TLS."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    command += ["--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder / "data")]
    scheme, login = "http", {}
    if with_login:
        certificate, key = _certificate(folder)
        command += ["--oauth", "basic", "--cert", str(certificate), "--key", str(key)]
        scheme, login["REQUESTS_CA_BUNDLE"] = "https", str(certificate)
    with _identity() as identity, open(folder / "azurite.log", "wb") as log:
        if with_login:
            login.update(identity)
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            yield Server(f"{scheme}://127.0.0.1:{port}", login)
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("azurite-blob did not start")


@contextmanager
def _identity() -> Iterator[dict[str, str]]:
    """Give tokens as the machines of Azure do to who runs there; yield where to ask."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            resource = parse_qs(urlsplit(self.path).query)["resource"][0]
            ends = int(time.time()) + 24 * 3600
            answer = {
                "access_token": _token(resource, ends),
                "expires_on": str(ends),
                "resource": resource,
                "token_type": "Bearer",
            }
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/token"
        yield {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": "anything"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _token(audience: str, ends: int) -> str:
    """Return a token that Azurite takes: it looks at who it is from and for, not at who signed."""
    begins = ends - 48 * 3600
    tenant = "ab1f708d-50f6-404c-a006-d71b2ac7a606"
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant}/",
        "iat": begins,
        "nbf": begins,
        "exp": ends,
        "tid": tenant,
        "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
    }
    parts = [json.dumps(each).encode() for each in ({"alg": "RS256", "typ": "JWT"}, claims)]
    parts.append(b"unsigned")
    return ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts)


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private
