"""With a signing key, an artifact that goes back into a flow's data has the SHA-1 that names it."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.backends import Backend, Local, Memory
from memoflow.errors import IntegrityError, UnsignedError
from memoflow.flow import references
from memoflow.flow.memo.artifacts import Artifacts, RemoteArtifacts
from memoflow.flow.task import launch_info
from memoflow.kinds.memo import Artifact
from memoflow.names import Digest, Key
from memoflow.objects import blob_name
from memoflow.store import Payload, Store, open_store
from tests.faults import Faulty

CONTENT = b"content" * 100
SHA1 = hashlib.sha1(CONTENT).hexdigest()
PLANTED = gzip.compress(b"planted" * 100)
VARIABLE = "METAFLOW_MEMOFLOW_SIGNING_KEY"


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0123456789abcdef-key")


def stored(backend: Backend, tmp_path: Path, blob: bytes) -> Store:
    store = open_store(backend, cache_dir=tmp_path / "cache")
    backend.write(blob_name(Digest(f"sha1:{SHA1}")), blob)
    return store


def remote(tmp_path: Path, blob: bytes) -> tuple[RemoteArtifacts, Memory]:
    data = Memory()
    store = stored(Faulty(Memory(), takes_round_trips=True), tmp_path, blob)
    flow = SimpleNamespace(_storage_impl=None, flow_name="F")
    return RemoteArtifacts(flow, store, data), data


def artifact(blob: bytes) -> Artifact:
    import xxhash

    return Artifact(SHA1, {}, {}, len(blob), xxhash.xxh3_128_hexdigest(blob))


@pytest.mark.usefixtures("signed")
def test_a_planted_blob_elsewhere_is_not_handed_out(tmp_path: Path) -> None:
    artifacts, data = remote(tmp_path, PLANTED)
    with pytest.raises(IntegrityError):
        artifacts.restore(artifact(PLANTED))
    assert list(data.list("")) == []


@pytest.mark.usefixtures("signed")
def test_a_good_blob_elsewhere_is_handed_out(tmp_path: Path) -> None:
    good = gzip.compress(CONTENT)
    artifacts, data = remote(tmp_path, good)
    artifacts.restore(artifact(good))
    assert data.read(f"{SHA1[:2]}/{SHA1}") == good


@pytest.mark.usefixtures("signed")
def test_a_planted_blob_on_disk_is_not_handed_out_though_its_xxh3_fits(tmp_path: Path) -> None:
    store = stored(Local(tmp_path / "store"), tmp_path, PLANTED)
    flow: Any = SimpleNamespace(datastore_root=str(tmp_path / "data"), flow_name="F")
    with pytest.raises(IntegrityError):
        Artifacts(flow, store).restore(artifact(PLANTED))
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_a_reference_to_what_is_not_signed_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Key.of("model", "F", "s", "0" * 32)
    open_store(Local(tmp_path / "store"), cache_dir=tmp_path / "a").save(
        key, Payload(files={"a": b"a"})
    )
    monkeypatch.setenv(VARIABLE, "0123456789abcdef-key")
    store = open_store(Local(tmp_path / "store"), cache_dir=tmp_path / "b")
    where: Any = SimpleNamespace(store=store, folder=str(tmp_path / "store"), root=str(tmp_path))
    for ask in (
        lambda: references.load(where, str(key), tmp_path / "out", writable=True),
        lambda: references.describe(where, str(key)),
    ):
        with pytest.raises(UnsignedError, match="is not signed"):
            ask()


@pytest.mark.usefixtures("signed")
def test_the_key_is_in_no_code_package() -> None:
    assert os.environ[VARIABLE] not in str(launch_info._settings())
