"""Flip one bit in a stored blob, manifest or ref, again and again; count what goes unnoticed.

    python benchmarks/bitflip.py --flips 200

After each flip a new store object, with a new index, loads what was saved: that must fail, or
give equal bytes (a bit of a gzip header decides nothing). `verify` must notice in any case. Then
the step runs again: saving once more must heal it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import logging
import os
import platform
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from memoflow.errors import MemoflowError
from memoflow.names import Digest, Key
from memoflow.objects import prove
from memoflow.store import Adoption, Payload, Store, open_store

SERIES = Key.of("memo", "Flow", "step", "results")
CONTENT = bytes(range(256)) * 8


def payload(root: Path) -> Payload:
    """Return a payload with inline, packed and adopted parts and a manifest of its own."""
    artifact = root / "artifact"
    artifact.unlink(missing_ok=True)
    artifact.write_bytes(gzip.compress(CONTENT, 3))
    digest = Digest("sha1:" + hashlib.sha1(CONTENT).hexdigest())
    files = {"small": b"small", "large": random.Random(1).randbytes(20_000)}
    files.update({f"many/{n}": random.Random(n).randbytes(900) for n in range(80)})
    return Payload(files=files, adopted={"x": Adoption(digest, artifact)})


def reads_back(store: Store, root: Path, expected: Payload) -> str:
    """Return whether what is found is equal, wrong, or noticed to be missing or damaged."""
    ref = store.latest(SERIES)
    if ref is None:
        return "noticed"
    try:
        manifest = store.manifest(ref)
        out = store.load(ref, root / "out")
    except MemoflowError:
        return "noticed"
    (adopted,) = manifest.adopted
    path = store.blob_path(adopted.blob)
    assert path is not None
    if not prove(path, digest=adopted.blob, xxh3=adopted.xxh3, size_bytes=adopted.size_bytes):
        store.quarantine(adopted.blob)
        store.forget(ref.key)
        return "noticed"
    read = {name: (out / name).read_bytes() for name in expected.files}
    same = read == expected.files and gzip.decompress(path.read_bytes()) == CONTENT
    return "harmless" if same and manifest.meta == {"n": 1} else "wrong"


def flip(path: Path, chance: random.Random) -> None:
    """Flip one random bit in place, past the file's mode."""
    data = bytearray(path.read_bytes())
    bit = chance.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    mode = path.stat().st_mode
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.write(data)
    path.chmod(mode)


def run(flips: int, *, seed: int = 0) -> Counter[str]:
    """Flip so many bits, each in a store that was whole, and count what came of it."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for n in range(flips):
            chance = random.Random(seed + n)
            writer = open_store(root / "store", cache_dir=root / "cache")
            expected = payload(root)
            writer.append(SERIES, expected, meta={"n": 1}, durable=False)
            writer.close()
            files = [p for p in (root / "store").rglob("*") if p.is_file()]
            kinds = {
                "ref": [p for p in files if "refs" in p.parts and "quarantine" not in p.parts],
                "blob": [p for p in files if "blobs" in p.parts and "quarantine" not in p.parts],
            }
            kind = chance.choice(["ref", "blob", "blob", "blob"])
            flip(chance.choice(kinds[kind]), chance)
            reader = open_store(root / "store", cache_dir=root / f"fresh-{n}")
            counts["verify missed"] += not reader.verify()
            counts[f"{kind} {reads_back(reader, root, expected)}"] += 1
            reader.append(SERIES, payload(root), meta={"n": 1}, durable=False)
            counts["not healed"] += reads_back(reader, root, expected) != "harmless"
            for key in reader.keys(SERIES):
                reader.forget(key)
            reader.sweep(now=True)
            reader.close()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="one flipped bit in a store")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # Each flip that a find notices is one.
    counts = run(args.flips, seed=args.seed)
    print(f"python {platform.python_version()}, {os.cpu_count()} cpus")
    for name in sorted(counts):
        print(f"{name:<20}{counts[name]:>8}")
    wrong = [name for name in counts if name.endswith("wrong")]
    sys.exit(1 if wrong or counts["verify missed"] or counts["not healed"] else 0)


if __name__ == "__main__":
    main()
