"""Large results: kept without a copy in memory, or not kept for want of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.functions.conftest import Load
from tests.waiting import PATIENCE_S

MIB = 1 << 20


def run(folder: Path, text: str) -> tuple[str, list[str]]:
    """Run a script; return what it prints, and the lines that memoflow says."""
    (folder / "script.py").write_text(textwrap.dedent(text))
    ran = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, [line for line in ran.stderr.splitlines() if "[memoize]" in line]


MEASURED = """
    from memoflow import memoize
    import numpy as np
    PEAKS = []
    def note_peak():
        with open("/proc/self/status") as lines:
            peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        PEAKS.append(peak >> 10)
    @memoize(store="store")
    def tiny():
        return b"x" * (2 << 20), np.ones(1 << 18)
    @memoize(store="store", ignore=["PEAKS"])
    def make():
        value = {value}
        note_peak()
        return value
    tiny()  # All that is imported once.
    make()
    note_peak()
    print(PEAKS[1] - PEAKS[0], make.is_stored())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")
@pytest.mark.parametrize(
    "value",
    [
        "np.ones(300 << 17)",
        "{'a': np.ones(150 << 17), 'b': [np.ones(150 << 17)]}",
        "b'x' * (300 << 20)",
        "[bytearray(np.ones(150 << 17)), b'x' * (150 << 20)]",
    ],
)
def test_a_result_of_300_mb_is_kept_without_a_copy(tmp_path: Path, value: str) -> None:
    said, warned = run(tmp_path, MEASURED.replace("{value}", value))
    more_mib, is_stored = said.split()
    assert (int(more_mib) < 100, is_stored, warned) == (True, "True", [])


def test_a_result_that_too_little_memory_is_left_to_pickle_is_returned(tmp_path: Path) -> None:
    said, warned = run(
        tmp_path,
        """
        import resource
        from memoflow import memoize
        @memoize(store="store")
        def make(count):
            return {"text": "x" * count}
        make(1)
        with open("/proc/self/statm") as pages:
            taken = int(pages.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (500 << 20),) * 2)
        for _ in range(2):
            print(len(make(300 << 20)["text"]) == 300 << 20, make.is_stored(300 << 20))
        """,
    )
    assert said.splitlines() == ["True False"] * 2
    (line,) = warned
    assert "make: not stored: its result cannot be pickled (too little memory is left)" in line


def test_a_result_that_another_thread_changes_is_kept_as_it_was_at_one_time_or_not(
    load: Load,
) -> None:
    module = load("""
        import numpy as np
        shared = []
        @memo(ignore=["shared"])
        def make(n):
            note(n)
            shared.append(np.zeros(n))
            return shared[-1]
    """)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.0001):
            number += 1
            for array in list(module.shared):
                array[:] = number

    thread = threading.Thread(target=write)
    thread.start()
    try:
        sizes = [MIB + number for number in range(5)]
        for size in sizes:
            module.make(size)
            module.shared.clear()
    finally:
        stop.set()
        thread.join()
    module.ran.clear()
    for size in sizes:
        found = module.make(size)
        hits = size not in module.ran
        assert len(found) == size
        assert not hits or len(np.unique(found)) <= 2
