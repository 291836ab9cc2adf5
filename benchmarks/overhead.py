"""What @memoize adds to a trivial step that misses, scheduler and worker, card and leases included.

    python overhead.py
    python overhead.py --other PYTHON     against the memoflow of another environment, too

Runs a foreach of trivial splits one at a time, with and without @memoize by turns; each memoized
run has items that none had before, so that each of its splits misses, and is recorded. Prints what
a split more takes with @memoize, less what it takes without: start-up and the other steps cancel
out. Times are the processor's, of the run and of all processes that it waited for.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOW = """
from metaflow import FlowSpec, Parameter, step

class Trivial(FlowSpec):
    splits = Parameter("splits", type=int)
    first = Parameter("first", type=int)

    @step
    def start(self):
        self.items = list(range(self.first, self.first + self.splits))
        self.next(self.work, foreach="items")

    {memoize}
    @step
    def work(self):
        self.value = self.input + 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Trivial()
"""

FEW = 2


class Side:
    """One environment's runs of the flow, with @memoize or without, in a folder of their own."""

    def __init__(self, folder: Path, python: str, name: str) -> None:
        self.folder = folder
        self.python = python
        self.splits = 0
        self.cpu: list[float] = []  # ms a split
        self.wall: list[float] = []
        folder.mkdir()
        text = FLOW.format(memoize="@memoize" if name == "memoized" else "")
        if name == "memoized":
            text = text.replace("import FlowSpec", "import memoize, FlowSpec")
        (folder / "trivial.py").write_text(text)
        self.env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_MEMOFLOW_CACHE_DIR": f"{folder}/cache",
        }
        self.run(FEW)

    def run(self, splits: int) -> tuple[float, float]:
        """Return the seconds of processor time and of wall time that a run takes."""
        began = time.perf_counter()
        flags = [f"--splits={splits}", f"--first={self.splits}", "--max-workers=1"]
        process = subprocess.Popen(
            [self.python, "trivial.py", "--no-pylint", "run", *flags],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or b" hits" in said.replace(b"0 hits", b""):
            sys.exit(said.decode())
        self.splits += splits
        return used.ru_utime + used.ru_stime, time.perf_counter() - began

    def round(self, splits: int) -> None:
        whole, few = self.run(FEW + splits), self.run(FEW)
        self.cpu.append(1000 * (whole[0] - few[0]) / splits)
        self.wall.append(1000 * (whole[1] - few[1]) / splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--other", help="the Python of another environment")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Users keep compiled modules.
    with tempfile.TemporaryDirectory() as scratch:
        pythons = {"here": sys.executable} | ({"other": given.other} if given.other else {})
        sides = {
            (place, name): Side(Path(scratch, f"{place}-{name}"), python, name)
            for place, python in pythons.items()
            for name in ("plain", "memoized")
        }
        for _ in range(given.rounds):
            for side in sides.values():
                side.round(given.splits)
    for place in pythons:
        plain, memoized = sides[place, "plain"], sides[place, "memoized"]
        for what, ours, theirs in (
            ("processor", memoized.cpu, plain.cpu),
            ("wall", memoized.wall, plain.wall),
        ):
            pairs = [one - other for one, other in zip(ours, theirs, strict=True)]
            print(
                f"{place}, {what}: adds {statistics.median(pairs):.1f} ms by the median of "
                f"{len(pairs)} pairs ({min(pairs):.0f} to {max(pairs):.0f}), "
                f"{min(ours) - min(theirs):.1f} ms by minima, to "
                f"{statistics.median(theirs):.0f} ms (minimum {min(theirs):.0f} ms)"
            )
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
