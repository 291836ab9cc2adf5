"""Very wide and very deep runs: time, CPU and memory of the scheduler, by number of tasks.

    python -m benchmarks.width --shapes foreach --splits 1250 2500 5000 10000
    python -m benchmarks.width --shapes misses nested recursion --splits 2500 10000
    TMPDIR=/dev/shm python -m benchmarks.width

Shapes: `foreach`, N splits that all hit; `misses`, the same but ten that run; `nested`, a foreach
of sqrt(N) in one of sqrt(N); `recursion`, a switch that returns to itself N times. For each number
of tasks a run where they hit and Metaflow's `resume` of that run take turns. A run of few tasks
with `--memo off` gives what a task costs that really runs.

Results are written to the store without a run, as 10,000 real tasks take hours: the tasks of a
small run give the entries, and copies of these under other inputs the rest. So each of N tasks has
a result of its own. The number of hits of every run is compared with the number of its tasks.

CPU and memory are those of the scheduler's process alone. `queue` is the CPU of Metaflow's own
bookkeeping for finished tasks (NativeRuntime._queue_tasks): for each finished split it looks at all
splits, so it grows with the square of their number, in runs without memoflow as well.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.usage import Usage
from memoflow.backends import BlobLocation
from memoflow.fingerprint.closure import of_value
from memoflow.kinds import memo, task_log
from memoflow.names import Key
from memoflow.store import Store, open_store

USAGE = str(Path(__file__).with_name("usage.py"))
RESULTS = 3  # that the small run computes
MISSES = 10
PLAIN = 6  # tasks of a run with --memo off
DEPTH = 3  # of the small run

FOREACH = """
import os
from metaflow import FlowSpec, Parameter, memoize, step

