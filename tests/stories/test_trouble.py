"""Trouble is a miss and one line, never a failed step and never a wrong answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Root reads and writes where it likes, unless it gives that up.
pytestmark = pytest.mark.stress  # a flow for nearly each test: minutes in all


AS_OWNER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] * (os.geteuid() == 0)

FLOW = """
    import os
    from metaflow import FlowSpec, catch, memoize, retry, step

    class F(FlowSpec):
        @step
        def start(self):
            self.x = 20
            self.next(self.work)

        @memoize
        @step
        def work(self):
            self.value = [self.x] * 50
            self.next(self.end)

        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        F()
"""


@pytest.fixture
def flow(project):
    project.write("flow.py", FLOW)
    return project


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_failed_task_is_not_recorded(flow):
    fail = 'if os.environ.get("FAIL"): raise ValueError("no")'
    flow.edit("flow.py", "self.value = ", f"{fail}\n        self.value = ")
    assert flow.run(FAIL="1", ok=False).code != 0
    assert flow.run().workers.count("work") == 1
    assert flow.run().workers.count("work") == 0


def test_a_caught_task_is_not_recorded(flow):
    flow.edit(
        "flow.py",
        "@memoize",
        "@catch(var='error')\n        @memoize".replace("        ", "    ", 1),
    )
    fail = 'if os.environ.get("FAIL"): raise ValueError("no")'
    flow.edit(
        "flow.py",
        "self.value = ",
        f"self.value = []\n            {fail}\n            self.value = ".replace(
            "            ", "        "
        ),
    )
    flow.run(FAIL="1")
    second = flow.run()
    assert second.workers.count("work") >= 1
    assert "sum 1000" in second.text
    third = flow.run()
    assert third.workers.count("work") == 0
    assert flow.ask("t = Flow('F').latest_run['work'].task; answer = t.data.error") is None


def test_a_killed_task_is_not_recorded(flow):
    die = 'if os.environ.get("FAIL"): os.kill(os.getpid(), 9)'
    flow.edit("flow.py", "self.value = ", f"{die}\n        self.value = ")
    assert flow.run(FAIL="1", ok=False).code != 0
    assert flow.run().workers.count("work") == 1


def test_a_retry_that_succeeds_is_recorded(flow):
    flow.edit("flow.py", "@memoize", "@retry(times=1, minutes_between_retries=0)\n    @memoize")
    flow.edit(
        "flow.py",
        "self.value = ",
        "if not os.path.exists('tried'):\n            open('tried', 'w').close()\n"
        "            raise ValueError('once')\n        self.value = ",
    )
    assert flow.run().workers.count("work") == 2
    assert flow.run().workers.count("work") == 0


def test_a_store_that_cannot_be_written_fails_no_step(flow):
    flow.run()
    folders = [flow.store, *(path for path in flow.store.rglob("*") if path.is_dir())]
    flow.edit("flow.py", "self.x = 20", "self.x = 30")
    command = [*AS_OWNER, sys.executable, "flow.py", "--no-pylint", "run"]
    for folder in folders:
        folder.chmod(0o500)
    try:
        done = subprocess.run(
            command, cwd=flow.folder, env=flow.env, capture_output=True, text=True, timeout=300
        )
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert "sum 1500" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert done.stdout.count("[memoize] recording failed") == 1


def test_a_store_that_cannot_be_read_turns_memoization_off(flow):
    flow.run()
    flow.store.chmod(0o000)
    try:
        done = subprocess.run(
            [*AS_OWNER, sys.executable, "flow.py", "--no-pylint", "run"],
            cwd=flow.folder,
            env=flow.env,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        flow.store.chmod(0o700)
    assert "sum 1000" in done.stdout, done.stdout + done.stderr
    assert "[memoize] off: " in done.stdout
    assert "ermission" in done.stdout
    assert flow.run().workers.count("work") == 0


def test_a_store_that_is_a_file_turns_memoization_off_with_one_line(flow):
    flow.folder.joinpath(".metaflow").mkdir()
    flow.store.write_text("not a directory")
    ran = flow.run()
    assert "sum 1000" in ran.text
    assert sum("off: " in line for line in ran.memo_lines) >= 1


def test_a_store_of_a_newer_format_is_left_alone(flow):
    flow.run()
    path = flow.store / "format.json"
    before = files(flow.store)
    path.chmod(0o600)
    path.write_text(
        path.read_text().replace('"format": 1', '"format": 99').replace('"format":1', '"format":99')
    )
    assert "99" in path.read_text()
    ran = flow.run()
    assert "sum 1000" in ran.text
    assert ran.workers.count("work") == 1
    assert any("newer" in line for line in ran.memo_lines)
    assert files(flow.store) == before


@pytest.mark.parametrize("where", ["blobs", "refs"])
def test_a_flipped_bit_is_noticed_and_healed(flow, where):
    flow.run()
    for path in files(flow.store / where):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(bytes(data))
    second = flow.run()
    assert second.workers.count("work") == (where == "refs")  # A blob is mended from the run's.
    assert "whole again" in second.text or where == "refs"
    assert "sum 1000" in second.text
    third = flow.run()
    assert third.workers.count("work") == 0
    assert "whole again" not in third.text
    assert "sum 1000" in third.text


def test_a_flipped_bit_in_the_runs_own_file_is_healed_from_the_store(flow):
    flow.run()
    for path in files(flow.store / "blobs"):
        own = flow.folder / ".metaflow" / "F" / "data" / path.name[:2] / path.name
        data = bytearray(own.read_bytes())
        data[len(data) // 2] ^= 1
        own.write_bytes(bytes(data))
    second = flow.run()
    assert second.workers.count("work") == 0
    assert "sum 1000" in second.text


def test_damage_to_both_copies_runs_the_step_again(flow):
    flow.run()
    for path in files(flow.store / "blobs"):
        own = flow.folder / ".metaflow" / "F" / "data" / path.name[:2] / path.name
        for one in (path, own):
            one.chmod(0o600)
            one.write_bytes(b"garbage")
    second = flow.run()
    assert second.workers.count("work") == 1
    assert "sum 1000" in second.text
    assert flow.run().workers.count("work") == 0


def test_a_missing_blob_is_a_miss(flow):
    flow.run()
    for path in files(flow.store / "blobs"):
        path.unlink()
    for path in files(flow.folder / ".metaflow" / "F" / "data"):
        path.unlink()
    second = flow.run()
    assert second.workers.count("work") == 1
    assert flow.run().workers.count("work") == 0


@pytest.mark.parametrize("content", [None, b"garbage" * 1000])
def test_an_index_that_is_lost_or_damaged_loses_nothing(flow, content):
    flow.run()
    (index,) = (flow.folder / ".cache").rglob("*.sqlite")
    for path in index.parent.glob(index.name + "*"):
        path.unlink()
    if content is not None:
        index.write_bytes(content)
    ran = flow.run()
    assert ran.workers.count("work") == 0
    assert "sum 1000" in ran.text


def test_a_locked_index_loses_nothing(flow):
    import sqlite3

    flow.run()
    (index,) = (flow.folder / ".cache").rglob("*.sqlite")
    lock = sqlite3.connect(index, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        ran = flow.run()
    finally:
        lock.close()
    assert "sum 1000" in ran.text
    assert flow.run().workers.count("work") == 0


def test_a_package_that_is_missing_fails_no_step(flow):
    flow.write("xxhash.py", "raise ImportError('no xxhash here')")
    ran = flow.run()
    assert "sum 1000" in ran.text
    assert any("preparing failed: ImportError: no xxhash" in line for line in ran.memo_lines)


def test_a_value_without_a_fingerprint_runs_and_says_why(flow):
    flow.edit("flow.py", "class F", "import threading\nLOCK = threading.Lock()\n\nclass F")
    flow.edit("flow.py", "self.value = ", "LOCK.locked()\n        self.value = ")
    ran = flow.run()
    assert any("LOCK has no stable fingerprint" in line for line in ran.memo_lines), ran.text
    assert flow.run().workers.count("work") == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("inputs=['xx']", "nothing in F is called xx; did you mean 'x'?"),
        ("outputs=['valeu']", "nothing in F is called valeu; did you mean 'value'?"),
        ("inputs=3", "@memoize(inputs=...) takes a list of names, not 3"),
        ("ttl='soon'", "ttl is a time such as 30d, 12h, 90m or a timedelta, not 'soon'"),
        ("ttl=0", "ttl is a time such as"),
        ("ttl='0d'", "ttl must be longer than no time at all"),
        ("scope='planet'", "scope is one of flow, global, not 'planet'"),
        ("refresh='perhaps'", "@memoize(refresh=...) is True or False, not 'perhaps'"),
        ("next='middle'", "it goes on to end"),
    ],
)
def test_bad_options_stop_a_run_before_it_starts(flow, option, message):
    flow.edit("flow.py", "@memoize", f"@memoize({option})")
    ran = flow.run(ok=False)
    assert ran.code != 0
    assert message in ran.text
    assert ran.workers == []
    assert "Traceback" not in ran.text
