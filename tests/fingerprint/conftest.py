"""A world of real files, fingerprinted in fresh processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from memoflow.fingerprint import Part, explain

CHILD = Path(__file__).with_name("child.py")
ROOT = CHILD.parents[2]


class Answer:
    """What a fresh process said."""

    def __init__(self, answer: dict) -> None:
        assert "crash" not in answer, answer.get("crash")
        self.error = answer.get("error")
        self.reason = answer.get("reason")
        self.value = answer.get("value")
        self.parts = [Part.from_json(fields) for fields in answer.get("parts", ())]

    def names(self, kind: str) -> set[str]:
        return {part.name for part in self.parts if part.kind == kind}


class World:
    """A directory of modules; each look at it is taken by another process than the one before.

    The processes have different hash seeds.
    """

    def __init__(self, directory: Path, processes: list[subprocess.Popen]) -> None:
        self.directory = directory
        self.looks = 0
        self._processes = processes

    def write(self, files: dict[str, str] | None = None, **modules: str) -> None:
        texts = {f"{name}.py": text for name, text in modules.items()} | (files or {})
        for name, text in texts.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def move(self, directory: Path) -> None:
        shutil.copytree(self.directory, directory)
        shutil.rmtree(self.directory)
        self.directory = directory

    def look(
        self, show: str = "of_function(main.f)", run: str = "import main", **more: object
    ) -> Answer:
        process = self._processes[self.looks % len(self._processes)]
        self.looks += 1
        request = {"directory": str(self.directory), "run": textwrap.dedent(run), "show": show}
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request | more) + "\n")
        process.stdin.flush()
        return Answer(json.loads(process.stdout.readline()))

    def both(self, before: dict[str, str], after: dict[str, str], **look: str) -> list[Answer]:
        """Look at files before and after an edit."""
        answers = []
        for files in (before, after):
            self.write(files)
            answers.append(self.look(**look))
        return answers


def why(old: Answer, new: Answer) -> list[str]:
    return explain(old.parts, new.parts)


@pytest.fixture(scope="session")
def processes() -> Iterator[list[subprocess.Popen]]:
    started = []
    for seed in ("0", "1234"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        environment["PRELOAD"] = "numpy"
        started.append(
            subprocess.Popen(
                [sys.executable, str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
    yield started
    for process in started:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@pytest.fixture
def world(tmp_path: Path, processes: list[subprocess.Popen]) -> World:
    directory = tmp_path / "user"
    directory.mkdir()
    return World(directory, processes)
