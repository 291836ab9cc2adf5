"""A log line and `why` say the same of each of many seeded changes, and name the part."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fingerprint.test_closure import install
from tests.stories.conftest import Project
from tests.stories.world import once

MADE = """
    import dataclasses, datetime, json
    import numpy as np
    import pandas as pd

    @dataclasses.dataclass
    class Options:
        lr: float
        seed: int

    class Model:
        def __init__(self, **held):
            self.__dict__.update(held)

    def made(kind, n):
        return {
            "dict": lambda: {"lr": n, "seed": 7, "name": "x" * 50},
            "nested": lambda: {"opt": {"k": [1, n]}, "rest": list(range(90))},
            "list": lambda: [1, n, 3],
            "longer": lambda: list(range(90 + n)),
            "tuple": lambda: (1, {"k": n}),
            "set": lambda: {1, n},
            "dataclass": lambda: Options(n / 10, 7),
            "object": lambda: Model(fitted=[1.5] * 40, depth=n),
            "array": lambda: np.array([1, n, 3]),
            "shape": lambda: np.zeros((n, 50)),
            "frame": lambda: pd.DataFrame({"a": [1, 2], "b": [5, n]}),
            "columns": lambda: pd.DataFrame({"a": [1, 2], f"c{n}": [1, 1], "z": range(2)}),
            "series": lambda: pd.Series([1, n]),
            "int": lambda: n,
            "text": lambda: f"text {n}",
            "date": lambda: datetime.date(2024, 1, n),
            "none": lambda: None if n % 2 else n,
        }[kind]()
