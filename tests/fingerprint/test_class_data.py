"""Class data: constants of a flow class that are read of the class, and values that hold code."""

from __future__ import annotations

import textwrap

import pytest

from tests.fingerprint.conftest import Answer, World
from tests.fingerprint.test_step import METAFLOW

FLOW = """
import threading
from metaflow import FlowSpec, Parameter, step

class Model:
    def predict(self): return 51
def handler(): return 52
def hlp(flow): return type(flow)._SCALE
def outside(self): return self.used()
def ask(one): return one.used()
def plain(g):
    def wrapper(*a): return g(*a)
    return wrapper

class Mixin:
    _MIXED = 11
    PUBLIC = 12
class Base(FlowSpec, Mixin):
    _BASED = 13
    OPEN = 14
class F(Base):
    'a flow'
    _SCALE = 15
    __own = 16
    _model = Model()
    _table = {'a': handler}
    _lock = threading.Lock()
    alpha = Parameter("alpha")
    _flow_state = object()
    _steps = []
    @classmethod
    def sc(cls): return cls._SCALE
    @classmethod
    def named(cls): return cls.__name__
    def used(self): return 17
    borrowed = outside
    @plain
    def fitted(self): return self.used()
    @step
    def start(self):
        BODY
    def of_input(self): return 18
    @step
    def other(self): return 61
    @step
    def join(self, inputs):
        self.a = [each.of_input() for each in inputs]
        self.b = sum(map(ask, inputs))
        self.merge_artifacts(inputs)
        self.next(self.start)
"""


def look(world: World, body: str, *edits: tuple[str, str]) -> Answer:
    text = FLOW.replace("BODY", textwrap.indent(body, " " * 8).strip())
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    world.write(metaflow=METAFLOW, main=text)
    name = "G" if ("class F(", "class G(") in edits else "F"
    return world.look(f"of_step(main.{name}, 'start', is_step=is_step, kept={{'_steps'}})")


@pytest.mark.parametrize(
    ("body", "old", "new"),
    [
        ("self.y = type(self)._SCALE", "15", "99"),
        ("self.y = self.__class__._SCALE", "15", "99"),
        ("self.y = __class__._SCALE", "15", "99"),
        ("self.y = getattr(type(self), '_SCALE')", "15", "99"),
        ("self.y = self.sc()", "15", "99"),
        ("self.y = type(self).sc()", "15", "99"),
        ("self.y = type(self).__own", "16", "99"),
        ("self.y = type(self)._BASED", "13", "99"),
        ("self.y = type(self)._MIXED", "11", "99"),
        ("self.y = type(self).PUBLIC", "12", "99"),
        ("self.y = super()._BASED", "13", "99"),
        ("self.y = getattr(super(), '_BASED')", "13", "99"),
        ("self.y = super().OPEN", "14", "99"),
        ("self.y = super(Base, self).PUBLIC", "12", "99"),
        ("self.y = hlp(self)", "15", "99"),
        ("cls = type(self)\nself.y = cls._SCALE", "15", "99"),
        ("self.y = type(self).__dict__['_SCALE']", "15", "99"),
        ("self.y = type(self).__mro__[1].OPEN", "14", "99"),
        ("self.y = getattr(self, '_S' + 'CALE')", "15", "99"),
        ("self.y = getattr(type(self), self.n)", "15", "99"),
        ("self.y = hlp(self)", "51", "99"),
        ("self.y = hlp(self)", "52", "99"),
        ("self.y = type(self)._model.predict()", "51", "99"),
        ("self.y = type(self)._table['a']()", "52", "99"),
        ("self.y = type(self).used(self)", "17", "99"),
        ("self.y = type(self)._NEW", "_SCALE = 15", "_SCALE = 15\n    _NEW = 1"),
        ("self.y = self.__doc__", "a flow", "another"),
        ("self.y = self.borrowed()", "17", "99"),
        ("self.y = self.fitted()", "17", "99"),
    ],
)
def test_what_is_read_of_the_class_counts(world: World, body: str, old: str, new: str) -> None:
    before, after = look(world, body), look(world, body, (old, new))
    assert before.error is None, before.reason
    assert after.error is None, after.reason
    assert before.value != after.value
    assert look(world, body).value == before.value


