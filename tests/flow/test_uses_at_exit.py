"""Whoever has no end of a run to wait for notes its uses when the process ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]

USES = """
from memoflow.flow import artifact_store
from memoflow.names import Key
from memoflow.store import Payload

store = artifact_store.default().store
store.touch(store.save(Key.of("model", "a"), Payload(files={"x": b"x"})))
"""

LOOKS = """
from memoflow.flow import artifact_store
from memoflow.names import Key
assert artifact_store.default().store.find(Key.of("model", "a")) is not None
"""


class Machine:
    """A copy of memoflow, as a code package has it, and a cache of its own."""

    def __init__(self, folder: Path, name: str, told: str | None) -> None:
        self.package = folder / f"{name}-package"
        for part in ("memoflow", "metaflow_extensions"):
            shutil.copytree(ROOT / part, self.package / part)
        if told is not None:
            (self.package / "memoflow" / "launched.json").write_text(told)
        self.env = os.environ | {
            "PYTHONPATH": str(self.package),
            "METAFLOW_EXTENSIONS_SEARCH_DIRS": str(self.package),
            "METAFLOW_DEFAULT_DATASTORE": "local",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder / "shared"),
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / name),
        }

    def run(self, code: str, **env: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.env | env,
            cwd=self.package,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr


def notes(folder: Path) -> list[str]:
    """Return the day and the file of each note in the store."""
    found = (path for path in (folder / "shared").rglob("uses/*/*"))
    return sorted("/".join(path.parts[-2:]) for path in found)


SCRIPT, ELSEWHERE = None, '{"settings": {}}'


@pytest.mark.parametrize(("told", "token"), [(SCRIPT, ""), (ELSEWHERE, "-[0-9a-f]{8}")])
def test_a_use_is_noted_when_the_process_ends(tmp_path: Path, told: str | None, token: str) -> None:
    Machine(tmp_path, "one", told).run(USES)
    (found,) = notes(tmp_path)
    assert re.fullmatch(rf"[\d-]{{10}}/[0-9a-f]{{32}}{token}", found)


def test_a_process_that_used_nothing_notes_nothing(tmp_path: Path) -> None:
    Machine(tmp_path, "one", SCRIPT).run(USES)
    before = notes(tmp_path)
    Machine(tmp_path, "two", ELSEWHERE).run(LOOKS)
    assert notes(tmp_path) == before


def test_what_a_task_of_this_machine_starts_leaves_it_to_the_run(tmp_path: Path) -> None:
    told = {"type": "local", "root": str(tmp_path), "folder": str(tmp_path / "shared")}
    store = json.dumps({"flow": None, "default": told})
    Machine(tmp_path, "one", SCRIPT).run(USES, METAFLOW_CHECKPOINT_ARTIFACT_STORE=store)
    assert (tmp_path / "shared" / "format.json").exists()
    assert notes(tmp_path) == []
