"""What anybody could write into a store is refused, and nothing is written outside the target.

Each case is planted as a sealed ref, loaded by a process with little memory, and given in a bundle.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Memory
from memoflow.errors import IntegrityError, MemoflowError
from memoflow.names import Digest, Key, Ref
from memoflow.objects import File, Manifest, blob_name
from memoflow.objects import manifest as manifests
from memoflow.store import Payload, Store, open_store
from memoflow.store.refs import prefetch as bundles
from memoflow.store.refs.ref_file import LARGEST_BYTES, decode
from tests.faults import Faulty
from tests.objects.test_manifest import BLOB, HOSTILE, XXH3, with_file, with_links, with_paths
from tests.store.conftest import FILES, KEY, contents

MEMORY_BYTES = 1 << 30  # above what a process has when it begins to load
SHA1 = "sha1:" + "a" * 40


def sealed(body: bytes) -> bytes:
    return b"%b\n%b\n" % (body, Digest.of(body).encode())


def fields(**changed: Any) -> dict[str, Any]:
    """The fields of a ref that is good, but for what is changed."""
    good = {
        "format": 1,
        "key": str(KEY),
        "created": 1.5,
        "expires": None,
        "size_bytes": 0,
        "new_bytes": 0,
        "meta": {},
        "manifest": with_file(),
    }
    return {name: value for name, value in (good | changed).items() if value is not ...}


def ref(**changed: Any) -> bytes:
    return sealed(json.dumps(fields(**changed)).encode())


def raw(old: str, new: str) -> bytes:
    """A good ref with some of its text exchanged."""
    text = json.dumps(fields())
    assert old in text
    return sealed(text.replace(old, new).encode())


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


REFS: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"{",
    "no seal": json.dumps(fields()).encode(),
    "wrong seal": ref()[:-10] + b"000000000\n",
    "seal of another hash": json.dumps(fields()).encode() + b"\nsha1:" + b"a" * 40 + b"\n",
    "more after the seal": ref() + b"more",
    "two lines": sealed(json.dumps(fields()).encode() + b"\n{}"),
    "no JSON": sealed(b"\x80\x04K\x01."),
    "no UTF-8": sealed(b'{"format":1,"\xff":1}'),
    "UTF-16": sealed(json.dumps(fields()).encode("utf-16")),
    "a list": sealed(b"[]"),
    "a number": sealed(b"1"),
    "deep lists": sealed(deep(10_000).encode()),
    "deep meta": raw('"meta": {}', f'"meta": {{"a":{deep(10_000)}}}'),
    "deep manifest": raw('"meta": {}', '"meta": ' + '{"a":' * 10_000 + "1" + "}" * 10_000),
    "a field twice": raw('"created": 1.5', '"created": 1.5, "created": 2.5'),
    "another field": ref(command="rm"),
    "no key": ref(key=...),
    "another key": ref(key="model/b"),
    "key as list": ref(key=["model", "a"]),
    "key that leads out": ref(key="../../etc/passwd"),
    "no manifest": ref(manifest=...),
    "manifest null": ref(manifest=None),
    "manifest as list": ref(manifest=[]),
    "manifest as number": ref(manifest=1),
    "manifest as path": ref(manifest="../../../etc/passwd"),
    "manifest of another hash": ref(manifest="xxh3:" + XXH3),
    "manifest among artifacts": ref(manifest=SHA1),
    "manifest of a short digest": ref(manifest="sha256:" + "a" * 40),
    "manifest in capitals": ref(manifest="sha256:" + "A" * 64),
    "size as text": ref(size_bytes="0"),
    "size as truth": ref(size_bytes=False),
    "size negative": ref(size_bytes=-1),
    "size as fraction": ref(size_bytes=0.5),
    "size huge": ref(size_bytes=10**30),
    "size of a thousand digits": raw('"size_bytes": 0', '"size_bytes": 1' + "0" * 1000),
    "size of ten thousand digits": raw('"size_bytes": 0', '"size_bytes": 1' + "0" * 10_000),
    "size another than the manifest's": ref(size_bytes=1),
    "new bytes negative": ref(new_bytes=-1),
    "created never": ref(created=None),
    "created not a number": raw('"created": 1.5', '"created": NaN'),
    "created infinite": raw('"created": 1.5', '"created": Infinity'),
    "created beyond floats": raw('"created": 1.5', '"created": 1e999'),
    "expires as text": ref(expires="never"),
    "meta as list": ref(meta=[]),
    "meta as text": ref(meta="meta"),
    "format as text": ref(format="1"),
    "format as truth": ref(format=True),
    "format missing": ref(format=...),
    "signature that is none": sealed(json.dumps(fields()).encode() + b"\n" + b"x" * 76),
}

LARGE: dict[str, Callable[[], Any]] = {
    "a million and one folders": lambda: with_file() | {"folders": ["a"] * 1_000_001},
    "a million and one files": lambda: with_paths(*["a"] * 1_000_001),
    "folders that stand for millions": lambda: (
        with_file() | {"folders": [f"{n}/" + "a/" * 250 + "a" for n in range(20_000)]}
    ),
    "a million pieces of one": lambda: with_file(
        inline=None, runs=[[0, 0, 64 << 20, 1 << 50]], xxh3=XXH3
    ),
    "files larger than can be": lambda: with_file(inline=None, pieces=[[0, 1 << 61, 1, XXH3]]),
    "links through links": lambda: with_links(
        **{"l0": "x", **{f"l{n}": "/".join([f"l{n - 1}", ".."] * 400) for n in range(1, 40)}}
    ),
    "link with half a character": lambda: with_links(a="\ud800"),
    "link longer than can be": lambda: with_links(a="a/" * 3000),
    "path of a million parts": lambda: with_paths("a/" * 1_000_000 + "b"),
    "name of a megabyte": lambda: with_paths("a" * (1 << 20)),
    "paths that differ in a slash": lambda: with_paths("a/b", "a//b"),
    "a thousand links in a chain": lambda: with_links(
        **{f"l{n}": f"l{n + 1}" for n in range(1000)}, l1000="../outside"
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Memory(), cache_dir=tmp_path / "cache")


def planted(store: Store, data: bytes) -> Ref:
    """Write a ref as somebody would who may write to the store; return one in hand to it."""
    store.backend.write(f"refs/{KEY}", data)
    return Ref(KEY, Digest.of(data), 0, 1.5)


def of_manifest(store: Store, data: Any, *, as_blob: bool) -> bytes:
    """A ref to a manifest, inline or in a blob, of the size that the manifest adds up to."""
    if not as_blob:
        return ref(manifest=data)
    text = json.dumps(data).encode()
    store.backend.write(blob_name(Digest.of(text)), text)
    return ref(manifest=str(Digest.of(text)))


def outside(tmp_path: Path) -> set[Path]:
    """All that is there, but for the store, the cache and the target."""
    inside = (tmp_path / "store", tmp_path / "cache", tmp_path / "target")
    return {
        path
        for path in tmp_path.rglob("*")
        if not any(path == each or each in path.parents for each in inside)
    }


def refused(store: Store, data: bytes, tmp_path: Path) -> str:
    """Load a planted ref; return why it is refused."""
    hostile = planted(store, data)
    there = outside(tmp_path)
    with pytest.raises(MemoflowError) as caught:
        store.load(hostile, tmp_path / "target" / "here")
    assert isinstance(caught.value, IntegrityError)
    assert outside(tmp_path) == there
    assert not (tmp_path / "target").exists() or not any((tmp_path / "target").iterdir())
    return str(caught.value)


def with_little_memory(act: Callable[[], None]) -> None:
    """Run in a child that may take a gigabyte; fail if it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + MEMORY_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("name", REFS)
