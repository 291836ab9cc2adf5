"""Twenty changes between one run and the next, each of which is named, with its diff."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from memoflow.fingerprint import Fingerprint, Part, differences, of_value, summary
from memoflow.kinds import memo
from memoflow.kinds.nearest import EarlierResults, Nearest
from memoflow.store import Store, open_store
from tests.fingerprint.conftest import Answer, World
from tests.fingerprint.test_closure import install

MAIN = """
import dataclasses
import functools

import kit
import lib
from lib import first as chosen

RATE = 0.1

@dataclasses.dataclass
class Options:
    depth: int = 3
    names: list = dataclasses.field(default_factory=list)

class Model:
    layers = 2
    def fit(self, x):
        return x * self.layers

def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

def scaled(by):
    def scale(x):
        return x * by
    return scale

double = scaled(2)
square = lambda x: x * x

@logged
def helper(x, start=0):
    # Sums.
    return x + start + RATE

def f(x):
    options = Options()
    y = helper(Model().fit(x)) + lib.outer(x)
    z = double(x) + square(x) + chosen(x) + kit.run()
    return y + z + options.depth
"""
LIB = """
from deep import inner

def outer(x):
    return inner(x)

def first(x):
    return x

def second(x):
    return -x
"""
DEEP = """
def inner(x):
    def again(y):
        return y - 1
    return again(x)
