"""Secrets: seeded passwords, looked for in all that runs print and all that memoflow keeps."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from memoflow import fingerprint
from tests.stories.conftest import Project
from tests.stories.world import once

# In each place one, as it is in the first run and in the second.
SEEDS = {
    place: (f"zq{number}first{number}x", f"zq{number}second{number}x")
    for number, place in enumerate(
        (
            "parameter", "dsn", "environment", "constant", "nested", "url", "class_data", "config",
            "metadata", "default", "cell", "keyword", "deep", "compared", "setdefault", "item",
            "flow_data", "comment", "partial", "option", "input",
        )
    )
}  # fmt: skip

LIB = """
    import functools, os
    from dataclasses import dataclass

    DB_PASSWORD = "{constant}"  # it is {constant}
    SETTINGS = {{"db": {{"host": "h", "options": [{{"pwd": "{nested}"}}]}}, "n": 3}}
    SERVICE = "postgres://admin:{url}@db.example/x?y=1"

    class Login:
        api_key = "{class_data}"
        retries = 3

    @dataclass
    class Account:
        user: str
        secret: str = "{deep}"

    ACCOUNT = Account("me")
    # old_password = "{comment}"

    def connect(host, password="{default}"):
        return len(password)

    def maker():
        token = "{cell}"
        def inner(n):
            return n + len(token)
        return inner

    inner = maker()
    bound = functools.partial(connect, "h", password="{partial}")

    def check(password):
        os.environ.setdefault("SERVICE_TOKEN", "{setdefault}")
        if password == "{compared}":
            return 1
        return connect("h", password="{keyword}")
