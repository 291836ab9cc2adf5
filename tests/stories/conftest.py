"""A project of a user's: an empty directory where flows are written, run and asked about."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

# Python imports it at each start: so it sees each worker that Metaflow starts, whatever it does.
_SPY = """
import os, sys
if "step" in sys.orig_argv and "MEMOFLOW_SPY" in os.environ:
    with open(os.environ["MEMOFLOW_SPY"], "a") as log:
        log.write(sys.orig_argv[sys.orig_argv.index("step") + 1] + "\\n")
"""

_ASK = """
import json, sys
from metaflow import Flow, Run, Step, Task, namespace
namespace(None)
{question}
print("ANSWER " + json.dumps(answer, default=str))
"""


@dataclass
class Ran:
    """What one `python flow.py run` came to."""

    code: int
    text: str
    workers: list[str]

    @property
    def run_id(self) -> str:
        found = re.search(r"run-id (\d+)", self.text)
        assert found, self.text
        return found[1]

    @property
    def memo_lines(self) -> list[str]:
        return re.findall(r"\[memoize\] (.*)", self.text)

    @property
    def hits(self) -> list[str]:
        return [line for line in self.memo_lines if line.startswith("hit: ")]

    @property
    def misses(self) -> list[str]:
        return [line for line in self.memo_lines if line.startswith("miss: ")]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spy = folder / ".spy"
        spy.mkdir()
        (spy / "sitecustomize.py").write_text(_SPY)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("METAFLOW", "MEMOFLOW", "USER", "PYTEST"))
        }
        self.env = kept | {
            "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
            "METAFLOW_USER": "tester",
            "METAFLOW_HOME": str(folder / ".metaflowconfig"),
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / ".cache"),
            "PYTHONPATH": str(spy),
            "PYTHONDONTWRITEBYTECODE": "1",  # Edits within a second of each other must be seen.
        }

    @property
    def store(self) -> Path:
        return self.folder / ".metaflow" / "memoflow"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def edit(self, name: str, before: str, after: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert before in text, f"{before!r} is not in {name}"
        path.write_text(text.replace(before, after))

    def python(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )

    def run(self, *arguments: str, flow: str = "flow.py", ok: bool = True, **env: str) -> Ran:
        """Run a flow; arguments come after `run`, unless they begin with another command."""
        log = self.folder / ".workers"
        log.unlink(missing_ok=True)
        command = arguments if arguments[:1] == ("resume",) else ("run", *arguments)
        done = self.python(
            flow, "--no-pylint", *command, "--max-workers=4", MEMOFLOW_SPY=str(log), **env
        )
        workers = log.read_text().split() if log.exists() else []
        if ok:
            assert done.returncode == 0, done.stdout
        return Ran(done.returncode, done.stdout, workers)

    def ask(self, question: str) -> object:
        """Run code against the Client API in a process of its own; it sets `answer`."""
        done = self.python("-c", _ASK.format(question=textwrap.dedent(question)))
        assert "ANSWER " in done.stdout, done.stdout
        return json.loads(done.stdout.rpartition("ANSWER ")[2])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