"""
# What is told of an artifact `a` of that kind whose number went from n to m.
ARTIFACTS = {
    "dict": "input a.lr changed: {n} -> {m}",
    "nested": "input a.opt.k[1] changed: {n} -> {m}",
    "list": "input a[1] changed: {n} -> {m}",
    "longer": "input a changed: list of {n90} -> list of {m90}",
    "tuple": "input a[1].k changed: {n} -> {m}",
    "set": "input a{{{m}}} is new, and 1 more",
    "dataclass": "input a.lr changed: {n10} -> {m10}",
    "object": "input a.depth changed: {n} -> {m}",
    "array": "input a[1] changed: {n} -> {m}",
    "shape": "input a changed: ndarray({n}, 50) float64 -> ndarray({m}, 50) float64",
    "frame": "input a['b'][1] changed: {n} -> {m}",
    "columns": "input a['c{m}'] is new, and 1 more",
    "series": "input a[1] changed: {n} -> {m}",
    "int": "input a changed: {n} -> {m}",
    "text": "input a changed: 'text {n}' -> 'text {m}'",
    "date": "input a changed: 2024-01-{n:02} -> 2024-01-{m:02}",
    "none": "input a changed: {n_} -> {m_}",
}


@dataclass(frozen=True)
class Change:
    """One step, how it is written, and what changes: files before and after, and the line."""

    name: str
    kind: str
    n: int
    m: int
    line: str
    deco: str = "@memoize"
    top: str = ""
    body: str = "pass"
    lib: str = ""
    default: str = ""

    def text(self, template: str, *, after: bool) -> str:
        return template.replace("$", str(self.m if after else self.n)).replace("@@", self.name)


def artifact(name: str, kind: str, n: int, m: int) -> Change:
    shown = {"n_": None if n % 2 else n, "m_": None if m % 2 else m}
    line = ARTIFACTS[kind].format(n=n, m=m, n10=n / 10, m10=m / 10, n90=n + 90, m90=m + 90, **shown)
    line = re.sub(r"\ba\b", f"a_{name}", line, count=1)
    return Change(name, kind, n, m, line, body="self.r_@@ = repr(self.a_@@)")


def other(name: str, kind: str, n: int, m: int) -> Change:
    def change(line: str, **how: Any) -> Change:
        return Change(name, kind, n, m, line.replace("@@", name), **how)

    if kind == "parameter":
        return change(
            f"parameter p_@@ changed: {n} -> {m}",
            top='p_@@ = Parameter("p_@@", default=0)',
            body="self.r_@@ = self.p_@@",
        )
    if kind == "config":
        return change(
            f"(parameter|config) c_@@.k.lr changed: {n} -> {m}",
            top='c_@@ = Config("c_@@", default="c_@@.json")',
            body="self.r_@@ = self.c_@@.k.lr",
        )
    if kind == "constant":
        return change(
            f"constant lib.K_@@ changed: {n} -> {m} ", lib="K_@@ = $", body="self.r_@@ = lib.K_@@"
        )
    if kind == "table":
        text = 'T_@@ = {"lr": $, "names": ["' + "x" * 60 + '"]}'
        return change(
            f"constant lib.T_@@.lr changed: {n} -> {m} ", lib=text, body="self.r_@@ = lib.T_@@"
        )
    if kind == "helper":
        text = "def f_@@(x):\n    return x + $\n"
        return change("code of f_@@() changed ", lib=text, body="self.r_@@ = lib.f_@@(1)")
    if kind == "method":
        text = "class C_@@:\n    def run(self):\n        return $\n"
        return change("code of C_@@.run() changed ", lib=text, body="self.r_@@ = lib.C_@@().run()")
    if kind == "default":
        text = "def d_@@(x=$):\n    return x\n"
        return change("code of d_@@() changed ", lib=text, body="self.r_@@ = lib.d_@@()")
    if kind == "attribute":
        text = "class A_@@:\n    layers = $\n"
        return change(
            f"constant A_@@.layers changed: {n} -> {m} ",
            lib=text,
            body="self.r_@@ = lib.A_@@.layers",
        )
    if kind == "body":
        return change("code of self.s_@@() changed ", body="self.r_@@ = $")
    if kind == "version":
        return change(f"option version changed: {n} -> {m}", deco='@memoize(version="$")')
    if kind == "package":
        body = "import kit_@@\n        self.r_@@ = kit_@@.run()"
        return change(f"kit_@@ changed: {n}.0 -> {m}.0", body=body)
    assert kind == "outputs"
    return change(
        "option outputs changed: r_@@ -> q_@@",
        deco='@memoize(outputs=["$_@@"])',
        body="self.r_@@ = self.q_@@ = 1",
    )


OTHERS = (
    *("parameter", "config", "constant", "table", "helper", "method", "default", "attribute"),
    *("body", "version", "package"),
)


def seeded(seed: int) -> list[Change]:
    """Return a change of each kind, by a seed."""
    dice = random.Random(seed)
    changes = []
    for kind in (*ARTIFACTS, *OTHERS):
        n, m = dice.sample(range(5, 12), 2)
        m += kind == "none" and not (n + m) % 2
        make = artifact if kind in ARTIFACTS else other
        changes.append(make(f"{kind}{seed}", kind, n, m))
    return changes


ITEMS = [{"lr": 1, "seed": i, "name": "x" * 50} for i in range(3)]
# The second one changed, the last one is new.
ITEMS_AFTER = [ITEMS[0], ITEMS[1] | {"lr": 2}, ITEMS[2], {"lr": 3, "depth": 4}]
ITEM_LINES = {1: "input changed: lr 1 -> 2", 3: "new input lr=3 depth=4"}


def write(project: Project, changes: list[Change], *, after: bool) -> None:
    """Write the flow, its module, configs, packages and artifacts, as before or after."""
    steps = []
    for i, each in enumerate(changes):
        follows = f"s_{changes[i + 1].name}" if i + 1 < len(changes) else "fan"
        body = each.text(each.body, after=after)
        deco = each.text(each.deco, after=after)
        steps.append(
            f"    {deco}\n    @step\n    def s_{each.name}(self):\n        {body}\n"
            f"        self.next(self.{follows})\n"
        )
        if each.kind == "config":
            value = each.m if after else each.n
            project.write(f"c_{each.name}.json", json.dumps({"k": {"lr": value}, "rest": 1}))
        if each.kind == "package":
            site = project.folder / "lib" / "site-packages"
            for old in site.glob(f"kit_{each.name}-*"):
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()
            source = {f"kit_{each.name}/__init__.py": "def run(): return 1"}
            install(site, f"kit_{each.name}", f"{each.m if after else each.n}.0", source)
    top = "\n".join(f"    {each.text(each.top, after=after)}" for each in changes if each.top)
    Path(project.folder, "flow.py").write_text(
        "import json\nfrom metaflow import Config, FlowSpec, Parameter, memoize, step\n"
        "import lib, values\n\nclass Seeded(FlowSpec):\n"
        f"{top}\n"
        "    @step\n    def start(self):\n"
        "        with open('seed.json') as file:\n            seed = json.load(file)\n"
        "        self.items = seed['items']\n"
        "        for name, kind, n in seed['artifacts']:\n"
        "            setattr(self, f'a_{name}', values.made(kind, n))\n"
        f"        self.next(self.s_{changes[0].name})\n\n"
        + "\n".join(steps)
        + "\n    @step\n    def fan(self):\n        self.next(self.item, foreach='items')\n\n"
        "    @memoize\n    @step\n    def item(self):\n        self.got = self.input\n"
        "        self.next(self.join)\n\n"
        "    @step\n    def join(self, inputs):\n        self.next(self.end)\n\n"
        "    @step\n    def end(self):\n        pass\n\n"
        "if __name__ == '__main__':\n    Seeded()\n"
    )
    lib = "\n".join(each.text(each.lib, after=after) for each in changes if each.lib)
    Path(project.folder, "lib.py").write_text(lib)
    project.write("values.py", MADE)
    kinds = [(each.name, each.kind, each.m if after else each.n) for each in changes]
    made = [each for each in kinds if each[1] in ARTIFACTS]
    items = ITEMS_AFTER if after else ITEMS
    project.write("seed.json", json.dumps({"artifacts": made, "items": items}))


ASK = """
import json, sys
from metaflow import Run, namespace
from memoflow.flow.memo import why
from memoflow.storages.opening import open_store
namespace(None)
store, answer = open_store(".metaflow/memoflow"), {}
for step in Run(f"Seeded/{sys.argv[1]}"):
    for task in step:
        answer[f"{step.id}/{task.id}"] = [why.of_task(store, task.pathspec).line, task.index]
