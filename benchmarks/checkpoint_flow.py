"""What @checkpoint adds to a flow of two steps that saves once, and what metaflow-checkpoint adds.

    python benchmarks/checkpoint_flow.py --rounds 7 --other PYTHON

The flow runs with @checkpoint and without, in random order; PYTHON is that of an environment of
its own with metaflow-checkpoint, where the same two flows run.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOW = """
from metaflow import FlowSpec, current, step{imports}

class {name}(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    {decorator}
    @step
    def end(self):
        with open("state.txt", "w") as state:
            state.write("epoch 1")
        {save}

if __name__ == "__main__":
    {name}()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--other", help="the Python of an environment with metaflow-checkpoint")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Users keep compiled modules.
    pythons = {"memoflow": sys.executable}
    if given.other:
        pythons["metaflow-checkpoint"] = given.other
    with tempfile.TemporaryDirectory() as folder:
        for name, flow in (
            ("plain", FLOW.format(name="Plain", imports="", decorator="", save="")),
            (
                "saves",
                FLOW.format(
                    name="Saves",
                    imports=", checkpoint",
                    decorator="@checkpoint",
                    save='current.checkpoint.save("state.txt")',
                ),
            ),
        ):
            Path(folder, f"{name}.py").write_text(flow)

        def run(package: str, name: str) -> float:
            began = time.perf_counter()
            subprocess.run(
                [pythons[package], f"{name}.py", "--no-pylint", "run"],
                cwd=folder,
                env=os.environ
                | {
                    "METAFLOW_USER": "bench",
                    "METAFLOW_DATASTORE_SYSROOT_LOCAL": f"{folder}/{package}",
                    "METAFLOW_MEMOFLOW_CACHE_DIR": f"{folder}/cache",
                },
                check=True,
                capture_output=True,
            )
            return time.perf_counter() - began

        runs = [(package, name) for package in pythons for name in ("plain", "saves")]
        took: dict[tuple[str, str], list[float]] = {one: [] for one in runs}
        for one in runs:
            os.makedirs(f"{folder}/{one[0]}", exist_ok=True)
            run(*one)
        for _ in range(given.rounds):
            random.shuffle(runs)
            for one in runs:
                took[one].append(run(*one))
    for package in pythons:
        plain, saves = took[package, "plain"], took[package, "saves"]
        without = statistics.median(plain)
        print(
            f"{package}: a save adds {statistics.median(saves) - without:.2f} s by medians, "
            f"{min(saves) - min(plain):.2f} s by minima of {given.rounds} ({without:.2f} s without)"
        )


if __name__ == "__main__":
    main()
