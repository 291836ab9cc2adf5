"""GCS: the contract, by a stand-in and by an emulator, and what only that protocol can do wrong."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

import pytest

pytest.importorskip("google.cloud.storage", reason='pip install "metaflow-memoflow[test-clouds]"')

from google.auth.exceptions import DefaultCredentialsError

from memoflow.backends import Backend, BlobLocation, Unconditional
from memoflow.backends.gcs import Gcs
from memoflow.errors import BackendDeniedError, BackendUnavailableError, UsageError
from memoflow.store.format import read_format
from tests.contracts import BackendContract
from tests.gcs import Server, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    running.requests.clear()
    yield running
    assert not running.breaks, f"these faults never fired: {running.breaks}"


@pytest.fixture
def backend(server: Server) -> Iterator[Gcs]:
    backend = server.backend()
    yield backend
    backend.client.close()


class TestGcs(BackendContract):
    @pytest.fixture
    def backend(self, backend: Gcs) -> Backend:
        return backend


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    emulators = pytest.importorskip(
        "gcp_storage_emulator.server", reason="pip install gcp-storage-emulator"
    )
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    server = emulators.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{server._api._httpd.server_port}"
    finally:
        server.stop()


@pytest.fixture
def emulated(emulator: str) -> Iterator[Gcs]:
    backend = Gcs(lambda: Server().client(emulator), f"bucket-{uuid.uuid4().hex[:12]}", "store")
    backend.client.create_bucket(backend.bucket)
    yield backend
    backend.client.close()


@pytest.mark.stress
class TestEmulated(BackendContract):
    """The emulator ignores conditions, which a store notices when it is made."""

    @pytest.fixture
    def backend(self, emulated: Gcs) -> Backend:
        assert not read_format(emulated).conditional
        emulated.delete(["format.json"])
        return Unconditional(emulated)

    def test_of_many_writers_if_absent_one_wins(self, backend: Backend) -> None:
        pytest.skip("not to be had without conditions")


def test_a_small_write_is_one_request(backend: Gcs, server: Server) -> None:
    backend.write("a", b"data")
    backend.write("b", b"data", if_absent=True)
    assert server.requests == {"POST": 2}


def test_a_small_read_is_one_request_opened_or_not(backend: Gcs, server: Server) -> None:
    backend.write("a", b"data")
    server.requests.clear()
    assert backend.read("a") == b"data"
    with backend.open("a") as file:
        assert file.read() == b"data"
    assert server.requests == {"object": 2}


def test_a_listing_of_a_thousand_is_one_request(backend: Gcs, server: Server) -> None:
    for n in range(1000):
        server.keep(backend.bucket, f"store/a/{n}", b"", {}, {})
    assert len(list(backend.list("a"))) == 1000
    assert server.requests == {"list": 1}


def test_what_lies_on_the_same_server_is_copied_there(backend: Gcs, server: Server) -> None:
    other = Gcs(backend._connect, server.bucket(), "elsewhere")
    other.write("there", bytes(1_000_000))
    server.requests.clear()
    assert backend.link_or_copy("here", BlobLocation(other, "there")) is True
    assert server.requests == {"object": 2, "POST": 1}
    assert backend.read("here") == bytes(1_000_000)


def test_what_metaflow_says_of_an_artifact_is_copied_with_it(backend: Gcs, server: Server) -> None:
    server.keep(backend.bucket, "store/there", b"x", {"said": "this"}, {})
    backend.link_or_copy("here", BlobLocation(backend, "there"))
    assert server.buckets[backend.bucket]["store/here"].metadata == {"said": "this"}


@pytest.mark.parametrize("size_bytes", [10, 40_000_000])
def test_a_write_whose_answer_was_lost_is_known_to_have_won(
    backend: Gcs, server: Server, size_bytes: int
) -> None:
    server.breaks["POST"] = "lost"
    assert backend.write("a", [bytes(size_bytes)], if_absent=True) is True
    assert backend.write("a", [bytes(size_bytes)], if_absent=True) is False


@pytest.mark.parametrize("fault", ["503", "lost", "truncated", "flipped"])
def test_what_comes_torn_is_asked_for_again(backend: Gcs, server: Server, fault: str) -> None:
    backend.write("a", b"data" * 1000)
    server.breaks["GET"] = fault
    assert backend.read("a") == b"data" * 1000


def test_a_name_too_long_is_refused(backend: Gcs) -> None:
    with pytest.raises(UsageError, match="too long for GCS"):
        backend.write("/".join(["x" * 200] * 6), b"")


def test_a_missing_bucket_says_so(server: Server) -> None:
    backend = server.backend("no-such-bucket")
    for act in (
        lambda: backend.write("a", b""),
        lambda: backend.read("a"),
        lambda: backend.has("a"),
        lambda: list(backend.list("a")),
    ):
        with pytest.raises(BackendDeniedError, match="create the bucket"):
            act()
    backend.client.close()


def test_no_credentials_say_so() -> None:
    def connect() -> None:
        raise DefaultCredentialsError("none found")

    with pytest.raises(BackendDeniedError, match="give Google credentials"):
        Gcs(connect, "bucket").read("a")


def test_a_wrong_endpoint_says_so(server: Server) -> None:
    backend = Gcs(lambda: server.client("http://127.0.0.1:9"), "bucket", patience_s=0.1)
    with pytest.raises(BackendUnavailableError, match="STORAGE_EMULATOR_HOST"):
        backend.read("a")
    backend.client.close()
