"""A dry run tells what the run right after it does: the same entries, the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Memory
from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import card, checkpoint, hub, memo, model, retention
from memoflow.kinds.about import About
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from memoflow.store.marker_file import sealed
from tests.conftest import Clock
from tests.faults import Faulty

DAY = 86400.0
STORES = 50
FEW = 12  # where time matters


class World:
    """A random store of all kinds, as months of use by two machines leave it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.clock = Clock()
        self.clock.now = time.time() - 90 * DAY
        self.backend = Memory(clock=self.clock)
        # Where it takes round trips refs are read in bulk, and remembered.
        self.takes_round_trips = self.random.random() >= 0.6
        ahead = self.random.choice([0.0, 0.0, 3 * DAY, -3 * DAY])
        self.here = self._machine("here", ahead)
        self.there = self._machine("there", 0.0)
        self.pool = [
            self.random.randbytes(self.random.choice([200, 5000, 90_000, 400_000]))
            for _ in range(12)
        ]
        self.keys: list[Key] = []
        acts = [self.result, self.checkpoint, self.model, self.snapshot, self.forget, self.use]
        self.here.evict()  # Which learns how far the clocks are apart.
        for number in range(self.random.randint(15, 45)):
            self.clock.pass_(self.random.expovariate(1 / (2.5 * DAY)))
            self.clock.now = min(self.clock.now, time.time())
            store = self.random.choice([self.here, self.there])
            self.random.choice(acts)(store, number)
            if self.random.random() < 0.2:
                store.note_uses(once=self.random.random() < 0.5)
        self.leave()

    def _machine(self, name: str, ahead: float) -> Store:
        return open_store(
            Faulty(self.backend, takes_round_trips=self.takes_round_trips),
            cache_dir=self.folder / name,
            clock=lambda: self.clock.now + ahead,
        )

    def expires(self, store: Store) -> float | None:
        days = self.random.choice([None, None, 1, 20, 200])
        return None if days is None else store._clock() + days * DAY

    def files(self) -> dict[str, bytes]:
        chosen = self.random.sample(self.pool, self.random.randint(1, 3))
        return {f"{n}": data for n, data in enumerate(chosen)}

    def tree(self) -> Path:
        folder = self.folder / f"tree-{self.random.randrange(10**9)}"
        folder.mkdir()
        for name, data in self.files().items():
            (folder / name).write_bytes(data)
        return folder

    def result(self, store: Store, number: int) -> None:
        content = self.random.choice(self.pool) + b"%d" % self.random.randrange(3)
        packed = self.folder / f"packed-{number}"
        packed.write_bytes(gzip.compress(content, 1, mtime=1))
        artifact = memo.Artifact(hashlib.sha1(content).hexdigest(), {}, {})
        named = [str(key) for key in self.keys if key.kind in ("model", "checkpoint")]
        code = (Part("code", "train()", f"xxh3:{self.random.randrange(4):032x}", "t.py:4"),)
        made = memo.Result(
            f"Sweep/1/fit/{number}",
            2.5,
            {"score": (artifact, packed)},
            {},
            (Part("input", "x", f"xxh3:{number:032x}"),),
            refers_to=tuple(self.random.sample(named, min(len(named), 1))),
        )
        scope = memo.code_key("Sweep", "fit", Fingerprint.of(code))
        expires = self.expires(store)
        key = memo.record(store, scope, code, made, expires=expires).key
        self.keys.append(key)
        if self.random.random() < 0.5:
            card.keep(store, key, {"card.html": self.random.choice(self.pool)}, expires=expires)

    def checkpoint(self, store: Store, number: int) -> None:
        about = About("checkpoint", f"Train/{number // 9}/fit/1", 0, "epoch")
        series = checkpoint.series("Train", "fit", "scope", self.random.choice("abc"))
        ref = store.append(
            series,
            Payload(tree=self.tree()),
            token=f"{number:08x}",
            meta=about.to_json(),
            expires=self.expires(store),
        )
        self.keys.append(ref.key)

    def model(self, store: Store, number: int) -> None:
        about = About(
            "model", "Train/1/fit/3", 0, uuid=f"{number}", label="best", storage_format="tar"
        )
        key = model.key("Train", "fit", f"{number}")
        self.keys.append(model.save(store, key, self.tree(), about).ref.key)

    def snapshot(self, store: Store, number: int) -> None:
        wanted = hub.Wanted.of(f"org/{self.random.choice('ab')}")
        commit = f"{number:040x}"
        about = About(
            "hub",
            "Get/1/start/1",
            0,
            repo_id=wanted.repo_id,
            repo_type="model",
            revision="main",
            commit=commit,
        )
        key = hub.key(("flow", "Get"), wanted, commit)
        self.keys.append(hub.save(store, key, self.files(), about).ref.key)
        if self.random.random() < 0.5:
            hub.note_stood(store, wanted, "huggingface.co", hub.Resolved(commit, self.clock.now))

    def forget(self, store: Store, number: int) -> None:
        if self.keys:
            store.forget(self.keys.pop(self.random.randrange(len(self.keys))))

    def use(self, store: Store, number: int) -> None:
        if self.keys:
            ref = store.lookup(self.random.choice(self.keys))
            if ref is not None:
                store.touch(ref)

    def leave(self) -> None:
        """Leave what the dead leave: leases, marks, blobs without refs."""
        for key in self.random.sample(self.keys, min(2, len(self.keys))):
            lease = {"id": "0" * 32, "who": "F/1/fit/2", "beat": 1, "every_s": 15}
            self.backend.write(f"leases/{key}/n=00000001", json.dumps(lease).encode())
        self.backend.write("gc/saving/dead", sealed(b"60"))
        self.backend.write(f"quarantine/blobs/ab/{'ab' * 32}", self.random.choice(self.pool))
        store = self.there
        store.forget(store.save(Key.of("model", "F", "s", "lost"), Payload(files=self.files())).key)

    def rules(self) -> dict[str, Any]:
        kinds = self.random.choice(
            [retention.RECOVERABLE, retention.KINDS, ("model",), ("checkpoint",)]
        )
        days = self.random.choice([None, 5, 30])
        total = sum(file.size_bytes for file in self.backend.list("blobs"))
        share = self.random.choice([None, 0.0, 0.3, 0.7])
        return {
            "kinds": kinds,
            "older_than": None if days is None else timedelta(days=days),
            "max_size_bytes": None if share is None else int(total * share),
            "now": self.random.random() < 0.8,
            "leftovers": self.random.random() < 0.5,
        }

    def contents(self) -> dict[str, tuple[int, str]]:
        return {file.name: (file.size_bytes, file.version) for file in self.backend.list("")}


