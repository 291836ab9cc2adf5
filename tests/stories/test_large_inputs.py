"""A key over a large artifact reads none of it."""

from __future__ import annotations

from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "large_key.py"


def test_the_file_of_a_large_input_is_not_opened_for_its_key(project):
    done = project.python(str(BENCHMARK), "--mebibytes", "4", "--rounds", "1")
    assert done.returncode == 0, done.stdout
    assert "the artifact was opened 0 times" in done.stdout


def test_a_large_input_counts_by_its_bytes(project):
    project.write(
        "flow.py",
        """
        import os
        from metaflow import FlowSpec, memoize, step

        class Large(FlowSpec):
            @step
            def start(self):
                self.big = os.environ["FILL"].encode() * (4 << 20)
                self.next(self.end)

            @memoize
            @step
            def end(self):
                self.first = self.big[:1]

        if __name__ == "__main__":
            Large()
        """,
    )
    project.run(FILL="a")
    assert project.run(FILL="a").workers.count("end") == 0
    assert project.run(FILL="b").workers.count("end") == 1
    assert project.ask("answer = str(Flow('Large').latest_run.data.first)") == "b'b'"
