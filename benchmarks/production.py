"""Hits where a datastore in S3 and the metadata service are far away, beside `resume`.

    python -m benchmarks.production requests
    python -m benchmarks.production requests whole join --s3-ms 5 25 100 --splits 1000
    python -m benchmarks.production slow

S3 is moto's server behind a proxy that holds each request for `--s3-ms`, the metadata service the
stand-in of the tests, which waits `--service-ms`. Workers go through other ports than the scheduler
and the processes that it starts, so the requests of both are counted apart.

`requests`: a task more, as a hit, a clone of `resume` and a real task (`--memo off`): requests of
the scheduler by what they are for, and milliseconds end to end. Each figure is the difference
between a run of many splits and one of few. What a real task costs the scheduler is Metaflow's own.
`whole`: a warm run of all splits and `resume` of it by turns. `join`: the time between the last
parent's end and the end of a join that hits. `slow`: a service that takes a second a request, a
warm run and `--memo off` by turns.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks import width
from memoflow.backends import BlobLocation
from memoflow.store import open_store
from tests import service
from tests.s3 import Proxy, Server, serving_elsewhere

FEW = width.RESULTS  # splits of the run that comes first
PLAIN = 2, 6  # splits of the two runs with --memo off
SLOW_SPLITS = 24
# Workers go elsewhere, so that their requests are not counted as the scheduler's.
_ELSEWHERE = """
import os, sys
if "step" in sys.orig_argv:
    for name in ("METAFLOW_S3_ENDPOINT_URL", "METAFLOW_SERVICE_URL"):
        os.environ[name] = os.environ["BENCH_WORKER_" + name]
