"""What @memoize adds to a trivial step that misses, worker start to recorded result.

Runs a foreach of trivial splits one at a time, with and without @memoize by turns; every
memoized run misses, as it is refreshed. Prints what a split more takes with @memoize, less what
it takes without: start-up and the other steps cancel out.
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

    @step
    def start(self):
        self.items = list(range(self.splits))
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

FEW = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Users keep compiled modules.
        env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": folder,
            "METAFLOW_MEMOFLOW_CACHE_DIR": f"{folder}/cache",
        }
        path = Path(folder)
        (path / "plain.py").write_text(FLOW.format(memoize=""))
        memoized = FLOW.format(memoize="@memoize").replace(
            "import FlowSpec", "import memoize, FlowSpec"
        )
        (path / "memoized.py").write_text(memoized)

        def run(name: str, splits: int, *flags: str) -> float:
            began = time.perf_counter()
            subprocess.run(
                [
                    *(sys.executable, name, "--no-pylint", "run", f"--splits={splits}"),
                    *("--max-workers=1", *flags),
                ],
                cwd=folder,
                env=env,
                check=True,
                capture_output=True,
            )
            return time.perf_counter() - began

        def split(name: str, *flags: str) -> float:
            whole = run(name, FEW + given.splits, *flags) - run(name, FEW, *flags)
            return 1000 * whole / given.splits

        run("plain.py", FEW)
        run("memoized.py", FEW)
        added = []
        for _ in range(given.rounds):
            plain, refreshed = split("plain.py"), split("memoized.py", "--memo-refresh", "all")
            added.append(refreshed - plain)
            print(f"a split: plain {plain:.0f} ms, memoized {refreshed:.0f} ms")
    print(
        f"added to a trivial step that misses: median {statistics.median(added):.1f} ms, "
        f"min {min(added):.1f} ms, on {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
