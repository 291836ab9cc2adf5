"""A store with a signing key loads nothing of metaflow-checkpoint's layout unless it is told to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memoflow.kinds.legacy_identity import pathspec_hash
from tests.stories.conftest import Project
from tests.stories.world import NOTES, notes, once

FLOW = """
    from metaflow import Checkpoint, FlowSpec, checkpoint, current, step
    from notes import attempt, note, tree

    class Old(FlowSpec):
        @checkpoint(load_policy="eager")
        @step
        def start(self):
            one = current.checkpoint._checkpointer.identity
            note(place=[one.flow, one.step, one.legacy_scope or one.scope, one.identifier])
            note(is_loaded=current.checkpoint.is_loaded, listed=len(current.checkpoint.list()))
            place = "/".join([one.flow, one.step, one.legacy_scope or one.scope, one.identifier])
            key = f"mf.checkpoints/checkpoints/artifacts/{place}/4e43b8c2.0.mfchckpt.0"
            note(said=attempt(current.checkpoint.load, key, "target"), target=tree("target"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Old()
"""


def plant(project: Project, place: list[str]) -> None:
    """Save as metaflow-checkpoint does, and as anybody can who may write there."""
    root = project.folder / ".metaflow" / "mf.checkpoints" / "checkpoints"
    folder, name = "/".join(place), "4e43b8c2.0.mfchckpt.0"
    reference = {
        "size": 4,
        "pathspec": "Old/1/start/1",
        "pathspec_hash": pathspec_hash("Old/1/start/1"),
        "attempt": 0,
        "key": f"mf.checkpoints/checkpoints/artifacts/{folder}/{name}",
        "type": "checkpoint",
        "url": "",
        "name": "mfchckpt",
        "created_on": "2025-01-01T00:00:00",
        "metadata": {},
        "storage_format": "files",
        "creation_context": "task",
        "version_id": 0,
    }
    files = root / "artifacts" / folder / name
    files.mkdir(parents=True)
    (files / "planted").write_text("evil")
    told = root / "artifact_metadata" / folder
    told.mkdir(parents=True)
    for each in (f"{name}.metadata", "latest"):
        (told / each).write_text(json.dumps(reference))


@once
def story(project: Project) -> dict[str, Any]:
    project.write("notes.py", NOTES)
    project.write("flow.py", FLOW)
    project.run()
    plant(project, notes(project)["place"])
    seen = {}
    key = {"METAFLOW_MEMOFLOW_SIGNING_KEY": "0123456789abcdef"}
    for name, env in (
        ("unsigned", {}),
        ("signed", key),
        ("allowed", key | {"METAFLOW_MEMOFLOW_LEGACY": "1"}),
    ):
        ran = project.run(**env)
        seen[name] = notes(project) | {"text": ran.text}
    return seen


@pytest.mark.parametrize("name", ["unsigned", "allowed"])
def test_it_is_loaded_where_nothing_is_signed_or_that_was_allowed(
    story: dict[str, Any], name: str
) -> None:
    assert story[name]["is_loaded"] is True
    assert "METAFLOW_MEMOFLOW_LEGACY" not in story[name]["text"]


def test_a_policy_passes_it_over_and_says_so_once(story: dict[str, Any]) -> None:
    seen = story["signed"]
    assert (seen["is_loaded"], seen["listed"]) == (False, 0)
    said = [line for line in seen["text"].splitlines() if "METAFLOW_MEMOFLOW_LEGACY=1" in line]
    assert len(said) == 1, seen["text"]


def test_a_load_by_its_key_fails_and_says_how_to_allow_it(story: dict[str, Any]) -> None:
    assert "METAFLOW_MEMOFLOW_LEGACY=1" in story["signed"]["said"]
