"""What stores in S3 cost, in requests and beside what else there is, on moto's server.

    python -m benchmarks.s3 tiny many large hits verbs flight faults --other PYTHON

The server is moto's, in a process of its own on 127.0.0.1; a proxy counts requests where they are
counted and is left out where time is. PYTHON is that of an environment of its own with
metaflow-checkpoint, and needed by `tiny` alone.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from memoflow.cli.listing import listed
from memoflow.cli.stats import collect
from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import memo, retention
from memoflow.kinds.candidates import Candidates
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from tests.s3 import Proxy, Server, serving_elsewhere

_CODE = (Part("code", "train()", "1", "train.py:4"),)
_SCOPE = memo.code_key("Sweep", "fit", Fingerprint.of(_CODE))
SERIES = Key.of("checkpoint", "Flow", "step", "scope", "task")
_FLOW = """
import os, sys, time
from metaflow import FlowSpec, checkpoint, current, step

class Saves(FlowSpec):
    @checkpoint
    @step
    def start(self):
        os.makedirs("two", exist_ok=True)
        for count in range(int(os.environ["SAVES"])):
            for name in ("a", "b"):
                with open(f"two/{name}", "w") as file:
                    file.write(f"{count} {name}" * 300)
            began = time.perf_counter()
            current.checkpoint.save("two")
            print("TOOK", time.perf_counter() - began)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Saves()
"""

_CLIENT = """
import os, sys, time
from metaflow import S3
for name in ("a", "b", "c"):
    with open(name, "w") as file:
        file.write(name * 2000)
for count in range(int(os.environ["SAVES"])):
    began = time.perf_counter()
    with S3(s3root=f"{sys.argv[1]}/{count}") as s3:
        s3.put_files([(name, name) for name in ("a", "b", "c")])
    print("- TOOK", time.perf_counter() - began)
