"""Checkpoints of states against a memory copy, `torch.save` and DCP's `async_save`, in one run.

    python -m benchmarks.state --mib 100 1024 --rounds 7
    python -m benchmarks.state --rows blocked loop --mib 100

Needs torch. Everything of a row is timed once a round, in random order; a state is of 16 tensors
of random numbers. Prints medians, minima, and ratios by both.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp

from memoflow.backends import Local
from memoflow.flow import references
from memoflow.flow.checkpoint.checkpointer import Checkpointer
from memoflow.flow.spool import uploading
from memoflow.store import open_store
from tests.spooling import task_of

MIB = 1 << 20
TENSORS = 16
Times = dict[str, list[float]]


class Bench:
    def __init__(self, root: Path, mib: int, rounds: int) -> None:
        self.root, self.mib, self.rounds = root, mib, rounds
        self.chance = random.Random(1)
        self.made = 0
        torch.manual_seed(1)
        self.state = state_of(mib)

    def fresh(self, name: str) -> Path:
        self.made += 1
        return self.root / f"{name}-{self.made}"

    def checkpointer(self) -> Checkpointer:
        """Return the checkpointer of a task on a new store."""
        folder = self.fresh("store")
        store = open_store(folder / "store", cache_dir=folder / "cache")
        return task_of(store, folder / "work").checkpointer

    def timed(self, acts: dict[str, Callable[[], float]]) -> Times:
        """Return the seconds of each act in each round but the first."""
        times: Times = {name: [] for name in acts}
        for number in range(self.rounds + 1):
            for name in self.chance.sample(list(acts), len(acts)):
                gc.collect()
                took = acts[name]()
                if number:
                    times[name].append(took)
        return times

    def clean(self) -> None:
        for path in self.root.iterdir():
            shutil.rmtree(path, ignore_errors=True)


def state_of(mib: int) -> dict[str, Any]:
    size = mib * MIB // TENSORS // 4
    tensors = {f"layer{n}.weight": torch.rand(size) for n in range(TENSORS)}
    return {"model": tensors, "epoch": 3}


def change(state: dict[str, Any], *, which: int = TENSORS) -> None:
    """Change the first tensors, as a training does: nothing is stored already."""
    for tensor in list(state["model"].values())[:which]:
        tensor.add_(torch.rand(1))


def save(one: Checkpointer, state: Any, *, wait: bool) -> dict[str, Any]:
    return one.save(
        None, state=state, name="c", metadata=None, latest=True, storage_format="files", wait=wait
    )


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def blocked(bench: Bench) -> None:
    """Time until a training goes on."""
    one = bench.checkpointer()
    there = {name: torch.empty_like(each) for name, each in bench.state["model"].items()}
    for each in there.values():
        each.zero_()  # Its pages are there: a copy alone.

    def copy() -> float:
        change(bench.state)
        return seconds(lambda: [there[n].copy_(t) for n, t in bench.state["model"].items()])

    def fresh_copy() -> float:
        change(bench.state)
        return seconds(lambda: [t.clone() for t in bench.state["model"].values()])

    def ours() -> float:
        change(bench.state)
        took = seconds(lambda: save(one, bench.state, wait=False))
        uploading.drain()
        return took

    def theirs() -> float:
        change(bench.state)
        future: list[Any] = []
        path = bench.fresh("dcp")
        took = seconds(
            lambda: future.append(
                dcp.async_save(bench.state, checkpoint_id=str(path), no_dist=True)
            )
        )
        future[0].result()
        shutil.rmtree(path)
        return took

    times = bench.timed(
        {
            "copy": copy,
            "copy to new memory": fresh_copy,
            "save(wait=False)": ours,
            "dcp.async_save": theirs,
        }
    )
    show("blocked", times, "copy", ms=True)


def durable(bench: Bench) -> None:
    """Time until a save outlives a power cut."""
    one = bench.checkpointer()

    def ours() -> float:
        change(bench.state)
        return seconds(lambda: save(one, bench.state, wait=True))

    def theirs() -> float:
        change(bench.state)
        path = bench.fresh("torch.pt")

        def act() -> None:
            torch.save(bench.state, path)
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)

        took = seconds(act)
        path.unlink()
        return took

    show("durable", bench.timed({"torch.save + fsync": theirs, "save": ours}), "save", ms=True)


def loop(bench: Bench) -> None:
    """The speed of a loop of Python, and of one of torch, while a save is stored."""
    one = bench.checkpointer()
    for name, work in (("python", _python), ("torch", _torch)):
        shares = []
        for _ in range(bench.rounds):
            change(bench.state)
            save(one, bench.state, wait=False)
            done = threading.Event()
            threading.Thread(target=lambda done=done: (uploading.drain(), done.set())).start()
            count, began = 0, time.perf_counter()
            while not done.is_set():
                work()
                count += 1
            meanwhile = count / (time.perf_counter() - began)
            alone_count, began = 0, time.perf_counter()
            while alone_count < count:
                work()
                alone_count += 1
            alone = alone_count / (time.perf_counter() - began)
            shares.append(meanwhile / alone)
        print(
            f"  loop of {name}: {statistics.median(shares):.2f} of its speed alone "
            f"(best {max(shares):.2f}, worst {min(shares):.2f})"
        )


def _python() -> None:
    total = 0
    for number in range(20_000):
        total += number * number


_LEFT = torch.rand(256, 256)


def _torch() -> None:
    torch.mm(_LEFT, _LEFT)


def unchanged(bench: Bench) -> None:
    """Bytes written of a state of which a fourth changed."""
    one = bench.checkpointer()
    save(one, bench.state, wait=True)
    before = _size(one)
    change(bench.state, which=TENSORS // 4)
    save(one, bench.state, wait=True)
    changed = bench.mib * MIB // 4
    print(f"  {_size(one) - before - changed:,} bytes more than those that changed ({changed:,})")
    before = _size(one)
    save(one, bench.state, wait=True)
    print(f"  {_size(one) - before:,} bytes for a state that did not change")


def _size(one: Checkpointer) -> int:
    return sum(found.size_bytes for found in Local(Path(one.where.root, "store")).list(""))


def part(bench: Bench) -> None:
    """Time to load a third of the bytes."""
    one = bench.checkpointer()
    size = bench.mib * MIB // 3 // 4
    state = {name: {"w": torch.rand(size)} for name in ("model", "first", "second")}
    reference = save(one, state, wait=True)
    path = bench.fresh("torch.pt")
    torch.save(state, path)
    times = bench.timed(
        {
            "whole": lambda: seconds(lambda: references.load_state(one.where, reference)),
            "only=model.*": lambda: seconds(
                lambda: references.load_state(one.where, reference, only="model.*")
            ),
            "torch.load": lambda: seconds(lambda: torch.load(path)),
        }
    )
    show("part", times, "whole", ms=True)


def adam(bench: Bench) -> None:
    """Bytes stored of saves of a whole training, where each step changes each tensor."""
    size = int((bench.mib * MIB / 3 / 4) ** 0.5)  # Weights, and two moments of each.
    net = torch.nn.Linear(size, size, bias=False)
    optimizer = torch.optim.Adam(net.parameters())
    one = bench.checkpointer()

    def step() -> dict[str, Any]:
        optimizer.zero_grad()
        net(torch.rand(8, size)).square().mean().backward()
        optimizer.step()
        return {"net": net.state_dict(), "optimizer": optimizer.state_dict()}

    save(one, step(), wait=True)
    sizes = []
    for _ in range(bench.rounds):
        before, state = _size(one), step()
        save(one, state, wait=True)
        sizes.append((_size(one) - before) / (3 * 4 * size * size))
    print(f"  each save stores {statistics.median(sizes):.3f} of its bytes")


def memory(bench: Bench) -> None:
    """The peak of memory beyond that of the state, of a save without waiting, in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.state", "--peak", "--mib", f"{bench.mib}"],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"  {done.stdout.strip()}")


