"""Trouble is a miss and one line, never a failed step and never a wrong answer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.world import copied, once, starts
from tests.waiting import PATIENCE_S

# Root reads and writes where it likes, unless it gives that up.
AS_OWNER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] * (os.geteuid() == 0)

FLOW = """
    from metaflow import FlowSpec, Parameter, memoize, step

    class F(FlowSpec):
        x = Parameter("x", default=20)

        @memoize
        @step
        def start(self):
            self.value = [self.x] * 50
            self.next(self.end)

        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        F()
"""


@once
def ran_once(project):
    project.write("flow.py", FLOW)
    assert project.run().workers == ["start", "end"]
    return str(project.folder)


@pytest.fixture
def flow(ran_once, tmp_path):
    """A project whose flow ran once already."""
    return copied(ran_once, tmp_path)


@pytest.fixture
def new(project):
    """A project whose flow never ran."""
    project.write("flow.py", FLOW)
    return project


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run_as_owner(flow, *arguments):
    command = [*AS_OWNER, sys.executable, "flow.py", "--no-pylint", "run", *arguments]
    return subprocess.run(
        command,
        cwd=flow.folder,
        env=flow.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


FAILS = """
    import os
    from metaflow import FlowSpec, catch, memoize, retry, step

    def fail(how):
        if how in os.environ.get("FAIL", ""):
            raise ValueError("no")

    class Fails(FlowSpec):
        @catch(var="error")
        @memoize
        @step
        def start(self):
            self.value = []
            fail("caught")
            self.value = [20] * 50
            self.next(self.tried)

        @retry(times=1, minutes_between_retries=0)
        @memoize
        @step
        def tried(self):
            if not os.path.exists("tried"):
                open("tried", "w").close()
                raise ValueError("once")
            self.next(self.work)

        @memoize
        @step
        def work(self):
            fail("raise")
            if "kill" in os.environ.get("FAIL", ""):
                os.kill(os.getpid(), 9)
            self.next(self.end)

        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        Fails()
