"""Worlds: flows with a memoized step for each case, run while the world around them changes.

A world is paid for once: its steps run cold, then must all hit, then everything changes for all
cases together, then it changes back. Each test reads one claim about one case out of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.stories.conftest import Project

Files = Mapping[str, "str | bytes | None"]
Environment = Mapping[str, "str | None"]
Act = Callable[[Project], object]

_HEAD = """
import contextlib, glob, json, os, subprocess, sys
from pathlib import Path
from metaflow import Config, FlowSpec, Parameter, current, memoize, step
"""

_STEP = """
{memo}
@step
def {name}(self):
{body}
    self.next(self.{then})
"""

# What the bodies of the steps come to without Metaflow and memoflow, beside what the run kept.
_PLAIN = """
import json, sys
import flow

class Plain:
    def next(self, *steps, **options):
        pass

    def __getattr__(self, name):
        value = getattr(flow.World, name)
        return value.__get__(self) if callable(value) else value

def attempt(act, *arguments):
    try:
        return act(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def plainly(name):
    step = Plain()
    flow.World.start(step)
    flow.World.__dict__[name](step)
    return repr(getattr(step, "of_" + name))

if __name__ == "__main__":
    from metaflow import Run, namespace
    names, run_id = sys.argv[1].split(), sys.argv[2]
    plain = {name: attempt(plainly, name) for name in names}
    namespace(None)
    run = Run("World/" + run_id)
    kept = {name: attempt(lambda: repr(run[name].task.data.__getattr__("of_" + name)))
            for name in names}
    print("ANSWER " + json.dumps({"plain": plain, "kept": kept}))
"""


@dataclass(frozen=True)
class Case:
    """One step, which leaves what it reads, and one change of what there is to read.

    `body` is an expression, or statements that set `got`. `says` is a pattern in the line on the
    miss after the change; None: the change does not matter, and the step hits.
    """

    name: str
    body: str
    says: str | None = None
    files: Files = field(default_factory=dict)
    then: Files = field(default_factory=dict)
    env: Environment = field(default_factory=dict)
    then_env: Environment = field(default_factory=dict)
    head: str = ""  # of the flow's module
    start: str = ""  # in the first step, which is not memoized if there is any
    memo: str = "@memoize"
    needs: tuple[str, ...] = ()  # modules that are not always installed
    either: bool = False  # whether to hit or to miss after the change is both right
    never: str | None = None  # it runs each time, and a line with this says so
    told: str | None = None  # a line with this is there in the cold run, and in no later one
    prepare: Act | None = None
    change: Act | None = None
    restore: Act | None = None
    leaves: str | None = None  # what it must leave in the end, where plain Python cannot tell
    returns: bool = True  # whether the world can be as before

    @property
    def is_here(self) -> bool:
        return all(map(_is_installed, self.needs))

    @property
    def text(self) -> str:
        """The step's function's body."""
        body = textwrap.dedent(self.body).strip()
        if "\n" not in body and not body.startswith("got ="):
            return f"self.of_{self.name} = {body}"
        return f"{body}\nself.of_{self.name} = got"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@dataclass(frozen=True)
class World:
    name: str
    cases: list[Case]
    members: str = ""  # of the flow's class
    arguments: tuple[str, ...] = ()  # of `run`
    env: Mapping[str, str] = field(default_factory=dict)  # {project} is the project's folder
    first: str = ""  # decorators of the first step
    copied: bool = False  # whether it goes on in a copy of the project, with the same store

    def build(self, project: Project) -> dict[str, Any]:
        """Run the world's flow four times; return what each step did in each run."""
        cases = [case for case in self.cases if case.is_here]
        env: dict[str, str | None] = {
            name: value.format(project=project.folder) for name, value in self.env.items()
        }
        for case in cases:
            _write(project, case.files)
            env |= case.env
        project.write("flow.py", self.flow(cases))
        for case in cases:
            _act(case.prepare, project)
        runs = {"cold": _run(project, env, self.arguments)}
        place = _elsewhere(project) if self.copied else project
        runs["warm"] = _run(place, env, self.arguments)
        for case in cases:
            _write(place, case.then)
            _act(case.change, place)
        changed = env | {k: v for case in cases for k, v in case.then_env.items()}
        runs["changed"] = _run(place, changed, self.arguments)
        values = _values(place, changed, cases, runs["changed"])
        for case in cases:
            _write(place, {name: case.files.get(name) for name in case.then})
            _act(case.restore, place)
        runs["back"] = _run(project, env, self.arguments)
        return {"runs": runs, "values": values, "folder": str(project.folder)}

    def flow(self, cases: list[Case]) -> str:
        starts = [line for case in cases for line in textwrap.dedent(case.start).splitlines()]
        names = [case.name for case in cases]
        memo = self.first if any(starts) else "@memoize"
        first = "\n".join(starts) or "pass"
        steps = [_step("start", first, memo, names[0])]
        for case, then in zip(cases, [*names[1:], "end"], strict=True):
            steps.append(_step(case.name, case.text, case.memo, then))
        last = "\n@memoize\n@step\ndef end(self):\n    pass\n"
        heads = [textwrap.dedent(case.head) for case in cases if case.head]
        inside = textwrap.indent(textwrap.dedent(self.members) + "".join(steps) + last, " " * 4)
        main = 'if __name__ == "__main__":\n    World()\n'
        return "\n".join([_HEAD, *heads, "class World(FlowSpec):", inside, main])


def _step(name: str, body: str, memo: str, then: str) -> str:
    return _STEP.format(name=name, body=textwrap.indent(body, " " * 4), memo=memo, then=then)


def _elsewhere(project: Project) -> Project:
    """Return a copy of the project as another checkout would be, which shares runs and store."""
    copy = Project(_made(Path(f"{project.folder}-elsewhere/deeper")))
    left = shutil.ignore_patterns(".metaflow", ".cache", ".spy")
    shutil.copytree(project.folder, copy.folder, dirs_exist_ok=True, ignore=left)
    shared = "METAFLOW_DATASTORE_SYSROOT_LOCAL"
    copy.env[shared] = project.env[shared]
    return copy


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _act(act: Act | None, project: Project) -> None:
    if act is not None:
        act(project)


def _write(project: Project, files: Files) -> None:
    for name, content in files.items():
        path = project.folder / name
        if content is None:
            path.unlink(missing_ok=True)
        elif isinstance(content, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            project.write(name, content)


def _run(project: Project, env: Environment, arguments: tuple[str, ...]) -> dict[str, Any]:
    """Run the flow; its steps are listed by name with their lines and whether a worker started."""
    spy = Path(f"{project.folder}.workers")  # Not in the project: steps list what is there.
    spy.unlink(missing_ok=True)
    given = {name: value for name, value in env.items() if value is not None}
    command = ["flow.py", "--no-pylint", "run", *arguments, "--max-workers=4"]
    done = project.python(*command, MEMOFLOW_SPY=str(spy), **given)
    steps: dict[str, list[str]] = {}
    for name, line in re.findall(r"\[\d+/(\w+)/\d+ \(pid \d+\)\] (.*)", done.stdout):
        steps.setdefault(name, []).append(line)
    found = re.search(r"run-id (\d+)", done.stdout)
    return {
        "code": done.returncode,
        "id": found[1] if found else "",
        "text": done.stdout,
        "lines": steps,
        "workers": spy.read_text().split() if spy.exists() else [],
    }


def _values(
    project: Project, env: Environment, cases: list[Case], run: dict[str, Any]
) -> dict[str, dict[str, str]]:
    project.write(".plain/plain.py", _PLAIN)
    given = {name: value for name, value in env.items() if value is not None}
    given["PYTHONPATH"] = os.pathsep.join(
        [str(project.folder), given.get("PYTHONPATH", project.env["PYTHONPATH"])]
    )
    names = " ".join(case.name for case in cases)
    done = project.python(".plain/plain.py", names, run["id"], **given)
    shutil.rmtree(project.folder / ".plain")
    if "ANSWER " not in done.stdout:
        return {"plain": {}, "kept": {}, "failed": {"text": done.stdout}}
    return json.loads(done.stdout.rpartition("ANSWER ")[2])  # type: ignore[no-any-return]


class Told:
    """What one case's step did in the runs of its world."""

    def __init__(self, world: dict[str, Any], case: Case) -> None:
        self.world = world
        self.case = case

    def ran(self, run: str) -> bool:
        """Tell whether a worker was started for the step."""
        return self.case.name in self.world["runs"][run]["workers"]

    def memo_lines(self, run: str) -> list[str]:
        lines = self.world["runs"][run]["lines"].get(self.case.name, [])
        return [line.partition("] ")[2] for line in lines if line.startswith("[memoize] ")]

    def hit(self, run: str, origin: str | None = None) -> bool:
        """Tell whether the step hit in a run, and what it got was made in another."""
        made = rf"World/{self.world['runs'][origin]['id']}/" if origin else ""
        lines = self.memo_lines(run)
        return not self.ran(run) and any(re.match(f"hit: {made}", line) for line in lines)

    def missed(self, run: str, says: str) -> bool:
        lines = [line for line in self.memo_lines(run) if line.startswith("miss: ")]
        return self.ran(run) and any(re.search(says, line) for line in lines)

    def said(self, run: str, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.memo_lines(run))

    def value(self, of: str) -> str | None:
        return self.world["values"][of].get(self.case.name)

    def __str__(self) -> str:
        """The step as it is written, and its lines in all runs."""
        text = [f"{self.case.name}: {self.case.text}", *self.world["values"].get("failed", {})]
        for name, run in self.world["runs"].items():
            how = "a worker ran" if self.ran(name) else "no worker"
            text.append(f"{name}, {how}:")
            text += [f"    {line}" for line in run["lines"].get(self.case.name, ["no line"])]
            if run["code"]:
                text.append(textwrap.indent(run["text"][-3000:], "    | "))
        return "\n".join(text) + f"\nplain {self.value('plain')}, kept {self.value('kept')}"
