"""A foreach of many trivial splits: first run, second run, and Metaflow's own `resume`.

Prints wall times of whole runs, their ratio, the workers started for the memoized step, the time
of one hit inside the scheduler, and the time a split adds from end to end (the difference between
a run with all splits and one with ten, so that start-up and the other steps cancel out).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOW = """
import os, sys
from metaflow import FlowSpec, Parameter, memoize, step

if "step" in sys.argv:
    with open(os.environ["BENCH_WORKERS"], "a") as log:
        log.write(sys.argv[sys.argv.index("step") + 1] + "\\n")

class Many(FlowSpec):
    splits = Parameter("splits", type=int)

    @step
    def start(self):
        self.items = list(range(self.splits))
        self.next(self.work, foreach="items")

    @memoize
    @step
    def work(self):
        self.value = self.input + 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.total = sum(one.value for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        if os.environ.get("BENCH_FAIL"):
            raise ValueError("so that there is something to resume")

if __name__ == "__main__":
    Many()
"""

FEW = 10
INSTRUMENT = str(Path(__file__).with_name("instrument.py"))


class Bench:
    def __init__(self, folder: Path, python: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.python = python
        (folder / "many.py").write_text(FLOW)
        self.hits = str(folder / "hits.json")
        self.env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
            "BENCH_WORKERS": str(folder / "workers"),
        }

    def run(self, *command: str, splits: int | None = None, fails: bool = False) -> float:
        (self.folder / "workers").write_text("")
        arguments = [*command, "--max-num-splits=100000"]
        if splits is not None:
            arguments.append(f"--splits={splits}")
        began = time.perf_counter()
        done = subprocess.run(
            [
                self.python,
                INSTRUMENT,
                self.hits,
                "prepare",
                "many.py",
                "--no-pylint",
                *arguments,
            ],
            cwd=self.folder,
            env=self.env | ({"BENCH_FAIL": "1"} if fails else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - began
        if (done.returncode != 0) != fails:
            sys.exit(done.stdout + done.stderr)
        return took

    def workers(self) -> int:
        return (self.folder / "workers").read_text().split().count("work")

    def hits_ms(self) -> list[float]:
        return [1000 * took for took, _ in json.loads(Path(self.hits).read_text())]


class Times:
    """The seconds of the runs of one environment, and the milliseconds of its hits."""

    def __init__(self, bench: Bench, splits: int) -> None:
        self.bench = bench
        self.splits = splits
        self.first = bench.run("run", splits=splits)
        self.workers = [bench.workers()]
        bench.run("run", splits=FEW)
        self.second: list[float] = []
        self.hits: list[float] = []
        self.short: list[float] = []
        self.clone: list[float] = []
        self.clone_short: list[float] = []

    def round(self) -> None:
        bench = self.bench
        self.second.append(bench.run("run", splits=self.splits))
        self.workers.append(bench.workers())
        self.hits += bench.hits_ms()
        self.short.append(bench.run("run", splits=FEW))

    def resume(self) -> None:
        bench = self.bench
        bench.run("run", splits=self.splits, fails=True)
        self.clone.append(bench.run("resume", "end"))
        bench.run("run", splits=FEW, fails=True)
        self.clone_short.append(bench.run("resume", "end"))

    def each_ms(self, whole: list[float], part: list[float]) -> list[float]:
        """Return what a split more takes."""
        pairs = zip(whole, part, strict=True)
        return [1000 * (one - other) / (self.splits - FEW) for one, other in pairs]

    def tell(self) -> None:
        print(f"first run, {self.splits} splits: {self.first:.1f} s")
        print(f"second run: {', '.join(f'{each:.2f}' for each in self.second)} s")
        print(f"workers of work in each: {self.workers}")
        print(
            f"first / second: {self.first / statistics.median(self.second):.1f} by the median, "
            f"{self.first / min(self.second):.1f} by the minimum"
        )
        print(
            f"one hit in the scheduler: median {statistics.median(self.hits):.2f} ms, "
            f"min {min(self.hits):.2f}"
        )
        ours = self.each_ms(self.second, self.short)
        print(
            f"a split that hits, end to end: median {statistics.median(ours):.2f} ms, "
            f"min {min(ours):.2f}"
        )
        if not self.clone:
            return
        theirs = self.each_ms(self.clone, self.clone_short)
        print(
            f"a split that resume clones: median {statistics.median(theirs):.2f} ms, "
            f"min {min(theirs):.2f}"
        )
        print(
            f"hit / clone: {statistics.median(ours) / statistics.median(theirs):.2f} by medians, "
            f"{min(ours) / min(theirs):.2f} by minima"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="of the second run and of resume")
    parser.add_argument("--other", help="the Python of another environment, by turns with this one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pythons = {"here": sys.executable} | ({"other": given.other} if given.other else {})
        times = {
            place: Times(Bench(Path(folder, place), python), given.splits)
            for place, python in pythons.items()
        }
        for _ in range(given.rounds):
            for one in times.values():
                one.round()
            if not given.other:
                times["here"].resume()
    for place, one in times.items():
        print(f"{place}:" if given.other else "")
        one.tell()
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
