"""A blob is proven by its name, or by the bytes that were once proven."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.errors import NotFoundError
from memoflow.names import Digest
from memoflow.objects import blob_name, blob_of, is_whole, measure, prove

CONTENT = os.urandom(100_000)
SHA1 = Digest("sha1:" + hashlib.sha1(CONTENT).hexdigest())


def packed(*, mtime: float = 1.0) -> bytes:
    return gzip.compress(CONTENT, 3, mtime=mtime)


@pytest.mark.parametrize("digest", [Digest.of(b""), SHA1], ids=["sha256", "sha1"])
def test_a_name_leads_back_to_its_digest(digest: Digest) -> None:
    assert blob_of(blob_name(digest)) == digest


@pytest.mark.parametrize("name", ["blobs/ab/cd", "refs/x", "blobs/zz/" + "a" * 64, "blobs"])
def test_other_names_stand_for_no_blob(name: str) -> None:
    assert blob_of(name) is None


@pytest.mark.parametrize("data", [packed(), CONTENT], ids=["packed", "raw"])
def test_a_blob_of_metaflows_is_whole_if_its_content_is(data: bytes) -> None:
    backend = Memory()
    backend.write(blob_name(SHA1), data)
    assert is_whole(backend, SHA1)


@pytest.mark.parametrize(
    "data",
    [b"", packed()[:-1], packed()[:500], CONTENT[1:], packed()[:9] + b"\xff" * 999],
    ids=["empty", "cut", "cut short", "other", "garbled"],
)
def test_a_blob_of_metaflows_with_other_content_is_not(data: bytes) -> None:
    backend = Memory()
    backend.write(blob_name(SHA1), data)
    assert not is_whole(backend, SHA1)


def test_a_lost_blob_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        is_whole(Memory(), SHA1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(packed())
    return path


def claims(file: Path) -> dict[str, object]:
    with open(file, "rb") as opened:
        size_bytes, xxh3 = measure(opened)
    return {"digest": SHA1, "xxh3": xxh3, "size_bytes": size_bytes}


def test_the_same_bytes_are_proof(file: Path) -> None:
    assert prove(file, **claims(file))  # type: ignore[arg-type]


def test_the_same_content_packed_at_another_time_is_proof(file: Path) -> None:
    claimed = claims(file)
    file.write_bytes(packed(mtime=2.0))
    assert prove(file, **claimed)  # type: ignore[arg-type]


def test_other_content_is_none(file: Path) -> None:
    claimed = claims(file)
    file.write_bytes(gzip.compress(CONTENT[1:]))
    assert not prove(file, **claimed)  # type: ignore[arg-type]


def test_absence_is_none(file: Path, tmp_path: Path) -> None:
    assert not prove(tmp_path / "gone", **claims(file))  # type: ignore[arg-type]
