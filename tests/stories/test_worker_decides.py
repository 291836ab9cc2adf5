"""Where the scheduler cannot tell, the worker decides, with the same result."""

from __future__ import annotations

FLOW = """
    from metaflow import FlowSpec, memoize, step

    class F(FlowSpec):
        @step
        def start(self):
            import only_in_worker
            self.items = [only_in_worker.Thing(1), only_in_worker.Thing(2)]
            self.shared = only_in_worker.Thing(5)
            self.next(self.work, foreach="items")

        @memoize
        @step
        def work(self):
            self.value = self.input.n + self.shared.n
            self.next(self.join)

        @step
        def join(self, inputs):
            print("values", [one.value for one in inputs])
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        F()
"""

# The scheduler is the process without `step` on its command line.
ONLY_IN_WORKER = """
    import sys
    if "step" not in sys.argv:
        raise ImportError("this machine has no such package")

    class Thing:
        def __init__(self, n):
            self.n = n
"""


def test_a_value_that_only_the_worker_can_load(project):
    project.write("flow.py", FLOW)
    project.write("only_in_worker.py", ONLY_IN_WORKER)
    project.run()
    (index,) = (project.folder / ".cache").rglob("*.sqlite")
    for path in index.parent.glob(index.name + "*"):
        path.unlink()  # Else the scheduler remembers what the workers found out.
    second = project.run()
    assert second.workers.count("work") == 2
    assert len(second.hits) == 2
    assert "values [6, 7]" in second.text
    assert any(line.startswith("2 hits, 0 misses") for line in second.memo_lines)


def test_a_step_started_by_another_engine_finds_its_result(project):
    project.write(
        "flow.py", FLOW.replace("import only_in_worker", "import thing as only_in_worker")
    )
    project.write("thing.py", "class Thing:\n    def __init__(self, n):\n        self.n = n\n")
    first = project.run()
    question = f"answer = [t.id for t in Step('F/{first.run_id}/start')]"
    (start,) = project.ask(question)
    done = project.python(
        "flow.py",
        "--quiet",
        "--no-pylint",
        "step",
        "work",
        "--run-id",
        first.run_id,
        "--task-id",
        "77",
        "--split-index",
        "1",
        "--input-paths",
        f"{first.run_id}/start/{start}",
    )
    assert "[memoize] hit: F/" in done.stdout, done.stdout
