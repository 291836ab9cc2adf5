"""docs/format.md is right byte by byte: a reader written from that page alone reads a store."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import json
import os
import pickle
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import xxhash

from memoflow.kinds import checkpoint, gang, state
from memoflow.kinds.about import About
from memoflow.names import Key
from memoflow.state import snapshot
from memoflow.store import Adoption, Payload, Store, open_store
from tests.faults import Faulty
from tests.store.conftest import local_root

SIGNING = "a key of the page's reader"
TREE: dict[str, bytes] = {
    "weights.bin": os.urandom(300_000),
    "many/small": b"small",
    "many/empty": b"",
    "text.csv": b"".join(b"%d,%d\n" % (n, n * n) for n in range(30_000)),
}


class Page:
    """What the page says, in code: nothing of memoflow's is used to read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def refs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        folder = self.root / "refs"
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            yield str(path.relative_to(folder)), self.ref(path.read_bytes())

    def ref(self, data: bytes) -> dict[str, Any]:
        body, *signature, seal, rest = data.split(b"\n")
        assert rest == b""
        above = b"\n".join([body, *signature])
        assert seal == b"sha256:" + hashlib.sha256(above).hexdigest().encode()
        for line in signature:
            made = hmac.new(SIGNING.encode(), b"memoflow ref\n" + body, hashlib.sha256)
            assert line == b"hmac-sha256:" + made.hexdigest().encode()
        fields: dict[str, Any] = json.loads(body)
        assert set(fields) == {
            *("format", "key", "created", "expires", "size_bytes", "new_bytes", "meta"),
            "manifest",
        }
        assert fields["format"] == 1
        assert round(fields["created"] * 1000) / 1000 == fields["created"]
        return fields

    def manifest(self, ref: dict[str, Any]) -> dict[str, Any]:
        told = ref["manifest"]
        if isinstance(told, str):
            assert len(self.blob(told)) > 65536
            told = json.loads(self.blob(told))
        assert set(told) == {"blobs", "files", "folders", "adopted"}
        return dict(told)

    def blob(self, digest: str) -> bytes:
        algorithm, _, hex = digest.partition(":")
        above = "" if algorithm == "sha256" else "sha1/"
        data = (self.root / f"blobs/{above}{hex[:2]}/{hex}").read_bytes()
        content = data
        if algorithm == "sha1" and data[:2] == b"\x1f\x8b":
            content = gzip.decompress(data)
        assert hashlib.new(algorithm, content).hexdigest() == hex
        return data

    def files(self, manifest: dict[str, Any]) -> dict[str, tuple[bytes | str, bool]]:
        found: dict[str, tuple[bytes | str, bool]] = {}
        for file in manifest["files"]:
            executable = file.get("executable", False)
            if "target" in file:
                found[file["path"]] = file["target"], executable
            elif "inline" in file:
                found[file["path"]] = base64.b64decode(file["inline"]), executable
                assert len(found[file["path"]][0]) < 1024
            else:
                found[file["path"]] = self.pieces(file, manifest["blobs"]), executable
        return found

    def pieces(self, file: dict[str, Any], blobs: list[str]) -> bytes:
        data, at = b"", 0
        for number, offset, length, count in file["runs"]:
            blob = self.blob(blobs[number])
            for nth in range(count):
                piece = blob[offset + nth * length :][:length]
                assert file["xxh3"][at : at + 32] == xxhash.xxh3_128_hexdigest(piece)
                data, at = data + piece, at + 32
        assert at == len(file["xxh3"])
        return data