def peak(mib: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), mib, 1)
        one = bench.checkpointer()
        save(one, {"a": torch.zeros(10)}, wait=False)  # What is imported at first.
        uploading.drain()
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew.
        before = _peak_bytes()
        save(one, bench.state, wait=False)
        uploading.drain()
        more = (_peak_bytes() - before) / MIB
        print(f"{more:.0f} MiB for a state of {mib} MiB: {more - mib:.0f} beside the copy")


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def show(row: str, times: Times, base: str, *, ms: bool) -> None:
    unit, factor = ("ms", 1e3) if ms else ("s", 1.0)
    for name, all_of in times.items():
        median, least = statistics.median(all_of), min(all_of)
        of, of_least = statistics.median(times[base]), min(times[base])
        print(
            f"  {name:22} {median * factor:9.1f} {unit} (min {least * factor:.1f}), "
            f"{median / of:.2f} and {least / of_least:.2f} of {base}"
        )


ROWS = {
    "blocked": blocked, "durable": durable, "loop": loop, "unchanged": unchanged, "part": part,
    "adam": adam, "memory": memory,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--mib", nargs="+", type=int, default=[100])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        peak(asked.mib[0])
        return
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for mib in asked.mib:
        for row in asked.rows:
            print(f"{mib} MiB, {row}")
            with tempfile.TemporaryDirectory() as folder:
                ROWS[row](Bench(Path(folder), mib, asked.rounds))


if __name__ == "__main__":
    main()
