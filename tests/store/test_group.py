"""A store that a group shares is everybody's of it, whatever umask each of them has."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.names import Digest, Key
from memoflow.store import Adoption, Payload, Store, open_store
from memoflow.store.check import orphans, verification  # noqa: F401 - before there is no root
from memoflow.store.gc.eviction import evict  # noqa: F401
from memoflow.store.gc.sweeping import Sweep  # noqa: F401
from tests.unprivileged import User

GROUP = 70_000
UMASKS = (0o077, 0o027, 0o022, 0o002)
SERIES = Key.of("checkpoint", "F")
MEMO = Key.of("memo", "F", "s")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for all, with a store that was made for a group as documented."""
    if os.geteuid():
        pytest.skip("only root can be several users")
    place = Path(tempfile.mkdtemp(prefix="memoflow-group-"))
    try:
        place.chmod(0o777)
        (place / "store").mkdir()
        os.chown(place / "store", 0, GROUP)
        (place / "store").chmod(0o2770)
        yield place
    finally:
        shutil.rmtree(place)


def users(*umasks: int) -> list[User]:
    return [User(70_001 + n, (GROUP,), umask) for n, umask in enumerate(umasks)]


def opened(place: Path) -> Store:
    return open_store(place / "store", cache_dir=place / f"cache-{os.getuid()}")


def artifact(place: Path, content: bytes, mode: int) -> Adoption:
    """Return what Metaflow wrote, in a directory of its owner's alone."""
    folder = place / f"metaflow-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "artifact"
    path.unlink(missing_ok=True)
    path.write_bytes(gzip.compress(content, 0, mtime=1))
    path.chmod(mode)
    return Adoption(Digest("sha1:" + hashlib.sha1(content).hexdigest()), path)


def save_all(place: Path, name: str) -> None:
    store = opened(place)
    content = name.encode() * 50_000  # as large as what is linked
    store.save(Key.of("model", name), Payload(files={"f": content}))
    store.append(SERIES, Payload(files={"f": content[::-1]}))
    store.save(MEMO / name, Payload(adopted={"x": artifact(place, content, 0o600)}))
    with store.lease(Key.of("memo", "F", "held"), who=name):
        pass
    store.sweep()


def use_all(place: Path, theirs: str, mine: str) -> None:
    """Load, save again, forget and sweep what another user saved."""
    store = opened(place)
    content = theirs.encode() * 50_000
    for key in store.keys(Key.of("model")):
        ref = store.find(key)
        assert ref is not None
        assert store.load(ref, place / f"out-{mine}").joinpath("f").stat().st_size > 0
    ref = store.find(MEMO / theirs)
    assert ref is not None
    (adopted,) = store.manifest(ref).adopted
    path = store.blob_path(adopted.blob)
    assert path is not None
    assert gzip.decompress(path.read_bytes()) == content
    assert store.save(MEMO / theirs, Payload(adopted={"x": artifact(place, content, 0o600)})) == ref
    assert all(problem.harmless for problem in store.verify(repair=True))
    assert isinstance(store.backend, Local)
    damaged = next(iter(store.backend.list("blobs"))).name
    store.backend.write(damaged, b"damaged")
    assert len(store.verify(repair=True)) > 0
    keys = store.keys()
    for key in keys:
        store.forget(key)
    store.sweep(now=True)
    assert store.keys() == []
    assert list(store.backend.list("blobs")) == []
    assert store.housekeeping_due() in (True, False)


@pytest.mark.parametrize(("one", "other"), list(product(UMASKS, repeat=2)))
def test_each_can_use_what_the_other_made(place: Path, one: int, other: int) -> None:
    alice, bob = users(one, other)
    for theirs, mine in ((alice, bob), (bob, alice)):
        theirs.do(lambda theirs=theirs: save_all(place, f"u{theirs.uid}"))  # type: ignore[misc]
        mine.do(lambda a=theirs, b=mine: use_all(place, f"u{a.uid}", f"u{b.uid}"))  # type: ignore[misc]


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_others_than_the_group_read_nothing(place: Path, umask: int) -> None:
    (alice,) = users(umask)
    alice.do(lambda: save_all(place, "alice"))
    modes = {path.stat().st_mode & 0o7777 for path in (place / "store").rglob("*")}
    assert {mode & 0o040 for mode in modes} == {0o040}
    assert {path.stat().st_gid for path in (place / "store").rglob("*")} == {GROUP}


def test_a_store_of_ones_own_stays_that(place: Path) -> None:
    (alice,) = users(0o077)

    def act() -> None:
        store = open_store(place / "own", cache_dir=place / "cache")
        store.save(MEMO, Payload(adopted={"x": artifact(place, b"x" * 100_000, 0o600)}))
        modes = {path.stat().st_mode & 0o077 for path in (place / "own").rglob("*")}
        assert modes == {0}

    alice.do(act)
