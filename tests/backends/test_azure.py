"""Azure: the contract against Azurite, and what only that protocol can do wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("azure.storage.blob", reason='pip install "metaflow-memoflow[test-clouds]"')

from memoflow.backends import Backend, BlobLocation
from memoflow.backends.azure import Azure
from memoflow.errors import BackendDeniedError, BackendUnavailableError, UsageError
from tests.azure import Server, missing, serving
from tests.contracts import BackendContract

pytestmark = [pytest.mark.stress, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def backend(server: Server) -> Iterator[Azure]:
    backend = server.backend()
    yield backend
    backend.client.close()


class Counted:
    """What a client's pipeline calls, and how often it was asked for what."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def __call__(self, request: Any) -> None:
        self.requests.append(request.http_request.method)


@pytest.fixture
def counted(server: Server) -> Iterator[tuple[Azure, Counted]]:
    counted = Counted()
    backend = Azure(lambda: server.client(raw_request_hook=counted), server.container(), "store")
    yield backend, counted
    backend.client.close()


class TestAzure(BackendContract):
    @pytest.fixture
    def backend(self, backend: Azure) -> Backend:
        return backend


def test_a_small_write_is_one_request(counted: tuple[Azure, Counted]) -> None:
    backend, seen = counted
    backend.write("a", b"data")
    backend.write("b", b"data", if_absent=True)
    assert seen.requests == ["PUT", "PUT"]


def test_a_small_read_is_one_request_opened_or_not(counted: tuple[Azure, Counted]) -> None:
    backend, seen = counted
    backend.write("a", b"data")
    seen.requests.clear()
    assert backend.read("a") == b"data"
    with backend.open("a") as file:
        assert file.read() == b"data"
    assert seen.requests == ["GET", "GET"]


def test_deleting_many_is_a_request_for_256(counted: tuple[Azure, Counted]) -> None:
    backend, seen = counted
    for n in range(3):
        backend.write(f"a/{n}", b"")
    seen.requests.clear()
    backend.delete([f"a/{n}" for n in range(300)])
    assert seen.requests == ["POST", "POST"]
    assert list(backend.list("a")) == []


def test_what_lies_in_the_same_account_is_copied_there(
    server: Server, counted: tuple[Azure, Counted]
) -> None:
    backend, seen = counted
    other = Azure(backend._connect, server.container(), "elsewhere")
    other.write("there", bytes(1_000_000))
    seen.requests.clear()
    assert backend.link_or_copy("here", BlobLocation(other, "there")) is True
    assert seen.requests == ["HEAD", "PUT"]
    assert backend.read("here") == bytes(1_000_000)


def test_what_metaflow_says_of_an_artifact_is_copied_with_it(backend: Azure) -> None:
    container = backend.client.get_container_client(backend.bucket)
    container.upload_blob("store/there", b"x", metadata={"said": "this"})
    backend.link_or_copy("here", BlobLocation(backend, "there"))
    assert container.get_blob_client("store/here").get_blob_properties().metadata == {
        "said": "this"
    }


def test_a_write_whose_answer_was_lost_is_known_to_have_won(backend: Azure) -> None:
    said = {"nonce": "mine"}
    backend.put("a", b"mine", said, if_absent=True)
    assert backend.conditionally(
        "a", "mine", lambda: backend.put("a", b"mine", said, if_absent=True)
    )
    assert backend.write("a", b"other", if_absent=True) is False


@pytest.fixture
def robbed(server: Server) -> Iterator[Azure]:
    """A backend whose parts are gone when they are to be committed, once others wrote the name.

    Azure drops them then. Azurite does not, so others are asked for.
    """

    def ask_for_others(request: Any) -> None:
        if "comp=blocklist" in request.http_request.url:
            body = re.sub(rb"(?<=<Latest>)....", b"AAAA", _bytes(request.http_request.data))
            request.http_request.data = body

    def connect() -> Any:
        return server.client(raw_request_hook=ask_for_others)

    backend = Azure(connect, server.container(), "store")
    yield backend
    backend.client.close()


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


@pytest.mark.parametrize("if_absent", [True, False])
def test_of_two_large_writes_at_once_the_first_to_end_is_there(
    robbed: Azure, if_absent: bool
) -> None:
    def parts() -> Iterator[bytes]:
        yield bytes(40_000_000)
        robbed.write("a", b"other")

    assert robbed.write("a", parts(), if_absent=if_absent) is not if_absent
    assert robbed.read("a") == b"other"


def test_a_large_write_whose_parts_were_dropped_says_so(robbed: Azure) -> None:
    with pytest.raises(BackendUnavailableError, match="run again"):
        robbed.write("a", [bytes(40_000_000)])


def test_folders_of_an_account_with_a_hierarchy_are_absent(backend: Azure) -> None:
    container = backend.client.get_container_client(backend.bucket)
    container.upload_blob("store/a", b"", metadata={"hdi_isfolder": "true"})
    backend.write("a/b", b"data")
    assert backend.read("a") is None
    assert not backend.has("a")
    assert [found.name for found in backend.list("")] == ["a/b"]


def test_a_name_too_long_is_refused(backend: Azure) -> None:
    with pytest.raises(UsageError, match="too long for Azure"):
        backend.write("/".join(["x" * 200] * 6), b"")


def test_a_missing_container_says_so(server: Server) -> None:
    backend = server.backend("no-such-container")
    for act in (
        lambda: backend.write("a", b""),
        lambda: backend.read("a"),
        lambda: backend.has("a"),
        lambda: list(backend.list("a")),
    ):
        with pytest.raises(BackendDeniedError, match="create the container"):
            act()
    backend.client.close()


def test_a_refusal_says_what_to_allow(server: Server) -> None:
    container = server.container()
    backend = Azure(lambda: server.client(credential="AAAA"), container)
    with pytest.raises(BackendDeniedError, match="give who runs this the role"):
        backend.write("a", b"")
    backend.client.close()


def test_a_wrong_endpoint_says_so(server: Server) -> None:
    backend = Azure(lambda: server.client("http://127.0.0.1:9/someone"), "container")
    with pytest.raises(
        BackendUnavailableError, match="METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT"
    ):
        backend.read("a")
    backend.client.close()
