"""Saving and loading state against `cp`, and against metaflow-checkpoint in another environment.

    python -m benchmarks.checkpoint --other other-env/bin/python
    python -m benchmarks.checkpoint --rows unchanged first --mib 256 --rounds 11

Everything of a row is timed once a round, in random order. The other library is driven in a real
task of a flow of its own: what is timed there is `current.checkpoint.save`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from memoflow.names import Key
from memoflow.store import Payload, Store, open_store

MIB = 1 << 20
SERIES = Key.of("checkpoint", "Flow", "train")
NOBODY = 65534
CHANGED = 0.05

FLOW = """
import json, os, socket, time
from metaflow import FlowSpec, checkpoint, current, step

class Saver(FlowSpec):
    @checkpoint(show_card=False)
    @step
    def start(self):
        with socket.create_connection(("127.0.0.1", int(os.environ["BENCH_PORT"]))) as asked:
            lines = asked.makefile("rw")
            for path in lines:
                began = time.perf_counter()
                current.checkpoint.save(path.strip())
                print(time.perf_counter() - began, file=lines, flush=True)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Saver()
"""

Times = dict[str, list[float]]


class Bench:
    """A folder to work in, and how long things took there."""

    def __init__(self, root: Path, *, mib: int, rounds: int, other: str | None) -> None:
        self.root = root
        self.mib = mib
        self.rounds = rounds
        self.other = other
        self.chance = random.Random(1)
        self.state = root / "state"
        self.made = 0

    def fresh(self, name: str) -> Path:
        """Return a path where nothing is yet."""
        self.made += 1
        return self.root / f"{name}-{self.made}"

    def store(self) -> Store:
        where = self.fresh("store")
        return open_store(where, cache_dir=where / "cache")

    def save(self, store: Store, *, durable: bool = True) -> None:
        store.append(SERIES, Payload(tree=self.state), durable=durable)

    def write_state(self) -> None:
        """Write random bytes as one file."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        with open(self.state / "state.bin", "wb") as file:
            for _ in range(self.mib):
                file.write(os.urandom(MIB))

    def change_state(self) -> None:
        """Change a twentieth of it, in runs of 1 MiB that begin anywhere."""
        with open(self.state / "state.bin", "r+b") as file:
            for _ in range(max(1, round(CHANGED * self.mib))):
                file.seek(self.chance.randrange(self.mib * MIB - MIB))
                file.write(os.urandom(MIB))

    def write_files(self, count: int, size_bytes: int) -> None:
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir()
        for n in range(count):
            (self.state / f"{n:05d}").write_bytes(os.urandom(size_bytes))

    def copy(self, *, durable: bool = False) -> None:
        target = self.fresh("copy")
        subprocess.run(["cp", "-r", self.state, target], check=True)
        if durable:
            for path in (*target.rglob("*"), target, self.root):
                file = os.open(path, os.O_RDONLY)
                os.fsync(file)
                os.close(file)

    def tidy(self) -> None:
        """Remove what was timed, and let the disk come to rest."""
        for path in self.root.iterdir():
            if path != self.state:
                shutil.rmtree(path)
        os.sync()

    def race(self, acts: dict[str, Callable[[], float | None]], times: Times) -> None:
        """Time each once, in random order; an act may say itself how long it took."""
        for name in self.chance.sample(sorted(acts), len(acts)):
            os.sync()
            began = time.perf_counter()
            taken = acts[name]()
            whole = time.perf_counter() - began
            times.setdefault(name, []).append(whole if taken is None else taken)
        for path in (*self.root.glob("copy-*"), *self.root.glob("out-*")):
            shutil.rmtree(path)


def unchanged(bench: Bench) -> Times:
    bench.write_state()
    store, times = bench.store(), Times()
    bench.save(store)
    for _ in range(bench.rounds):
        bench.race({"memoflow": lambda: bench.save(store), "cp": bench.copy}, times)
    return times


def first(bench: Bench) -> Times:
    bench.write_state()
    times = Times()
    for _ in range(bench.rounds):
        store = bench.store()
        bench.race(
            {
                "memoflow": lambda store=store: bench.save(store),
                "cp and fsync": lambda: bench.copy(durable=True),
            },
            times,
        )
        bench.tidy()
    return times


def changed(bench: Bench) -> Times:
    bench.write_state()
    store, times = bench.store(), Times()
    bench.save(store)
    with saver(bench) as others:
        others()
        for _ in range(bench.rounds):
            bench.change_state()
            acts = {"memoflow": lambda: bench.save(store), "cp": bench.copy}
            if bench.other:
                acts["metaflow-checkpoint"] = others
            bench.race(acts, times)
    return times


def load(bench: Bench) -> Times:
    bench.write_state()
    return _loads(bench)


def small_save(bench: Bench) -> Times:
    bench.write_files(2000, 100 << 10)
    times = Times()
    for _ in range(bench.rounds):
        store = bench.store()
        bench.race({"memoflow": lambda store=store: bench.save(store), "cp -r": bench.copy}, times)
        bench.tidy()
    return times


def small_load(bench: Bench) -> Times:
    bench.write_files(2000, 100 << 10)
    return _loads(bench)


def _loads(bench: Bench) -> Times:
    store, times = bench.store(), Times()
    bench.save(store)
    ref = store.latest(SERIES)
    assert ref is not None

    def restore() -> None:
        store.load(ref, bench.fresh("out"))

    for _ in range(bench.rounds):
        bench.race({"memoflow": restore, "cp": bench.copy}, times)
    return times


