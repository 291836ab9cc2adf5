"""Writers, readers and a loop of sweeps, as processes beside each other."""

from __future__ import annotations

import multiprocessing
import random
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from memoflow.names import Digest, Key, Ref
from memoflow.store import Payload, Store, open_store
from tests.s3 import backend_at, serving_elsewhere
from tests.store.conftest import blobs, contents
from tests.waiting import PATIENCE_S

SERIES = Key.of("checkpoint", "F")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.stress)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the store is, as each process opens it."""
    if request.param == "local":
        yield str(tmp_path / "store")
    else:
        with serving_elsewhere() as server:
            yield server.root()


def files(writer: int, count: int) -> dict[str, bytes]:
    """Return contents of which writers share some, and which come again."""
    return {
        "shared": b"%d" % (count % 7) * 5000,
        "own": b"%d %d" % (writer, count % 3) * 2000,
        "tiny": b"%d %d" % (writer, count),
    }


def write(store: Store, said: Path, stop: Event, writer: int) -> None:
    count = 0
    with said.open("a", buffering=1) as acknowledged:
        while not stop.is_set():
            count += 1
            payload = Payload(files=files(writer, count))
            ref = store.append(SERIES / f"{writer}", payload, durable=False)
            if count % 3:
                acknowledged.write(f"{writer} {count} {ref.key} {ref.digest}\n")
            else:
                store.forget(ref.key)


def read(store: Store, said: Path, stop: Event, reader: int) -> None:
    chance, out = random.Random(reader), said.with_name(f"out-{reader}")
    while not stop.is_set():
        there = acknowledged(said.parent)
        if there:
            check(store, *chance.choice(there), out)


def sweep(store: Store, said: Path, stop: Event, number: int) -> None:
    while not stop.is_set():
        store.sweep(now=True)
        store.sweep(keep_newer=timedelta(0))


def acknowledged(folder: Path) -> list[tuple[int, int, str, str]]:
    rows = []
    for said in folder.glob("said-*"):
        for line in said.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                writer, count, key, digest = line.split()
                rows.append((int(writer), int(count), key, digest))
    return rows


def check(store: Store, writer: int, count: int, key: str, digest: str, out: Path) -> None:
    ref = Ref(Key.parse(key), Digest(digest), 0, 0.0)
    assert contents(store.load(ref, out)) == files(writer, count)


JOBS = {"write": write, "read": read, "sweep": sweep}


def work(job: str, root: str, folder: Path, start: Barrier, stop: Event, number: int) -> None:
    try:
        store = open_store(backend_at(root), cache_dir=folder / f"cache-{job}-{number}")
        start.wait(PATIENCE_S)
        JOBS[job](store, folder / f"said-{number}", stop, number)
    except BaseException:
        (folder / f"error-{job}-{number}").write_text(traceback.format_exc())
        raise


def side_by_side(root: str, folder: Path, *, writers: int, readers: int, seconds: int) -> None:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    start = context.Barrier(writers + readers + 2)
    jobs = [("write", n) for n in range(writers)] + [("read", n) for n in range(readers)]
    workers = [
        context.Process(target=work, args=(job, root, folder, start, stop, number))
        for job, number in [*jobs, ("sweep", 0)]
    ]
    for worker in workers:
        worker.start()
    try:
        start.wait(PATIENCE_S)
        time.sleep(seconds)
        stop.set()
        for worker in workers:
            worker.join(PATIENCE_S)
    finally:
        for worker in workers:
            worker.kill()
    errors = [path.read_text() for path in folder.glob("error-*")]
    assert errors == []
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    store = open_store(backend_at(root), cache_dir=folder / "last")
    saved = acknowledged(folder)
    assert {writer for writer, *_ in saved} == set(range(writers))
    for row in saved:
        check(store, *row, folder / "out-last")
    assert store.verify() == []
    assert list(store.backend.list("quarantine")) == []
    for key in store.keys(SERIES):
        store.forget(key)
    store.sweep(now=True)
    assert blobs(store.backend) == []


@pytest.mark.stress
def test_writers_readers_and_sweeps_lose_nothing(root: str, tmp_path: Path) -> None:
    side_by_side(root, tmp_path, writers=3, readers=2, seconds=3)


@pytest.mark.stress
def test_writers_readers_and_sweeps_lose_nothing_for_a_minute(root: str, tmp_path: Path) -> None:
    side_by_side(root, tmp_path, writers=8, readers=4, seconds=60)
