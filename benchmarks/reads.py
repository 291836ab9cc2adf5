"""What files cost that a memoized step reads: at a lookup, and when its result is recorded.

    python reads.py lookup     known files, as they were; with other times; and so once more
    python reads.py large      a file of 1 GiB in the page cache, read by a step that is recorded

The lookup is the scheduler's, in a process of its own each time. What recording adds is how much
longer a run takes with @memoize than without, less the same where the file is empty.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOW = """
import time
from metaflow import FlowSpec, Parameter, memoize, step

class Reading(FlowSpec):
    files = Parameter("files", type=int)

    @step
    def start(self):
        self.next(self.work)

    {memoize}
    @step
    def work(self):
        began = time.perf_counter()
        size = 0
        for n in range(self.files):
            with open(f"data/{{n}}", "rb", buffering=0) as file:
                while data := file.read(1 << 20):
                    size += len(data)
        print("took", time.perf_counter() - began)
        self.size = size
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Reading()
"""
INSTRUMENT = str(Path(__file__).with_name("instrument.py"))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "data").mkdir()
        (folder / "plain.py").write_text(FLOW.format(memoize=""))
        (folder / "memoized.py").write_text(FLOW.format(memoize="@memoize"))
        self.env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
        }

    def run(self, flow: str, files: int, *before: str) -> tuple[float, float, str]:
        """Return the wall time and the processor's of a run, and what it printed."""
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *before, flow, "--no-pylint", "run", f"--files={files}"],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(said)
        return time.perf_counter() - began, used.ru_utime + used.ru_stime, said

    def look_up(self, files: int) -> tuple[float, list[str]]:
        """Return the milliseconds of one lookup that hits, and the files of data it opened."""
        log = self.folder / "log.json"
        _, _, said = self.run("memoized.py", files, INSTRUMENT, str(log), "look_up")
        if "[memoize] hit" not in said:
            sys.exit(said)
        ((took, opened),) = json.loads(log.read_text())
        return 1000 * took, [path for path in opened if re.search(r"data/\d+$", path)]


def lookup(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch, "bench"))
        paths = [bench.folder / "data" / f"{n}" for n in range(1000)]
        for path in paths:
            path.write_bytes(os.urandom(4096))
        time.sleep(0.1)  # Or they are as young as their digests.
        for files in (0, 100, 1000):
            bench.run("memoized.py", files)
        took: dict[str, list[float]] = {}
        opened: dict[str, set[int]] = {}

        def measure(name: str, files: int) -> None:
            time_ms, each = bench.look_up(files)
            took.setdefault(name, []).append(time_ms)
            opened.setdefault(name, set()).add(len(each))

        for _ in range(rounds):
            for files in (0, 100, 1000):
                measure(f"{files} files", files)
            for path in paths:
                os.utime(path)
            measure("1000 files with other times", 1000)
            measure("1000 files, once more", 1000)
        for name, times in took.items():
            print(
                f"{name}: median {statistics.median(times):.2f} ms, minimum {min(times):.2f} ms "
                f"of {len(times)}; opened {sorted(opened[name])}"
            )
        for files in (100, 1000):
            more = [
                (one - none) / files
                for one, none in zip(took[f"{files} files"], took["0 files"], strict=True)
            ]
            least = (min(took[f"{files} files"]) - min(took["0 files"])) / files
            print(
                f"a file more of {files}: median {statistics.median(more):.4f} ms, "
                f"by minima {least:.4f} ms"
            )


def large(rounds: int) -> None:
    added: dict[str, list[float]] = {"wall": [], "processor": []}
    reading: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for n in range(rounds):
            # New each time: a store that has a result would have the scheduler hash the file.
            bench = Bench(Path(scratch, f"{n}"))
            file = bench.folder / "data" / "0"
            times = {}
            for size in (0, 1 << 30):
                with open(file, "wb") as out:
                    for _ in range(size >> 20):
                        out.write(os.urandom(64) * (1 << 14))
                if n == 0 and size == 0:
                    bench.run("plain.py", 1)
                for flow in ("plain.py", "memoized.py"):
                    times[flow, size] = bench.run(flow, 1)
                    found = re.search(r"took ([\d.]+)", times[flow, size][2])
                    assert found is not None
                    if size and flow == "plain.py":
                        reading.append(float(found[1]))
            for i, what in enumerate(added):
                whole = times["memoized.py", 1 << 30][i] - times["plain.py", 1 << 30][i]
                added[what].append(whole - (times["memoized.py", 0][i] - times["plain.py", 0][i]))
            file.unlink()
    print(f"reading it: median {statistics.median(reading):.2f} s, minimum {min(reading):.2f} s")
    for what, seconds in added.items():
        print(
            f"recording adds, {what}: median {statistics.median(seconds):.2f} s of {rounds} "
            f"({min(seconds):.2f} to {max(seconds):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=["lookup", "large"])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # Users keep compiled modules.
    {"lookup": lookup, "large": large}[given.row](given.rounds)
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
