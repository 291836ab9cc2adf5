"""@with_artifact_store and artifact_store_from: the place that they lead to, and their errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.flow import artifact_store
from memoflow.flow.with_artifact_store import (
    ArtifactStoreDecorator,
    ArtifactStoreException,
    artifact_store_from,
)


class Metadata:
    """A provider that keeps a run's tags as they are added."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def add_sticky_tags(self, sys_tags: list[str]) -> None:
        self.tags += sys_tags


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process of its own: no store of a flow is known yet, and the default one is here."""
    monkeypatch.setattr(artifact_store, "_of_flow", None)
    monkeypatch.setattr(artifact_store, "_configs", {})
    monkeypatch.setattr(
        artifact_store, "_of_process", artifact_store.of_datastore("local", str(tmp_path / "own"))
    )


def begin_flow(type: Any, config: Any) -> list[str]:
    metadata = Metadata()
    deco = ArtifactStoreDecorator({"type": type, "config": config})
    deco.flow_init(None, None, None, None, metadata, None, None, {})
    return metadata.tags


def test_saves_of_the_flow_go_to_the_root(tmp_path: Path) -> None:
    begin_flow("local", {"root": str(tmp_path / "big")})
    assert artifact_store.current_store().folder == str(tmp_path / "big" / "memoflow")


def test_a_config_may_be_a_function(tmp_path: Path) -> None:
    begin_flow("local", lambda: {"root": str(tmp_path / "big")})
    assert artifact_store.current_store().root == str(tmp_path / "big")


def test_a_run_is_tagged_with_type_and_root_and_no_more(tmp_path: Path) -> None:
    tags = begin_flow("local", {"root": str(tmp_path), "client_params": {"secret": "s"}})
    assert tags == ["artifact-store-ds-type:local", f"artifact-store-ds-root:{tmp_path}"]


@pytest.mark.parametrize(
    ("type", "config"), [(None, {"root": "x"}), ("local", None), ("local", {}), ("local", "x")]
)
def test_without_type_and_root_it_says_what_it_takes(type: Any, config: Any) -> None:
    with pytest.raises(ArtifactStoreException, match="takes a type, such as 'local', and a config"):
        begin_flow(type, config)


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(ArtifactStoreException, match="cupboard"):
        begin_flow("cupboard", {"root": "x"})


def test_an_unknown_type_leaves_the_store_as_it_was() -> None:
    before = artifact_store.current_store()
    with pytest.raises(ArtifactStoreException):
        begin_flow("cupboard", {"root": "x"})
    assert artifact_store.current_store() == before


def run_of(tags: list[str]) -> Any:
    return SimpleNamespace(system_tags=[*tags, "runtime:dev"])


def test_the_store_of_a_run_is_found_by_its_tags(tmp_path: Path) -> None:
    run = run_of(begin_flow("local", {"root": str(tmp_path / "big")}))
    artifact_store._of_flow = None
    with artifact_store_from(run=run):
        assert artifact_store.current_store().root == str(tmp_path / "big")
    assert artifact_store.current_store().root == str(tmp_path / "own")


def test_the_store_of_a_task_is_found_by_its_metadata(tmp_path: Path) -> None:
    begin_flow("local", {"root": str(tmp_path / "big")})
    task = SimpleNamespace(metadata_dict=artifact_store.notes_of_flow())
    artifact_store._of_flow = None
    with artifact_store_from(task=task):
        assert artifact_store.current_store().root == str(tmp_path / "big")


def test_a_config_moves_the_root_of_a_run(tmp_path: Path) -> None:
    run = run_of(begin_flow("local", {"root": str(tmp_path / "big")}))
    with artifact_store_from(run=run, config={"root": str(tmp_path / "moved")}):
        assert artifact_store.current_store().root == str(tmp_path / "moved")


def test_a_run_without_a_store_of_its_own_has_the_default_one(tmp_path: Path) -> None:
    begin_flow("local", {"root": str(tmp_path / "big")})
    with artifact_store_from(run=run_of([])):
        assert artifact_store.current_store().root == str(tmp_path / "own")


@pytest.mark.parametrize("given", [{}, {"run": 1, "task": 2}])
def test_it_takes_a_run_or_a_task(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either run= or task="):
        artifact_store_from(**given)