def linked(bench: Bench) -> Times:
    """Load a model of 128 files by hard link, as somebody who cannot write to all files."""
    bench.write_files(128, bench.mib * MIB // 128)
    bench.root.chmod(0o777)

    def act() -> list[float]:
        store, times = bench.store(), Times()
        ref = store.save(SERIES, Payload(tree=bench.state, whole=True))

        def restore() -> None:
            store.load(ref, bench.fresh("out"), linked=True)

        for _ in range(bench.rounds):
            bench.race(
                {"": lambda: store.load(ref, bench.fresh("out"), linked=True) and None}, times
            )
        return times[""]

    return {"memoflow": _as_nobody(act), "target": [0.020]}


def _as_nobody(act: Callable[[], list[float]]) -> list[float]:
    receive, send = os.pipe()
    if os.fork() == 0:
        with suppress(BaseException):
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(send, json.dumps(act()).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        times: list[float] = json.load(answer)
    os.wait()
    return times


def ten(bench: Bench) -> Times:
    """Return what ten saves with 5 % changed take on disk, in sizes of one."""
    bench.write_state()
    store = bench.store()
    with saver(bench) as others:
        for n in range(10):
            if n:
                bench.change_state()
            bench.save(store, durable=False)
            others()
        taken = {"memoflow": [_size(bench, "store-*")]}
        if bench.other:
            taken["metaflow-checkpoint"] = [_size(bench, "flow-*")]
    return taken


def _size(bench: Bench, pattern: str) -> float:
    files = [path for root in bench.root.glob(pattern) for path in root.rglob("*")]
    return sum(path.stat().st_size for path in files if path.is_file()) / (bench.mib * MIB)


def memory(bench: Bench) -> Times:
    """Return by how many MiB the memory of a fresh process grows, at its highest."""
    bench.write_state()
    where = bench.fresh("store")
    return {
        act: [_memory_of(act, bench.state, where) for _ in range(3)]
        for act in ("first save", "save unchanged", "load")
    }


def _memory_of(act: str, state: Path, where: Path) -> float:
    command = [
        sys.executable,
        "-m",
        "benchmarks.checkpoint",
        "--child",
        act,
        str(state),
        str(where),
    ]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return float(done.stdout)


def child(act: str, state: Path, where: Path) -> None:
    """Act once; print how many MiB of memory that took beyond what was in use."""
    if act == "first save":
        shutil.rmtree(where, ignore_errors=True)
    store = open_store(where, cache_dir=where / "cache")
    before = _peak_mib()
    if act == "load":
        ref = store.latest(SERIES)
        assert ref is not None
        shutil.rmtree(store.load(ref, where / "out"))
    else:
        store.append(SERIES, Payload(tree=state))
    print(_peak_mib() - before)


def _peak_mib() -> float:
    # Not what getrusage says: that begins with the peak of the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LookupError("the kernel does not tell how much memory was used")


@contextmanager
def saver(bench: Bench) -> Iterator[Callable[[], float | None]]:
    """Run a task of the other library; yield what saves the state there, and how long that took."""
    if bench.other is None:
        yield lambda: None
        return
    folder = bench.fresh("flow")
    folder.mkdir()
    (folder / "saver.py").write_text(FLOW)
    with socket.create_server(("127.0.0.1", 0)) as server:
        env = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"} | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "BENCH_PORT": str(server.getsockname()[1]),
        }
        command = [bench.other, "saver.py", "--no-pylint", "run"]
        with open(folder / "log", "w") as log:
            flow = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        server.settimeout(120)
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as lines:

            def save() -> float:
                print(bench.state, file=lines, flush=True)
                return float(lines.readline())

            yield save
        flow.wait()


ROWS: dict[str, Callable[[Bench], Times]] = {
    "unchanged": unchanged,
    "first": first,
    "changed": changed,
    "load": load,
    "linked": linked,
    "small-save": small_save,
    "small-load": small_load,
    "ten": ten,
    "memory": memory,
}
UNITS = {"ten": "sizes of one", "memory": "MiB"}


def show(row: str, times: Times) -> None:
    """Print a row; after the figures stand the ratios to those of memoflow."""
    unit = UNITS.get(row, "ms")
    scale = 1000 if unit == "ms" else 1
    ours = times.get("memoflow")
    for name, values in times.items():
        low, middle = min(values), statistics.median(values)
        line = f"{row:<12} {name:<20} {scale * low:>9.2f} {scale * middle:>9.2f} {unit:<13}"
        if ours and name != "memoflow":
            line += f"{low / min(ours):>7.2f} {middle / statistics.median(ours):>7.2f}"
        print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="checkpoints against cp and metaflow-checkpoint")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--other", help="python of an environment with metaflow-checkpoint")
    parser.add_argument("--scratch", type=Path, help="directory on the disk to measure")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        child(given.child[0], Path(given.child[1]), Path(given.child[2]))
        return
    print(f"python {platform.python_version()}, {os.cpu_count()} cpus, {given.mib} MiB")
    print(f"{'row':<12} {'what':<20} {'min':>9} {'median':>9} {'':<13}{'by min':>7} {'median':>7}")
    for row in given.rows:
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            bench = Bench(Path(scratch), mib=given.mib, rounds=given.rounds, other=given.other)
            show(row, ROWS[row](bench))


if __name__ == "__main__":
    main()
