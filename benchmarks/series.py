"""Bytes stored over bytes live of long series of checkpoints, of which only the newest are kept.

    python -m benchmarks.series --saves 300

Stored is what all blobs take, without any sweep; live are the pieces of the checkpoints that are
kept, each content counted once.
"""

from __future__ import annotations

import argparse
import platform
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from memoflow.kinds import checkpoint
from memoflow.kinds.about import About
from memoflow.store import Store, open_store

SERIES = checkpoint.series("Flow", "train", "scope", "identity")
ABOUT = About("checkpoint", task="Flow/1/train/1", attempt=0, name="mfchckpt")
LOOKS = (10, 30, 100, 200, 300, 1000)


def weights_and_log(chance: random.Random, folder: Path) -> None:
    """Write 20 MB of new weights, and 300 kB more to a log."""
    (folder / "weights.bin").write_bytes(chance.randbytes(20_000_000))
    with open(folder / "train.log", "a") as log:
        log.writelines(f"step {chance.random()} loss {chance.random()}\n" for _ in range(6_600))


def tail_of_each_file(chance: random.Random, folder: Path) -> None:
    """Write nine tenths of each of four files anew, and leave the tenth as it is."""
    for number in range(4):
        path = folder / f"shard-{number}.bin"
        head = path.read_bytes()[: 1 << 20] if path.exists() else chance.randbytes(1 << 20)
        path.write_bytes(head + chance.randbytes(9 << 20))


def some_pieces(chance: random.Random, folder: Path) -> None:
    """Change one in twenty of the pieces of a file of 64 MiB."""
    path = folder / "table.bin"
    data = bytearray(path.read_bytes() if path.exists() else chance.randbytes(64 << 20))
    for start in range(0, len(data), 256 << 10):
        if chance.random() < 0.05:
            data[start : start + (256 << 10)] = chance.randbytes(256 << 10)
    path.write_bytes(data)


SHAPES: dict[str, Callable[[random.Random, Path], None]] = {
    "20 MB new, a log grows by 300 kB": weights_and_log,
    "nine tenths of four files new": tail_of_each_file,
    "5 % of the pieces of 64 MiB new": some_pieces,
}


def run(write: Callable[[random.Random, Path], None], saves: int, keep: int) -> Iterator[str]:
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="memoflow-bench-") as scratch:
        store = open_store(Path(scratch, "store"), cache_dir=Path(scratch, "cache"))
        tree = Path(scratch, "tree")
        tree.mkdir()
        for number in range(1, saves + 1):
            write(chance, tree)
            checkpoint.save(store, SERIES, tree, ABOUT, token=checkpoint.new_token())
            checkpoint.keep_last(store, SERIES, ABOUT.task, keep)
            if number in LOOKS:
                stored, live = sizes(store)
                yield (
                    f"after {number:4} saves: stored {stored / 1e6:7.1f} MB, live "
                    f"{live / 1e6:7.1f} MB, {stored / live:.2f} times"
                )


def sizes(store: Store) -> tuple[int, int]:
    """Return the bytes of all blobs, and of the distinct pieces of what is kept."""
    stored = sum(found.size_bytes for found in store.backend.list("blobs"))
    pieces: dict[str, int] = {}
    for ref in store.series(SERIES):
        for file in store.manifest(ref).files:
            pieces.update((piece.xxh3, piece.length) for piece in file.pieces)
    return stored, sum(pieces.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=100)
    parser.add_argument("--keep", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, keep_last={arguments.keep}")
    for name, write in SHAPES.items():
        print(name)
        for line in run(write, arguments.saves, arguments.keep):
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
