"""A wide foreach of hits with the logs of their origins, and without, by turns.

    python -m benchmarks.hit_logs --splits 1000 --lines 20

Without is METAFLOW_MEMOFLOW_LOGS=0: the log of a hit is the line that says so. `--lines` is what
each task printed on stdout; a tenth as many are on stderr. `--printing` measures the other side: a
run of one memoized task that prints so many MB, with logs kept, not kept, and with --memo off.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

from benchmarks import width
from benchmarks.usage import Usage

_PRINTS = """
        import sys
        for number in range({lines}):
            print("epoch", number, "loss", 1 / (number + 1))
        for number in range({lines} // 10):
            print("warning", number, file=sys.stderr)
"""
_PRINTING = """
from metaflow import FlowSpec, Parameter, memoize, step

class Prints(FlowSpec):
    splits = Parameter("splits", type=int, default=1)

    @memoize
    @step
    def start(self):
        for number in range({lines}):
            print(f"{{number:079}}")
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Prints()
"""


@contextmanager
def _flow(shape: str, text: str) -> Iterator[width.Bench]:
    before = width.FLOWS.get(shape)
    width.FLOWS[shape] = text
    with tempfile.TemporaryDirectory() as folder:
        yield width.Bench(Path(folder, "bench"), shape)
    if before is not None:
        width.FLOWS[shape] = before


def _told(name: str, seconds: list[float], count: int = 0) -> None:
    low, middle = min(seconds), statistics.median(seconds)
    rate = f"; {count / middle:.0f} hits/s by the median, {count / low:.0f} best" if count else ""
    print(f"{name}: median {middle:.2f} s, min {low:.2f}{rate}")


def hits(splits: int, lines: int, rounds: int) -> None:
    mark = "        self.value = self.input % 3\n"
    text = width.FOREACH.replace(mark, mark + _PRINTS.format(lines=lines))
    with _flow("foreach", text) as bench:
        bench.fill(splits)
        took: dict[str, list[Usage]] = {"1": [], "0": []}
        for _ in range(rounds):
            for setting, used in took.items():
                bench.env["METAFLOW_MEMOFLOW_LOGS"] = setting
                used.append(bench.hits(splits))
    for name, of in (("wall", attrgetter("wall_s")), ("processor", attrgetter("cpu_s"))):
        with_logs, without = (list(map(of, took[setting])) for setting in "10")
        _told(f"{name}, {splits} hits with logs of {lines} lines", with_logs, splits)
        _told(f"{name}, {splits} hits without", without, splits)
        medians = statistics.median(with_logs) / statistics.median(without)
        minima = min(with_logs) / min(without)
        print(f"{name}, with / without: {medians:.2f} by medians, {minima:.2f} by minima")


def printing(megabytes: int, rounds: int) -> None:
    text = _PRINTING.format(lines=megabytes * 1_000_000 // 80)
    with _flow("printing", text) as bench:
        took: dict[str, list[float]] = {"kept": [], "not kept": [], "--memo off": []}
        for _ in range(rounds):
            for name, seconds in took.items():
                bench.env["METAFLOW_MEMOFLOW_LOGS"] = str(int(name == "kept"))
                mode = ["--memo=off"] if name == "--memo off" else ["--memo-refresh=all"]
                seconds.append(bench.run("run", *mode)[0].wall_s)
    for name, seconds in took.items():
        _told(f"{megabytes} MB printed, {name}", seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--printing", type=int, help="megabytes; in place of hits")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.printing:
        printing(given.printing, given.rounds)
    else:
        hits(given.splits, given.lines, given.rounds)
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
