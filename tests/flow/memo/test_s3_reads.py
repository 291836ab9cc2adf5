"""Reads through metaflow.S3: each is noted by its ETag, and a lookup answers alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from metaflow import S3, FlowSpec
from metaflow.metaflow_config import DATATOOLS_CLIENT_PARAMS
from metaflow.metaflow_current import current
from metaflow.plugins.datastores.s3_storage import S3Storage
from metaflow.plugins.datatools.s3 import s3 as datatools

from memoflow.flow.memo.s3_reads import OWN_PREFIX, evaluate, watching
from tests.s3 import CREDENTIALS, Server

Reads = dict[str, tuple[str, str]]


class Bucket:
    def __init__(self, server: Server) -> None:
        self.client = server.client()
        self.name = server.bucket()
        self.url = f"s3://{self.name}"

    def put(self, key: str, text: str) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=text.encode())

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(s3_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bucket:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METAFLOW_S3_ENDPOINT_URL", s3_server.url)  # for the processes of S3
    monkeypatch.setitem(DATATOOLS_CLIENT_PARAMS, "endpoint_url", s3_server.url)
    monkeypatch.chdir(tmp_path)
    made = Bucket(s3_server)
    made.put("d/a.txt", "a")
    made.put("d/b.txt", "b")
    made.put("d/sub/c.txt", "c")
    return made


def watched(step: Callable[[], Any]) -> tuple[Reads, list[tuple[str, str]]]:
    noted: Reads = {}
    never: list[tuple[str, str]] = []
    with watching(
        lambda name, digest, summary: noted.update({name: (digest, summary)}),
        lambda name, reason: never.append((name, reason)),
    ):
        step()
    return noted, never


def reads_of(step: Callable[[], Any]) -> Reads:
    noted, never = watched(step)
    assert never == []
    return noted


def with_s3(act: Callable[[S3], Any], **options: Any) -> Callable[[], Any]:
    def step() -> Any:
        with S3(**options) as s3:
            return act(s3)

    return step


CASES: dict[str, tuple[Callable[[S3], Any], list[str]]] = {
    "get": (lambda s3: s3.get("d/a.txt").text, ["{}/d/a.txt"]),
    "missing": (lambda s3: s3.get("d/x", return_missing=True).exists, ["{}/d/x"]),
    "get many": (
        lambda s3: s3.get_many(key for key in ("d/a.txt", "d/b.txt")),
        ["{}/d/a.txt", "{}/d/b.txt"],
    ),
    "get a range": (
        lambda s3: s3.get(datatools.S3GetObject("d/a.txt", 0, 1)).text,
        ["{}/d/a.txt"],
    ),
    "get below": (lambda s3: s3.get_recursive(["d"]), ["contents of {}/d"]),
    "get all": (lambda s3: s3.get_all(), ["contents of {}"]),
    "list": (lambda s3: s3.list_paths(["d"]), ["list of {}/d/"]),
    "list all": (lambda s3: s3.list_paths(), ["list of {}/"]),
    "list below": (lambda s3: s3.list_recursive(["d"]), ["tree of {}/d/"]),
    "info": (lambda s3: s3.info("d/a.txt").size, ["{}/d/a.txt"]),
    "info of many": (
        lambda s3: s3.info_many(["d/a.txt", "d/x"], return_missing=True),
        ["{}/d/a.txt", "{}/d/x"],
    ),
    "time": (
        lambda s3: s3.get("d/a.txt").last_modified,
        ["{}/d/a.txt", "last_modified of {}/d/a.txt"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_lookup_sees_what_the_step_saw(bucket: Bucket, case: str) -> None:
    act, names = CASES[case]
    noted = reads_of(with_s3(act, s3root=bucket.url))
    assert list(noted) == [name.format(bucket.url) for name in names]
    assert evaluate(noted) == noted


@pytest.mark.parametrize("case", ["get", "get many", "get below", "get all", "info", "get a range"])
def test_other_content_is_another_digest(bucket: Bucket, case: str) -> None:
    noted = reads_of(with_s3(CASES[case][0], s3root=bucket.url))
    bucket.put("d/a.txt", "z")
    assert evaluate(noted) != noted


@pytest.mark.parametrize("case", ["list", "list below", "get below", "get all"])
def test_a_new_name_is_another_listing(bucket: Bucket, case: str) -> None:
    noted = reads_of(with_s3(CASES[case][0], s3root=bucket.url))
    bucket.put("d/new.txt", "z")
    assert evaluate(noted) != noted


@pytest.mark.parametrize("case", ["list", "list below"])
def test_a_listing_does_not_depend_on_content(bucket: Bucket, case: str) -> None:
    noted = reads_of(with_s3(CASES[case][0], s3root=bucket.url))
    bucket.put("d/a.txt", "z")
    assert evaluate(noted) == noted


def test_the_same_content_again_is_the_same(bucket: Bucket) -> None:
    noted = reads_of(with_s3(CASES["get"][0], s3root=bucket.url))
    bucket.put("d/a.txt", "a")
    assert evaluate(noted) == noted


def test_what_is_gone_is_absent(bucket: Bucket) -> None:
    noted = reads_of(with_s3(lambda s3: s3.get(f"{bucket.url}/d/a.txt").blob))
    bucket.delete("d/a.txt")
    assert set(evaluate(noted).values()) == {("absent", "absent")}


def test_what_was_missing_is_there_now(bucket: Bucket) -> None:
    noted = reads_of(with_s3(CASES["missing"][0], s3root=bucket.url))
    assert set(noted.values()) == {("absent", "absent")}
    bucket.put("d/x", "x")
    assert evaluate(noted) != noted


def test_an_artifact_that_metaflow_loads_is_no_read_of_s3(bucket: Bucket) -> None:
    def step() -> list[Any]:
        with S3Storage(f"{bucket.url}/d").load_bytes(["a.txt"]) as loaded:
            return [metadata for _, _, metadata in loaded]

    assert reads_of(step) == {}
    both = reads_of(lambda: (step(), with_s3(lambda s3: s3.get("d/b.txt"), s3root=bucket.url)()))
    assert list(both) == [f"{bucket.url}/d/b.txt"]


def test_what_the_step_wrote_before_is_no_read(bucket: Bucket) -> None:
    def act(s3: S3) -> None:
        s3.put("d/a.txt", "new")
        s3.put_many([("d/m.txt", "m")])
        s3.get_many(["d/a.txt", "d/m.txt"])

    assert reads_of(with_s3(act, s3root=bucket.url)) == {}


def test_what_it_reads_and_then_changes_differs_each_time(bucket: Bucket) -> None:
    def act(s3: S3) -> None:
        s3.put("d/a.txt", s3.get("d/a.txt").text + "a")

    url = f"{bucket.url}/d/a.txt"
    _, never = watched(with_s3(act, s3root=bucket.url))
    assert never == [("S3", f"reads {url} and then changes it")]


def test_the_prefix_of_its_own_run_is_another_one_each_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datatools, "DATATOOLS_S3ROOT", bucket.url)
    monkeypatch.setattr(current, "_flow_name", "Own")
    monkeypatch.setattr(current, "_run_id", "17")
    monkeypatch.setattr(current, "_is_running", True)

    class Own(FlowSpec):
        pass

    flow = object.__new__(Own)
    noted, never = watched(with_s3(lambda s3: s3.list_paths(), run=flow))
    assert (noted, never) == ({}, [("S3", OWN_PREFIX)])


def test_another_server_cannot_be_asked_again(bucket: Bucket, s3_server: Server) -> None:
    other = s3_server.url.replace("127.0.0.1", "localhost")
    step = with_s3(CASES["get"][0], s3root=bucket.url, client_params={"endpoint_url": other})
    assert watched(step) == ({}, [("S3", f"reads from S3 at {other}")])


def test_errors_of_the_step_stay_as_they_are(bucket: Bucket) -> None:
    with pytest.raises(datatools.MetaflowS3NotFound):
        watched(with_s3(lambda s3: s3.get("d/x"), s3root=bucket.url))
    with pytest.raises(datatools.MetaflowS3URLException, match="absolute"):
        watched(with_s3(lambda s3: s3.get("s3://b/k"), s3root=bucket.url))
    with pytest.raises(TypeError):
        watched(with_s3(lambda s3: s3.get(nope=1), s3root=bucket.url))


def test_nothing_is_left_on_the_class(bucket: Bucket) -> None:
    before = dict(vars(S3)), dict(vars(datatools.S3Object))
    reads_of(with_s3(CASES["get"][0], s3root=bucket.url))
    assert (dict(vars(S3)), dict(vars(datatools.S3Object))) == before
