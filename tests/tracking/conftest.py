"""What the tests of tracking share: a project to be in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.cases import Case, sees_kernel


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("REGION", "a")
    monkeypatch.delenv("OTHER", raising=False)
    return folder


@pytest.fixture
def case(project: Path) -> Case:
    return Case(project)


@pytest.fixture
def watched(project: Path) -> Case:
    """A case that sees what the kernel tells."""
    if not sees_kernel():
        pytest.skip("fanotify is refused here")
    return Case(project)


@pytest.fixture
def unwatched(project: Path) -> Case:
    """A case on a system whose kernel tells nothing."""
    return Case(project, sees_kernel=False)
