"""Rebuild an index that was deleted, and open new stores by many processes at once.

python -m benchmarks.reindex [entries] [rounds]
"""

from __future__ import annotations

import multiprocessing
import platform
import shutil
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from memoflow.names import Key
from memoflow.store import Payload, open_store

PROCESSES = 16


def rebuilt(entries: int, rounds: int) -> list[float]:
    """Return how long each rebuilding took, in seconds; each must find all entries."""
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        store = open_store(place / "store", cache_dir=place / "cache")
        for n in range(entries):
            key = Key.of("memo", "Flow", f"step{n % 20}", f"{n:064x}")
            meta = {"origin": f"Flow/1/step/{n}", "run_time_s": 1.5}
            store.save(key, Payload(files={"parts.json": b"x" * 200}), meta=meta, durable=False)
        store.close()
        for _ in range(rounds):
            shutil.rmtree(place / "cache")
            store = open_store(place / "store", cache_dir=place / "cache")
            began = time.perf_counter()
            count = store.reindex()
            seconds.append(time.perf_counter() - began)
            assert count == entries == len(store.index.entries())
            store.close()
    return seconds


def opened_at_once(rounds: int, processes: int = PROCESSES) -> int:
    """Let processes open and use a new store at the same moment; return how many failed."""
    context = multiprocessing.get_context("fork")
    failed = 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            barrier = context.Barrier(processes)
            children = [
                context.Process(target=_open, args=(Path(scratch), number, barrier))
                for number in range(processes)
            ]
            for child in children:
                child.start()
            for child in children:
                child.join(120)
                failed += child.exitcode != 0
            store = open_store(Path(scratch) / "store", cache_dir=Path(scratch) / "cache")
            failed += len(store.keys(Key.of("model"))) != processes
            failed += len(store.index.entries()) != processes
            store.close()
    return failed


def _open(place: Path, number: int, barrier: Barrier) -> None:
    barrier.wait(120)
    store = open_store(place / "store", cache_dir=place / "cache")
    ref = store.save(Key.of("model", str(number)), Payload(files={"a": b"a"}), durable=False)
    is_good = store.find(ref.key) == ref and not store.index.warnings
    store.close()
    sys.exit(0 if is_good else 1)


def main() -> None:
    """Print both figures, with what they were measured on."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    seconds = rebuilt(entries, 5)
    print(
        f"{entries} entries rebuilt in {min(seconds):.2f} s (minimum), "
        f"{statistics.median(seconds):.2f} s (median)"
    )
    failed = opened_at_once(rounds)
    print(f"{PROCESSES} processes opened a new store, {rounds} rounds: {failed} errors")
    print(f"{platform.platform()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
