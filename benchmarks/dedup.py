"""Ten checkpoints of one training: their logical bytes over what they take in the store.

    python -m benchmarks.dedup --mib 128

A row whose library (torch, numpy) is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import platform
import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from memoflow.names import Key
from memoflow.store import Payload, open_store

MIB = 1 << 20
SAVES = 10
SERIES = Key.of("checkpoint", "Flow", "train")
Tensors = dict[str, bytes]
Saves = Iterator[bytes]


def lora(size_bytes: int) -> Iterator[Tensors]:
    """Yield frozen layers, and adapters between them of a twentieth of their size that change."""
    chance = random.Random(1)
    layers = 24
    frozen = {n: chance.randbytes(size_bytes // layers) for n in range(layers)}
    for _ in range(SAVES):
        tensors = {}
        for n, data in frozen.items():
            tensors[f"layers.{n}.weight"] = data
            tensors[f"layers.{n}.adapter"] = chance.randbytes(len(data) // 20)
        yield tensors


def fine_tuned(size_bytes: int) -> Saves:
    for n in range(SAVES):
        yield random.Random(n).randbytes(size_bytes)


def by_torch(size_bytes: int) -> Saves:
    import torch

    for step, tensors in enumerate(lora(size_bytes)):
        state = {
            name: torch.frombuffer(bytearray(data), dtype=torch.uint8)
            for name, data in tensors.items()
        }
        file = io.BytesIO()
        torch.save({"step": step, "loss": [1 / (n + 1) for n in range(step)], "state": state}, file)
        yield file.getvalue()


def by_numpy(size_bytes: int) -> Saves:
    import numpy

    for tensors in lora(size_bytes):
        file = io.BytesIO()
        arrays = {name: numpy.frombuffer(data, "u1") for name, data in tensors.items()}
        numpy.savez(file, **arrays)
        yield file.getvalue()


def as_safetensors(size_bytes: int) -> Saves:
    for step, tensors in enumerate(lora(size_bytes)):
        header: dict[str, object] = {"__metadata__": {"step": "x" * step}}
        at = 0
        for name, data in tensors.items():
            offsets = [at, at + len(data)]
            header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": offsets}
            at += len(data)
        text = json.dumps(header).encode()
        yield struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def appended(size_bytes: int) -> Saves:
    """Yield a file that grows by a ninth of its first size from save to save."""
    data = random.Random(1).randbytes(2 * size_bytes)
    for n in range(SAVES):
        yield data[: size_bytes + n * size_bytes // 9]


def table(size_bytes: int) -> Saves:
    """Yield a CSV that gets 1000 rows more, in front, from save to save."""
    chance = random.Random(1)

    def rows(count: int) -> bytes:
        return b"".join(
            b"%d,%.6f,%.6f,%.6f\n" % (chance.getrandbits(30), *(chance.random() for _ in range(3)))
            for _ in range(count)
        )

    data = rows(size_bytes // 40)
    for _ in range(SAVES):
        yield data
        data = rows(1000) + data


def changed_runs(size_bytes: int) -> Saves:
    """Yield a file of which 5 % change from save to save, in runs of 1 MiB that begin anywhere."""
    chance = random.Random(1)
    data = bytearray(chance.randbytes(size_bytes))
    for _ in range(SAVES):
        yield bytes(data)
        for _ in range(round(size_bytes / MIB * 0.05)):
            at = chance.randrange(size_bytes - MIB)
            data[at : at + MIB] = chance.randbytes(MIB)


ROWS: dict[str, tuple[str | None, Callable[[int], Saves]]] = {
    "full fine-tune": (None, fine_tuned),
    "LoRA, torch.save": ("torch", by_torch),
    "LoRA, npz": ("numpy", by_numpy),
    "LoRA, safetensors": (None, as_safetensors),
    "append-only": (None, appended),
    "CSV, 1000 rows put in front": (None, table),
    "5 % changed in runs of 1 MiB": (None, changed_runs),
}


def stored(saves: Saves, root: Path) -> tuple[int, int, int]:
    """Save all; return logical bytes, bytes on disk, and the pieces of the last save."""
    store = open_store(root / "store", cache_dir=root / "cache")
    logical = 0
    path = root / "checkpoint"
    for data in saves:
        path.write_bytes(data)
        logical += len(data)
        ref = store.append(SERIES, Payload(tree=path), durable=False)
    pieces = sum(len(file.pieces) for file in store.manifest(ref).files)
    store.close()
    files = (root / "store").rglob("*")
    return logical, sum(file.stat().st_size for file in files if file.is_file()), pieces


def main() -> None:
    parser = argparse.ArgumentParser(description="logical over stored bytes of ten checkpoints")
    parser.add_argument("--mib", type=int, default=128)
    given = parser.parse_args()
    print(f"python {platform.python_version()}, {SAVES} checkpoints of about {given.mib} MiB")
    print(f"{'':<30} {'logical/stored':>15} {'stored/one':>12} {'pieces of the last':>20}")
    for name, (library, saves) in ROWS.items():
        if library is not None and importlib.util.find_spec(library) is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            logical, taken, pieces = stored(saves(given.mib * MIB), Path(scratch))
        one = logical / SAVES
        print(f"{name:<30} {logical / taken:>15.2f} {taken / one:>12.2f} {pieces:>20,}", flush=True)


if __name__ == "__main__":
    main()