"""


@once
def failures(project):
    project.write("flow.py", FAILS)
    fails = ("caught raise", "kill", "", "")
    runs = [project.run(FAIL=how, ok=False) for how in fails]
    question = "answer = Flow('Fails').latest_run['start'].task.data.error"
    return {"runs": runs, "error": project.ask(question)}


def count(failures, step):
    return [ran["workers"].count(step) for ran in failures["runs"]]


@pytest.mark.stress
def test_a_failed_task_is_not_recorded(failures):
    assert failures["runs"][0]["code"] != 0
    assert count(failures, "work")[:2] == [1, 1]


@pytest.mark.stress
def test_a_killed_task_is_not_recorded(failures):
    assert failures["runs"][1]["code"] != 0
    assert count(failures, "work")[1:] == [1, 1, 0]


@pytest.mark.stress
def test_a_caught_task_is_not_recorded(failures):
    first, second, *others = count(failures, "start")
    assert min(first, second) >= 1
    assert others == [0, 0]
    assert "sum 1000" in failures["runs"][2]["text"]
    assert failures["error"] is None


@pytest.mark.stress
def test_a_retry_that_succeeds_is_recorded(failures):
    assert count(failures, "tried") == [2, 0, 0, 0]


@pytest.fixture(scope="module")
def unwritable(ran_once, tmp_path_factory):
    flow = copied(ran_once, tmp_path_factory.mktemp("unwritable"))
    folders = [flow.store, *(path for path in flow.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    yield run_as_owner(flow, "--x=30")
    for folder in folders:
        folder.chmod(0o700)


@pytest.mark.stress
def test_a_store_that_cannot_be_written_fails_no_step(unwritable):
    assert unwritable.returncode == 0, unwritable.stdout
    assert "sum 1500" in unwritable.stdout
    assert unwritable.stdout.count("[memoize] recording failed") == 1


@pytest.mark.stress
def test_a_store_that_cannot_be_written_goes_without_a_lease(unwritable):
    assert unwritable.stdout.count("[memoize] going on without a lease: ") == 1


@pytest.mark.stress
def test_a_store_that_cannot_be_read_turns_memoization_off(flow):
    flow.store.chmod(0o000)
    try:
        done = run_as_owner(flow)
    finally:
        flow.store.chmod(0o700)
    assert "sum 1000" in done.stdout, done.stdout
    assert "[memoize] off: " in done.stdout
    assert "ermission" in done.stdout
    assert flow.run().workers.count("start") == 0


@pytest.mark.stress
def test_a_store_that_is_a_file_turns_memoization_off_with_one_line(new):
    new.folder.joinpath(".metaflow").mkdir()
    new.store.write_text("not a directory")
    ran = new.run()
    assert "sum 1000" in ran.text
    assert sum("off: " in line for line in ran.memo_lines) >= 1


@pytest.mark.stress
def test_a_store_of_a_newer_format_is_left_alone(flow):
    path = flow.store / "format.json"
    before = files(flow.store)
    path.chmod(0o600)
    path.write_text(
        path.read_text().replace('"format": 1', '"format": 99').replace('"format":1', '"format":99')
    )
    assert "99" in path.read_text()
    ran = flow.run()
    assert "sum 1000" in ran.text
    assert ran.workers.count("start") == 1
    assert any("newer" in line for line in ran.memo_lines)
    assert files(flow.store) == before


@pytest.mark.stress
@pytest.mark.parametrize("where", ["blobs", "refs"])
def test_a_flipped_bit_is_noticed_and_healed(flow, where):
    for path in files(flow.store / where):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(bytes(data))
    second = flow.run()
    assert second.workers.count("start") == (where == "refs")  # A blob is mended from the run's.
    assert "whole again" in second.text or where == "refs"
    assert "sum 1000" in second.text
    third = flow.run()
    assert third.workers.count("start") == 0
    assert "whole again" not in third.text
    assert "sum 1000" in third.text


@pytest.mark.stress
def test_a_flipped_bit_in_the_runs_own_file_is_healed_from_the_store(flow):
    for path in files(flow.store / "blobs"):
        own = flow.folder / ".metaflow" / "F" / "data" / path.name[:2] / path.name
        data = bytearray(own.read_bytes())
        data[len(data) // 2] ^= 1
        own.write_bytes(bytes(data))
    second = flow.run()
    assert second.workers.count("start") == 0
    assert "sum 1000" in second.text


@pytest.mark.stress
def test_damage_to_both_copies_runs_the_step_again(flow):
    for path in files(flow.store / "blobs"):
        own = flow.folder / ".metaflow" / "F" / "data" / path.name[:2] / path.name
        for one in (path, own):
            one.chmod(0o600)
            one.write_bytes(b"garbage")
    second = flow.run()
    assert second.workers.count("start") == 1
    assert "sum 1000" in second.text
    assert flow.run().workers.count("start") == 0


@pytest.mark.stress
def test_a_missing_blob_is_a_miss(flow):
    for path in files(flow.store / "blobs"):
        path.unlink()
    for path in files(flow.folder / ".metaflow" / "F" / "data"):
        path.unlink()
    second = flow.run()
    assert second.workers.count("start") == 1
    assert flow.run().workers.count("start") == 0


@pytest.mark.stress
@pytest.mark.parametrize("content", [None, b"garbage" * 1000])
def test_an_index_that_is_lost_or_damaged_loses_nothing(flow, content):
    (index,) = (flow.folder / ".cache").rglob("*.sqlite")
    for path in index.parent.glob(index.name + "*"):
        path.unlink()
    if content is not None:
        index.write_bytes(content)
    ran = flow.run()
    assert ran.workers.count("start") == 0
    assert "sum 1000" in ran.text


@pytest.mark.stress
def test_a_locked_index_loses_nothing(flow):
    (index,) = (flow.folder / ".cache").rglob("*.sqlite")
    lock = sqlite3.connect(index, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        ran = flow.run()
    finally:
        lock.close()
    assert "sum 1000" in ran.text
    assert flow.run().workers.count("start") == 0


@pytest.mark.stress
def test_a_package_that_is_missing_fails_no_step(flow):
    flow.write("xxhash.py", "raise ImportError('no xxhash here')")
    ran = flow.run()
    assert "sum 1000" in ran.text
    assert any("preparing failed: ImportError: no xxhash" in line for line in ran.memo_lines)


@pytest.mark.stress
def test_a_value_without_a_fingerprint_runs_and_says_why(new):
    new.edit("flow.py", "class F", "NUMBERS = (n for n in [1])\n\nclass F")
    new.edit("flow.py", "self.value = ", "iter(NUMBERS)\n        self.value = ")
    ran = new.run()
    assert any("NUMBERS has no stable fingerprint" in line for line in ran.memo_lines), ran.text
    assert new.run().workers.count("start") == 1


@pytest.mark.stress
def test_a_lock_beside_a_flow_keeps_no_step_from_being_a_hit(new):
    new.edit("flow.py", "class F", "import threading\nLOCK = threading.Lock()\n\nclass F")
    new.edit("flow.py", "self.value = ", "LOCK.locked()\n        self.value = ")
    new.run()
    assert new.run().workers.count("start") == 0


BAD = {
    "inputs=['xx']": "F has no attribute xx; did you mean 'x'?",
    "outputs=['valeu']": "F has no attribute valeu; did you mean 'value'?",
    "inputs=3": "@memoize(inputs=...) takes a list of names, not 3",
    "ttl='soon'": "ttl is a time such as 30d, 12h, 90m or a timedelta, not 'soon'",
    "ttl=0": "ttl is a time such as",
    "ttl='0d'": "ttl must be longer than no time at all",
    "scope='planet'": "scope is one of flow, global, not 'planet'",
    "refresh='perhaps'": "@memoize(refresh=...) is True or False, not 'perhaps'",
    "next='middle'": "its next step is end",
    "single_flight='perhaps'": "@memoize(single_flight=...) is True or False, not 'perhaps'",
    "mode='maybe'": "mode is one of on, off, read-only, only, shadow, not 'maybe'",
}


@once
def bad(project):
    for number, option in enumerate(BAD):
        project.write(f"flow{number}.py", FLOW.replace("@memoize", f"@memoize({option})"))
    ran = starts(project, *([f"flow{number}.py", "run"] for number in range(len(BAD))))
    return dict(zip(BAD, ran, strict=True))


@pytest.mark.parametrize("option", BAD)
def test_bad_options_stop_a_run_before_it_starts(bad, option):
    ran = bad[option]
    assert ran["code"] != 0
    assert BAD[option] in ran["text"]
    assert ran["workers"] == []
    assert "Traceback" not in ran["text"]
