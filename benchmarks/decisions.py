"""What `memoflow why Flow/run` and `memoflow stats --team` take of Metaflow's metadata service.

    python -m benchmarks.decisions --delay-ms 15 --tasks 1000 10000 --runs 1000

The service is the tests' stand-in on 127.0.0.1, and each request to it waits. Tasks have the
metadata that real ones have; four fifths of them are hits, and the others misses with a diff.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from memoflow.fingerprint import Difference, Fingerprint
from memoflow.kinds import memo
from memoflow.kinds.decision import Decision, Reason
from memoflow.store import Payload, open_store
from tests.service import Service, serving

_DIFF = "\n".join(f"-    before {n}\n+    after {n}" for n in range(12))
_DIFFERENCE = Difference("code", "train()", where="train.py:4", diff=_DIFF)
_OF_ALL = {
    "attempt": "0",
    "ds-type": "s3",
    "ds-root": "s3://bucket/metaflow",
    "attempt_ok": "True",
    "foreach-stack": json.dumps(["items=0.01"]),
    "foreach-execution-path": "start:17",
    "memo-key": f"memo/Train/fit/{'a' * 32}/results/{'b' * 32}/{'c' * 32}/00000001",
}
_HIT = _OF_ALL | {"memo-origin": "Train/1/fit/2", "memo-saved": "90.0"}
_MISS = _OF_ALL | {
    "memo-decision": Decision.miss(Reason.CODE_CHANGED, differences=(_DIFFERENCE,)).text()
}
_COMMAND = """
import resource, sys
from memoflow.cli.main import main
assert not main(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000, "MB at most", file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay-ms", type=float, default=15.0)
    parser.add_argument("--tasks", type=int, nargs="*", default=[1000])
    parser.add_argument("--runs", type=int, default=1000)
    asked = parser.parse_args()
    for tasks in asked.tasks:
        measure(f"a run of {tasks:,} tasks", [tasks], asked.delay_ms, "why")
    measure(f"{asked.runs:,} runs of 30 tasks", [30] * asked.runs, asked.delay_ms, "stats")


def measure(what: str, widths: list[int], delay_ms: float, verb: str) -> None:
    with serving() as service, tempfile.TemporaryDirectory() as folder:
        runs = [leave(service, width) for width in widths]
        answer = requests.get(f"{service.url}/flows/Train/runs/{runs[0]}/metadata", timeout=300)
        service.requests.clear()
        service.delay_s = delay_ms / 1000
        words = ["why", f"Train/{runs[0]}"] if verb == "why" else ["stats", "--team"]
        print(f"{' '.join(words)}, {what}: {asked_of(service, Path(folder), words)}")
        print(f"  {len(answer.content) / widths[0]:,.0f} B a task in the answer")
        for shape, number in sorted(service.requests.items()):
            print(f"  {number:5} {shape}", flush=True)


def leave(service: Service, width: int) -> Any:
    """Leave a run of so many tasks in the service, and return its number."""

    def post(path: str, body: Any) -> Any:
        status, answer = service.ask("POST", path, body)
        assert status in (200, 409), answer
        return answer

    about = {"user_name": "ann", "tags": [], "system_tags": ["user:ann"]}
    post("/flows/Train", about)
    run = post("/flows/Train/run", about)["run_number"]
    for step, tasks in (("fit", width), ("end", 1)):
        of_step = f"/flows/Train/runs/{run}/steps/{step}"
        post(f"{of_step}/step", about)
        for number in range(tasks):
            task = post(f"{of_step}/task", about)["task_id"]
            fields = _OF_ALL if step == "end" else _HIT if number % 5 else _MISS
            rows = [
                {"field_name": name, "value": value, "type": name, **about}
                for name, value in fields.items()
            ]
            post(f"{of_step}/tasks/{task}/metadata", rows)
    return run


def asked_of(service: Service, folder: Path, words: list[str]) -> str:
    """Run a verb beside a store that knows the flow; return its time, memory and first line."""
    store = open_store(folder / "store", cache_dir=folder / "cache")
    store.save(memo.code_key("Train", "fit", Fingerprint.of(())) / "code", Payload())
    store.close()
    env = os.environ | service.environment()
    env |= {"METAFLOW_USER": "ann", "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", _COMMAND, "--root", str(folder / "store"), *words]
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(done.stderr)
    took_s = time.perf_counter() - began
    return f"{took_s:.1f} s, {done.stderr.strip()}; {done.stdout.splitlines()[0]}"


if __name__ == "__main__":
    main()
