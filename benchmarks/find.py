"""Measure Store.find and the index's size with many entries.

python benchmarks/find.py --entries 1000000
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from memoflow.backends import Memory
from memoflow.names import Digest, Key, Ref
from memoflow.store import open_store


def keys(entries: int) -> Iterator[Key]:
    """Yield keys of the shape that memos have, in no order."""
    for n in range(entries):
        scope = hashlib.md5(b"scope%d" % (n % 50)).hexdigest()
        result = hashlib.md5(b"result%d" % n).hexdigest()
        yield Key.of("memo", "SweepFlow", "fit", scope, "results", result, "00000001")


def main() -> None:
    parser = argparse.ArgumentParser(description="finds per second, bytes per entry")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--finds", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(Memory(), cache_dir=Path(scratch))
        digest = Digest.of(b"ref")
        began = time.perf_counter()
        store.index.record(
            Ref(key, digest, 123_456, 1_700_000_000.123) for key in keys(args.entries)
        )
        recording = time.perf_counter() - began
        store.close()
        path = store.index.path
        assert path is not None
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        sample = list(keys(args.entries))
        random.Random(1).shuffle(sample)
        sample = sample[: args.finds]
        rates = []
        for _ in range(args.rounds):
            began = time.perf_counter()
            for key in sample:
                assert store.find(key) is not None
            rates.append(len(sample) / (time.perf_counter() - began))
        store.close()
    print(
        f"python {platform.python_version()}, sqlite {sqlite3.sqlite_version}, "
        f"{os.cpu_count()} cpus"
    )
    print(f"entries                    {args.entries:>12,}")
    print(f"recorded per second        {args.entries / recording:>12,.0f}")
    print(f"bytes per entry            {size / args.entries:>12.1f}")
    print(f"finds per second, minimum  {min(rates):>12,.0f}")
    print(f"finds per second, median   {statistics.median(rates):>12,.0f}")


if __name__ == "__main__":
    main()
