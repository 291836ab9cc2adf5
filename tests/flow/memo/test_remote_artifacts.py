"""Artifacts in a bucket: which are asked for one by one, and which are found by a listing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.backends import Memory
from memoflow.flow.memo.artifacts import RemoteArtifacts


def sha1(number: int) -> str:
    return hashlib.sha1(b"%d" % number).hexdigest()


class Bucket(Memory):
    """A bucket that counts the names that it is asked for, and listings."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.listings = 0

    def sizes(self, names: Any) -> list[int | None]:
        self.asked += len(names)
        return super().sizes(names)

    def list(self, prefix: str) -> Iterator[Any]:
        self.listings += 1
        return super().list(prefix)


@pytest.fixture
def bucket() -> Bucket:
    made = Bucket()
    for number in range(20):
        made.write(f"{sha1(number)[:2]}/{sha1(number)}", b"")
    return made


@pytest.fixture
def artifacts(bucket: Bucket) -> RemoteArtifacts:
    flow: Any = SimpleNamespace(_storage_impl=None, flow_name="F")
    store: Any = None  # for artifacts that are not in the bucket
    return RemoteArtifacts(flow, store, bucket)


def test_few_are_asked_for_one_by_one(artifacts: RemoteArtifacts, bucket: Bucket) -> None:
    artifacts.look_ahead([sha1(1), sha1(2), sha1(99)], tasks=3)
    assert (bucket.asked, bucket.listings) == (3, 0)
    assert [artifacts.is_seen(sha1(each)) for each in (1, 2, 3, 99)] == [True, True, False, False]


def test_many_are_listed(artifacts: RemoteArtifacts, bucket: Bucket) -> None:
    artifacts.look_ahead([sha1(each) for each in range(10)], tasks=10)
    assert (bucket.asked, bucket.listings) == (0, 1)


def test_few_of_many_tasks_are_listed_with_all_others(
    artifacts: RemoteArtifacts, bucket: Bucket
) -> None:
    artifacts.look_ahead([sha1(1)], tasks=100)
    assert (bucket.asked, bucket.listings) == (0, 1)
    assert artifacts.is_seen(sha1(2))


def test_what_was_seen_is_not_listed_again(artifacts: RemoteArtifacts, bucket: Bucket) -> None:
    for _ in range(2):
        artifacts.look_ahead([sha1(1)], tasks=100)
    assert bucket.listings == 1
