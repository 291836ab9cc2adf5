"""Measure commands over a store of many entries, each in a fresh process, start included.

python benchmarks/cli.py --entries 10000
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import memo
from memoflow.store import Store, open_store

FLOW = "Sweep"
STEPS = ("prepare", "features", "fit", "score")
# A run of it misses, and is compared with what the store holds of its step.
CODE = """
from memoflow import memoize
from metaflow import FlowSpec, step

class Sweep(FlowSpec):
    @step
    def start(self):
        self.x = 1
        self.next(self.fit)

    @memoize
    @step
    def fit(self):
        self.y = self.x
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Sweep()
"""
COMMANDS = {
    "ls": ("ls",),
    "ls Sweep/fit": ("ls", f"{FLOW}/fit"),
    "stats": ("stats",),
    "show": ("show", "{key}"),
    "why": ("why", f"{FLOW}/{{run}}/fit"),
}


def fill(store: Store, scratch: Path, entries: int) -> str:
    """Record results of a sweep as its workers would, and return the key of one."""
    parts = (Part("function", "Sweep.fit", "xxh3:" + "0" * 32),)
    key = ""
    outcomes = []
    for number in range(entries):
        step = STEPS[number % len(STEPS)]
        scope = memo.code_key(FLOW, step, Fingerprint.of(parts))
        packed = scratch / "packed"
        packed.write_bytes(b"%d" % number * 100)
        task = f"{FLOW}/1/{step}/{number}"
        ref = memo.record(
            store,
            scope,
            parts,
            memo.Result(
                origin=task,
                run_time_s=2.5,
                artifacts={
                    "score": (
                        memo.Artifact(f"{number:040x}", {"type": "int", "size": 9}, {}),
                        packed,
                    )
                },
                next_step={},
                inputs=(Part("value", "x", f"xxh3:{number:032x}"),),
            ),
        )
        packed.unlink()
        key = str(ref.key)
        for run, hit in (("1", False), ("2", True)):
            outcomes.append((FLOW, run, step, str(number), hit, 2.5 * hit, time.time()))
    store.index.record_outcomes(outcomes)
    store.close()
    return key


def main() -> None:
    parser = argparse.ArgumentParser(description="seconds a command takes over many entries")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS))
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Users keep compiled modules.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        root = folder / ".metaflow" / "memoflow"
        env = os.environ | {
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_USER": "bench",
        }
        key = fill(open_store(root, cache_dir=folder / "cache"), folder, args.entries)
        run = run_once(folder, env)
        print(f"python {platform.python_version()}, {os.cpu_count()} cpus, {args.entries} entries")
        for name in args.commands:
            words = [word.format(key=key, run=run) for word in COMMANDS[name]]
            for said, options in (("--root", ["--root", str(root)]), ("configured", [])):
                command = [sys.executable, "-m", "memoflow", *options, *words]
                took = [seconds(command, folder, env) for _ in range(args.rounds)]
                walls, cpus = zip(*took, strict=True)
                print(
                    f"{name:14} {said:11} minimum {min(walls):.2f} s, "
                    f"median {statistics.median(walls):.2f} s; of CPU {min(cpus):.2f} s"
                )


def run_once(folder: Path, env: dict[str, str]) -> str:
    """Run the flow, and return the run's id."""
    (folder / "flow.py").write_text(CODE)
    command = [sys.executable, "flow.py", "--no-pylint", "run", "--run-id-file", "run"]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return (folder / "run").read_text()


def seconds(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, float]:
    """Return how long a process takes from start to end, and how long it has a CPU."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, check=True)
    took, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system
    return took, used - before.children_user - before.children_system


if __name__ == "__main__":
    main()
