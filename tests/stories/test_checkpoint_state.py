"""States of trainings: saved without waiting, by gangs and by subprocesses, over kills."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stories.conftest import Project
from tests.stories.world import notes, once

TRAIN = """
    import hashlib, os, signal, subprocess, sys
    import numpy as np
    from metaflow import FlowSpec, Parameter, checkpoint, current, model, retry, step
    from notes import note

    def new():
        random = np.random.default_rng(7)
        frozen = random.random(50_000)
        return {"model": {"frozen": frozen, "head": random.random(20_000), "tied": frozen},
                "opt": [np.zeros(20_000), {"lr": 0.1}], "random": random, "epoch": 0}

    def train(state):
        # In place, as a training does it, and by chance that has to go on as it would have.
        gradient = state["model"]["head"] + state["random"].normal(size=20_000)
        state["opt"][0] *= 0.9
        state["opt"][0] += gradient
        state["model"]["head"] -= state["opt"][1]["lr"] * state["opt"][0]
        state["epoch"] += 1

    class Train(FlowSpec):
        kills = Parameter("kills", default="")  # the epochs of the first attempts

        @retry(times=3, minutes_between_retries=0)
        @checkpoint(keep_best=("loss", 2, "min"))
        @step
        def start(self):
            state = current.checkpoint.state or new()
            note(**{f"began {current.retry_count}": state["epoch"]})
            kills = [int(each) for each in self.kills.split()] + [0] * 4
            while state["epoch"] < 12:
                train(state)
                loss = float(np.abs(state["model"]["head"]).mean())
                facts = {"epoch": state["epoch"], "loss": loss}
                self.saved = current.checkpoint.save(state=state, metadata=facts, wait=False)
                if state["epoch"] == kills[current.retry_count]:
                    os.kill(os.getpid(), signal.SIGKILL)
            assert state["model"]["tied"] is state["model"]["frozen"]
            head, momentum = state["model"]["head"], state["opt"][0]
            note(weights=hashlib.sha256(head.tobytes() + momentum.tobytes()).hexdigest())
            subprocess.run([sys.executable, "child.py"], check=True)
            self.next(self.use)

        @model(load="saved")
        @step
        def use(self):
            note(model_has=sorted(os.listdir(current.model.loaded["saved"])))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Train()
"""

CHILD = """
    import numpy as np
    from metaflow import Checkpoint
    from notes import note

    state = {"model": {"w": np.arange(1000.0)}, "opt": [np.zeros(1000)], "epoch": 5}
    note(by_child=Checkpoint().save(state=state, name="child"))
"""

SCRIPT = """
    import json, sys
    import memoflow
    from metaflow import namespace

    namespace(None)
    found = memoflow.load_state(sys.argv[1], only="model.*")
    print(json.dumps({path: sum(w) for path, w in found["model"].items()}), sorted(found))
"""


@once
def trained(project: Project) -> dict[str, Any]:
    """A run that nobody killed, and one whose worker was killed three times."""
    project.write("flow.py", TRAIN)
    project.write("child.py", CHILD)
    project.write("script.py", SCRIPT)
    project.run()
    whole = notes(project)
    (project.folder / "notes.jsonl").unlink()
    project.run("--kills", "4 7 9")
    killed = notes(project)
    key = killed["by_child"]["key"]
    return {
        "whole": whole,
        "killed": killed,
        "script": project.python("script.py", key).stdout,
        "shown": json.loads(project.python("-m", "memoflow", "show", key, "--json").stdout),
        "got": json.loads(
            project.python("-m", "memoflow", "get", key, "--into", "got", "--json").stdout
        ),
    }


def test_a_training_that_was_killed_ends_as_one_that_was_not(trained: Any) -> None:
    assert trained["killed"]["weights"] == trained["whole"]["weights"]


@pytest.mark.parametrize(("attempt", "killed_at"), [(1, 4), (2, 7), (3, 9)])
def test_at_most_the_two_copies_in_memory_are_lost(
    trained: Any, attempt: int, killed_at: int
) -> None:
    assert killed_at - 2 <= trained["killed"][f"began {attempt}"] <= killed_at


def test_model_loads_the_files_of_a_state(trained: Any) -> None:
    files = ["state.json", "state.pickle", "state.safetensors"]
    assert trained["whole"]["model_has"] == files


def test_a_script_loads_a_part_of_what_a_subprocess_saved(trained: Any) -> None:
    assert trained["script"] == "{\"w\": 499500.0} ['model']\n"


def test_the_command_line_shows_a_state_and_gets_its_files(trained: Any) -> None:
    assert [each["name"] for each in trained["shown"]["leaves"]] == ["model.w", "opt.0"]
    assert sorted(trained["got"]["files"]) == trained["whole"]["model_has"]


GANG = """
    import os, signal, time
    from pathlib import Path
    import numpy as np
    from metaflow import FlowSpec, checkpoint, current, parallel, retry, step
    from notes import note

    class Gang(FlowSpec):
        @step
        def start(self):
            self.next(self.train, num_parallel=3)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @parallel
        @step
        def train(self):
            node, attempt = current.parallel.node_index, current.retry_count
            state = current.checkpoint.state or {"node": node, "w": np.zeros(10_000), "round": 0}
            note(**{f"attempt {attempt} node {node}":
                    [state["node"], state["round"], state["w"][0]]})
            while state["round"] < 6:
                state["round"] += 1
                state["w"] += node + 1
                saved = current.checkpoint.save(state=state, gang=True)
                if (attempt, node, state["round"]) == (0, 1, 4):
                    while not all(Path(f"done-{other}").exists() for other in (0, 2)):
                        time.sleep(0.1)
                    os.kill(os.getpid(), signal.SIGKILL)
            Path(f"done-{node}").touch()
            note(**{f"node {node} ended": [state["w"][0], saved["key"]]})
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Gang()
"""


@once
def gang(project: Project) -> dict[str, Any]:
    """A gang of which one node was killed, after the others had gone on."""
    project.write("flow.py", GANG)
    project.run()
    noted = notes(project)
    _, key = noted["node 0 ended"]
    got = project.python("-m", "memoflow", "get", key, "--into", "got", "--json")
    return {"noted": noted, "got": json.loads(got.stdout)}


@pytest.mark.parametrize("node", [0, 1, 2])
def test_each_node_goes_on_from_its_part_of_one_round(gang: Any, node: int) -> None:
    assert gang["noted"][f"attempt 1 node {node}"] == [node, 4, 4 * (node + 1)]


def test_the_nodes_end_as_without_a_kill_and_with_one_checkpoint(gang: Any) -> None:
    ended = [gang["noted"][f"node {node} ended"] for node in (0, 1, 2)]
    assert [weight for weight, _ in ended] == [6, 12, 18]
    assert len({key for _, key in ended}) == 1


def test_the_files_of_a_gang_are_got_by_node(gang: Any) -> None:
    names = ("state.json", "state.pickle", "state.safetensors")
    wanted = [f"node-{node}/{name}" for node in (0, 1, 2) for name in names]
    assert sorted(gang["got"]["files"]) == wanted