@pytest.mark.parametrize(
    ("body", "old", "new"),
    [
        ("self.y = type(self)._BASED", "15", "99"),
        ("self.y = type(self)._SCALE", "51", "99"),
        ("self.y = type(self)._SCALE", "17", "99"),
        ("self.y = self.used()", "15", "99"),
        ("self.y = hlp(self)", "61", "99"),
        ("self.y = hlp(self)", "14", "99"),
        ("self.y = hlp(self)", "_steps = []", "_steps = [1]"),
        ("self.y = hlp(self)", 'Parameter("alpha")', 'Parameter("alpha", default=3)'),
    ],
)
def test_what_is_not_read_of_the_class_does_not_count(
    world: World, body: str, old: str, new: str
) -> None:
    before, after = look(world, body), look(world, body, (old, new))
    assert before.error is None, before.reason
    assert before.value == after.value


@pytest.mark.parametrize(
    "body",
    [
        "self.y = type(self).__name__",
        "self.y = self.__class__.__qualname__",
        "self.y = __class__.__name__",
        "self.y = self.named()",
        "self.y = str(type(self))",
        "self.y = self.name",
        "self.y = hlp(self)",
    ],
)
def test_a_name_that_is_told_counts(world: World, body: str) -> None:
    assert look(world, body).value != look(world, body, ("class F(", "class G(")).value


@pytest.mark.parametrize(
    "body",
    [
        "self.y = self.used()",
        "self.y = type(self)._SCALE",
        "self.y = type(self).__own",
        "self.y = self.sc() + super()._BASED",
    ],
)
def test_a_name_that_is_not_told_does_not_count(world: World, body: str) -> None:
    before, after = look(world, body), look(world, body, ("class F(", "class G("))
    assert before.error is None, before.reason
    assert before.value == after.value


def test_class_data_without_meaning_is_named_where_it_is_read(world: World) -> None:
    generator = ("threading.Lock()", "(n for n in [1])")
    assert look(world, "self.y = type(self)._lock", generator).error == "self._lock"


def test_class_data_without_meaning_counts_by_its_type_where_it_may_be_read(world: World) -> None:
    before = look(world, "self.y = hlp(self)")
    after = look(world, "self.y = hlp(self)", ("threading.Lock()", "threading.Event()"))
    assert before.error is None, before.reason
    assert after.error is None, after.reason
    assert before.value != after.value


VALUES = """
import functools, threading
class Part:
    def m(self): return 71
class Model:
    rate = 72
    def __init__(self): self.part = Part()
    def predict(self): return helper()
class Bad:
    lock = threading.Lock()
    items = map(str, [1])
def helper(): return 73
def fa(): return 74
H = {'a': fa, 'b': [functools.partial(fa, 1)], 'c': lambda: 75}
"""


@pytest.mark.parametrize("number", range(71, 74))
def test_the_code_of_an_instance_counts_with_it(world: World, number: int) -> None:
    for value in ("main.Model()", "[main.Model()]", "{'k': (1, main.Model())}"):
        edited = VALUES.replace(str(number), "99")
        before, after = world.both(
            {"main.py": VALUES}, {"main.py": edited}, show=f"of_constant({value})"
        )
        assert before.error is None, before.reason
        assert before.value != after.value


@pytest.mark.parametrize("number", [74, 75])
def test_the_code_of_a_function_counts_with_what_holds_it(world: World, number: int) -> None:
    edited = VALUES.replace(str(number), "99")
    before, after = world.both({"main.py": VALUES}, {"main.py": edited}, show="of_constant(main.H)")
    assert before.error is None, before.reason
    assert before.value != after.value


def test_a_constant_without_code_is_the_value_it_is(world: World) -> None:
    look = "[of_constant(v) == of_value(v) for v in (1, 'a', [1, {'b': 2.0}], None, {3})]"
    assert world.look(look, run="").value == [True] * 5


def test_a_constant_has_one_digest_whatever_it_is_called(world: World) -> None:
    world.write(main=VALUES)
    assert world.look("of_constant(main.H, name='a') == of_constant(main.H)").value is True
    assert world.look("of_constant(main.H)").value == world.look("of_constant(main.H)").value


def test_a_constant_without_meaning_is_refused_by_name(world: World) -> None:
    world.write(main=VALUES)
    assert world.look("of_constant([main.Bad.lock], name='x')").error == "x[0]"
    assert world.look("of_constant(main.Bad(), name='x')").error == "Bad.items"


@pytest.mark.parametrize(("number", "same"), [(17, False), (18, False), (15, True), (61, True)])
def test_methods_that_a_join_asks_of_its_inputs_count(
    world: World, number: int, same: bool
) -> None:
    text = FLOW.replace("BODY", "pass")
    world.write(metaflow=METAFLOW)
    before, after = world.both(
        {"main.py": text},
        {"main.py": text.replace(str(number), "99")},
        show="of_step(main.F, 'join', is_step=is_step)",
    )
    assert before.error is None, before.reason
    assert (before.value == after.value) is same
