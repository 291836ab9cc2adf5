"""Signals: what a handler saves, in the middle of whatever the task is doing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.s3 import serving
from tests.stories.clouds import store_in_a_bucket
from tests.stories.conftest import Project
from tests.stories.world import NOTES, notes

# Sees what is imported from when the step begins.
IMPORTS = """
    import os, sys
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, model, step
    from notes import note

    class Imports(FlowSpec):
        @DECORATOR
        @step
        def start(self):
            known = set(sys.modules)
            Path("tree").mkdir()
            Path("tree/large").write_bytes(os.urandom(3 << 20))
            Path("tree/small").write_text("small")
            self.act()
            note(imported=sorted(set(sys.modules) - known))
            self.next(self.end)

        def act(self):
            ACT

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Imports()
"""

SAVES = {
    "checkpoint": [
        "c = current.checkpoint",
        "_, first, second = c.save('tree'), c.save('tree'), c.save('tree', wait=False)",
        "c.list(), c.list(full_namespace=True), c.load(first), c.load(second, 'elsewhere')",
    ],
    "model": [
        "first = current.model.save('tree')",
        "current.model.load(first), current.model.load(first, 'elsewhere', writable=True)",
    ],
}


def imported(project: Project, kind: str, **env: str) -> Any:
    project.write("notes.py", NOTES)
    flow = IMPORTS.replace("DECORATOR", f"{kind}(keep_last=2)" if kind == "checkpoint" else kind)
    project.write("flow.py", flow.replace("ACT", "; ".join(SAVES[kind])))
    project.run(**env)
    return notes(project)["imported"]


@pytest.mark.parametrize("kind", SAVES)
def test_saves_and_loads_import_nothing_once_the_step_runs(project: Project, kind: str) -> None:
    assert imported(project, kind) == []


@pytest.mark.parametrize("kind", SAVES)
def test_nor_do_they_on_a_store_in_a_bucket(project: Project, kind: str) -> None:
    with serving() as server:
        assert imported(project, kind, **store_in_a_bucket(server)) == []


# The signal comes before the first save, in the middle of an import of the user's.
FIRST = """
    import os, signal
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import note, tree

    class First(FlowSpec):
        @checkpoint
        @step
        def start(self):
            Path("state").write_text("at the signal")
            found = []
            signal.signal(signal.SIGUSR1, lambda *_: found.append(current.checkpoint.save("state")))
            import interrupting
            current.checkpoint.load(found[0], "out")
            note(loaded=tree("out"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        First()
"""


def test_a_handler_saves_before_the_first_save_and_in_the_middle_of_an_import(
    project: Project,
) -> None:
    project.write("notes.py", NOTES)
    project.write("interrupting.py", "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)\n")
    project.write("flow.py", FIRST)
    project.run()
    assert notes(project)["loaded"] == {"state": "at the signal"}


OUTSIDE = """
    import os, signal, sys
    from pathlib import Path
    from metaflow import Checkpoint

    outside, found = Checkpoint(), []
    signal.signal(signal.SIGUSR1, lambda *_: found.append(outside.save("state")))
    import interrupting
    Path("answer").write_text(found[0]["key"])
"""


def test_and_so_does_one_of_a_subprocess(project: Project) -> None:
    project.write("notes.py", NOTES)
    project.write("interrupting.py", "import os, signal; os.kill(os.getpid(), signal.SIGUSR1)\n")
    project.write("child.py", OUTSIDE)
    project.write("flow.py", FIRST)
    project.edit("flow.py", "(found[0],", "(Path('answer').read_text(),")
    project.edit("flow.py", "import interrupting", "os.system('python child.py')")
    project.run()
    assert notes(project)["loaded"] == {"state": "at the signal"}
