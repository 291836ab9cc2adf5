"""Argo Workflows: no scheduler of ours, so the worker decides, with the same results."""

from __future__ import annotations

import json
import re

import pytest

from tests.pods import image
from tests.s3 import CREDENTIALS, serving
from tests.stories.world import once
from tests.workflows import Workflow

pytestmark = pytest.mark.stress  # Two workflows are a dozen containers.

FLOW = """
    import subprocess, sys
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, memoize, retry, step

    class F(FlowSpec):
        @step
        def start(self):
            self.xs = [3, 4]
            self.next(self.work, foreach="xs")

        @memoize
        @step
        def work(self):
            self.y = self.input * 2
            print("doubled", self.input)
            print("to stderr", self.input, file=sys.stderr)
            subprocess.run(["sh", "-c", "echo of a shell"])
            self.next(self.join)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @step
        def join(self, inputs):
            state = Path(current.checkpoint.directory, "state")
            print("loaded", state.read_text() if current.checkpoint.is_loaded else None)
            state.write_text("half way")
            current.checkpoint.save()
            if current.retry_count == 0:
                raise ValueError("on purpose")
            self.ys = [one.y for one in inputs]
            self.next(self.end)

        @step
        def end(self):
            print("ys", self.ys)

    if __name__ == "__main__":
        F()
"""


@once
def workflows(project):
    project.write("flow.py", FLOW)
    plain = image(project.folder / "image")
    ran = {}
    with serving() as server:
        env = server.environment(server.bucket())
        create = ("argo-workflows", "create", "--only-json")
        compiled = project.python("flow.py", "--no-pylint", *create, **env)
        assert compiled.returncode == 0, compiled.stdout
        template, _ = json.JSONDecoder().raw_decode(compiled.stdout, compiled.stdout.index("{\n"))
        for name in ("first", "second"):
            folder = project.folder / name
            workflow = Workflow(template, name, image=plain, folder=folder, given=CREDENTIALS)
            ran[name] = {"ok": workflow.run(), "texts": {}}
            for attempt in workflow.attempts:
                ran[name]["texts"].setdefault(attempt.template, []).append(attempt.text)
            show = "flow.py", "--no-pylint", "logs", "show", f"argo-{name}/work"
            ran[name]["logs"] = {
                stream: project.python(*show, f"--{stream}", **env).stdout
                for stream in ("stdout", "stderr")
            }
    return ran


def test_a_compiled_workflow_runs_in_plain_images(workflows):
    for name in ("first", "second"):
        assert workflows[name]["ok"], workflows[name]["texts"]
        (end,) = workflows[name]["texts"]["end"]
        assert "ys [6, 8]" in end


def test_the_second_workflow_hits_in_its_workers(workflows):
    first, second = (workflows[name]["texts"]["work"] for name in ("first", "second"))
    assert all("[memoize] miss: " in text for text in first)
    assert all("[memoize] hit: F/argo-first/work/" in text for text in second), second


def test_a_hit_has_the_log_of_its_origin_after_its_own(workflows):
    logs = workflows["second"]["logs"]
    printed = re.findall("doubled .|of a shell|.memoize. hit: F", logs["stdout"])
    one, other = printed[:3], printed[3:]
    assert sorted([one, other]) == [
        ["[memoize] hit: F", f"doubled {number}", "of a shell"] for number in (3, 4)
    ]
    assert sorted(re.findall("to stderr .", logs["stderr"])) == ["to stderr 3", "to stderr 4"]


def test_a_retry_in_another_container_goes_on_from_its_checkpoint(workflows):
    for name in ("first", "second"):
        once, again = workflows[name]["texts"]["join"]
        assert "loaded None" in once
        assert "loaded half way" in again
