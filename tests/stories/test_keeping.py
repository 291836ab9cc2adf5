"""TTL, eviction and cleaning up: neither runs nor the cache harm one another."""

from __future__ import annotations

import shutil

FLOW = """
    from metaflow import FlowSpec, memoize, step

    class Keep(FlowSpec):
        @step
        def start(self):
            self.next(self.work)

        @memoize
        @step
        def work(self):
            self.value = list(range(1000))
            self.next(self.end)

        @step
        def end(self):
            print("sum", sum(self.value))

    if __name__ == "__main__":
        Keep()
"""


def test_an_expired_entry_never_hits(project):
    project.write("flow.py", FLOW.replace("@memoize", "@memoize(ttl='1s')"))
    project.run()
    project.python("-c", "import time; time.sleep(1.1)")
    assert project.run().workers.count("work") == 1


def test_an_entry_within_its_ttl_hits(project):
    project.write("flow.py", FLOW.replace("@memoize", "@memoize(ttl='12h')"))
    project.run()
    assert project.run().workers.count("work") == 0


def test_a_shorter_ttl_holds_for_older_entries(project):
    project.write("flow.py", FLOW)
    project.run()
    project.python("-c", "import time; time.sleep(1.1)")
    project.edit("flow.py", "@memoize", "@memoize(ttl='1s')")
    ran = project.run()
    assert ran.workers.count("work") == 1
    assert any("older than" in line for line in ran.misses)


def test_evicting_the_cache_harms_no_past_run(project):
    project.write("flow.py", FLOW)
    first = project.run()
    second = project.run()
    done = project.python("-m", "memoflow", "gc", "--max-size", "0")
    assert done.returncode == 0, done.stdout
    assert "evicted" in done.stdout
    for run in (first.run_id, second.run_id):
        assert project.ask(f"answer = sum(Run('Keep/{run}')['work'].task.data.value)") == 499500
    assert project.run().workers.count("work") == 1


def test_cleaning_up_past_runs_harms_no_cached_result(project):
    project.write("flow.py", FLOW)
    project.run()
    shutil.rmtree(project.folder / ".metaflow" / "Keep")
    second = project.run()
    assert second.workers.count("work") == 0
    assert "sum 499500" in second.text


def test_gc_says_what_would_go_and_removes_nothing(project):
    project.write("flow.py", FLOW)
    project.run()
    done = project.python("-m", "memoflow", "gc", "--max-size", "0", "--dry-run")
    assert "would evict" in done.stdout
    assert project.run().workers.count("work") == 0


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
    assert ran.workers.count("work") == 0
    assert "sum 499500" in ran.text


def test_results_are_not_shared_between_flows_unasked(project):
    project.write("flow.py", FLOW)
    project.write("other.py", FLOW.replace("Keep", "Other"))
    project.run()
    assert project.run(flow="other.py").workers.count("work") == 1


def test_a_run_evicts_what_has_expired(project):
    project.write("flow.py", FLOW.replace("@memoize", "@memoize(ttl='1s')"))
    project.run("--memo", "off")  # Has this hour's turn, so that the next does not evict.
    project.run()
    (project.store / "gc" / "housekeeping").rename(project.folder / "an hour later")
    project.python("-c", "import time; time.sleep(1.1)")
    ran = project.run("--memo", "off")
    assert "evicted 1 entry" in ran.memo_lines
    assert "evicted" not in project.run("--memo", "off").text, "once an hour is enough"


def test_a_run_keeps_the_store_within_its_budget(project):
    project.write("flow.py", FLOW)
    project.run()
    (project.store / "gc" / "housekeeping").rename(project.folder / "an hour later")
    ran = project.run("--memo", "read-only", METAFLOW_MEMOFLOW_MAX_SIZE="100B")
    assert "evicted 1 entry" in ran.memo_lines


def test_a_budget_that_is_no_size_stops_a_run_before_it_starts(project):
    project.write("flow.py", FLOW)
    ran = project.run(ok=False, METAFLOW_MEMOFLOW_MAX_SIZE="much")
    assert "METAFLOW_MEMOFLOW_MAX_SIZE is a size such as 50GB or 500MB, not 'much'" in ran.text
    assert ran.workers == []
