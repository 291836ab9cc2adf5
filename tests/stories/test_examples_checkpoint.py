"""The examples with checkpoints do what their first lines say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Project
from tests.stories.world import once

EXAMPLES = Path(__file__).parents[2] / "examples"

BOOSTED = """
    run = Flow("BoostedDigits").latest_run
    answer = {
        "accuracies": run["grow"].task["accuracies"].data,
        "loaded": run["grow"].task.metadata_dict.get("checkpoint-load-pathspec"),
        "pathspec": run["grow"].task.pathspec,
    }
"""

TORCH = """
    from metaflow.cards import get_cards
    run = Flow("TorchDigits").latest_run
    train = run["train"].task
    answer = {
        "history": train["history"].data,
        "accuracy": run["evaluate"].task["accuracy"].data,
        "cards": sorted(str(card.id) for card in get_cards(train)),
    }
"""


def boost(project: Project, *options: str) -> dict[str, Any]:
    project.write("flow.py", (EXAMPLES / "boosted_digits.py").read_text())
    workers = project.run(*options).workers
    answer: Any = project.ask(BOOSTED)
    return answer | {"attempts": workers.count("grow")}


@once
def boosted(project: Project) -> list[dict[str, Any]]:
    return [
        boost(project, "--trees", "20", "--crash_chance", "1"),
        boost(project, "--trees", "30", "--crash_chance", "0"),
    ]


@pytest.mark.stress
def test_boosting_that_crashes_after_each_save_comes_to_its_end(
    boosted: list[dict[str, Any]],
) -> None:
    assert (boosted[0]["attempts"], list(boosted[0]["accuracies"])) == (2, ["10", "20"])


@pytest.mark.stress
def test_eager_boosting_begins_with_the_trees_of_the_run_before(
    boosted: list[dict[str, Any]],
) -> None:
    assert boosted[1]["loaded"] == boosted[0]["pathspec"]
    assert boosted[1]["attempts"] == 1


@pytest.mark.stress
def test_boosting_in_pieces_comes_to_the_same_trees(
    boosted: list[dict[str, Any]], tmp_path: Path
) -> None:
    whole = boost(Project(tmp_path), "--trees", "30", "--crash_chance", "0")
    assert whole["loaded"] is None
    assert whole["accuracies"] == boosted[1]["accuracies"]


@once
def torch(project: Project) -> dict[str, Any]:
    project.write("flow.py", (EXAMPLES / "torch_digits.py").read_text())
    answers = {}
    for name, kill_at in (("killed", "3"), ("whole", "0")):
        ran = project.run("--epochs", "6", "--kill_at", kill_at)
        answer: Any = project.ask(TORCH)
        answers[name] = answer | {"attempts": ran.workers.count("train")}
    return answers


needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


@pytest.mark.stress
@needs_torch
def test_a_training_that_is_killed_is_resumed(torch: dict[str, Any]) -> None:
    assert (torch["killed"]["attempts"], torch["whole"]["attempts"]) == (2, 1)
    assert [each["attempt"] for each in torch["killed"]["history"]] == [0, 0, 0, 1, 1, 1]


@pytest.mark.stress
@needs_torch
def test_a_resumed_training_has_the_curve_of_one_that_was_never_killed(
    torch: dict[str, Any],
) -> None:
    killed, whole = (
        [(each["epoch"], each["loss"], each["accuracy"]) for each in torch[name]["history"]]
        for name in ("killed", "whole")
    )
    assert killed == whole


@pytest.mark.stress
@needs_torch
def test_the_saved_net_is_the_trained_one(torch: dict[str, Any]) -> None:
    assert torch["killed"]["accuracy"] == torch["killed"]["history"][-1]["accuracy"]


@pytest.mark.stress
@needs_torch
def test_the_training_has_its_own_card_beside_that_of_the_checkpoints(
    torch: dict[str, Any],
) -> None:
    assert torch["killed"]["cards"] == ["None", "task_checkpoints"]
