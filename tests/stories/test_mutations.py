"""No change of what a step reads goes unseen, and no other change makes it run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stories.mutations import (
    code,
    copies,
    distributions,
    environment,
    files,
    flows,
    listings,
    modules,
    objects,
    readers,
    states,
    subprocesses,
    uncounted,
    written,
)
from tests.stories.mutations.environment import SECRET
from tests.stories.mutations.harness import Case, Told
from tests.stories.world import built_once

ROWS = (
    files,
    states,
    listings,
    environment,
    readers,
    subprocesses,
    modules,
    uncounted,
    written,
    code,
    objects,
    distributions,
    flows,
    copies,
)
WORLDS = {world.name: world for row in ROWS for world in row.WORLDS}


_ALL_AT_ONCE = "docs/memoize.md: variables that are read all at once are not seen"
# Changes that are not seen: a claim about one fails, and must, until that is mended.
UNSEEN = {
    "absences-in_a_fork": "whether a file is there, asked in a fork",
    "absences-spec_of_an_optional_module": "a module that importlib.util.find_spec did not find",
    "environment-as_a_dict": _ALL_AT_ONCE,
    "environment-listed_by_prefix": _ALL_AT_ONCE,
    "environment-template": "a variable that a library looks up in os.environ",
    "environment-unpacked": _ALL_AT_ONCE,
    "environment_not_counted-other_names_of_a_prefix": _ALL_AT_ONCE,
    "modules-in_sys_modules": "a function of a module that was taken from sys.modules",
}
UNMISSED = {"gone-directory": "that a directory is gone which the result names"}
# Which comes first, the file or the kernel's watch on its new directory, is the machine's to say.
UNRESTORED = {
    "restored-of_a_subprocess_seen": "a file that a shell writes into a directory that it makes"
}
# Misses though nothing changed that the step depends on.
NEEDLESS = {"directories-hidden": "a hidden file counts where a folder is listed by a pattern"}
MOVED = {"copies-as_bytes": "a path of the project in bytes counts by what it is"}


def each(fits, known=()):
    """Parametrize a claim over the cases of all worlds for which it holds, known gaps marked."""
    chosen = [
        pytest.param((world.name, case), id=name, marks=_marks(name, dict(known)))
        for world in WORLDS.values()
        for case in world.cases
        if fits(case)
        for name in [f"{world.name}-{case.name}"]
    ]
    return pytest.mark.parametrize("told", chosen, indirect=True)


def _marks(name: str, known: dict[str, str]) -> list[pytest.MarkDecorator]:
    if name not in known:
        return []
    return [pytest.mark.xfail(reason=known[name], strict=name not in UNRESTORED)]


def hits(case: Case) -> bool:
    return case.never is None and bool(case.memo)


def never(case: Case) -> bool:
    return case.never is not None


@pytest.fixture
def told(request, tmp_path_factory) -> Told:
    """What happened to one case; its world is built by who asks first."""
    name, case = request.param
    if not case.is_here:
        pytest.skip(f"not installed: {', '.join(case.needs)}")
    return Told(built_once(tmp_path_factory, f"world-{name}", WORLDS[name].build), case)


@each(hits, MOVED)
def test_a_step_hits_while_nothing_changes(told):
    assert told.hit("warm", origin="cold"), told


@each(lambda case: True, UNSEEN | UNRESTORED)
def test_a_step_leaves_what_it_would_without_memoize(told):
    expected = told.value("plain") if told.case.leaves is None else told.case.leaves
    assert told.value("kept") == expected, told


@each(
    lambda case: hits(case) and case.says is not None,
    UNSEEN | UNMISSED,
)
def test_a_change_of_what_a_step_reads_is_a_miss_that_names_it(told):
    assert told.missed("changed", told.case.says), told


@each(lambda case: hits(case) and case.says is None and not case.either, NEEDLESS | MOVED)
def test_a_step_hits_while_other_things_change(told):
    assert told.hit("changed", origin="cold"), told


@each(lambda case: hits(case) and case.returns)
def test_a_step_hits_again_when_the_world_is_as_before(told):
    assert told.hit("back", origin="cold"), told


@each(never)
def test_a_step_that_cannot_be_kept_runs_each_time(told):
    assert all(map(told.ran, ("cold", "warm", "changed", "back"))), told


@each(never)
def test_a_step_that_cannot_be_kept_says_why(told):
    assert any(told.said(run, told.case.never) for run in ("cold", "warm")), told


@each(lambda case: case.told is not None)
def test_what_a_user_should_know_is_said_once(told):
    said = [run for run in ("cold", "warm", "changed", "back") if told.said(run, told.case.told)]
    assert said == ["cold"], told


def test_the_value_of_a_variable_is_kept_nowhere(tmp_path_factory):
    name = "environment_not_counted"
    world = built_once(tmp_path_factory, f"world-{name}", WORLDS[name].build)
    kept = [*Path(world["folder"]).rglob("*"), Path(world["folder"], "flow.py")]
    held = [path for path in kept if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert [path for path in held if path.name != ".answer.json"] == []
    assert not any(SECRET in run["text"] for run in world["runs"].values())