"""

FLOW = """
    from metaflow import (
        Config, FlowSpec, Parameter, checkpoint, current, environment, memoize, step)
    import lib

    class Secretive(FlowSpec):
        db_password = Parameter("db_password", default="-")
        where = Parameter("where", default="-")
        config = Config("config", default="config.json")
        access_token = "{flow_data}"

        @step
        def start(self):
            self.plain = {{"auth": {{"bearer": "{input}"}}, "size": 3}}
            self.passwords = ["{item}"]
            self.next(self.use)

        @environment(vars={{"DB_PASSWORD": "{environment}", "REGION": "eu"}})
        @memoize(mask=["where", "opaque"])
        @step
        def use(self):
            used = [self.db_password, self.where, self.config.smtp.password, self.access_token]
            used += [lib.DB_PASSWORD, lib.SETTINGS["n"], lib.SERVICE, lib.Login.api_key]
            used += [lib.ACCOUNT]
            opaque = "{option}"
            self.n = sum(map(len, map(str, used))) + lib.check("x") + lib.inner(1) + lib.bound()
            self.m = len(str(self.plain)) + len(opaque)
            self.next(self.each, foreach="passwords")

        @checkpoint
        @memoize
        @step
        def each(self):
            self.k = len(self.input)
            current.checkpoint.save("w.txt", metadata={{"db_password": "{metadata}", "loss": 1}})
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Secretive()
"""


def _seeded(run: int) -> dict[str, str]:
    return {place: pair[run] for place, pair in SEEDS.items()}


def _write(project: Project, run: int) -> None:
    seeds = _seeded(run)
    project.write("lib.py", LIB.format(**seeds))
    project.write("flow.py", FLOW.format(**seeds))
    config = {"smtp": {"password": seeds["config"], "port": 25}}
    project.write("w.txt", "weights")
    project.write("config.json", json.dumps(config))


@once
def secrets(project: Project) -> dict[str, Any]:
    outputs = {}
    for run in (0, 1):
        _write(project, run)
        given = ["--db_password", SEEDS["parameter"][run], "--where", SEEDS["dsn"][run]]
        outputs[f"run {run}"] = project.run(*given).text
    outputs["again"] = project.run(*given).text
    before = {"smtp": {"password": SEEDS["config"][0], "port": 25}}
    project.write("config.json", json.dumps(before))
    given[1] = SEEDS["parameter"][0]
    outputs["others"] = project.run(*given).text
    project.edit("lib.py", SEEDS["compared"][1], SEEDS["compared"][0])
    project.edit("lib.py", SEEDS["url"][1], SEEDS["url"][0])
    asked = project.ask(
        """
        runs = list(Flow("Secretive"))
        answer = [[t.pathspec for s in r for t in s if s.id in ("use", "each")] for r in runs]
        """
    )
    assert isinstance(asked, list)
    memo = ("-m", "memoflow")
    for task in (task for run in asked for task in run):
        outputs[f"why {task}"] = project.python(*memo, "why", task).stdout
        outputs[f"why --json {task}"] = project.python(*memo, "why", task, "--json").stdout
        metadata = f"print([str(m) for m in __import__('metaflow').Task({task!r}).metadata])"
        told = project.python("-c", metadata).stdout
        # Metaflow notes each item of a foreach.
        outputs[f"metadata {task}"] = re.sub(r"name='foreach-stack', value=\S*", "", told)
    outputs["why flow"] = project.python("flow.py", "--no-pylint", "memo", "why").stdout
    listed = project.python(*memo, "ls", "--json").stdout
    outputs["ls"] = project.python(*memo, "ls").stdout + listed
    for key in (each["key"] for each in json.loads(listed)["entries"]):
        outputs[f"show {key}"] = project.python(*memo, "show", key).stdout
        outputs[f"show --json {key}"] = project.python(*memo, "show", key, "--json").stdout
    outputs["report"] = project.python(*memo, "report", "--output", "report.html").stdout
    return {
        "outputs": outputs,
        "folder": str(project.folder),
        "n": sum(map(len, asked)),
        "env": {k: v for k, v in project.env.items() if k.startswith(("HOME", "XDG"))},
    }


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        return data + gzip.decompress(data)
    except (OSError, EOFError):
        return data


def _is_metaflows(path: Path, folder: Path) -> bool:
    """Tell whether a file is an artifact or the code package, which Metaflow keeps as they are."""
    inner = path.relative_to(folder)
    artifacts = {each.stat().st_ino for each in folder.glob(".metaflow/Secretive/data/*/*")}
    sources = ("lib.py", "flow.py", "config.json", ".answer.json")
    is_source = path.parent == folder and path.name in sources
    is_stack = path.name.startswith("sysmeta_foreach-stack")
    is_log = inner.parts[:2] == (".metaflow", "Secretive") and path.name.endswith((".log", ".logs"))
    is_artifact = path.stat().st_ino in artifacts
    return is_source or is_artifact or is_stack or is_log or "__pycache__" in inner.parts


def test_no_output_has_a_password(secrets: dict[str, Any]) -> None:
    found = [
        (place, where)
        for place, pair in SEEDS.items()
        for where, text in secrets["outputs"].items()
        if any(seed in text for seed in pair)
    ]
    assert found == []


def test_no_file_that_memoflow_keeps_has_a_password(secrets: dict[str, Any]) -> None:
    folder = Path(secrets["folder"])
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in files if not _is_metaflows(path, folder)]
    assert any(path.suffix == ".sqlite" for path in kept)
    found = [
        (place, str(path.relative_to(folder)))
        for path in kept
        for data in [_bytes(path)]
        for place, pair in SEEDS.items()
        if any(seed.encode() in data for seed in pair)
    ]
    assert found == []


def test_no_digest_tells_a_password_to_who_guesses_it(secrets: dict[str, Any]) -> None:
    folder = Path(secrets["folder"])
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = [_bytes(path) for path in files if not _is_metaflows(path, folder)]
    kept += [text.encode() for text in secrets["outputs"].values()]
    guesses = [fingerprint.of_value(seed).hex.encode() for pair in SEEDS.values() for seed in pair]
    assert [guess for guess in guesses if any(guess in data for data in kept)] == []


@pytest.mark.parametrize(
    "name", ["lib.DB_PASSWORD", "parameter db_password", "config config.smtp.password"]
)
def test_a_changed_password_is_a_miss_that_names_it(secrets: dict[str, Any], name: str) -> None:
    why = "".join(text for where, text in secrets["outputs"].items() if where.startswith("why"))
    assert name in why
    assert "***" in why


def test_the_same_passwords_are_a_hit(secrets: dict[str, Any]) -> None:
    assert "hit: Secretive" in secrets["outputs"]["again"]


def test_other_values_stay_readable(secrets: dict[str, Any]) -> None:
    shown = "".join(text for where, text in secrets["outputs"].items() if "show" in where)
    assert "'REGION': 'eu'" in shown
