"""World: what one rich flow did, for many tests to read one claim each out of it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Project

# For flows to import: they note what they see, and tests read one claim each out of it.
NOTES = """
    import json
    from pathlib import Path

    def note(**facts):
        with open(Path(__file__).parent / "notes.jsonl", "a") as log:
            log.write(json.dumps(facts, default=str) + "\\n")

    def tree(folder):
        paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {str(p.relative_to(folder)): p.read_text(errors="replace") for p in paths}

    def attempt(act, *arguments, **options):
        try:
            return act(*arguments, **options)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def here(checkpoint, **files):
        for name, text in files.items():
            Path(checkpoint.directory, name).write_text(text)
"""


def project_in(folder: Path) -> Project:
    project = Project(folder)
    project.write("notes.py", NOTES)
    return project


def once(build: Callable[[Project], Any]) -> Any:
    """Make a fixture of what flows did, built once however many workers of xdist share it.

    It is JSON by then: tuples are lists, and what a run came to is a dict.
    """

    @pytest.fixture(scope="module", name=build.__name__)
    def fixture(tmp_path_factory: pytest.TempPathFactory) -> Any:
        shared = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            shared = shared.parent
        folder = shared / f"{build.__module__.rpartition('.')[2]}-{build.__name__}"
        answer = folder / ".answer.json"
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not answer.exists():
                shutil.rmtree(folder, ignore_errors=True)  # Another worker's failed here.
                folder.mkdir()
                built = build(project_in(folder))
                answer.write_text(json.dumps(built, default=vars))
        return json.loads(answer.read_text())

    return fixture


def notes(project: Project) -> dict[str, Any]:
    """All that the flows of a project noted; the last of a name counts."""
    log = project.folder / "notes.jsonl"
    facts: dict[str, Any] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        facts |= json.loads(line)
    return facts
