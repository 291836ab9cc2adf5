"""A hit puts back the files that its task wrote, and those of no other."""

from __future__ import annotations

FLOW = """
    from pathlib import Path
    from metaflow import FlowSpec, memoize, step

    class F(FlowSpec):
        @step
        def start(self):
            self.names = Path("names.txt").read_text().split()
            self.next(self.table, foreach="names")

        @memoize(files=["out/*.csv", "none/*.csv"])
        @step
        def table(self):
            Path("out").mkdir(exist_ok=True)
            Path("out", f"{self.input}.csv").write_text(self.input)
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        F()
"""


def test_a_hit_leaves_files_alone_that_another_task_wrote(project):
    project.write("flow.py", FLOW)
    project.write("names.txt", "a b")
    first = project.run("--max-workers=1")
    assert 'files="none/*.csv" matched no file that table wrote' in first.memo_lines

    project.write("names.txt", "b")
    project.write("out/a.csv", "mine")
    (project.folder / "out" / "b.csv").unlink()
    second = project.run("--max-workers=1")
    assert second.workers.count("table") == 0
    assert (project.folder / "out" / "a.csv").read_text() == "mine"
    assert (project.folder / "out" / "b.csv").read_text() == "b"