class Wide(FlowSpec):
    splits = Parameter("splits", type=int)
    new = Parameter("new", default="", help="numbers that no run has had")

    @step
    def start(self):
        self.items = list(range(self.splits))
        for place, number in enumerate(filter(None, self.new.split(","))):
            self.items[place * self.splits // 10] = int(number)
        self.next(self.work, foreach="items")

    @memoize
    @step
    def work(self):
        self.value = self.input % 3
        self.next(self.join)

    @memoize
    @step
    def join(self, inputs):
        self.total = sum(one.value for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.new or self.total == sum(number % 3 for number in range(self.splits))

if __name__ == "__main__":
    Wide()
"""
NESTED = """
from metaflow import FlowSpec, Parameter, memoize, step

class Nested(FlowSpec):
    splits = Parameter("splits", type=int)

    @step
    def start(self):
        self.side = int(self.splits ** 0.5)
        self.rows = list(range(self.side))
        self.next(self.row, foreach="rows")

    @memoize
    @step
    def row(self):
        self.places = list(range(self.side))
        self.next(self.work, foreach="places")

    @memoize
    @step
    def work(self):
        self.value = self.input % 3
        self.next(self.join)

    @memoize
    @step
    def join(self, inputs):
        self.total = sum(one.value for one in inputs)
        self.next(self.outer)

    @memoize
    @step
    def outer(self, inputs):
        self.total = sum(one.total for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        side = int(self.splits ** 0.5)
        assert self.total == side * sum(number % 3 for number in range(side))

if __name__ == "__main__":
    Nested()
"""
RECURSION = """
from metaflow import FlowSpec, Parameter, memoize, step

class Deep(FlowSpec):
    splits = Parameter("splits", type=int)

    @step
    def start(self):
        self.count = 0
        self.next(self.loop)

    @memoize
    @step
    def loop(self):
        self.again = "yes" if self.count + 1 < self.splits else "no"
        self.count += 1
        self.next({"yes": self.loop, "no": self.end}, condition="again")

    @step
    def end(self):
        assert self.count == self.splits

if __name__ == "__main__":
    Deep()
"""
FLOWS = {"foreach": FOREACH, "misses": FOREACH, "nested": NESTED, "recursion": RECURSION}


@dataclass
class Runs:
    hits: list[Usage] = field(default_factory=list)
    resumes: list[Usage] = field(default_factory=list)


class Bench:
    """The runs of one shape, in a folder of its own."""

    def __init__(self, folder: Path, shape: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.shape = shape
        self.new = 0
        self.tasks = 0
        (folder / "flow.py").write_text(FLOWS[shape])
        self.env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
        }
        few = {"nested": RESULTS**2, "recursion": DEPTH}.get(shape, RESULTS)
        self.run("run", f"--splits={few}")

    def run(self, *command: str) -> tuple[Usage, str]:
        log = self.folder / "usage.json"
        done = subprocess.run(
            [
                sys.executable,
                USAGE,
                str(log),
                "flow.py",
                "--no-pylint",
                *command,
                "--max-num-splits=1000000",
                "--max-workers=4",
            ],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * 3600,
        )
        if done.returncode:
            sys.exit((done.stdout + done.stderr)[-5000:])
        return Usage(**json.loads(log.read_text())), done.stdout

    def fill(self, splits: int) -> None:
        """Add the results of a run of so many tasks to the store, and run it once.

        The run computes the results of joins, which depend on all tasks.
        """
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.width", "--fill", self.shape, str(splits)],
            cwd=Path(__file__).parents[1],
            env=self.env | {"BENCH_FOLDER": str(self.folder)},
            check=False,
            timeout=3600,
        )
        if done.returncode:
            sys.exit(done.returncode)
        if self.shape != "recursion":
            self.run("run", f"--splits={splits}")

    def hits(self, splits: int) -> Usage:
        new = range(self.new, self.new + MISSES) if self.shape == "misses" else ()
        self.new += len(new)
        numbers = ",".join(str(10**9 + number) for number in new)
        more = [f"--new={numbers}"] if new else []
        used, said = self.run("run", f"--splits={splits}", *more)
        side = math.isqrt(splits)
        wanted = {
            "foreach": splits + 1,
            "misses": splits - MISSES,
            "nested": splits + 2 * side + 1,
            "recursion": splits,
        }[self.shape]
        found = re.search(r"\[memoize\] ([\d,]+) hits?, ([\d,]+) miss", said)
        if not found or int(found[1].replace(",", "")) != wanted:
            sys.exit(f"{found and found[0]}, but {wanted} tasks should hit\n{said[-3000:]}")
        return used

    def plain(self) -> float:
        """Return the seconds that a task more takes with --memo off."""
        if self.shape in ("nested", "recursion"):
            return math.nan
        whole, _ = self.run("run", f"--splits={3 * PLAIN}", "--memo=off")
        part, _ = self.run("run", f"--splits={PLAIN}", "--memo=off")
        return (whole.wall_s - part.wall_s) / (2 * PLAIN)


def fill(folder: Path, shape: str, splits: int) -> None:
    """Record the results of a run of so many tasks in the store of a folder."""
    flow = re.findall(r"class (\w+)", FLOWS[shape])[0]
    data = folder / ".metaflow" / flow / "data"
    store = open_store(folder / ".metaflow" / "memoflow", cache_dir=folder / "cache")
    record_more(store, shape, splits, lambda sha1: data / sha1[:2] / sha1, data)
    store.close()


def record_more(
    store: Store,
    shape: str,
    splits: int,
    place: Callable[[str], Path | BlobLocation],
    data: Path | None = None,
) -> None:
    """Record results for tasks with inputs 0 to `splits`, modelled on those of the small run.

    `place` is where Metaflow has the artifact of a SHA-1; outputs that no task had are written
    below `data`.
    """
    flow = re.findall(r"class (\w+)", FLOWS[shape])[0]
    steps = {"nested": ["row", "work"], "recursion": ["loop"]}.get(shape, ["work"])
    for step in steps:
        keys = [key for key in store.keys(Key.of("memo", flow, step)) if memo.is_result(key)]
        refs = [store.find(key) for key in keys]
        entries = [memo.read(store, ref) for ref in refs if ref is not None]
        parts = memo.code_parts(store, entries[0].ref.key)
        for inputs, entry, outputs in list(_values(shape, step, splits, entries)):
            artifacts = {
                name: (artifact, place(artifact.sha1)) for name, artifact in entry.artifacts.items()
            }
            for name, value in outputs.items():
                assert data is not None
                sha1, size_bytes = _artifact(data, value)
                old = entry.artifacts[name]
                info = old.info | {"size": size_bytes}
                new = replace(old, sha1=sha1, info=info, packed_size=0, xxh3="")
                artifacts[name] = new, place(sha1)
            read = tuple(
                replace(part, digest=str(of_value(inputs[part.name])))
                if part.name in inputs
                else part
                for part in entry.inputs
            )
            result = memo.Result(
                origin=entry.origin,
                run_time_s=entry.run_time_s,
                artifacts=artifacts,
                next_step=entry.next_step,
                inputs=read,
                refs=entry.refs,
            )
            ref = memo.record(store, memo.code_key_of(entry.ref.key), parts, result)
            log = task_log.TaskLog()
            for stream, line in task_log.find(store, entry.ref.key, entry.ref.digest):
                log.add(stream, line)
            task_log.keep(store, ref.key, ref.digest, log)


def _values(
    shape: str, step: str, splits: int, entries: list
) -> Iterator[tuple[dict, object, dict]]:
    """Yield the inputs of each task that is to hit, an entry like its own, and other outputs."""
    if shape == "recursion":
        again = {entry.next_step["_transition"][0][0]: entry for entry in entries}
        for count in range(splits):
            last = count + 1 == splits
            inputs = {"count": count, "splits": splits}
            yield inputs, again["end" if last else "loop"], {"count": count + 1}
        return
    if step == "row":
        side = math.isqrt(splits)
        entry = entries[0]
        next_step = entry.next_step | {"_foreach_num_splits": side}
        if next_step.get("_foreach_values") is not None:
            next_step["_foreach_values"] = [str(number) for number in range(side)]
        for number in range(side):
            wide = replace(entry, next_step=next_step)
            yield {"input": number, "side": side}, wide, {"places": list(range(side))}
        return
    by_digest = {part.digest: entry for entry in entries for part in entry.inputs}
    models = [by_digest[str(of_value(number))] for number in range(RESULTS)]
    for number in range(math.isqrt(splits) if shape == "nested" else splits):
        yield {"input": number}, models[number % RESULTS], {}


def _artifact(data: Path, value: object) -> tuple[str, int]:
    """Write an artifact as Metaflow does; return its SHA-1 and the size of its pickle."""
    pickled = pickle.dumps(value, protocol=4)
    sha1 = hashlib.sha1(pickled).hexdigest()
    path = data / sha1[:2] / sha1
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(pickled, compresslevel=3))
    path.with_name(f"{sha1}_meta").write_text('{"cas_raw": false, "cas_version": 1}')
    return sha1, len(pickled)


def table(shape: str, runs: dict[int, Runs]) -> None:
    print(f"\n{shape}: the scheduler, minimum of rounds")
    print("  tasks  run      wall s   CPU s  queue s  rest of CPU, ms a task  peak MB")
    for splits, one in runs.items():
        for name, all_used in (("hits", one.hits), ("resume", one.resumes)):
            if all_used:
                wall_s, cpu_s, queue_s, peak_mb = map(min, zip(*map(_row, all_used), strict=True))
                rest = 1000 * (cpu_s - queue_s) / splits
                print(
                    f"{splits:7}  {name:6} {wall_s:8.1f} {cpu_s:7.1f} {queue_s:8.1f} "
                    f"{rest:23.2f} {peak_mb:8.0f}"
                )
    few, most = min(runs), max(runs)
    if few == most:
        return
    for name in ("hits", "resumes"):
        ends = [getattr(runs[n], name) for n in (few, most)]
        if all(ends):
            peaks = [min(used.peak_mb for used in each) for each in ends]
            cpus = [min(used.cpu_s - used.queue_s for used in each) for each in ends]
            walls = [min(used.wall_s for used in each) for each in ends]
            more = most - few
            print(
                f"  {name}, a task more from {few} to {most}: "
                f"{1000 * (walls[1] - walls[0]) / more:.2f} ms, "
                f"{1000 * (cpus[1] - cpus[0]) / more:.2f} ms of CPU besides queue, "
                f"{1024 * (peaks[1] - peaks[0]) / more:.1f} kB"
            )


def _row(used: Usage) -> tuple[float, float, float, float]:
    return used.wall_s, used.cpu_s, used.queue_s, used.peak_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["foreach"], choices=list(FLOWS))
    parser.add_argument("--splits", nargs="+", type=int, default=[1250, 2500, 5000, 10000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-resume", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for shape in given.shapes:
            bench = Bench(Path(scratch, shape), shape)
            plain_s = bench.plain()
            if not math.isnan(plain_s):
                print(f"{shape}: a task that runs, --memo off: {1000 * plain_s:.0f} ms")
            runs: dict[int, Runs] = {}
            for splits in sorted(given.splits):
                bench.fill(splits)
                runs[splits] = Runs()
                for _ in range(given.rounds):
                    runs[splits].hits.append(bench.hits(splits))
                    if not given.no_resume:
                        runs[splits].resumes.append(bench.run("resume", "end")[0])
                    print(f"{shape}, {splits}: {vars(runs[splits])}", file=sys.stderr, flush=True)
            table(shape, runs)
    print(
        f"\non {os.cpu_count()} cores, Python {sys.version.split()[0]}, in {tempfile.gettempdir()}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(Path(os.environ["BENCH_FOLDER"]), sys.argv[2], int(sys.argv[3]))
    else:
        main()
