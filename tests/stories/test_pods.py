"""All four decorators work in a container that has only what Metaflow's bootstrap installs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hubs import Hub
from tests.pods import Pod, image, unpack
from tests.s3 import serving
from tests.stories.world import once

pytestmark = pytest.mark.stress  # containers and clusters take their time

FLOW = """
    from pathlib import Path
    from metaflow import (
        FlowSpec, checkpoint, current, huggingface_hub, load_model, memoize, model, step)

    class F(FlowSpec):
        @step
        def start(self):
            self.xs = [3, 4]
            self.next(self.work, foreach="xs")

        @memoize
        @step
        def work(self):
            self.y = self.input * 2
            self.next(self.join)

        @checkpoint
        @model
        @step
        def join(self, inputs):
            self.ys = [one.y for one in inputs]
            found = Path(current.checkpoint.directory, "state")
            print("loaded", found.read_text() if current.checkpoint.is_loaded else None)
            found.write_text("half way")
            current.checkpoint.save()
            if current.retry_count == 0:
                raise ValueError("on purpose")
            Path("net.bin").write_text("weights")
            self.net = current.model.save("net.bin")
            self.next(self.end)

        @huggingface_hub(load=["org/name"])
        @model(load="net")
        @step
        def end(self):
            (path,) = current.huggingface_hub.loaded.values()
            print("hub", Path(path, "config.json").read_text())
            print("model", Path(current.model.loaded["net"], "net.bin").read_text())
            print("ys", self.ys)

    if __name__ == "__main__":
        F()
"""


def step(pod, name, run, task, inputs, *more, **env):
    common = ("--run-id", str(run), "--task-id", task)
    paths = ("--input-paths", inputs)
    return pod.python(
        "flow.py", "--quiet", "--no-pylint", "step", name, *common, *paths, *more, **env
    )


@once
def tasks(project):
    """The tasks of a run, in containers on two machines, against one bucket."""
    project.write("flow.py", FLOW)
    plain = image(project.folder / "image")
    ran = {}
    with serving() as server, Hub() as hub:
        hub.add("org/name", {"config.json": b"{}"})
        env = {
            **server.environment(server.bucket()),
            **hub.env(Path("hf")),
            "METAFLOW_USER": "tester",
        }
        saved = project.python("flow.py", "--no-pylint", "package", "save", "code.tgz", **env)
        assert saved.returncode == 0, saved.stdout
        one, two = (Pod(plain, project.folder / name, dict(env)) for name in ("one", "two"))
        for pod in (one, two):
            unpack(project.folder / "code.tgz", pod)

        parameters = ("init", "--run-id", "1", "--task-id", "0")
        ran["init"] = one.python("flow.py", "--quiet", "--no-pylint", *parameters)
        ran["start"] = step(one, "start", 1, "1", "1/_parameters/0")
        work = ("work", 1)
        ran["work"] = step(one, *work, "20", "1/start/1", "--split-index", "0")
        ran["other"] = step(one, *work, "21", "1/start/1", "--split-index", "1")
        ran["again"] = step(two, *work, "30", "1/start/1", "--split-index", "0")
        joined = ("join", 1, "4", "1/work/20,1/work/21", "--max-user-code-retries", "1")
        ran["join"] = step(one, *joined)
        ran["retry"] = step(two, *joined, "--retry-count", "1")
        ran["end"] = step(two, "end", 1, "5", "1/join/4")

        three = Pod(plain, project.folder / "three", dict(env))
        unpack(project.folder / "code.tgz", three)
        again = (*work, "40", "1/start/1", "--split-index", "0")
        ran["forbidden"] = step(three, *again, METAFLOW_MEMOFLOW_INSTALL="0")
        nowhere = {"PIP_FIND_LINKS": str(project.folder / "nowhere")}
        ran["offline"] = step(three, *joined, **nowhere)
    return ran


def test_a_container_without_our_packages_installs_those_that_its_step_needs(tasks):
    assert "[memoflow] installing tenacity==" in tasks["work"]["text"]
    assert "huggingface_hub" not in tasks["work"]["text"]
    assert "huggingface_hub==" in tasks["end"]["text"]


def test_what_one_task_has_installed_the_next_on_the_machine_uses(tasks):
    assert "installing" not in tasks["other"]["text"]
    assert "[memoize] miss" in tasks["other"]["text"]


def test_a_step_without_our_decorators_installs_nothing(tasks):
    for name in ("init", "start"):
        assert tasks[name]["code"] == 0, tasks[name]["text"]
        assert "memo" not in tasks[name]["text"]


def test_a_memoized_step_records_in_one_container_and_hits_in_another(tasks):
    assert "[memoize] miss: first run" in tasks["work"]["text"]
    assert "[memoize] hit: F/1/work/20" in tasks["again"]["text"]


def test_a_retry_in_another_container_goes_on_from_the_checkpoint(tasks):
    assert "loaded None" in tasks["join"]["text"]
    assert "loaded half way" in tasks["retry"]["text"], tasks["retry"]["text"]


def test_models_and_snapshots_reach_the_next_container(tasks):
    text = tasks["end"]["text"]
    assert "hub {}" in text, text
    assert "model weights" in text
    assert "ys [6, 8]" in text


def test_where_nothing_may_be_installed_memoize_is_off_and_the_step_runs(tasks):
    ran = tasks["forbidden"]
    assert ran["code"] == 0, ran["text"]
    (line,) = [line for line in ran["text"].splitlines() if "[memoize]" in line]
    assert line.startswith("[memoize] off: tenacity xxhash not found here, and METAFLOW_MEMOFLOW_")
    assert "`pip install tenacity xxhash` in the image" in line


def test_where_nothing_can_be_installed_a_checkpoint_fails_with_what_to_add(tasks):
    ran = tasks["offline"]
    assert ran["code"] != 0
    assert "not found here, and cannot be installed (" in ran["text"]
    assert '@pypi(packages={"tenacity": ">=8.2", "xxhash": ">=3.4"})' in ran["text"]
    assert "Traceback" not in ran["text"]