"""
# What a request at S3 is for, by a part of its path.
_PURPOSES = {
    r"/memoflow/": "store",
    r"/mf\.cards/": "cards",
    r"/data/": "artifacts",
    r"\d\.attempt\.json": "attempt.json",
    r"\d\.data\.json": "data.json",
    r"\d\.DONE\.lock": "DONE.lock",
    r"\d\.(runtime|task)": "logs",
}


@dataclass
class Measured:
    """One run: its wall time, its output, and the requests of its scheduler."""

    wall_s: float
    said: str
    s3: Counter[str]
    service: Counter[str]

    @property
    def join_s(self) -> float:
        """The time from the end of the last split to that of the join."""
        ends = re.findall(r"(\S+ \S+) \[\d+/(\w+)/\d+ .*\] Task finished successfully", self.said)
        times = {step: datetime.fromisoformat(text) for text, step in ends}  # the last of each
        return (times["join"] - times["work"]).total_seconds()


class World:
    """A bucket and a service far away, and a machine with a flow."""

    def __init__(
        self, server: Server, far: service.Service, proxies: list[Proxy], urls: list[str]
    ) -> None:
        self.server = server
        self.far = far
        self.s3 = proxies[0]
        self.to_workers = proxies[1:]
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.bucket = server.bucket()
        (self.folder / "flow.py").write_text(width.FOREACH)
        (self.folder / "spy").mkdir()
        (self.folder / "spy" / "sitecustomize.py").write_text(_ELSEWHERE)
        self.env = (
            os.environ
            | server.environment(self.bucket)
            | far.environment()
            | {
                "METAFLOW_S3_ENDPOINT_URL": urls[0],
                "BENCH_WORKER_METAFLOW_S3_ENDPOINT_URL": urls[1],
                "BENCH_WORKER_METAFLOW_SERVICE_URL": urls[2],
                "METAFLOW_USER": "bench",
                "METAFLOW_HOME": str(self.folder / "home"),
                "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(self.folder),
                "METAFLOW_MEMOFLOW_CACHE_DIR": str(self.folder / "cache"),
                "PYTHONPATH": str(self.folder / "spy"),
            }
        )
        with self.near():
            self.run("run", f"--splits={width.RESULTS}")

    @contextmanager
    def near(self) -> Iterator[None]:
        """Take the latency away, for what is not measured."""
        everybody = [self.far, self.s3, *self.to_workers]
        before = [each.delay_s for each in everybody]
        for each in everybody:
            each.delay_s = 0.0
        yield
        for each, delay_s in zip(everybody, before, strict=True):
            each.delay_s = delay_s

    def fill(self, splits: int) -> None:
        """Record a result for each split, without latency, and let a run compute the join's."""
        backend = self.server.backend(self.bucket, "metaflow/memoflow")
        store = open_store(backend, cache_dir=self.folder / "fill-cache")
        data = self.server.backend(self.bucket, "metaflow/Wide/data")
        width.record_more(
            store, "foreach", splits, lambda sha1: BlobLocation(data, f"{sha1[:2]}/{sha1}")
        )
        store.close()
        with self.near():
            self.hits(splits, is_first=True)

    def run(self, *command: str) -> Measured:
        self.s3.log.clear()
        self.far.requests.clear()
        for proxy in self.to_workers:
            proxy.requests.clear()
            proxy.log.clear()
        began = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "flow.py", "--no-pylint"),
                *(*command, "--max-num-splits=100000", "--max-workers=16"),
            ],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=3600,
        )
        wall_s = time.perf_counter() - began
        if done.returncode:
            sys.exit(done.stdout[-5000:])
        print(f"{' '.join(command)}: {wall_s:.1f} s", file=sys.stderr, flush=True)
        asked = Counter({name: n for name, n in self.far.requests.items() if "heart" not in name})
        for line in self.to_workers[1].log:  # They have come to the service as well.
            method, path = line.replace("LIST", "GET").split(" ", 1)
            if "heart" not in path:
                asked[f"{method} {service.shape_of(path)}"] -= 1
        return Measured(wall_s, done.stdout, Counter(map(_purpose, self.s3.log)), +asked)

    def hits(self, splits: int, *, is_first: bool = False) -> Measured:
        ran = self.run("run", f"--splits={splits}")
        found = re.search(r"\[memoize\] (\d+) hits?, (\d+) miss", ran.said)
        if not found or int(found[1]) != splits + 1 - is_first:
            sys.exit(f"{found and found[0]}, but {splits} splits should hit\n{ran.said[-3000:]}")
        return ran

    def plain(self, splits: int) -> Measured:
        return self.run("run", f"--splits={splits}", "--memo=off")

    def resume(self) -> Measured:
        """Resume the latest run, at its end."""
        return self.run("resume", "end")

    def close(self) -> None:
        self._folder.cleanup()


def _purpose(line: str) -> str:
    """Return the kind of a request, and what it is for."""
    kind, path = line.split(" ", 1)
    found = (name for part, name in _PURPOSES.items() if re.search(part, path))
    return f"{kind} {next(found, 'other')}"


@contextmanager
def world(s3_ms: float, service_ms: float) -> Iterator[World]:
    with (
        serving_elsewhere() as server,
        service.serving(delay_s=service_ms / 1000) as far,
    ):
        proxies = [
            Proxy(server.url, delay_s=s3_ms / 1000),
            Proxy(server.url, delay_s=s3_ms / 1000),
            Proxy(far.url),
        ]
        with (
            proxies[0].running() as one,
            proxies[1].running() as two,
            proxies[2].running() as three,
        ):
            made = World(server, far, proxies, [one, two, three])
            try:
                yield made
            finally:
                made.close()