def seeds() -> list[Any]:
    rest = [pytest.param(seed, marks=pytest.mark.stress) for seed in range(FEW, STORES)]
    return [*range(FEW), *rest]


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


def blobs(world: World) -> dict[str, tuple[int, str]]:
    return {name: what for name, what in world.contents().items() if name.startswith("blobs/")}


@pytest.mark.parametrize("world", seeds(), indirect=True)
def test_a_dry_run_and_the_run_after_it_are_equal(world: World) -> None:
    rules = world.rules()
    before = world.contents()
    planned, would_free = retention.tidy(world.here, **rules, dry_run=True)
    assert world.contents() == before, "a dry run writes nothing"
    had = blobs(world)
    evicted, freed = retention.tidy(world.here, **rules)
    assert set(map(str, zip(planned.refs, planned.reasons, strict=True))) == set(
        map(str, zip(evicted.refs, evicted.reasons, strict=True))
    )
    assert (planned.over_bytes, planned.spared_bytes) == (evicted.over_bytes, evicted.spared_bytes)
    assert (would_free.blobs, would_free.size_bytes) == (freed.blobs, freed.size_bytes)
    gone = had.keys() - blobs(world).keys()
    assert freed.size_bytes == sum(had[name][0] for name in gone)


@pytest.mark.parametrize("world", [3, 4, 5], indirect=True)
def test_a_second_run_right_after_it_removes_no_entry(world: World) -> None:
    rules = world.rules() | {"now": True}
    retention.tidy(world.here, **rules)
    evicted, freed = retention.tidy(world.here, **rules)
    assert [ref for ref in evicted.refs if retention.is_entry(ref.key)] == []
    assert freed.size_bytes == 0


def test_the_random_stores_are_worth_the_comparison(tmp_path: Path) -> None:
    planned = []
    for seed in range(FEW):
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = World(seed, folder)
        planned.append(retention.tidy(world.here, **world.rules(), dry_run=True))
    reasons = {reason.split()[0] for evicted, _ in planned for reason in evicted.reasons}
    assert reasons == {"expired", "unused", "over"}
    assert {ref.key.kind for evicted, _ in planned for ref in evicted.refs} >= set(retention.KINDS)
    assert sum(swept.size_bytes > 0 for _, swept in planned) > FEW / 2
