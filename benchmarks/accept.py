"""Accept 500 results by 25 that run anew; then refuse a seeded difference among the verified ones.

    python benchmarks/accept.py [results] [share]

Prints how often the body of the step ran, the results bound, and the seconds of `memo accept`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOW = """
from metaflow import FlowSpec, memoize, step


class Sweep(FlowSpec):
    @step
    def start(self):
        self.grid = list(range({results}))
        self.next(self.fit, foreach="grid")

    @memoize
    @step
    def fit(self):
        with open("bodies.txt", "a") as log:
            log.write("x")
        self.score = self.input * 2 + 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Sweep()
"""
HARMLESS = "1 + 2 * self.input"
SEEDED = "1.0 + 2 * self.input + 0.5 * (self.input % 7 == 0)"


def main(results: int = 500, share: str = "5%") -> None:
    with tempfile.TemporaryDirectory() as folder:
        flow = Path(folder, "flow.py")
        flow.write_text(FLOW.format(results=results))
        run(folder, "run", "--max-num-splits", str(results))
        first = flow.read_text()
        flow.write_text(first.replace("self.input * 2 + 1", HARMLESS))
        code, told, said = accept(folder, share)
        found = {name: told[name] for name in ("results", "verified", "ran", "bound")}
        print(f"accept: exit code {code}, {found}, {said}")
        before = bodies(folder)
        run(folder, "run", "--max-num-splits", str(results))
        print(f"next run: {bodies(folder) - before} of {results} bodies ran")
        flow.write_text(first.replace("self.input * 2 + 1", SEEDED))
        code, _, said = accept(folder, share)
        print(f"seeded: exit code {code}, {said}")


def accept(folder: str, share: str) -> tuple[int, dict[str, int], str]:
    before, began = bodies(folder), time.perf_counter()
    done = run(folder, "memo", "accept", "fit", "--verify", share, "--yes", "--json", ok=False)
    took = time.perf_counter() - began
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    said = f"{bodies(folder) - before} bodies ran, {took:.1f} s"
    return done.returncode, told, "; ".join([said, *errors])


def bodies(folder: str) -> int:
    return len(Path(folder, "bodies.txt").read_text())


def run(folder: str, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"METAFLOW_USER": "me", "METAFLOW_DATASTORE_SYSROOT_LOCAL": folder}
    words = (sys.executable, "flow.py", "--no-pylint", *words)
    return subprocess.run(words, cwd=folder, env=env, text=True, capture_output=True, check=ok)


if __name__ == "__main__":
    main(*([int(sys.argv[1])] if sys.argv[1:] else []), *sys.argv[2:3])