"""


FILES = {"main": MAIN, "lib": LIB, "deep": DEEP}


class Edit(NamedTuple):
    """What is changed to what, what is said of it, and a text in the line that is named."""

    old: str
    new: str
    says: str
    at: str
    diff: bool = True

    @property
    def line(self) -> str:
        (name,) = (name for name, text in FILES.items() if self.at in text)
        number = FILES[name].partition(self.at)[0].count("\n") + 1
        return f"{self.says} ({name}.py:{number})"


EDITS = {
    "the body": Edit("return y + z", "return y - z", "code of f() changed", "def f("),
    "a helper": Edit("return x + start", "return x - start", "code of helper() changed", "@logged"),
    "another module": Edit(
        "return inner(x)", "return inner(x + 1)", "code of outer() changed", "def outer"
    ),
    "two modules away": Edit(
        "return y - 1", "return y - 2", "code of inner() changed", "def inner"
    ),
    "a method": Edit(
        "return x * self", "return x + self", "code of Model.fit() changed", "def fit"
    ),
    "a class attribute": Edit(
        "layers = 2", "layers = 3", "constant Model.layers changed: 2 -> 3", "layers = 2"
    ),
    "a global": Edit(
        "RATE = 0.1", "RATE = 0.2", "constant main.RATE changed: 0.1 -> 0.2", "RATE = 0.1"
    ),
    "a default": Edit("start=0", "start=1", "code of helper() changed", "@logged"),
    "a closure": Edit(
        "scaled(2)",
        "scaled(3)",
        "constant scaled.scale.by changed: 2 -> 3",
        "def scale(x)",
        diff=False,
    ),
    "a decorator": Edit(
        "return function(*args)",
        "return function(*args) + 1",
        "code of logged.wrapper() changed",
        "@functools.wraps",
    ),
    "a dataclass": Edit("=list)", "=set)", "code of class Options changed", "class Options"),
    "a lambda": Edit("x: x * x", "x: x * x * x", "code of <lambda>() changed", "square = lambda"),
    "an import": Edit(
        "first as", "second as", "chosen in f() is lib.second, was lib.first", "def f(", diff=False
    ),
}
CONFIG = {"lr": 1}, {"lr": 2}
INPUTS = {
    "a parameter": ("parameter", "alpha", 0.1, 0.2, "parameter alpha changed: 0.1 -> 0.2"),
    "an item": ("input", "input", "red", "blue", "input changed: 'red' -> 'blue'"),
    "an artifact": ("input", "rows", [1, 2], [1, 3], "input rows changed: [1, 2] -> [1, 3]"),
    "a dict in a dict": (
        "input",
        "d",
        {"k": 1, "z": [1, 2]},
        {"k": 2, "z": [1, 2]},
        "input d changed: {'k': 1, 'z': [1, 2]} -> {'k': 2, 'z': [1, 2]}",
    ),
    "an array": (
        "input",
        "a",
        np.arange(3),
        np.arange(3)[::-1],
        "input a changed: other values in ndarray(3,) int64",
    ),
    "a config": (
        "parameter",
        "config",
        *CONFIG,
        "parameter config changed: {'lr': 1} -> {'lr': 2}",
    ),
}


def write(world: World, edit: Edit | None = None) -> None:
    files = FILES
    if edit is not None:
        edited = {name: text.replace(edit.old, edit.new) for name, text in files.items()}
        assert edited != files
        files = edited
    world.write(**files)


def look(world: World, tmp_path: Path, *, kit: str = "1.0") -> Answer:
    site = tmp_path / "lib" / "site-packages"
    install(site, "kit", kit, {"kit/__init__.py": "def run(): return 1"})
    answer = world.look(path=[str(site)])
    assert answer.error is None, answer.reason
    return answer


def read(kind: str, name: str, value: object) -> Part:
    return Part(kind, name, of_value(value), summary=summary(value))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def record(
    store: Store, parts: list[Part], inputs: tuple[Part, ...] = (), origin: str = "Sweep/1/fit/2"
) -> None:
    scope = memo.code_key("Sweep", "fit", Fingerprint.of(parts))
    memo.record(store, scope, parts, memo.Result(origin, 1.0, {}, {}, inputs))


def asked(store: Store, parts: list[Part], inputs: tuple[Part, ...] | None = None) -> Nearest:
    scope = memo.code_key("Sweep", "fit", Fingerprint.of(parts))
    found = EarlierResults(store, scope, tuple(parts)).nearest(inputs)
    assert found is not None
    return found


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named_first_and_shown(
    name: str, world: World, store: Store, tmp_path: Path
) -> None:
    edit = EDITS[name]
    write(world)
    record(store, look(world, tmp_path).parts)
    write(world, edit)
    first, *rest = asked(store, look(world, tmp_path).parts).differences
    assert str(first) == edit.line
    # What comes with it is new or gone because of it.
    assert all(each.change != "changed" for each in rest), rest
    if edit.diff:
        changed = [line for line in first.diff.splitlines()[2:] if line[0] in "-+"]
        assert len(changed) == 2, first.diff
        assert edit.old in changed[0]
        assert edit.new in changed[1]


def test_another_version_of_a_package_is_named(world: World, store: Store, tmp_path: Path) -> None:
    write(world)
    record(store, look(world, tmp_path).parts)
    found = asked(store, look(world, tmp_path, kit="2.0").parts)
    assert list(map(str, found.differences)) == ["kit changed: 1.0 -> 2.0"]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            Part("python", "python", "3.11"),
            Part("python", "python", "3.12"),
            "Python changed: 3.11 -> 3.12",
        ),
        (
            Part("option", "version", "1", summary="1"),
            Part("option", "version", "2", summary="2"),
            "option version changed: 1 -> 2",
        ),
        (
            Part("decorator", "@pypi(packages=)", "1", summary="{'x': '1'}"),
            Part("decorator", "@pypi(packages=)", "2", summary="{'x': '2'}"),
            "@pypi(packages=) changed: {'x': '1'} -> {'x': '2'}",
        ),
    ],
)
def test_what_else_is_in_a_scope_is_named(
    store: Store, before: Part, after: Part, line: str
) -> None:
    record(store, [before])
    assert list(map(str, asked(store, [after]).differences)) == [line]


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_is_named(store: Store, name: str) -> None:
    kind, part, old, new, line = INPUTS[name]
    others = (read("parameter", "beta", 1), read("input", "index", 1))
    record(store, [], (read(kind, part, old), *others))
    found = asked(store, [], (read(kind, part, new), *others))
    assert list(map(str, found.differences)) == [line]


def test_of_many_results_the_one_most_alike_is_compared(store: Store) -> None:
    for n in range(5):
        inputs = (read("parameter", "alpha", 0.1), read("input", "input", n))
        record(store, [], inputs, f"Sweep/1/fit/{n}")
    found = asked(store, [], (read("parameter", "alpha", 0.2), read("input", "input", 2)))
    assert found.origin == "Sweep/1/fit/2"
    assert list(map(str, found.differences)) == ["parameter alpha changed: 0.1 -> 0.2"]


def test_of_two_codes_the_one_most_alike_is_compared(store: Store) -> None:
    a, b = (Part("code", name, "1", "main.py:1") for name in ("a()", "b()"))
    record(store, [a, b], origin="Sweep/1/fit/2")
    record(store, [Part("code", "c()", "1")], origin="Sweep/2/fit/2")
    found = asked(store, [a, Part("code", "b()", "2", "main.py:1")])
    assert found.origin == "Sweep/1/fit/2"
    assert list(map(str, found.differences)) == ["code of b() changed (main.py:1)"]


def test_of_codes_that_differ_in_one_part_the_one_with_fewer_other_lines_is_compared(
    store: Store,
) -> None:
    def part(digest: str, *lines: str) -> Part:
        return Part("code", "a()", digest, "main.py:1", source="\n".join(lines))

    record(store, [part("1", "x = 1", "y = 1", "z = 1")], origin="Sweep/1/fit/2")
    record(store, [part("2", "x = 1", "y = 2", "z = 2")], origin="Sweep/2/fit/2")
    found = asked(store, [part("3", "x = 3", "y = 1", "z = 1")])
    assert found.origin == "Sweep/1/fit/2"


def test_of_codes_that_differ_in_one_named_part_what_names_mean_decides(store: Store) -> None:
    helper = Part("code", "helper()", "1", "main.py:1")
    bound = Part("names", "a()", "1", "main.py:9")
    record(store, [helper, bound], origin="Sweep/1/fit/2")
    other = Part("code", "helper()", "2", "main.py:1")
    record(store, [other, bound], origin="Sweep/2/fit/2")
    found = asked(store, [helper, Part("names", "a()", "3", "main.py:9")])
    assert found.origin == "Sweep/1/fit/2"
    assert list(map(str, found.differences)) == ["what a() refers to changed (main.py:9)"]


def test_an_input_is_not_named_where_one_of_other_code_had_the_same(store: Store) -> None:
    for n in range(3):
        record(store, [Part("code", "a()", "1")], (read("input", "input", n),), f"Sweep/1/fit/{n}")
    found = asked(store, [Part("code", "a()", "2")], (read("input", "input", 0),))
    assert found.origin == "Sweep/1/fit/0"
    assert list(map(str, found.differences)) == ["code of a() changed"]


def test_a_partial_with_another_argument_is_named(world: World, tmp_path: Path) -> None:
    text = "import functools\ndef g(x, y): return x\np = functools.partial(g, y=1)\n"
    text += "def f(x): return p(x)\n"
    world.write(main=text)
    before = look(world, tmp_path)
    world.write(main=text.replace("y=1", "y=2"))
    (found,) = differences(before.parts, look(world, tmp_path).parts)
    assert str(found) == "what p in f() refers to changed (main.py:4)"


def test_code_and_input_that_both_changed_are_both_named(store: Store) -> None:
    record(store, [Part("code", "a()", "1", "main.py:1")], (read("parameter", "alpha", 1),))
    parts = [Part("code", "a()", "2", "main.py:1")]
    found = asked(store, parts, (read("parameter", "alpha", 2), read("input", "x", 1)))
    assert list(map(str, found.differences)) == [
        "code of a() changed (main.py:1)",
        "parameter alpha changed: 1 -> 2",
    ]


def test_without_an_earlier_result_there_is_nothing_to_compare(store: Store) -> None:
    scope = memo.code_key("Sweep", "fit", Fingerprint.of([]))
    assert EarlierResults(store, scope, ()).nearest() is None


def test_a_diff_is_numbered_as_in_the_file() -> None:
    old = Part("code", "f()", "1", "main.py:40", source="def f():\n    return 1")
    new = Part("code", "f()", "2", "main.py:50", source="def f():\n    return 2")
    (found,) = differences([old], [new])
    assert found.diff.splitlines() == [
        "--- main.py:40",
        "+++ main.py:50",
        "@@ -40,2 +50,2 @@",
        " def f():",
        "-    return 1",
        "+    return 2",
    ]


def test_without_sources_the_part_is_named_all_the_same() -> None:
    (found,) = differences(
        [Part("code", "f()", "1", "a.py:1")], [Part("code", "f()", "2", "a.py:2")]
    )
    assert (str(found), found.diff) == ("code of f() changed (a.py:2)", "")


def test_comments_and_layout_are_no_difference(world: World, tmp_path: Path) -> None:
    write(world)
    before = look(world, tmp_path)
    world.write(main=MAIN.replace("# Sums.", "# Adds.\n"))
    assert differences(before.parts, look(world, tmp_path).parts) == []


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("s3", "s3://b/x.csv", "s3://b/x.csv changed: 0cc1 -> 92eb"),
        ("client", "Train/latest_run.data.v", "Train/latest_run.data.v changed: 0cc1 -> 92eb"),
    ],
)
def test_what_was_read_elsewhere_is_said_to_have_changed(kind, name, line):
    before, after = (Part(kind, name, each, summary=each) for each in ("0cc1", "92eb"))
    assert [str(each) for each in differences([before], [after])] == [line]
