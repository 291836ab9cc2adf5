"""Run `memoflow gc` on file systems that are full to the last byte or inode; count what it frees.

    python -m benchmarks.full_disk --rounds 10

Needs root, to mount a tmpfs and an ext4 by loop. Store, index and what fills the disk lie on it.
Each round is a new file system; half of the stores have no reserve, as an older memoflow left them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from memoflow.names import Key
from memoflow.store import Payload, open_store
from tests.mounts import fill, mounted

KEPT = Key.of("model", "kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    for kind, what, words in product(
        ("tmpfs", "ext4"), ("bytes", "inodes"), (["gc"], ["gc", "--now"], ["gc", "--max-size=1MB"])
    ):
        freed = [_round(kind, what, words, seed) for seed in range(asked.rounds)]
        good = sum(size >= _LEAST_BYTES for size in freed)
        print(f"{kind:6} full by {what:7} {' '.join(words):20} freed in {good} of {len(freed)}")


_LEAST_BYTES = 500_000


def _round(kind: str, what: str, words: list[str], seed: int) -> int:
    """Return how many bytes one run freed; -1 if it failed, or hurt what is kept."""
    chance = random.Random(seed)
    inodes = 600 if what == "inodes" else None
    with (
        tempfile.TemporaryDirectory() as folder,
        mounted(Path(folder) / "disk", kind, inodes=inodes) as place,
    ):
        store = open_store(place / "store", cache_dir=place / "cache")
        store.save(KEPT, Payload(files={"kept": os.urandom(5000)}))
        for number in range(chance.randrange(20, 60)):
            key = Key.of("memo", "Flow", "fit", "scope", "results", f"{number}", "refs", "00000001")
            store.save(key, Payload(files={"gone": os.urandom(chance.randrange(60_000, 120_000))}))
            if words != ["gc", "--max-size=1MB"]:
                store.forget(key)
        # Without a reserve only what may go unsaid makes room: a copy of refs, a claim, a probe.
        if seed % 2:
            store.backend.delete([found.name for found in store.backend.list("gc/reserve")])
            for name in ("bundles/model/a", "gc/clock/probe", "gc/housekeeping/1", "gc/conditions"):
                store.backend.write(name, os.urandom(2000))
        store.close()
        fill(place / "other", what)
        environment = os.environ | {"METAFLOW_MEMOFLOW_CACHE_DIR": str(place / "cache")}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "memoflow",
                "--root",
                str(place / "store"),
                *words,
                "--yes",
                "--json",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )
        if done.returncode:
            print(done.returncode, done.stderr[-600:])
            return -1
        freed = int(json.loads(done.stdout)["freed_bytes"])
        if words[1:] != ["--max-size=1MB"]:
            ref = open_store(place / "store", cache_dir=place / "other-cache").find(KEPT)
            if ref is None:
                return -1
        return freed


if __name__ == "__main__":
    main()
