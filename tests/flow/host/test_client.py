"""Client: what its objects are, and where it looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from metaflow import DataArtifact, Flow, Run, Step, Task, get_metadata, get_namespace
from metaflow.client import core
from metaflow.client.core import MetaflowCode
from metaflow.util import resolve_identity

from memoflow.flow.host import client
from tests.flow.memo.runs import OWN, Runs, looking_at


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with looking_at(tmp_path) as found:
        yield found


def test_each_object_tells_its_kind(runs: Runs) -> None:
    run = runs.add(fits=(1,))
    step = Step(f"Train/{run}/fit")
    task = step.task
    kinds = [client.kind_of(one) for one in (Flow("Train"), Run(f"Train/{run}"), step, task)]
    assert kinds == ["flow", "run", "step", "task"]
    assert client.kind_of(task["score"]) == "artifact"


def test_an_object_tells_the_attempt_that_was_asked_for(runs: Runs) -> None:
    task = Run(f"Train/{runs.add()}")["start"].task
    assert client.attempt_of(task) is None
    assert client.attempt_of(Task(task.pathspec, attempt=0)) == 0


def test_an_object_tells_where_it_was_found(runs: Runs) -> None:
    path = f"Train/{runs.add()}"
    assert client.place_of(Run(path)) == (OWN, get_metadata())
    assert client.place_of(Run(path, **client.WITHOUT_NAMESPACE)) == (None, get_metadata())


def test_one_that_was_not_found_is_placed_by_its_arguments(runs: Runs) -> None:
    assert client.place_asked({"pathspec": "Train/0"}) == (OWN, get_metadata())
    assert client.place_asked(client.WITHOUT_NAMESPACE) == (None, get_metadata())
    asked = {"_current_namespace": "user:other", "_current_metadata": "local@/x"}
    assert client.place_asked(asked) == ("user:other", "local@/x")


def test_without_a_namespace_runs_of_others_are_found(runs: Runs) -> None:
    path = f"Train/{runs.add(namespace='user:other')}"
    with pytest.raises(core.MetaflowNamespaceMismatch):
        Run(path)
    assert Run(path, **client.WITHOUT_NAMESPACE).pathspec == path


def test_artifacts_are_listed_unloaded(runs: Runs) -> None:
    data = Run(f"Train/{runs.add(score=3)}").data
    found = client.artifacts_of(data)
    assert isinstance(found["score"], DataArtifact)
    assert found["score"].data == 3


def test_what_a_task_raised_is_an_artifact(runs: Runs) -> None:
    failed = Run(f"Train/{runs.add(_exception='broke')}")["end"].task
    assert client.exception_of(failed).data == "broke"
    with pytest.raises(KeyError):
        client.exception_of(Run(f"Train/{runs.add()}")["end"].task)


def test_a_code_package_is_known_by_its_sha1() -> None:
    code = object.__new__(MetaflowCode)
    vars(code)["_sha"] = "ab12"
    assert client.digest_of_code(code) == "ab12"


def test_settings_stay_those_of_when_they_were_noted(runs: Runs) -> None:
    before = client.Settings()
    expected = get_namespace(), get_metadata()
    elsewhere = Runs(runs.root / "elsewhere").root
    with client.looking_at("user:other", f"local@{elsewhere}"):
        assert (before.namespace, before.metadata) == expected


def test_the_usual_namespace_is_that_of_the_user(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "current_namespace", False)
    assert client.Settings().namespace == resolve_identity()
    monkeypatch.setattr(core, "current_namespace", None)
    assert client.Settings().namespace is None


def test_it_can_look_elsewhere_and_comes_back(runs: Runs, tmp_path: Path) -> None:
    runs.add()
    elsewhere = tmp_path / "elsewhere"
    Runs(elsewhere).add(namespace="user:other")
    before = get_namespace(), get_metadata()
    with client.looking_at("user:other", f"local@{elsewhere}"):
        assert get_namespace() == "user:other"
        assert get_metadata() == f"local@{elsewhere}"
        with pytest.raises(ZeroDivisionError), client.looking_at(None, None):
            raise ZeroDivisionError
        assert get_namespace() == "user:other"
    assert (get_namespace(), get_metadata()) == before


def test_a_provider_that_metaflow_does_not_have_is_a_value_error(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "METADATA_PROVIDERS", [])
    before = core.current_namespace, core.current_metadata
    with pytest.raises(ValueError, match="no metadata provider"), client.looking_at(None, "none@x"):
        pass
    assert (core.current_namespace, core.current_metadata) == before
