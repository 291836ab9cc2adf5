"""Kill a process with SIGKILL while it saves, again and again; count what was lost or torn.

    python -m benchmarks.kill --kills 200
    python -m benchmarks.kill --kills 200 --mib 48

Each child saves to one store in a loop and says so after each save has returned. It is killed at
a random moment. Then a new store object, with a new index, must load equal bytes for whatever was
acknowledged, and all that it lists must be whole. With --mib the child saves a directory of that
size, of which a part changes from save to save, so that a save takes many blobs and threads.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from memoflow.errors import MemoflowError
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store

_SECONDS_A_MIB = 0.02  # to write the directory and save it a few times
SERIES = Key.of("checkpoint", "Flow", "train")


@dataclass
class Tally:
    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    torn: int = 0
    litter: int = 0


def payloads(root: Path, chance: random.Random, mib: int) -> Iterator[tuple[bytes, Payload]]:
    """Yield what to save, and what of it is compared."""
    if not mib:
        while True:
            data = chance.randbytes(chance.choice([100, 5_000, 300_000, 5 << 20]))
            yield data, Payload(files={"data": data, "constant": b"c" * 50_000})
    tree = root / f"tree-{os.getpid()}"
    tree.mkdir()
    changing = bytearray(chance.randbytes(mib << 20))
    for n in range(20):
        (tree / f"small-{n}").write_bytes(chance.randbytes(50_000))
    (tree / "lines").write_bytes(b"".join(b"%d\n" % chance.getrandbits(60) for _ in range(50_000)))
    while True:
        (tree / "data").write_bytes(changing)
        yield bytes(changing), Payload(tree=tree, whole=chance.random() < 0.2)
        at = chance.randrange(len(changing) // 2)
        changing[at : at + len(changing) // 3] = chance.randbytes(len(changing) // 3)


def child(root: Path, seed: int, *, tidy: bool, mib: int) -> None:
    """Save until killed; acknowledge each save with its key and the SHA-256 of its file."""
    chance = random.Random(seed)
    store = open_store(root / "store", cache_dir=root / "cache")
    print("READY", flush=True)
    for data, payload in payloads(root, chance, mib):
        ref = store.append(SERIES, payload, durable=chance.random() < 0.5)
        print("ACK", ref.key, hashlib.sha256(data).hexdigest(), flush=True)
        if tidy and chance.random() < 0.3:
            oldest = store.keys(SERIES)[0]
            print("FORGETS", oldest, flush=True)
            store.forget(oldest)
            store.sweep(now=True)
            store.evict(older_than=timedelta(days=1))


def kill_one(root: Path, seed: int, *, tidy: bool, mib: int) -> dict[Key, str]:
    """Start a child, kill it at a random moment, and return what it acknowledged."""
    command = [sys.executable, "-m", "benchmarks.kill", "--child", str(root), "--seed", str(seed)]
    process = subprocess.Popen(
        [*command, "--mib", str(mib), *(["--tidy"] if tidy else [])],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "READY\n"
    time.sleep(random.Random(seed).uniform(0, 0.15 + mib * _SECONDS_A_MIB))
    process.send_signal(signal.SIGKILL)
    acknowledged: dict[Key, str] = {}
    for line in process.stdout.read().splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # It was killed while it spoke.
        word, key, *digest = line.split()
        if word == "ACK":
            acknowledged[Key.parse(key)] = digest[0]
        elif word == "FORGETS":
            acknowledged.pop(Key.parse(key), None)
    process.wait()
    process.stdout.close()
    return acknowledged


def check(store: Store, acknowledged: dict[Key, str], root: Path, tally: Tally) -> None:
    """Load everything that was acknowledged, and everything that is listed."""
    listed = store.keys(SERIES)
    for key in {*listed, *acknowledged}:
        ref = store.find(key)
        if ref is None:
            tally.lost += key in acknowledged
            continue
        try:
            out = store.load(ref, root / "out")
        except MemoflowError:
            tally.torn += 1
            continue
        digest = hashlib.sha256((out / "data").read_bytes()).hexdigest()
        tally.torn += acknowledged.get(key, digest) != digest
    tally.acknowledged += len(acknowledged)


def run(kills: int, *, seed: int = 0, tidy: bool = False, mib: int = 0) -> Tally:
    """Kill so many children, check after each, and return the figures."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for n in range(kills):
            acknowledged = kill_one(root, seed + n, tidy=tidy, mib=mib)
            store = open_store(root / "store", cache_dir=root / f"fresh-{n}")
            check(store, acknowledged, root, tally)
            tally.torn += len(store.verify())
            for key in store.keys(SERIES):
                store.forget(key)
            store.sweep(now=True)
            store.close()
            tally.kills += 1
            for tree in root.glob("tree-*"):
                shutil.rmtree(tree)
        tally.litter = sum(1 for _ in (root / "store").rglob(".tmp-*"))
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description="kill -9 during saves")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tidy", action="store_true", help="also forget, sweep and evict")
    parser.add_argument("--mib", type=int, default=0, help="size of a directory to save instead")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child, args.seed, tidy=args.tidy, mib=args.mib)
    tally = run(args.kills, seed=args.seed, tidy=args.tidy, mib=args.mib)
    print(f"python {platform.python_version()}, {os.cpu_count()} cpus")
    print(f"kills               {tally.kills:>8}")
    print(f"acknowledged saves  {tally.acknowledged:>8}")
    print(f"lost                {tally.lost:>8}")
    print(f"torn                {tally.torn:>8}")
    print(f"temporary files left{tally.litter:>8}")
    sys.exit(1 if tally.lost or tally.torn else 0)


if __name__ == "__main__":
    main()