def requests(at: World, splits: int, rounds: int) -> None:
    at.fill(splits)
    pairs: dict[str, list[tuple[Measured, Measured, int]]] = {}
    for _ in range(rounds):
        runs = []
        for count in (FEW, splits):
            runs.append((at.hits(count), at.resume()))
        (few_hits, few_clones), (many_hits, many_clones) = runs
        pairs.setdefault("hit", []).append((few_hits, many_hits, splits - FEW))
        pairs.setdefault("clone", []).append((few_clones, many_clones, splits - FEW))
        few, many = map(at.plain, PLAIN)
        pairs.setdefault("real task", []).append((few, many, PLAIN[1] - PLAIN[0]))
    totals = {}
    for name, each in pairs.items():
        few, many, more = each[0]
        s3, asked = _more(few.s3, many.s3, more), _more(few.service, many.service, more)
        totals[name] = sum(s3.values()), sum(asked.values())
        times = [1000 * (many.wall_s - few.wall_s) / more for few, many, more in each]
        print(f"a {name} more: {_spread(times, 'ms')} end to end; of its scheduler:")
        print(f"  {totals[name][0]:5.1f} requests at S3: {_told(s3)}")
        print(f"  {totals[name][1]:5.1f} at the service: {_told(asked)}")
    ours = [one - other for one, other in zip(totals["hit"], totals["real task"], strict=True)]
    print(f"a hit less a real task: {ours[0]:.1f} at S3, {ours[1]:.1f} at the service")


def _more(few: Counter[str], many: Counter[str], more: int) -> dict[str, float]:
    rates = {name: (many[name] - few[name]) / more for name in many.keys() | few.keys()}
    return {name: rate for name, rate in sorted(rates.items()) if abs(rate) >= 0.05}


def _told(rates: dict[str, float]) -> str:
    return ", ".join(f"{rate:.1f} {name}" for name, rate in rates.items())


def whole(at: World, splits: int, rounds: int) -> None:
    at.fill(splits)
    pairs = []
    for _ in range(rounds):
        pairs.append((at.hits(splits).wall_s, at.resume().wall_s))
    ours, theirs = zip(*pairs, strict=True)
    print(f"{splits} splits, warm run: {_spread(ours, 's')}; resume of it: {_spread(theirs, 's')}")
    print(
        f"warm run / resume: {statistics.median(ours) / statistics.median(theirs):.2f} by medians, "
        f"{min(ours) / min(theirs):.2f} by minima"
    )


def join(at: World, splits: int, rounds: int) -> None:
    at.fill(splits)
    times = [at.hits(splits).join_s for _ in range(rounds)]
    print(f"join of {splits} hits, after the last parent: {_spread(times, 's')}")


def slow(at: World, rounds: int) -> None:
    at.fill(SLOW_SPLITS)
    at.far.delay_s = 1.0
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(at.hits(SLOW_SPLITS).wall_s)
        theirs.append(at.plain(SLOW_SPLITS).wall_s)
    print(f"service at 1 s, {SLOW_SPLITS} splits: warm run {_spread(ours, 's')}; ", end="")
    print(f"--memo off {_spread(theirs, 's')}")
    print(f"--memo off / warm run: {statistics.median(theirs) / statistics.median(ours):.2f}")


def _spread(values, unit: str) -> str:
    median, least = statistics.median(values), min(values)
    return f"median {median:.1f} {unit}, minimum {least:.1f} of {len(values)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", choices=["requests", "whole", "join", "slow"])
    parser.add_argument("--splits", type=int, default=1000, help="of `whole`")
    parser.add_argument("--more-splits", type=int, default=43, help="of `requests`")
    parser.add_argument("--joined", type=int, default=300, help="splits of `join`")
    parser.add_argument("--s3-ms", type=float, nargs="+", default=[25.0])
    parser.add_argument("--service-ms", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for s3_ms in given.s3_ms:
        print(f"\nS3 at {s3_ms:g} ms, service at {given.service_ms:g} ms a request")
        with world(s3_ms, given.service_ms) as at:
            for row in given.rows:
                if row == "requests":
                    requests(at, given.more_splits, given.rounds)
                elif row == "whole":
                    whole(at, given.splits, given.rounds)
                elif row == "join":
                    join(at, given.joined, given.rounds)
                else:
                    slow(at, given.rounds)
                sys.stdout.flush()
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
