"""Calls of memoized functions beside joblib, diskcache and marimo, by turns in one process.

    python -m benchmarks.functions
    python -m benchmarks.functions --rounds 7 --rows tiny miss

Rows: `tiny`, a hit with small arguments and result; `distinct`, hits of 500 arguments one after the
other, a second and more after each was asked for last; `argument`, a hit whose argument is an array
of 100 MB; `result`, a hit whose result is one, from the second on, and the first of a process;
`miss`, a call that runs and is kept; `import`, `import memoflow` in a process of its own. A round
times all libraries in turn, in random order; medians and minima are of rounds, each of many calls.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

import memoflow

MEGABYTES = 100
CALLS = {"tiny": 500, "distinct": 500, "miss": 50, "argument": 3, "result": 3}


def tiny(x: int) -> int:
    return x + 1


def total(array: Any) -> float:
    return float(array[:10].sum())


def make(count: int) -> Any:
    return np.arange(count, dtype=np.float64)


def libraries(folder: str) -> dict[str, Callable[[Any], Any]]:
    """Return what makes a memoized function of a function, by library."""
    found: dict[str, Callable[[Any], Any]] = {
        "memoflow": memoflow.memoize(store=f"{folder}/memoflow")
    }
    with suppress(ImportError):
        import joblib

        found["joblib"] = joblib.Memory(f"{folder}/joblib", verbose=0).cache
    with suppress(ImportError):
        import diskcache

        found["diskcache"] = diskcache.Cache(f"{folder}/diskcache", size_limit=1 << 34).memoize()
    with suppress(ImportError):
        import marimo

        found["marimo"] = marimo.persistent_cache(save_path=f"{folder}/marimo")
    return found


def timed(act: Callable[[], Any], calls: int) -> float:
    """Return the milliseconds of a call."""
    began = time.perf_counter()
    for _ in range(calls):
        act()
    return 1000 * (time.perf_counter() - began) / calls


def measure(row: str, folder: str, rounds: int) -> None:
    count = MEGABYTES * 1_000_000 // 8
    array, fresh = make(count), itertools.count(random.getrandbits(40))
    acts: dict[str, Callable[[], Any]] = {}
    for name, memoized in libraries(f"{folder}/{row}").items():
        f = memoized({"argument": total, "result": make}.get(row, tiny))
        if row == "distinct":
            for number in range(CALLS[row]):
                f(number)
        stored = itertools.cycle(range(CALLS["distinct"]))
        acts[name] = {
            "tiny": lambda f=f: f(1),
            "distinct": lambda f=f, stored=stored: f(next(stored)),
            "miss": lambda f=f: f(next(fresh)),
            "argument": lambda f=f: f(array),
            "result": lambda f=f: f(count),
        }[row]
        if row not in ("miss", "distinct"):
            acts[name]()
            first = timed(acts[name], 1)
            if row == "result":
                print(f"result, {name}: the first of a process {first:.2f} ms")
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        if row == "distinct":
            time.sleep(1.1)
        for name in random.sample(sorted(acts), len(acts)):
            times[name].append(timed(acts[name], CALLS[row]))
    for name, each in times.items():
        ratio = statistics.median(each) / statistics.median(times["memoflow"])
        print(
            f"{row}, {name}: median {statistics.median(each):.3f} ms, minimum {min(each):.3f} "
            f"of {rounds}; {ratio:.1f} times memoflow"
        )


def measure_import(rounds: int) -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import memoflow; "
        "print(1000 * (time.perf_counter() - began), 'metaflow' in sys.modules)"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(rounds)
    ]
    times = [float(ms) for ms, _ in told]
    print(
        f"import memoflow: median {statistics.median(times):.1f} ms, minimum {min(times):.1f}; "
        f"Metaflow imported: {told[0][1]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=[*CALLS, "import"])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["METAFLOW_MEMOFLOW_CACHE_DIR"] = f"{folder}/cache"
        for row in given.rows:
            if row == "import":
                measure_import(given.rounds)
            else:
                measure(row, folder, given.rounds)
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