@pytest.fixture(params=["unsigned", "signed"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "signed":
        monkeypatch.setenv("METAFLOW_MEMOFLOW_SIGNING_KEY", SIGNING)
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def test_every_file_of_a_tree_is_where_the_page_says(store: Store, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for path, data in TREE.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    (tree / "text.csv").chmod(0o755)
    (tree / "latest").symlink_to("weights.bin")
    (tree / "nothing").mkdir()
    store.save(Key.of("model", "ü/%", ".hidden"), Payload(tree=tree), meta={"a": [1, None]})
    page = Page(local_root(store))
    ((name, ref),) = page.refs()
    assert name == ref["key"]
    assert [unquote(part) for part in name.split("/")] == ["model", "ü/%", ".hidden"]
    assert ref["meta"] == {"a": [1, None]}
    assert ref["size_bytes"] == sum(map(len, TREE.values()))
    manifest = page.manifest(ref)
    assert manifest["folders"] == ["nothing"]
    assert page.files(manifest) == {
        **{path: (data, path == "text.csv") for path, data in TREE.items()},
        "latest": ("weights.bin", False),
    }


def test_a_large_manifest_is_a_blob(store: Store) -> None:
    files = {f"folder/{n}": os.urandom(900) for n in range(100)}
    store.save(Key.of("model", "many"), Payload(files=files))
    page = Page(local_root(store))
    ((_, ref),) = page.refs()
    assert isinstance(ref["manifest"], str)
    assert page.files(page.manifest(ref)) == {path: (data, False) for path, data in files.items()}


def test_a_whole_file_is_the_blob_of_its_sha256(store: Store) -> None:
    data = os.urandom(2 << 20)
    store.save(Key.of("model", "whole"), Payload(files={"w": data}, whole=True))
    assert Page(local_root(store)).blob(f"sha256:{hashlib.sha256(data).hexdigest()}") == data


class StatePickle(pickle.Unpickler):
    """The second pickle of a state, given all buffers and the numbers of those that are bytes."""

    def __init__(self, file: io.BytesIO, buffers: list[bytes], of_bytes: tuple[int, ...]) -> None:
        super().__init__(file, buffers=[b for i, b in enumerate(buffers) if i not in of_bytes])
        self.all = buffers

    def persistent_load(self, pid: Any) -> bytes | bytearray:
        is_bytes, number = pid
        return self.all[number] if is_bytes else bytearray(self.all[number])


def test_the_files_of_a_state_are_as_the_page_says(store: Store) -> None:
    shared = np.arange(500.0).reshape(20, 25)
    value = {
        "a/b%": shared,
        "part": shared[:, :3],
        "raw": bytes(range(100)),
        "room": bytearray(100),
        "opt": [shared, np.zeros(3), {"lr": 0.1}],
    }
    about = About(
        "checkpoint", "Train/1/fit/3", 0, "c", metadata={"loss": float("inf")},
        storage_format="state", own="Train/1/fit/3",
    )  # fmt: skip
    series = checkpoint.series("Train", "fit", "scope", "identity")
    payload = Payload(files=state.files_of(snapshot(value)))
    checkpoint.save(store, series, payload, about, token="0f1e2d3c")
    page = Page(local_root(store))
    ((_, ref),) = page.refs()
    assert ref["meta"] == {
        "task": "Train/1/fit/3",
        "own": "Train/1/fit/3",
        "attempt": 0,
        "name": "c",
        "latest": True,
        "metadata": '{"loss": Infinity}',
        "storage_format": "state",
        "code": "",
        "nodes": 0,
    }
    files = {path: data for path, (data, _) in page.files(page.manifest(ref)).items()}
    tensors, structure, index = (
        files[f"state.{kind}"] for kind in ("safetensors", "pickle", "json")
    )
    assert isinstance(tensors, bytes)
    assert isinstance(structure, bytes)
    end = 8 + int.from_bytes(tensors[:8], "little")
    assert end % 64 == 0
    header = json.loads(tensors[8:end])
    assert header["a%2Fb%25"] == {"dtype": "F64", "shape": [20, 25], "data_offsets": [0, 4000]}
    told = json.loads(index)
    buffers = [tensors[at : at + length] for at, length in told["buffers"]]
    assert [told["buffers"][0], b"".join(buffers)] == [[end, 4000], tensors[end:]]
    assert [each["data_offsets"] for each in header.values()] == [
        [at - end, at - end + length] for at, length in told["buffers"]
    ]
    assert told["index"]["opt.0"] == told["index"]["a%2Fb%25"] == [0]
    assert "opt.1" not in told["index"]
    file = io.BytesIO(structure)
    sizes, of_bytes = pickle.load(file)
    assert sizes == tuple(map(len, buffers))
    found = StatePickle(file, buffers, of_bytes).load()
    assert found["opt"][0] is found["a/b%"]
    assert np.array_equal(found["part"], value["part"])
    assert (found["raw"], found["room"]) == (value["raw"], value["room"])
    assert found["opt"][2] == {"lr": 0.1}


def test_the_keys_of_a_gang_are_as_the_page_says(store: Store) -> None:
    series = checkpoint.series("Train", "fit", "scope", "identity")
    about = About("checkpoint", "Train/1/fit/3", 2, "c")
    nodes = [gang.Gang(series, "Train/1/fit/3", 2, node, 2) for node in range(2)]
    checkpoint.save(store, series, Payload(files={"a": b"1"}), about, token="0f1e2d3c")
    start = gang.start(store, nodes[0], None)
    payload = Payload(files={"a": b"of the first"})
    gang.save_part(store, nodes[0], 3, payload, about)
    page = Page(local_root(store))
    refs = dict(page.refs())
    control = hashlib.sha256(b"Train/1/fit/3").hexdigest()[:16]
    above = f"checkpoint/Train/fit/scope/identity/gang/{control}/0002"
    first = refs[f"{above}/start"]
    assert first["meta"] == {"origin": "", "last_number": 1}
    part = refs[f"{above}/00000003/00000"]
    assert set(part["meta"]) == {"about", "nodes"}
    assert part["meta"]["nodes"] == 2
    assert page.files(page.manifest(part)) == {"a": (b"of the first", False)}
    assert (part["expires"] - part["created"], first["expires"] - first["created"]) == (
        pytest.approx(7 * 86400, abs=60),
        pytest.approx(30 * 86400, abs=60),
    )
    gang.save_part(store, nodes[1], 3, Payload(files={"a": b"of the second"}), about)
    gang.complete(store, nodes[1], 3, start, about, ttl=None)
    token = hashlib.sha256(f"{above} 3".encode()).hexdigest()[:8]
    whole = dict(page.refs())[f"checkpoint/Train/fit/scope/identity/00000004-{token}"]
    assert whole["meta"]["nodes"] == 2
    assert page.files(page.manifest(whole)) == {
        "node-0/a": (b"of the first", False),
        "node-1/a": (b"of the second", False),
    }


def test_an_adopted_artifact_is_the_blob_of_its_sha1(
    store: Store, artifact: Callable[..., Adoption]
) -> None:
    adoption = artifact(b"content" * 100)
    store.save(Key.of("memo", "a"), Payload(adopted={"x": adoption}))
    page = Page(local_root(store))
    ((_, ref),) = page.refs()
    ((name, digest, size_bytes, xxh3),) = page.manifest(ref)["adopted"]
    data = page.blob(digest)
    assert (name, digest) == ("x", adoption.digest)
    assert (size_bytes, xxh3) == (len(data), xxhash.xxh3_128_hexdigest(data))


def test_format_json_is_sealed_as_the_page_says(store: Store) -> None:
    fields = json.loads((local_root(store) / "format.json").read_bytes())
    seal = fields.pop("seal")
    assert fields == {"format": 1, "id": store.id}
    assert (
        seal == "sha256:" + hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    )


def test_a_bundle_has_the_refs_that_it_is_a_copy_of(tmp_path: Path) -> None:
    backend = Faulty(
        open_store(tmp_path / "s", cache_dir=tmp_path / "c").backend, takes_round_trips=True
    )
    store = open_store(backend, cache_dir=tmp_path / "here")
    for number in range(40):
        store.save(Key.of("memo", "F", str(number)), Payload())
    open_store(backend, cache_dir=tmp_path / "there").remembered.prefetch(Key.of("memo", "F"))
    (path,) = (each for each in (tmp_path / "s" / "bundles").rglob("*") if each.is_file())
    assert path.relative_to(tmp_path / "s" / "bundles").parts[:2] == ("memo", "F")
    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).split(b"\n")]
    assert {key: text.encode() for key, _, text in lines} == {
        key: (tmp_path / "s" / "refs" / key).read_bytes() for key, _ in Page(tmp_path / "s").refs()
    }


def test_the_checksum_of_a_mark_is_what_the_page_says(store: Store) -> None:
    store.save(Key.of("model", "a"), Payload(files={"x": os.urandom(5000)}))
    store.forget(Key.of("model", "a"))
    store.sweep(keep_newer=timedelta(0))
    data = (local_root(store) / "gc" / "condemned").read_bytes()
    body, _, seal = data.rpartition(b"\n")
    assert seal == b"crc32:%08x" % zlib.crc32(body)
    assert set(json.loads(body)) == {"blobs"}
