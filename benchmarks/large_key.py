"""The key of a step that reads a large artifact: time in the scheduler, and bytes read of it.

A step makes an array (1 GiB by default), a memoized one reads it. In each later run the whole
lookup of that task is timed, and an audit hook counts how often the artifact's file is opened.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FLOW = """
import os
from metaflow import FlowSpec, memoize, step

class Large(FlowSpec):
    @step
    def start(self):
        import numpy
        self.big = numpy.zeros(int(os.environ["BENCH_BYTES"]) // 8)
        self.next(self.work)

    @memoize
    @step
    def work(self):
        self.size = self.big.nbytes
        self.next(self.end)

    @step
    def end(self):
        print("size", self.size)

if __name__ == "__main__":
    Large()
"""

INSTRUMENT = str(Path(__file__).with_name("instrument.py"))


def largest(folder: Path) -> str:
    """Return the SHA-1 of the largest artifact, which is the name of its file."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size).name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "large.py").write_text(FLOW)
        env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": folder,
            "METAFLOW_MEMOFLOW_CACHE_DIR": f"{folder}/cache",
            "BENCH_BYTES": str(given.mebibytes << 20),
        }
        times, opened = [], 0
        for round_ in range(given.rounds + 1):
            done = subprocess.run(
                [
                    sys.executable,
                    INSTRUMENT,
                    "log.json",
                    "look_up",
                    "large.py",
                    "--no-pylint",
                    "run",
                ],
                cwd=folder,
                env=env,
                check=True,
                capture_output=True,
                text=True,
            )
            if not round_:
                big = largest(Path(folder, ".metaflow", "Large", "data"))
            ((took, paths),) = json.loads(Path(folder, "log.json").read_text())
            hit = "[memoize] hit" in done.stdout
            opens = sum(big in path for path in paths)
            if round_:
                if not hit:
                    sys.exit("a later run missed")
                times.append(1000 * took)
                opened += opens
            print(f"run {round_}: lookup {1000 * took:.2f} ms, hit {hit}, opened {opens} times")
    print(
        f"key over {given.mebibytes} MiB and its hit: median {statistics.median(times):.2f} ms, "
        f"min {min(times):.2f} ms; the artifact was opened {opened} times; "
        f"Python {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
