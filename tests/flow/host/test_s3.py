"""S3: what a `metaflow.S3` means by a key, and whom it asks."""

from __future__ import annotations

import pytest
from metaflow import S3, FlowSpec
from metaflow.metaflow_config import DATATOOLS_CLIENT_PARAMS
from metaflow.metaflow_current import Current

from memoflow.flow.host import s3


def test_a_key_is_below_its_prefix() -> None:
    with S3(s3root="s3://bucket/prefix") as bound:
        assert s3.url_of(bound, "a/b") == "s3://bucket/prefix/a/b"
        assert s3.url_of(bound) == "s3://bucket/prefix"


def test_without_a_prefix_a_key_is_a_url() -> None:
    with S3() as bound:
        assert s3.url_of(bound, "s3://bucket/a") == "s3://bucket/a"
        with pytest.raises(Exception, match="s3://"):
            s3.url_of(bound, "a")


def test_the_prefix_of_the_run_is_known_by_its_flow(
    flow: type[FlowSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaflow.plugins.datatools.s3.s3.DATATOOLS_S3ROOT", "s3://bucket/p")
    monkeypatch.setattr(Current, "is_running_flow", True)
    monkeypatch.setattr(Current, "flow_name", "Sweep")
    monkeypatch.setattr(Current, "run_id", "1")
    with S3(run=flow(use_cli=False), bucket="bucket", prefix="p") as bound:
        assert s3.is_of_own_run(bound)
    with S3() as other:
        assert not s3.is_of_own_run(other)


def test_another_server_than_the_configured_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATATOOLS_CLIENT_PARAMS, "endpoint_url", "http://127.0.0.1:1")
    assert s3.usual_endpoint() == "http://127.0.0.1:1"
    with S3(client_params={"endpoint_url": "http://127.0.0.1:2"}) as bound:
        assert s3.other_endpoint(bound) == "http://127.0.0.1:2"
    with S3(client_params={"endpoint_url": "http://127.0.0.1:1"}) as bound:
        assert s3.other_endpoint(bound) is None
    with S3() as bound:
        assert s3.other_endpoint(bound) is None


def test_a_client_of_its_own_is_told() -> None:
    with S3(external_client=object()) as bound:
        assert s3.has_own_client(bound)
    with S3() as bound:
        assert not s3.has_own_client(bound)
