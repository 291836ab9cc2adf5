"""Names: whose @checkpoint it is beside metaflow-checkpoint, and what an old Metaflow is told."""

from __future__ import annotations

import pytest

from memoflow.flow import supported
from tests.stories.world import once

FLOW = """
    from metaflow import FlowSpec, checkpoint, step

    class Beside(FlowSpec):
        @checkpoint
        @step
        def start(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Beside()
"""

OTHER = "other/metaflow_extensions/obcheckpoint/plugins/mfextinit_obcheckpoint.py"
NAMES = """
    import importlib, metaflow
    for name in ("memoize", "checkpoint", "model", "Checkpoint", "load_model"):
        print(name, hasattr(metaflow, name))
"""


@once
def beside(project):
    project.write("flow.py", FLOW)
    project.write("names.py", NAMES)
    alone = project.run().text
    project.write(OTHER, "")
    path = f"{project.folder}/other:{project.env.get('PYTHONPATH', '')}"
    together = project.run(PYTHONPATH=path).text
    left = project.python("names.py", METAFLOW_MEMOFLOW_CHECKPOINT="0").stdout
    return {"alone": alone, "together": together, "left": left}


def test_it_is_said_once_a_run_whose_checkpoints_these_are(beside):
    assert beside["together"].count("METAFLOW_MEMOFLOW_CHECKPOINT=0") == 1
    assert "METAFLOW_MEMOFLOW_CHECKPOINT" not in beside["alone"]


def test_the_names_of_checkpoints_can_be_left_to_others(beside):
    said = dict(line.split() for line in beside["left"].splitlines() if line.count(" ") == 1)
    assert said == {
        "memoize": "True",
        "checkpoint": "False",
        "model": "False",
        "Checkpoint": "False",
        "load_model": "False",
    }


def test_an_older_metaflow_works_and_is_told_once(project):
    flow = FLOW.replace("checkpoint, ", "").replace("@checkpoint", "")
    # Before Metaflow is imported: its number is all that is asked of it.
    text = flow.replace("    from metaflow", "    import old_version\n    from metaflow", 1)
    project.write("flow.py", text)
    project.write(
        "old_version.py",
        """
        import sys, types
        module = types.ModuleType("metaflow.version")
        module.metaflow_version = "2.19.22"
        sys.modules["metaflow.version"] = module
        """,
    )
    ran = project.run()
    assert ran.code == 0
    assert ran.text.count("memoflow needs Metaflow 2.19.23 or later, and 2.19.22") == 1


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.19.23", (2, 19, 23)), ("2.19.28.1", (2, 19, 28, 1)), ("3.0rc1", (3, 0)), ("x", ())],
)
def test_the_numbers_of_a_version(version, numbers):
    assert supported.numbers(version) == numbers
