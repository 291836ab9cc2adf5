"""Digests of large values: `of_value` beside pickle with XXH3, and beside joblib where it is there.

    python -m benchmarks.values

All of them take turns in one process, so that each ratio is of one run.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import pickle
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from xxhash import xxh3_128_hexdigest

from memoflow.fingerprint import of_value

LEVELS, BRANCHES, LARGEST = 9, 2, 11


@dataclasses.dataclass
class Place:
    row: int
    column: int
    label: str


@dataclasses.dataclass
class Branch:
    number: int
    name: str
    unit: str
    place: Place
    below: list[Branch]


def nested() -> Branch:
    """Return 11,244 data classes, ten levels of lists deep."""
    numbers = count()

    def branch(levels: int, branches: int) -> Branch:
        number = next(numbers)
        place = Place(number % 97, number // 97, f"row {number % 97}")
        below = [branch(levels - 1, BRANCHES) for _ in range(branches * (levels > 0))]
        return Branch(number, f"branch-{number}", "metre", place, below)

    return branch(LEVELS, LARGEST)


def texts() -> dict[str, str]:
    return {f"key-{number}": f"value-{number}" for number in range(100_000)}


SHAPES: dict[str, Callable[[], Any]] = {
    "11,244 nested data classes": nested,
    "a dict of 100,000 texts": texts,
}


def ways() -> Iterator[tuple[str, Callable[[Any], object]]]:
    yield "of_value", of_value
    yield "pickle and xxh3", lambda value: xxh3_128_hexdigest(pickle.dumps(value, 5))
    if importlib.util.find_spec("joblib"):
        yield "joblib.hash", importlib.import_module("joblib").hash


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    print(f"{platform.machine()}, Python {platform.python_version()}, {rounds} rounds")
    for shape, make in SHAPES.items():
        value = make()
        took: dict[str, list[float]] = {name: [] for name, _ in ways()}
        for _ in range(rounds):
            for name, digest in ways():
                began = time.perf_counter()
                digest(value)
                took[name].append(1000 * (time.perf_counter() - began))
        print(shape)
        for name, times in took.items():
            ratios = [ours / its for ours, its in zip(took["of_value"], times, strict=True)]
            print(
                f"  {name}: min {min(times):.1f} ms, median {statistics.median(times):.1f}; "
                f"of_value takes {min(took['of_value']) / min(times):.2f} times that by minima, "
                f"{statistics.median(ratios):.2f} by the median"
            )


if __name__ == "__main__":
    main()
