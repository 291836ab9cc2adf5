"""What `memo why` asks of S3, on moto's server behind a proxy that counts and delays.

    python -m benchmarks.why --splits 6 20 --delay-ms 25

For each width a flow runs once, with its data and store in a bucket; then `python flow.py memo why`
is asked about the step after each split and about their join, first on a machine that has seen no
result, then on the same one again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from tests.s3 import Proxy, Server, serving_elsewhere

FLOW = """
from metaflow import FlowSpec, memoize, step

class Wide(FlowSpec):
    @step
    def start(self):
        self.items = list(range({splits}))
        self.next(self.fit, foreach="items")

    @step
    def fit(self):
        self.fitted = self.input + 1
        self.next(self.score)

    @memoize
    @step
    def score(self):
        self.scored = self.fitted * 2
        self.next(self.join)

    @memoize
    @step
    def join(self, inputs):
        self.total = sum(each.scored for each in inputs)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Wide()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, nargs="+", default=[6])
    parser.add_argument("--delay-ms", type=float, default=0.0)
    asked = parser.parse_args()
    with serving_elsewhere() as server, tempfile.TemporaryDirectory() as folder:
        for splits in asked.splits:
            measure(server, Path(folder, str(splits)), splits, asked.delay_ms / 1000)


def measure(server: Server, folder: Path, splits: int, delay_s: float) -> None:
    folder.mkdir()
    folder.joinpath("flow.py").write_text(FLOW.format(splits=splits))
    env = os.environ | server.environment(server.bucket())
    env |= {
        "METAFLOW_USER": "someone",
        "METAFLOW_HOME": str(folder / "home"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
    }
    run(folder, env, "run", "--max-workers", "4")
    for step in ("score", "join"):
        for machine in ("another machine", "again"):
            proxy = Proxy(server.url, delay_s=delay_s)
            with proxy.running() as url:
                env |= {
                    "METAFLOW_S3_ENDPOINT_URL": url,
                    "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / f"cache-{step}"),
                }
                began = time.perf_counter()
                told = run(folder, env, "memo", "why", step)
                took_s = time.perf_counter() - began
            print(
                f"{splits} splits, why {step}, {machine}: {proxy.requests.total()} requests, "
                f"{took_s:.1f} s; {told.splitlines()[-1]}"
            )
            for (kind, what), number in sorted(kinds(proxy.log).items()):
                print(f"  {number:5} {kind:4} {what}", flush=True)


def kinds(log: list[str]) -> Counter[tuple[str, str]]:
    """Return the numbers of requests by kind and by the part of the bucket that they are about."""
    found: Counter[tuple[str, str]] = Counter()
    for line in log:
        kind, path = line.split(" ", 1)
        path = unquote(path)
        if "/Wide/data/" in path:
            what = "artifacts"
        elif "/memoflow/" in path:
            what = "the store"
        else:
            what = "files of tasks"
        found[kind, what] += 1
    return found


def run(folder: Path, env: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "flow.py", "--no-pylint", *words],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    return done.stdout


if __name__ == "__main__":
    main()