"""


class Bench:
    def __init__(self, server: Server, folder: Path, rounds: int, other: str | None) -> None:
        self.server = server
        self.folder = folder
        self.rounds = rounds
        self.other = other
        self._machines = 0

    def machine(self, bucket: str, url: str = "") -> Store:
        """Return the store of a bucket as a machine sees it that knows nothing yet."""
        self._machines += 1
        cache = self.folder / f"machine-{self._machines}"
        return open_store(self.server.backend(bucket, url=url), cache_dir=cache)

    def tiny(self) -> None:
        proxy = Proxy(self.server.url)
        with proxy.running() as url:
            store = self.machine(self.server.bucket(), url)
            for number in range(3):
                tree = self._tree(f"tiny-{number}", 2, 2000)
                proxy.requests.clear()
                store.append(SERIES, Payload(tree=tree), token="ab")
                say(f"two tiny files, save {number + 1}: {counted(proxy)}")
        if self.other is None:
            return
        (self.folder / "flow.py").write_text(_FLOW)
        (self.folder / "client.py").write_text(_CLIENT)
        flow = ["flow.py", "--no-pylint", "run"]
        root = f"s3://{self.server.bucket()}/plain"
        took = {
            "memoflow": self._timed([sys.executable, *flow]),
            "metaflow-checkpoint": self._timed([self.other, *flow]),
            "Metaflow's S3 client, three files": self._timed([sys.executable, "client.py", root]),
        }
        took["boto3, three PUTs"] = self._plain_puts()
        for name, times in took.items():
            say(f"two tiny files, {name}: {spread(times)}")
        compare("metaflow-checkpoint / memoflow", took["metaflow-checkpoint"], took["memoflow"])

    def _timed(self, command: list[str]) -> list[float]:
        """Run something that prints what each of its saves took."""
        env = os.environ | self.server.environment(self.server.bucket())
        env |= {
            "METAFLOW_USER": "bench",
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(self.folder / "cache"),
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.folder),
            "SAVES": str(self.rounds),
        }
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        lines = [line for line in done.stdout.splitlines() if " TOOK " in line]
        times = [float(line.rpartition(" ")[2]) for line in lines]
        assert len(times) == self.rounds, done.stdout + done.stderr
        return times

    def _plain_puts(self) -> list[float]:
        client, bucket = self.server.client(), self.server.bucket()
        times = []
        for count in range(self.rounds):
            began = time.perf_counter()
            for name in "abc":
                client.put_object(Bucket=bucket, Key=f"{count}/{name}", Body=b"x" * 2000)
            times.append(time.perf_counter() - began)
        return times

    def many(self) -> None:
        proxy = Proxy(self.server.url)
        tree = self._tree("many", 10_000, 1500)
        with proxy.running() as url:
            store = self.machine(self.server.bucket(), url)
            proxy.requests.clear()
            store.append(SERIES, Payload(tree=tree), token="ab")
            say(f"10,000 small files, first save: {counted(proxy)}")
            proxy.requests.clear()
            store.append(SERIES, Payload(tree=tree), token="ab")
            say(f"10,000 small files, unchanged: {counted(proxy)}")

    def large(self, size_bytes: int = 1 << 30) -> None:
        proxy = Proxy(self.server.url)
        file = self.folder / "large"
        write_random(file, size_bytes)
        client = self.server.client()
        ours, theirs = [], []
        for count in range(self.rounds):
            bucket = self.server.bucket()
            store = self.machine(bucket)
            acts: list[tuple[list[float], Callable[[], object]]] = [
                (ours, lambda store=store: store.append(SERIES, Payload(tree=file), token="ab")),
                (theirs, lambda bucket=bucket: client.upload_file(str(file), bucket, "plain")),
            ]
            random.shuffle(acts)
            for times, act in acts:
                began = time.perf_counter()
                act()
                times.append(time.perf_counter() - began)
            if count < self.rounds - 1:
                self._empty(bucket)
        say(f"{size_bytes >> 20} MiB, save: {spread(ours)}; upload_file: {spread(theirs)}")
        compare("upload_file / save", theirs, ours)
        with proxy.running() as url:
            for who in ("a machine that knows nothing", "the same machine"):
                if who.startswith("a machine"):
                    store = self.machine(bucket, url)
                proxy.requests.clear()
                proxy.sent_bytes = 0
                began = time.perf_counter()
                store.append(SERIES, Payload(tree=file), token="ab")
                took = time.perf_counter() - began
                say(f"unchanged, {who}: {counted(proxy)}, {proxy.sent_bytes} B sent, {took:.2f} s")

    def _empty(self, bucket: str) -> None:
        client = self.server.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=item["Key"])

    def hits(self, count: int = 1000) -> None:
        proxy = Proxy(self.server.url)
        bucket = self.server.bucket()
        self._record(bucket, count)
        with proxy.running() as url:
            store = self.machine(bucket, url)
            proxy.requests.clear()
            began = time.perf_counter()
            store.remembered.prefetch(_SCOPE)
            names = [list(Candidates(store, _SCOPE).read_sets()) for _ in range(count)]
            found = [Candidates(store, _SCOPE).find(_inputs(n)) for n in range(count)]
            took = time.perf_counter() - began
            assert all(names)
            assert all(found)
            say(f"{count} hits, cold index: {counted(proxy)}; {took * 1000 / count:.2f} ms a hit")

    def verbs(self, count: int = 2000) -> None:
        proxy = Proxy(self.server.url)
        bucket = self.server.bucket()
        self._record(bucket, count)
        verbs: dict[str, Callable[[Store], object]] = {
            "ls": listed,
            "stats": collect,
            "forget --dry-run": retention.protected,
            "gc --dry-run": lambda store: retention.tidy(store, dry_run=True),
            "reindex": lambda store: store.reindex(),
        }
        with proxy.running() as url:
            for name, verb in verbs.items():
                store = self.machine(bucket, url)
                for known in ("cold", "warm"):
                    proxy.requests.clear()
                    began = time.perf_counter()
                    verb(store)
                    took = time.perf_counter() - began
                    say(f"{name} over {count} results, {known}: {counted(proxy)}; {took:.2f} s")

    def _record(self, bucket: str, count: int) -> None:
        """Leave so many results of a step, and the bundles that the end of a run leaves."""
        first = self.machine(bucket)

        def record(n: int) -> None:
            next_step = {"_foreach_var": None}
            result = memo.Result(f"Sweep/1/fit/{n}", 1.5, {}, next_step, _inputs(n))
            memo.record(first, _SCOPE, _CODE, result)

        record(0)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(record, range(1, count)))
        first.remembered.prefetch(_SCOPE)

    def flight(self, processes: int = 16) -> None:
        fork = multiprocessing.get_context("fork")
        counts = []
        for number in range(20):
            bucket = self.server.bucket()
            key = Key.of("memo", "Flow", "step", f"{number}")
            self.machine(bucket)  # So that the store is there.
            runs = fork.Queue()
            homes = [self.folder / f"home-{number}-{n}" for n in (0, 1)]
            children = [
                fork.Process(target=_run_once, args=(self.server, bucket, homes[n % 2], key, runs))
                for n in range(processes)
            ]
            for child in children:
                child.start()
            for child in children:
                child.join(120)
            assert all(child.exitcode == 0 for child in children)
            counts.append(sum(runs.get() for _ in children))
        say(
            f"one key, {processes} processes on two machines: "
            f"{sum(count == 1 for count in counts)} of {len(counts)} rounds with 1 execution "
            f"(executions: {counts})"
        )

    def faults(self) -> None:
        for share in (0.05, 0.2):
            good = wrong = failed = 0
            proxy = Proxy(self.server.url, share=share, seed=7)
            with proxy.running() as url:
                bucket = self.server.bucket()
                store = self.machine(bucket, url)
                for number in range(40):
                    tree = self._tree(f"faulty-{share}-{number}", 5, 300_000, seed=number)
                    try:
                        ref = store.append(SERIES, Payload(tree=tree), token="ab")
                        other = self.machine(bucket, url)
                        loaded = other.load(ref, self.folder / f"loaded-{share}-{number}")
                    except Exception as error:
                        failed += 1
                        say(f"failed: {type(error).__name__}: {error}")
                        continue
                    equal = all(
                        (loaded / tree.name / each.name).read_bytes() == each.read_bytes()
                        if (loaded / tree.name).is_dir()
                        else (loaded / each.name).read_bytes() == each.read_bytes()
                        for each in tree.iterdir()
                    )
                    good, wrong = good + equal, wrong + (not equal)
            say(
                f"faults at {share:.0%}: {good} of 40 saved and loaded on another machine, "
                f"{wrong} wrong, {failed} failed; broken: {dict(sorted(proxy.broken.items()))}"
            )

    def _tree(self, name: str, files: int, size_bytes: int, seed: int | None = None) -> Path:
        tree = self.folder / name
        tree.mkdir()
        made = random.Random(name if seed is None else seed)
        for number in range(files):
            (tree / f"{number}").write_bytes(made.randbytes(size_bytes))
        return tree


def _inputs(n: int) -> tuple[Part, ...]:
    return (Part("input", "input", f"d{n}", summary=str(n)),)


def _run_once(server: Server, bucket: str, home: Path, key: Key, runs: object) -> None:
    """Do what a step with @memoize does: hold the lease, look again, run if nothing is there."""
    store = open_store(server.backend(bucket), cache_dir=home)
    executions = 0
    with store.lease(key, who=f"Flow/1/step/{os.getpid()}", is_done=lambda: store.latest(key)):
        if store.latest(key) is None:
            executions = 1
            time.sleep(0.2)
            store.append(key, Payload(files={"result": b"x"}))
    runs.put(executions)  # type: ignore[attr-defined]


def write_random(path: Path, size_bytes: int) -> None:
    with open(path, "wb") as file:
        for _ in range(size_bytes >> 20):
            file.write(os.urandom(1 << 20))


def counted(proxy: Proxy) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.requests.items()))
    return f"{sum(proxy.requests.values())} requests ({kinds})"


def spread(times: list[float]) -> str:
    return f"min {min(times):.3f} s, median {statistics.median(times):.3f} s"


def compare(what: str, over: list[float], under: list[float]) -> None:
    medians = statistics.median(over) / statistics.median(under)
    say(f"{what}: {min(over) / min(under):.2f} by minima, {medians:.2f} by medians")


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    rows = ["tiny", "many", "large", "hits", "verbs", "flight", "faults"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=rows, default=rows)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--other", help="the Python of an environment with metaflow-checkpoint")
    given = parser.parse_args()
    with serving_elsewhere() as server, tempfile.TemporaryDirectory() as folder:
        bench = Bench(server, Path(folder), given.rounds, given.other)
        for row in given.rows:
            getattr(bench, row)()


if __name__ == "__main__":
    main()
