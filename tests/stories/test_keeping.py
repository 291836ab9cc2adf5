"""TTL, eviction and cleaning up: neither runs nor the cache harm one another."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from tests.stories.conftest import Ran
from tests.stories.world import copied, once

FLOW = """
    from metaflow import FlowSpec, memoize, step

    class Keep(FlowSpec):
        @memoize
        @step
        def start(self):
            self.value = list(range(1000))
            self.next(self.end)

        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        Keep()
"""


def evicts_one(ran: Ran) -> bool:
    return any(re.fullmatch(r"evicted 1 memo; freed [\d.]+ k?B", line) for line in ran.memo_lines)


@once
def ran_once(project):
    project.write("flow.py", FLOW)
    project.run()
    return str(project.folder)


@pytest.fixture
def kept(ran_once, tmp_path):
    """A project whose flow ran once already."""
    return copied(ran_once, tmp_path)


def an_hour_later(project):
    """Make as if no run had evicted yet in this hour."""
    (project.store / "gc" / "housekeeping").rename(project.folder / "an hour later")


@once
def expired(project):
    """Runs with a result that lives for a second, and one that lives for half a day."""
    project.write(
        "flow.py",
        FLOW.replace("@memoize", "@memoize(ttl='1s')").replace(
            "@step\n        def end", "@memoize(ttl='12h')\n        @step\n        def end"
        ),
    )
    project.run("--memo", "off")  # Has this hour's turn, so that the next does not evict.
    project.run()
    time.sleep(1.1)
    ran = {"again": project.run("--memo", "read-only")}
    an_hour_later(project)
    return ran | {name: project.run("--memo", "off") for name in ("evicts", "at once")}


def test_an_expired_entry_never_hits(expired):
    assert expired["again"]["workers"].count("start") == 1


def test_an_entry_within_its_ttl_hits(expired):
    assert expired["again"]["workers"].count("end") == 0


def test_a_run_evicts_what_has_expired(expired):
    assert evicts_one(Ran(**expired["evicts"]))
    assert "evicted" not in expired["at once"]["text"], "once an hour is enough"


def test_a_shorter_ttl_holds_for_older_entries(kept):
    time.sleep(1.1)
    kept.edit("flow.py", "@memoize", "@memoize(ttl='1s')")
    ran = kept.run()
    assert ran.workers.count("start") == 1
    assert any("older than" in line for line in ran.misses)


def test_evicting_the_cache_harms_no_past_run(kept):
    kept.run()
    done = kept.python("-m", "memoflow", "gc", "--max-size", "0B", "--yes")
    assert done.returncode == 0, done.stdout
    assert "Freed" in done.stdout
    question = "answer = [sum(run['start'].task.data.value) for run in Flow('Keep')]"
    assert kept.ask(question) == [499500, 499500]
    assert kept.run().workers.count("start") == 1


def test_what_another_machine_hits_is_not_the_first_to_go_on_this_one(project):
    project.write("flow.py", FLOW)
    project.write("other.py", FLOW.replace("Keep", "Other"))
    for flow in ("flow.py", "other.py"):
        project.run(flow=flow)
        time.sleep(1.1)
    project.run(METAFLOW_MEMOFLOW_CACHE_DIR=str(project.folder / "elsewhere"))
    refs = [each for each in (project.store / "refs").rglob("*") if each.is_file()]
    blobs = [each for each in (project.store / "blobs").rglob("*") if each.is_file()]
    size = sum(each.stat().st_size for each in [*refs, *blobs])
    room = size - sum(each.stat().st_size for each in refs if "Other" in each.parts)
    done = project.python("-m", "memoflow", "gc", "--max-size", f"{room}B", "--yes")
    assert done.returncode == 0, done.stdout
    assert project.run().workers.count("start") == 0
    assert project.run(flow="other.py").workers.count("start") == 1


def test_cleaning_up_past_runs_harms_no_cached_result(kept):
    shutil.rmtree(kept.folder / ".metaflow" / "Keep")
    second = kept.run()
    assert second.workers.count("start") == 0
    assert "sum 499500" in second.text


def test_gc_says_what_would_go_and_removes_nothing(kept):
    done = kept.python("-m", "memoflow", "gc", "--max-size", "0B", "--dry-run")
    assert "over the budget" in done.stdout
    assert "Would free" in done.stdout
    assert kept.run().workers.count("start") == 0


def test_gc_refuses_times_and_sizes_that_are_none(project):
    done = project.python("-m", "memoflow", "gc", "--older-than", "soon")
    assert done.returncode == 2
    assert "is a time such as 30d" in done.stdout


def test_gc_without_a_store_says_where_it_looked(project):
    done = project.python("-m", "memoflow", "gc")
    assert done.returncode == 1
    assert "--root" in done.stdout


def test_results_are_shared_between_flows_when_asked(project):
    text = FLOW.replace("@memoize", "@memoize(scope='global')")
    project.write("flow.py", text)
    project.write("other.py", text.replace("Keep", "Other"))
    project.run()
    ran = project.run(flow="other.py")
    assert ran.workers.count("start") == 0
    assert "sum 499500" in ran.text


def test_results_are_not_shared_between_flows_unasked(kept):
    kept.write("other.py", FLOW.replace("Keep", "Other"))
    assert kept.run(flow="other.py").workers.count("start") == 1


def test_a_run_keeps_the_store_within_its_budget(kept):
    an_hour_later(kept)
    ran = kept.run("--memo", "read-only", METAFLOW_MEMOFLOW_MAX_SIZE="100B")
    assert evicts_one(ran)


@pytest.mark.parametrize("size", ["much", "50"])
def test_a_budget_that_is_no_size_evicts_nothing_and_is_said_once(kept, size):
    an_hour_later(kept)
    ran = kept.run(METAFLOW_MEMOFLOW_MAX_SIZE=size)
    said = [line for line in ran.memo_lines if "METAFLOW_MEMOFLOW_MAX_SIZE" in line]
    assert len(said) == 1
    assert said[0].startswith("nothing is evicted: ")
    assert kept.run().workers.count("start") == 0
