"""What a run of 20 splits is delayed by a server that accepts and never answers.

    python -m benchmarks.silence

Twice the run with `@memoize`: of a server that is silent from the beginning, and of one that falls
silent when half of the splits are done. Each beside the same run without `@memoize`.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.s3 import CREDENTIALS, Proxy, serving_elsewhere, silence

_SPLITS = 20
_FLOW = f"""
from metaflow import FlowSpec, memoize, step

class Splits(FlowSpec):
    @step
    def start(self):
        self.items = list(range({_SPLITS}))
        self.next(self.fit, foreach="items")

    @memoize
    @step
    def fit(self):
        open(f"done-{{self.input}}", "w").close()
        self.square = self.input ** 2
        self.next(self.join)

    @memoize
    @step
    def join(self, inputs):
        self.total = sum(each.square for each in inputs)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Splits()
"""


def _run(folder: Path, flow: str, url: str = "", bucket: str = "bucket") -> tuple[float, list[str]]:
    """Return how long a run took, and what it said of the store."""
    folder.mkdir()
    (folder / "flow.py").write_text(flow)
    settings = {
        **CREDENTIALS,
        "METAFLOW_USER": "somebody",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
        "METAFLOW_MEMOFLOW_ROOT": f"s3://{bucket}/store",
        "METAFLOW_S3_ENDPOINT_URL": url,
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "flow.py", "--no-pylint", "run", "--max-workers=4"],
        cwd=folder,
        env=os.environ | settings,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
        check=False,
    )
    took_s = time.monotonic() - began
    assert done.returncode == 0, done.stdout
    said = [line.partition("[memoize] ")[2] for line in done.stdout.splitlines()]
    return took_s, [line for line in said if "off: " in line or "failed" in line]


def _hush(proxy: Proxy, folder: Path, ended: threading.Event) -> None:
    """Make the server fall silent when half of the splits are done."""
    while not ended.wait(0.05):
        if len(list(folder.glob("done-*"))) >= _SPLITS // 2:
            proxy.is_silent.set()
            return


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="memoflow-") as scratch:
        folder = Path(scratch)
        without_s, _ = _run(folder / "without", _FLOW.replace("    @memoize\n", ""))
        print(f"without @memoize: {without_s:.1f} s")
        with silence() as url:
            took_s, said = _run(folder / "silent", _FLOW, url)
        print(f"silent from the beginning: {took_s:.1f} s, {took_s - without_s:+.1f} s")
        print(*said, sep="\n")
        with serving_elsewhere() as server:
            proxy, ended = Proxy(server.url), threading.Event()
            with proxy.running() as url:
                well_s, _ = _run(folder / "well", _FLOW, url, server.bucket())
                print(f"with a server that answers: {well_s:.1f} s, {well_s - without_s:+.1f} s")
                watcher = threading.Thread(target=_hush, args=(proxy, folder / "falls", ended))
                watcher.start()
                took_s, said = _run(folder / "falls", _FLOW, url, server.bucket())
                ended.set()
        print(f"silent from the middle on: {took_s:.1f} s, {took_s - well_s:+.1f} s over that")
        print(*said, sep="\n")


if __name__ == "__main__":
    main()
    os._exit(0)  # The proxy still holds what it never answers.
