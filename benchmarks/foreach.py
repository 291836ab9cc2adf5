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

INSTRUMENT = str(Path(__file__).with_name("instrument.py"))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
                sys.executable,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3, help="of the second run and of resume")
    given = parser.parse_args()
    few = 10
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        first = bench.run("run", splits=given.splits)
        print(f"first run, {given.splits} splits: {first:.1f} s, {bench.workers()} workers of work")
        bench.run("run", splits=few)
        second, hits, short, clone, clone_short = [], [], [], [], []
        for _ in range(given.rounds):
            second.append(bench.run("run", splits=given.splits))
            print(f"second run: {second[-1]:.2f} s, {bench.workers()} workers of work")
            hits += bench.hits_ms()
            short.append(bench.run("run", splits=few))
            bench.run("run", splits=given.splits, fails=True)
            clone.append(bench.run("resume", "end"))
            bench.run("run", splits=few, fails=True)
            clone_short.append(bench.run("resume", "end"))

    def each(whole, part):
        return [1000 * (w - p) / (given.splits - few) for w, p in zip(whole, part, strict=True)]

    ours, theirs = each(second, short), each(clone, clone_short)
    print(
        f"first / second: {first / statistics.median(second):.1f} by the median, "
        f"{first / min(second):.1f} by the minimum"
    )
    print(f"one hit in the scheduler: median {statistics.median(hits):.2f} ms, min {min(hits):.2f}")
    print(
        f"a split that hits, end to end: median {statistics.median(ours):.2f} ms, "
        f"min {min(ours):.2f}"
    )
    print(
        f"a split that resume clones: median {statistics.median(theirs):.2f} ms, "
        f"min {min(theirs):.2f}"
    )
    print(
        f"hit / clone: {statistics.median(ours) / statistics.median(theirs):.2f} by medians, "
        f"{min(ours) / min(theirs):.2f} by minima"
    )
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
