"""Run a flow, and write what its scheduler's process used.

    python usage.py LOG flow.py run ...

writes JSON to LOG: wall time, the processor's time and the most memory of this process alone, and
the processor's time of Metaflow's bookkeeping for finished tasks (NativeRuntime._queue_tasks).
"""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Usage:
    """What the scheduler of one run used."""

    wall_s: float
    cpu_s: float
    queue_s: float
    peak_mb: float


class Watch:
    """Times Metaflow's bookkeeping; patches its runtime on import, after the flow was started."""

    MODULE = "metaflow.runtime"

    def __init__(self) -> None:
        self.queue_s = 0.0

    def find_spec(self, module, path=None, target=None):
        if module != self.MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(module)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda found: (load(found), self.patch(found.NativeRuntime))
        return spec

    def patch(self, runtime) -> None:
        inner = runtime._queue_tasks

        def timed(*arguments):
            began = time.thread_time()
            inner(*arguments)
            self.queue_s += time.thread_time() - began

        runtime._queue_tasks = timed


def watch(log: str, *arguments: str) -> None:
    """Run a flow in this process, and write what it used to a file."""
    watched = Watch()
    sys.meta_path.insert(0, watched)
    sys.argv = list(arguments)
    began = time.perf_counter()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        used = Usage(
            wall_s=time.perf_counter() - began,
            cpu_s=time.process_time(),
            queue_s=watched.queue_s,
            peak_mb=_peak_mb(),
        )
        Path(log).write_text(json.dumps(vars(used)))


def _peak_mb() -> float:
    """Return the most memory that this process ever had, without that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


if __name__ == "__main__":
    watch(*sys.argv[1:])