print("ANSWER " + json.dumps(answer))
"""


def ran(project: Project, changes: list[Change]) -> dict[str, Any]:
    """Return the lines of the log, of `why` after the run, and of `why` before it, by task."""
    path = str(project.folder / "lib" / "site-packages")
    project.env["PYTHONPATH"] += f":{path}"
    parameters = [each for each in changes if each.kind == "parameter"]
    before = [text for each in parameters for text in (f"--p_{each.name}", str(each.n))]
    write(project, changes, after=False)
    project.run(*before)
    write(project, changes, after=True)
    code = [f"s_{each.name}" for each in changes if each.kind in OTHERS[2:]]
    asked = project.python("flow.py", "--no-pylint", "memo", "why", *code, "--json").stdout
    told = json.loads(asked[asked.index('{"answers"') :])["answers"]
    after = [text for each in parameters for text in (f"--p_{each.name}", str(each.m))]
    done = project.run(*after)
    answer = project.python("-c", ASK, done.run_id)
    assert "ANSWER " in answer.stdout, answer.stdout
    return {
        "log": re.findall(r"/(\w+/\d+) \(pid \d+\)\] \[memoize\] miss: (.*)", done.text),
        "why": json.loads(answer.stdout.rpartition("ANSWER ")[2]),
        "before": {each["subject"].rpartition("/")[2]: each["line"] for each in told},
        "text": done.text,
    }


def check(found: dict[str, Any], changes: list[Change]) -> None:
    expected = {f"s_{each.name}": each.line for each in changes}
    log = dict(found["log"])
    named = {}
    for task, line in log.items():
        step, index = task.partition("/")[0], found["why"][task][1]
        wanted = ITEM_LINES[index] if step == "item" else expected[step]
        exact = re.escape(wanted) if "(parameter|config)" not in wanted else wanted
        if re.match(exact + (r"\(" if wanted.endswith(" ") else "$"), line):
            named[task] = line
    assert len(log) == len(changes) + len(ITEM_LINES)
    assert {task: found["why"][task][0] for task in log} == log
    assert log.keys() - named.keys() == set(), {task: log[task] for task in log.keys() - named}
    by_step = {task.partition("/")[0]: line for task, line in log.items()}
    assert {step: by_step[step] for step in found["before"]} == found["before"]


@once
def some(project: Project) -> dict[str, Any]:
    return ran(project, seeded(1))


def test_the_log_and_why_agree_and_name_the_part(some):
    check(some, seeded(1))


@pytest.mark.stress
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_so_they_do_of_more_than_a_hundred(tmp_path, seed):
    changes = seeded(seed)
    assert 4 * (len(changes) + len(ITEM_LINES)) > 100
    check(ran(Project(tmp_path), changes), changes)