def test_a_hostile_ref_is_refused_with_a_reason(store: Store, name: str, tmp_path: Path) -> None:
    assert refused(store, REFS[name], tmp_path)


@pytest.mark.parametrize("name", REFS)
def test_a_hostile_ref_is_a_miss_and_kept_for_a_look(store: Store, name: str) -> None:
    planted(store, REFS[name])
    found = store.find(KEY)
    if found is not None:  # What is wrong with it shows in its manifest alone.
        with pytest.raises(IntegrityError):
            store.manifest(found)
    assert store.find(KEY) is None


@pytest.mark.parametrize("as_blob", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_with_a_reason(
    store: Store, name: str, as_blob: bool, tmp_path: Path
) -> None:
    assert refused(store, of_manifest(store, HOSTILE[name], as_blob=as_blob), tmp_path)


@pytest.mark.parametrize("name", LARGE)
def test_a_large_hostile_manifest_is_refused_in_little_memory(
    store: Store, name: str, tmp_path: Path
) -> None:
    data = of_manifest(store, LARGE[name](), as_blob=True)

    def load() -> None:
        assert refused(store, data, tmp_path)

    store.close()
    with_little_memory(load)


def test_there_are_more_than_60_of_each() -> None:
    assert len(REFS) + len(LARGE) >= 60
    assert len(HOSTILE) >= 60


def test_a_ref_that_is_larger_than_memory_is_not_read(on_disk: Store, tmp_path: Path) -> None:
    store = on_disk
    planted(store, b"")
    path = tmp_path / "store" / "refs" / str(KEY)
    path.chmod(0o600)
    os.truncate(path, 1 << 40)  # It has no blocks.

    def find() -> None:
        assert store.find(KEY) is None

    store.close()
    with_little_memory(find)


def test_a_manifest_that_is_larger_than_memory_is_not_read(on_disk: Store, tmp_path: Path) -> None:
    store = on_disk
    hostile = planted(store, ref(manifest=str(BLOB)))
    store.backend.write(blob_name(BLOB), b"")
    path = tmp_path / "store" / blob_name(BLOB)
    path.chmod(0o600)
    os.truncate(path, 1 << 40)

    def load() -> None:
        with pytest.raises(IntegrityError):
            store.load(hostile, tmp_path / "target")

    store.close()
    with_little_memory(load)


def test_a_blob_that_is_named_as_a_manifest_is_not_quarantined(
    store: Store, tmp_path: Path
) -> None:
    """Else a ref could be made that takes others' artifacts away."""
    store.backend.write(blob_name(Digest(SHA1)), b"somebody's artifact")
    refused(store, ref(manifest=SHA1), tmp_path)
    assert store.backend.read(blob_name(Digest(SHA1))) == b"somebody's artifact"


def test_a_save_that_could_not_be_read_again_is_refused(store: Store) -> None:
    with pytest.raises(MemoflowError, match="put it into a file"):
        store.save(KEY, Payload(), meta={"a": "x" * LARGEST_BYTES})
    assert store.find(KEY) is None


@pytest.mark.parametrize("field", ["\0", "..", "a/../../b", "/etc/x"])
def test_what_a_load_writes_stays_inside_whatever_is_there_already(
    store: Store, tmp_path: Path, field: str
) -> None:
    """A link that a person has put into the target is not followed out of it."""
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (target / "d").symlink_to(tmp_path / "elsewhere")
    manifest = Manifest((File("d/x", 1, inline=b"x"),))
    data = ref(manifest=manifest.to_json(), size_bytes=1)
    with pytest.raises(MemoflowError):
        store.load(planted(store, data), target)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert refused(store, ref(manifest=with_paths(field)), tmp_path / "other" / "..")


# Bundles


def remote(tmp_path: Path) -> tuple[Store, Callable[[bytes], None]]:
    """A store elsewhere with one entry, and a way to plant a bundle of what it holds."""
    memory = Memory()
    store = open_store(Faulty(memory, takes_round_trips=True), cache_dir=tmp_path / "cache")
    store.save(KEY, FILES)

    def plant(data: bytes) -> None:
        memory.write(f"bundles/model/{Digest.of(data).hex}", data)

    return store, plant


def lines(*rows: Any) -> bytes:
    return gzip.compress("\n".join(json.dumps(row) for row in rows).encode())


def bomb(unit: bytes) -> bytes:
    """700 MiB, if unpacked."""
    return gzip.compress(unit * ((1 << 20) // len(unit))) * 700


BUNDLES: dict[str, Callable[[], bytes]] = {
    "a bomb of one line": lambda: bomb(b"["),
    "more lines than refs": lambda: bomb(b'["model/x","1",""]\n'),
    "a bomb of empty lines": lambda: bomb(b"\n"),
    "deep JSON": lambda: gzip.compress(deep(10_000).encode()),
    "no gzip": lambda: b"PK\x03\x04",
    "half a gzip": lambda: lines([str(KEY), "0", "x"])[:-9],
    "no list": lambda: lines({"key": str(KEY)}),
    "four fields": lambda: lines([str(KEY), "0", "x", "y"]),
    "key as number": lambda: lines([1, "0", "x"]),
    "key that leads out": lambda: lines(["../../etc/passwd", "0", "x"]),
    "empty key": lambda: lines(["", "0", "x"]),
    "text as number": lambda: lines([str(KEY), "0", 1]),
    "half a character": lambda: lines([str(KEY), "0", "\ud800"]),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_hostile_bundle_is_done_without_in_little_memory(name: str, tmp_path: Path) -> None:
    store, plant = remote(tmp_path)
    plant(BUNDLES[name]())

    def read() -> None:
        (found,) = store.remembered.prefetch(Key.of("model"))
        assert contents(store.load(found, tmp_path / "target")) == FILES.files

    store.close()
    with_little_memory(read)


@pytest.mark.parametrize("name", REFS)
def test_a_hostile_ref_in_a_bundle_is_not_believed(name: str, tmp_path: Path) -> None:
    store, plant = remote(tmp_path)
    (version,) = [found.version for found in store.backend.list("refs")]
    try:
        plant(lines([str(KEY), version, REFS[name].decode()]))
    except UnicodeDecodeError:
        return  # No bundle can hold it.
    (found,) = store.remembered.prefetch(Key.of("model"))
    if found.size_bytes == sum(map(len, FILES.files.values())):
        assert contents(store.load(found, tmp_path / "target")) == FILES.files
    else:  # A copy that is whole, of a manifest that is not.
        with pytest.raises(IntegrityError):
            store.load(found, tmp_path / "target")


def test_bundles_without_number_are_not_all_read(tmp_path: Path) -> None:
    store, plant = remote(tmp_path)
    for n in range(200):
        plant(lines(["model/x", str(n), ""]))
    backend = store.backend.far  # type: ignore[attr-defined]
    before = backend.calls.get("read", 0)
    store.remembered.prefetch(Key.of("model"))
    assert backend.calls["read"] - before <= bundles._MOST_BUNDLES_READ + 1


def test_the_limits_let_the_largest_manifest_pass_that_a_save_makes() -> None:
    pieces = manifests.MOST * 32
    paths = manifests.MOST * (len('{"path":"","runs":[[0,0,0,0]],"xxh3":""},') + 60)
    assert pieces + paths < manifests.LARGEST_BYTES


def test_a_good_ref_is_read() -> None:
    assert decode(KEY, ref()).ref.size_bytes == 0
