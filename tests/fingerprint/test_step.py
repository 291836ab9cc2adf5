"""Steps: what of a flow counts for one of its steps."""

from __future__ import annotations

import pytest

from tests.fingerprint.conftest import Answer, World

METAFLOW = """
class FlowSpec:
    def __init__(self): self.x = 1
    def next(self, *steps, **more): return 1
class Parameter:
    def __init__(self, name, default=None): self.default = default
class Current:
    def __getattr__(self, name): raise AttributeError(name)
current = Current()
def step(f):
    f.is_step = True
    return f
def retry(*args, **more):
    return args[0] if args else lambda f: f
"""
FLOW = """
import functools
from metaflow import FlowSpec, Parameter, current, retry, step
import lib

SCALE = 2

def scale(x): return x * SCALE
def escape(flow): return 1
def fits(g):
    @functools.wraps(g)
    def wrapper(self, *args): return g(self, *args) + 1
    return wrapper

class Mixin:
    def mixed(self): return 3
    def looked_up(self): return 31

class Base(FlowSpec, Mixin):
    LIMIT = 5
    alpha = Parameter("alpha", default=6)
    @step
    def train(self):
        self.base = 7
        self.next(self.end)
    def of_base(self): return 8

class Sweep(Base):
    RATE = 9
    @step
    def start(self):
        self.a = self.used() + self.mixed() + scale(self.alpha) + self.RATE
        self.run = current.run_id
        self.next(self.train)
    @retry
    @step
    def train(self):
        super().train()
        self.b = getattr(self, "looked_up")()
        self.c = [self.in_list for _ in range(2)]
        self.d = Sweep.LIMIT + Sweep.by_name(1)
        self.next(self.end)
    @step
    def end(self):
        escape(self)
    @step
    def other(self):
        self.e = lib.g()
    @step
    def dynamic(self):
        return getattr(self, self.name)()
    @step
    def explicit(self):
        Base.train(self)
    @step
    def within(self):
        def inner(): return self.used()
        return inner()
    @step
    @fits
    def wrapped(self):
        return 23
    @step
    def sets(self):
        self.prop = 1
    @property
    def prop(self): return 0
    @prop.setter
    def prop(self, value): self.stored = 41
    def used(self): return self.__used_by_used()
    def __used_by_used(self): return 10
    def unused(self): return 11
    @property
    def in_list(self): return 12
    @staticmethod
    def by_name(x): return x + 13
    @fits
    def fitted(self): return 14
"""
LIB = "def g(): return 15\n"


def step(name: str) -> str:
    return f"of_step(main.Sweep, {name!r}, is_step=is_step)"


@pytest.fixture
def flow(world: World) -> World:
    world.write(metaflow=METAFLOW, main=FLOW, lib=LIB)
    return world


def edit(flow: World, name: str, old: str, new: str) -> tuple[Answer, Answer]:
    before = flow.look(step(name))
    assert before.error is None, before.reason
    files = {"main": FLOW, "lib": LIB, "metaflow": METAFLOW}
    edited = {module: text.replace(old, new) for module, text in files.items()}
    assert edited != files
    flow.write(**edited)
    return before, flow.look(step(name))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("start", "scale(self.alpha)", "scale(self.beta)"),
        ("start", "return x * SCALE", "return x + SCALE"),
        ("start", "SCALE = 2", "SCALE = 3"),
        ("start", "return self.__used_by_used()", "return 1"),
        ("start", "return 10", "return 99"),
        ("start", "return 3\n", "return 99\n"),
        ("train", "self.base = 7", "self.base = 99"),
        ("train", "return 31", "return 99"),
        ("train", "return 12", "return 99"),
        ("train", "x + 13", "x + 99"),
        ("train", "LIMIT = 5", "LIMIT = 99"),
        ("explicit", "self.base = 7", "self.base = 99"),
        ("within", "return 10", "return 99"),
        ("other", "return 15", "return 99"),
        ("end", "return 1\n", "return 99\n"),
        ("end", "return 11", "return 99"),
        ("end", "return 12", "return 99"),
        ("end", "return 8", "return 99"),
        ("dynamic", "return 11", "return 99"),
        ("dynamic", "return 14", "return 99"),
        ("dynamic", "*args) + 1", "*args) + 2"),
        ("wrapped", "return 23", "return 99"),
        ("sets", "self.stored = 41", "self.stored = 99"),
        ("wrapped", "*args) + 1", "*args) + 2"),
    ],
)
def test_what_the_step_uses_counts(flow: World, name: str, old: str, new: str) -> None:
    before, after = edit(flow, name, old, new)
    assert after.error is None, after.reason
    assert before.value != after.value


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("start", "return 11", "return 99"),
        ("start", "self.d =", "self.dd ="),
        ("start", "RATE = 9", "RATE = 99"),
        ("start", "default=6", "default=99"),
        ("start", "self.base = 7", "self.base = 99"),
        ("start", "return 15", "return 99"),
        ("start", "more): return 1", "more): return 99"),
        ("train", "@retry", "@retry(times=3)"),
        ("train", "    @retry\n", ""),
        ("train", "return 8", "return 99"),
        ("train", "return 10", "return 99"),
        ("end", "self.base = 7", "self.base = 99"),
        ("end", "self.e = lib.g()", "pass"),
        ("end", "return 15", "return 99"),
        ("explicit", "return 11", "return 99"),
        ("within", "return 11", "return 99"),
        ("other", "return 10", "return 99"),
        ("other", "class Sweep(Base):", "class Sweep(Base):\n    added = 1"),
    ],
)
def test_what_the_step_does_not_use_does_not_count(
    flow: World, name: str, old: str, new: str
) -> None:
    before, after = edit(flow, name, old, new)
    assert before.value == after.value


def test_metaflow_and_memoflow_are_no_packages_of_a_step(flow: World) -> None:
    assert flow.look(step("start")).names("package") == set()


def test_a_step_has_one_fingerprint_in_all_processes(flow: World) -> None:
    for name in ("start", "train", "end", "other", "dynamic", "explicit", "within", "wrapped"):
        assert flow.look(step(name)).value == flow.look(step(name)).value


def test_a_step_of_a_script_counts_alike_in_each_process_that_runs_it(flow: World) -> None:
    run = "import sys, runpy, types\nmain = types.ModuleType('__main__')\nmain.__file__ = '{}'\n"
    run += "sys.modules['__main__'] = main\n"
    run += "exec(compile(open(main.__file__).read(), main.__file__, 'exec'), main.__dict__)"
    path = str(flow.directory / "main.py")
    first = flow.look(step("train"), run=run.format(path))
    second = flow.look(step("train"), run=run.format(path))
    assert first.error is None
    assert first.value == second.value
    assert "train()" in {name.rpartition(".")[2] for name in first.names("code")}


def test_a_step_that_is_not_there_is_refused(flow: World) -> None:
    assert flow.look(step("nothing")).error == "Sweep.nothing"
