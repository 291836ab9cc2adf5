"""S3: the contract, and what only a server elsewhere can do wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from memoflow.backends import Backend, BlobLocation, bucket
from memoflow.backends.s3 import S3
from memoflow.errors import (
    BackendDeniedError,
    BackendUnavailableError,
    BackendUnreachableError,
    UsageError,
)
from tests.contracts import BackendContract
from tests.s3 import Proxy, Server, silence


class TestS3(BackendContract):
    # Not a new line: moto cannot take it in a name. The names of keys have none.
    ODD_NAMES = ("a b", "ü/%2F", "x" * 240, "~", "-")

    @pytest.fixture
    def backend(self, s3_server: Server) -> Backend:
        return s3_server.backend()


@pytest.fixture
def proxy(s3_server: Server) -> Proxy:
    return Proxy(s3_server.url)


@pytest.fixture
def backend(s3_server: Server, proxy: Proxy) -> Iterator[S3]:
    with proxy.running() as url:
        yield s3_server.backend(url=url)


def test_a_small_write_is_one_request(backend: S3, proxy: Proxy) -> None:
    backend.write("a", b"data")
    backend.write("b", b"data", if_absent=True)
    assert proxy.requests == {"PUT": 2}


def test_a_small_read_is_one_request_opened_or_not(backend: S3, proxy: Proxy) -> None:
    backend.write("a", b"data")
    proxy.requests.clear()
    assert backend.read("a") == b"data"
    with backend.open("a") as file:
        assert file.read() == b"data"
    assert proxy.requests == {"GET": 2}


def test_deleting_a_thousand_is_one_request(backend: S3, proxy: Proxy) -> None:
    backend.delete([f"a/{n}" for n in range(1000)])
    assert proxy.requests == {"POST": 1}


def test_a_listing_of_hundreds_is_one_request(backend: S3, proxy: Proxy) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: backend.write(f"a/{n}", b""), range(200)))
    proxy.requests.clear()
    assert len(list(backend.list("a"))) == 200
    assert proxy.requests == {"LIST": 1}


def test_what_lies_on_the_same_server_is_copied_there(
    backend: S3, proxy: Proxy, s3_server: Server
) -> None:
    bucket = s3_server.bucket()
    other = S3(backend._connect, bucket, "elsewhere")
    other.write("there", bytes(1_000_000))
    proxy.sent_bytes = 0
    assert backend.link_or_copy("here", BlobLocation(other, "there")) is True
    assert proxy.sent_bytes == 0
    assert proxy.requests["COPY"] == 1
    assert backend.read("here") == bytes(1_000_000)


def test_what_metaflow_says_of_an_artifact_is_copied_with_it(backend: S3) -> None:
    backend.client.put_object(
        Bucket=backend.bucket, Key="store/there", Body=b"x", Metadata={"said": "this"}
    )
    backend.link_or_copy("here", BlobLocation(backend, "there"))
    head = backend.client.head_object(Bucket=backend.bucket, Key="store/here")
    assert head["Metadata"] == {"said": "this"}


def test_a_write_whose_answer_was_lost_is_known_to_have_won(backend: S3, proxy: Proxy) -> None:
    proxy.faults, proxy.share = ("lost",), 1.0

    def relent(method: str, path: str) -> bool:
        proxy.share = 0.0
        return False

    proxy.refuses = relent
    assert backend.write("a", b"mine", if_absent=True) is True
    assert backend.write("a", b"other", if_absent=True) is False
    assert proxy.broken == {"lost": 1}
    assert backend.read("a") == b"mine"


def test_a_large_write_whose_answer_was_lost_is_known_to_have_won(
    backend: S3, proxy: Proxy
) -> None:
    def lose(method: str, path: str) -> bool:
        proxy.faults = ("lost",)
        proxy.share = 1.0 if method == "PUT" and "partNumber=2" in path else 0.0
        return False

    proxy.refuses = lose
    assert backend.write("a", [bytes(9_000_000)] * 4, if_absent=True) is True
    assert backend.write("a", [bytes(9_000_000)] * 4, if_absent=True) is False


@pytest.mark.parametrize("share", [pytest.param(0.05, marks=pytest.mark.stress), 0.2])
def test_of_many_faults_none_is_seen(s3_server: Server, share: float, tmp_path: Path) -> None:
    proxy = Proxy(s3_server.url, share=share, seed=1)
    proxy.faults = tuple(fault for fault in Proxy.FAULTS if fault != "stall")
    large = tmp_path / "large"
    large.write_bytes(b"".join(b"%08d" % n for n in range(2_500_000)))
    with proxy.running() as url:
        backend = s3_server.backend(url=url)
        for n in range(40):
            data = b"%d" % n * 1000
            assert backend.write(f"a/{n}", data, if_absent=bool(n % 2)) is True
            assert backend.read(f"a/{n}") == data
        backend.write("large", large)
        assert backend.sizes([f"a/{n}" for n in range(41)])[-2:] == [2000, None]
        assert len(list(backend.list("a"))) == 40
        backend.delete([f"a/{n}" for n in range(40)])
    assert sum(proxy.broken.values()) > 5
    assert s3_server.backend(backend.bucket).read("large") == large.read_bytes()


@pytest.mark.parametrize("fault", Proxy.TORN)
def test_an_answer_of_any_status_that_is_torn_is_asked_for_again(
    backend: S3, proxy: Proxy, fault: str
) -> None:
    proxy.faults, proxy.share = (fault,), 0.3
    assert backend.read("absent") is None
    assert backend.open("absent") is None
    assert backend.write("a", b"mine", if_absent=True) is True
    assert backend.write("a", b"other", if_absent=True) is False
    assert backend.read("a") == b"mine"
    assert backend.write("large", [bytes(9_000_000)] * 4, if_absent=True) is True
    assert backend.write("large", [bytes(9_000_000)] * 4, if_absent=True) is False
    assert backend.sizes(["a", "absent", "large"]) == [4, None, 36_000_000]
    assert backend.link_or_copy("copy", BlobLocation(backend, "a")) is True
    assert {found.name for found in backend.list("")} == {"a", "copy", "large"}
    backend.client.create_multipart_upload(Bucket=backend.bucket, Key="store/blobs/dead")
    assert backend.cleanup(before=4e9) >= 1
    backend.delete(["a"])
    backend.delete(["copy", "large", "absent"])
    assert list(backend.list("")) == []
    assert sum(proxy.broken.values()) > 5


@pytest.mark.parametrize("fault", Proxy.TORN)
def test_what_is_torn_each_time_is_an_error_of_ours(
    s3_server: Server, proxy: Proxy, fault: str
) -> None:
    bucket = s3_server.bucket()
    proxy.faults, proxy.share = (fault,), 1.0
    once = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    with proxy.running() as url:
        backend = S3(lambda: s3_server.client(url, once), bucket, "store")
        for act in (  # All whose answers have a body to be read, of an error or not.
            lambda: list(backend.list("")),
            *(lambda: backend.read("absent"),) * (fault == "half body"),
            *(lambda: backend.write("a", b"data"),) * (fault == "half body"),
            *(lambda: backend.delete(["a", "b"]),) * (fault == "half body"),
        ):
            with pytest.raises(BackendUnavailableError, match=r"cannot .* s3://"):
                act()


def test_a_listing_of_many_pages_is_whole(backend: S3, proxy: Proxy) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: backend.write(f"a/{n}", b""), range(1100)))
    proxy.requests.clear()
    assert {found.name for found in backend.list("a")} == {f"a/{n}" for n in range(1100)}
    assert proxy.requests == {"LIST": 2}


def test_after_a_silence_as_long_as_is_waited_nobody_waits_again(s3_server: Server) -> None:
    brief = Config(read_timeout=0.2, retries={"total_max_attempts": 1, "mode": "standard"})
    with silence() as url:
        backend = S3(lambda: s3_server.client(url, brief), "bucket", "store")
        backend._check_heard_of()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bucket, "_PATIENCE_WITH_SILENCE_S", 0.0)
            with pytest.raises(BackendUnreachableError, match="cannot read s3://bucket/store/a"):
                backend.read("a")
        backend._clients.clear()  # Nothing is asked by: else this would fail otherwise.
        backend._connect = None  # type: ignore[assignment]
        with pytest.raises(BackendUnreachableError, match="cannot read s3://bucket/store/a"):
            backend.write("b", b"")


def test_a_stalled_answer_is_given_up_and_asked_for_again(
    backend: S3, proxy: Proxy, s3_server: Server
) -> None:
    backend.write("a", b"data")
    brief = Config(read_timeout=2, retries={"max_attempts": 12, "mode": "standard"})
    url = backend.client.meta.endpoint_url
    backend = S3(lambda: s3_server.client(url, brief), backend.bucket, "store")
    proxy.faults, proxy.share = ("stall",), 1.0

    def relent(method: str, path: str) -> bool:
        proxy.share = 0.0
        return False

    proxy.refuses = relent
    assert backend.read("a") == b"data"
    assert proxy.broken == {"stall": 1}


def test_an_upload_that_was_given_up_leaves_no_parts(backend: S3) -> None:
    def broken() -> Iterator[bytes]:
        yield from [bytes(9_000_000)] * 4
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        backend.write("a", broken())
    assert "Uploads" not in backend.client.list_multipart_uploads(Bucket=backend.bucket)


def test_parts_of_a_dead_writer_are_tidied_up(backend: S3) -> None:
    backend.client.create_multipart_upload(Bucket=backend.bucket, Key="store/blobs/dead")
    backend.client.create_multipart_upload(Bucket=backend.bucket, Key="others/dead")
    assert backend.cleanup(before=0.0) == 0
    assert backend.cleanup(before=4e9) == 1
    (left,) = backend.client.list_multipart_uploads(Bucket=backend.bucket)["Uploads"]
    assert left["Key"] == "others/dead"


def test_a_name_too_long_for_s3_is_refused(backend: S3) -> None:
    with pytest.raises(UsageError, match="too long for S3"):
        backend.write("/".join(["x" * 200] * 6), b"")


def test_a_missing_bucket_says_so(s3_server: Server) -> None:
    backend = s3_server.backend("no-such-bucket")
    with pytest.raises(BackendDeniedError, match="create the bucket"):
        backend.write("a", b"")
    with pytest.raises(BackendDeniedError, match="create the bucket"):
        backend.read("a")
    with pytest.raises(BackendDeniedError, match="create the bucket"):
        list(backend.list("a"))


def test_a_refusal_says_what_to_allow(backend: S3, proxy: Proxy) -> None:
    proxy.refuses = lambda method, path: method in ("PUT", "DELETE")
    with pytest.raises(BackendDeniedError, match=r"cannot write s3://.*allow it in the policy"):
        backend.write("a", b"")
    with pytest.raises(BackendDeniedError, match=r"cannot delete from s3://.*policy"):
        backend.delete(["a"])


def test_a_wrong_endpoint_says_so(s3_server: Server) -> None:
    once = Config(retries={"max_attempts": 1, "mode": "standard"})
    backend = S3(lambda: s3_server.client("http://127.0.0.1:9", once), "bucket", "store")
    with pytest.raises(BackendUnavailableError, match="METAFLOW_S3_ENDPOINT_URL"):
        backend.read("a")


def test_an_endpoint_that_is_no_url_says_so(s3_server: Server) -> None:
    backend = S3(lambda: s3_server.client("no url"), "bucket", "store")
    with pytest.raises(BackendDeniedError, match="METAFLOW_S3_ENDPOINT_URL"):
        backend.read("a")


def test_no_credentials_say_so(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    backend = S3(
        lambda: boto3.session.Session().client(
            "s3", endpoint_url=s3_server.url, region_name="us-east-1", config=Config()
        ),
        "bucket",
    )
    with pytest.raises(BackendDeniedError, match="give AWS credentials"):
        backend.read("a")
