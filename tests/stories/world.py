"""World: what one rich flow did, for many tests to read one claim each out of it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Project, Ran

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
        name = f"{build.__module__.removeprefix('tests.')}-{build.__name__}"
        return built_once(tmp_path_factory, name, build)

    return fixture


def built_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Project], Any]
) -> Any:
    """Return the answer of `build` as JSON, from a folder that all workers of xdist share."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / name
    answer = folder / ".answer.json"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            shutil.rmtree(folder, ignore_errors=True)  # Another worker's failed here.
            folder.mkdir()
            built = build(project_in(folder))
            answer.write_text(json.dumps(built, default=vars))
    return json.loads(answer.read_text())


def copied(folder: str | Path, into: Path) -> Project:
    """Go on in a folder of one's own from where a project stands, whose runs are paid for once."""
    project = Project(into)
    shutil.copytree(folder, into, dirs_exist_ok=True)
    return project


_STARTER = """
    import json, multiprocessing, os, runpy, sys
    import metaflow

    def start(log, command):
        with open(log, "w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")

    codes = []
    for number, command in enumerate(json.loads(sys.argv[1])):
        arguments = f".start-{number}", command
        process = multiprocessing.get_context("fork").Process(target=start, args=arguments)
        process.start()
        process.join()
        codes.append(process.exitcode)
    print(json.dumps(codes))
"""


def starts(project: Project, *commands: list[str], **env: str) -> list[Ran]:
    """Run flows that are to stop before their first task.

    Each is a fork of one process that has loaded Metaflow: that takes longer than all the rest.
    """
    project.write(".starter.py", _STARTER)
    log = project.folder / ".started"
    given = json.dumps([[flow, "--no-pylint", *more] for flow, *more in commands])
    done = project.python(".starter.py", given, MEMOFLOW_SPY=str(log), **env)
    workers = log.read_text().split() if log.exists() else []
    codes = json.loads(done.stdout.splitlines()[-1])
    texts = [project.folder.joinpath(f".start-{n}").read_text() for n in range(len(codes))]
    return [Ran(code, text, workers) for code, text in zip(codes, texts, strict=True)]


def notes(project: Project) -> dict[str, Any]:
    """All that the flows of a project noted; the last of a name counts."""
    log = project.folder / "notes.jsonl"
    facts: dict[str, Any] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        facts |= json.loads(line)
    return facts


def told(project: Project, ran: Ran) -> dict[str, Any]:
    """What a run came to, with all that was noted so far, and why each step was missed."""
    misses = re.findall(r"/(\w+)/\d+ \(pid \d+\)\] \[memoize\] (miss: .*)", ran.text)
    return vars(ran) | {"noted": notes(project), "misses": dict(misses)}
