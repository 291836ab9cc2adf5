"""Ownership: code of the user's that goes by another name, and that of libraries by the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fingerprint.conftest import World
from tests.fingerprint.test_closure import install, look_with, packages

# A library of decorators and factories.
KIT = """
class Plain:
    def m(self): return 1
def helper(): return 1
def sub(c):
    class W(c):
        def n(self): return 1
    return W
def sub_by_type(c): return type(c.__name__, (c,), {"extra": 1})
def holding(c):
    class W:
        def m(self): return c().m()
    return W
def with_code(g):
    def outer(c):
        class W(c):
            def n(self): return g()
        return W
    return outer
def make(name, **namespace): return type(name, (), namespace)
class Callable:
    def __init__(self, f): self.f, self.__module__ = f, f.__module__
    def __call__(self): return self.f()
"""
NAMES = ("json", "builtins", "memoflow.names", "kit", "nowhere")
# {} is one of NAMES; 11 and 21 are what is edited.
NAMED: dict[str, str] = {
    "method": "class A:\n __module__ = '{}'\n def m(self): return 11\ndef f(): return A().m()",
    "data": "class A:\n __module__ = '{}'\n rate = 11\ndef f(): return A.rate",
    "class that is named later": "class A:\n rate = 11\n def m(self): return 21\n"
    "A.__module__ = '{}'\ndef f(): return A().m()",
    "class of an instance": "class A:\n def m(self): return 11\nA.__module__ = '{}'\na = A()\n"
    "def f(): return a.m()",
    "base": "class B:\n __module__ = '{}'\n def m(self): return 11\nclass A(B): pass\n"
    "def f(): return A().m()",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass A:\n x: int = 11\n"
    "A.__module__ = '{}'\ndef f(): return A()",
    "enum": "import enum\nclass A(enum.Enum):\n x = 11\nA.__module__ = '{}'\ndef f(): return A.x",
    "exception": "class E(Exception):\n __module__ = '{}'\n code = 11\ndef f(): raise E",
    "static method and property": "class A:\n __module__ = '{}'\n @staticmethod\n"
    " def m(): return 11\n @property\n def p(self): return 21\ndef f(): return A.m()",
    "nested class": "class A:\n class B:\n  def m(self): return 11\n B.__module__ = '{}'\n"
    "def f(): return A.B().m()",
    "function": "def g(x=21): return 11\ng.__module__ = '{}'\ndef f(): return g()",
    "function of another name": "def h(): return 1\ndef g(): return 11\n"
    "g.__module__, g.__qualname__ = '{}', 'h'\ndef f(): return g()",
    "class of a factory": "def make(k):\n class A:\n  def m(self): return k\n return A\n"
    "A = make(11)\nB = make(21)\nA.__module__ = B.__module__ = '{}'\ndef f(): return A().m(), B",
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "lib" / "site-packages"
    install(site, "kit", "1.0", {"kit/__init__.py": KIT})
    return site


def assert_counts(world: World, site: Path, files: dict[str, str], old: str, new: str) -> None:
    world.write(files)
    before, again = look_with(world, site), look_with(world, site)
    assert before.error is None, before.reason
    assert before.value == again.value, "it differs in each process"
    edited = {name: text.replace(old, new) for name, text in files.items()}
    assert edited != files, "the edit changes nothing"
    world.write(edited)
    assert look_with(world, site).value != before.value


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.parametrize("claim", NAMED)
def test_code_counts_whatever_its_module_is_called(
    world: World, site: Path, claim: str, module: str
) -> None:
    files = {"main.py": NAMED[claim].format(module)}
    for number in ("11", "21"):
        if number in files["main.py"]:
            assert_counts(world, site, files, number, "99")


# claim -> (files, texts of which each is to be edited)
MADE: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "names rewritten to those of a public module": (
        {
            "main.py": "import api\ndef f(): return api.Thing().m() + api.helper()",
            "api.py": "from impl import Thing, helper",
            "impl.py": "class Thing:\n def m(self): return 11\ndef helper(): return 21\n"
            "for each in (Thing, helper): each.__module__ = 'api'",
        },
        ("11", "21"),
    ),
    "wraps of a library's function": (
        {
            "main.py": "import functools, json\n@functools.wraps(json.dumps)\n"
            "def g(): return 11\ndef f(): return g()"
        },
        ("11",),
    ),
    "class of type()": (
        {
            "main.py": "def m(self): return 11\nA = type('B', (), {'m': m, 'k': 21})\n"
            "def f(): return A().m()"
        },
        ("11", "21"),
    ),
    "class of types.new_class()": (
        {
            "main.py": "import types\ndef fill(ns): ns['m'], ns['k'] = lambda self: 11, 21\n"
            "A = types.new_class('A', (), {}, fill)\ndef f(): return A().m()"
        },
        ("11", "21"),
    ),
    "class of make_dataclass()": (
        {
            "main.py": "import dataclasses\nA = dataclasses.make_dataclass('A', "
            "[('x', int, 11)], namespace={'m': lambda self: 21})\ndef f(): return A().m()"
        },
        ("11", "21", "int"),
    ),
    "class of namedtuple()": (
        {
            "main.py": "import collections\nA = collections.namedtuple('A', 'x y', "
            "defaults=[11])\ndef f(): return A(1)"
        },
        ("11", "x y"),
    ),
    "class of Enum()": (
        {"main.py": "import enum\nA = enum.Enum('A', {'x': 11})\ndef f(): return A.x"},
        ("11", "'x'"),
    ),
    "class of TypedDict()": (
        {
            "main.py": "import typing\nA = typing.TypedDict('A', {'x': int})\n"
            "def f(): return A.__annotations__"
        },
        ("int",),
    ),
    "class of a factory of a library": (
        {
            "main.py": "import kit\ndef m(self): return 11\nA = kit.make('A', m=m, k=21)\n"
            "def f(): return A().m()"
        },
        ("11", "21"),
    ),
    "function of exec()": ({"main.py": "exec('def g(): return 11')\ndef f(): return g()"}, ("11",)),
    "function of exec() in a library's names": (
        {
            "main.py": "import json\nnames = dict(vars(json))\n"
            "exec('def g(): return 11', names)\ng = names['g']\ndef f(): return g()"
        },
        ("11",),
    ),
    "class of exec() in a library's name": (
        {
            "main.py": "names = {'__name__': 'json'}\n"
            "exec('class A:\\n def m(self): return 11\\n k = 21', names)\nA = names['A']\n"
            "def f(): return A().m()"
        },
        ("11", "21"),
    ),
    "function put into a library": (
        {
            "main.py": "import kit\ndef g(): return 11\ng.__module__ = 'kit'\nkit.extra = g\n"
            "def f(): return kit.extra()"
        },
        ("11",),
    ),
    "function put into a library by a function": (
        {
            "main.py": "import patch, kit\npatch.apply()\ndef f(): return kit.extra()",
            "patch.py": "import kit\ndef g(): return 11\ndef apply(): setattr(kit, 'extra', g)",
        },
        ("11",),
    ),
    "class put into a library": (
        {
            "main.py": "import kit\nclass A:\n def m(self): return 11\nA.__module__ = 'kit'\n"
            "kit.A = A\ndef f(): return kit.A().m()"
        },
        ("11",),
    ),
    "method put on a library's class": (
        {
            "main.py": "import kit, patch\npatch.apply()\ndef f(): return kit.Plain().m()",
            "patch.py": "import kit\ndef m(self): return 11\ndef apply(): kit.Plain.m = m",
        },
        ("11",),
    ),
    "code put into a library's function": (
        {
            "main.py": "import kit\ndef h(): return 11\nkit.helper.__code__ = h.__code__\n"
            "def f(): return kit.helper()"
        },
        ("11",),
    ),
    "code with a library's names": (
        {
            "main.py": "import kit, types\ndef h(): return 11\n"
            "g = types.FunctionType(h.__code__, vars(kit))\ndef f(): return g()"
        },
        ("11",),
    ),
    "class below one of a decorator's": (
        {
            "main.py": "import kit\n@kit.sub\nclass A:\n def m(self): return 11\n k = 21\n"
            "def f(): return A().m()"
        },
        ("11", "21"),
    ),
    "class below one of a decorator's by type()": (
        {
            "main.py": "import kit\n@kit.sub_by_type\nclass A:\n def m(self): return 11\n k = 21\n"
            "def f(): return A().m()"
        },
        ("11", "21"),
    ),
    "class in the closure of a decorator's": (
        {
            "main.py": "import kit\n@kit.holding\nclass A:\n def m(self): return 11\n k = 21\n"
            "def f(): return A().m()"
        },
        ("11", "21"),
    ),
    "function in the closure of a decorator's class": (
        {
            "main.py": "import kit\ndef g(): return 21\n@kit.with_code(g)\nclass A:\n"
            " def m(self): return 11\ndef f(): return A().n()"
        },
        ("11", "21"),
    ),
    "object of a decorator that copies the name": (
        {"main.py": "import kit\n@kit.Callable\ndef g(): return 11\ndef f(): return g()"},
        ("11",),
    ),
    "qualified name that was changed": (
        {
            "main.py": "class A:\n def m(self): return 11\n k = 21\n x: 'int' = 31\n"
            "A.__qualname__ = 'B.C'\ndef f(): return A().m()"
        },
        ("11", "21", "31", "'int'"),
    ),
    "metaclass that changes the name": (
        {
            "main.py": "class M(type):\n def __new__(m, n, b, d):\n  d['__module__'] = 'json'\n"
            "  return super().__new__(m, n, b, d)\nclass A(metaclass=M):\n"
            " def m(self): return 11\ndef f(): return A().m()"
        },
        ("11",),
    ),
    "module loaded from its file": (
        {
            "main.py": "import importlib.util as u\n"
            "s = u.spec_from_file_location('zed', 'other.py')\nm = u.module_from_spec(s)\n"
            "s.loader.exec_module(m)\ndef f(): return m.g() + m.A().m()",
            "other.py": "def g(): return 11\nclass A:\n def m(self): return 21\n k: int = 31",
        },
        ("11", "21", "31"),
    ),
    "module loaded from its file under a library's name": (
        {
            "main.py": "import importlib.util as u\n"
            "s = u.spec_from_file_location('json', 'other.py')\nm = u.module_from_spec(s)\n"
            "s.loader.exec_module(m)\ndef f(): return m.g() + m.A().m()",
            "other.py": "def g(): return 11\nclass A:\n def m(self): return 21",
        },
        ("11", "21"),
    ),
    "module made by hand": (
        {
            "main.py": "import types\nm = types.ModuleType('json')\ndef g(): return 11\n"
            "m.g = g\ndef f(): return m.g()"
        },
        ("11",),
    ),
    "names of runpy": (
        {
            "main.py": "import runpy\ng = runpy.run_path('other.py')['g']\ndef f(): return g()",
            "other.py": "K = 21\ndef g(): return 11 + K",
        },
        ("11", "21"),
    ),
    "value of a field of a class": (
        {
            "main.py": "import dataclasses\nN = 11\ndef make(): return 21\n"
            "@dataclasses.dataclass\nclass A:\n x: int = N\n"
            " y: list = dataclasses.field(default_factory=make)\ndef f(): return A()"
        },
        ("11", "21"),
    ),
}


@pytest.mark.parametrize("claim", MADE)
def test_code_counts_however_it_was_made(world: World, site: Path, claim: str) -> None:
    files, edits = MADE[claim]
    for old in edits:
        assert_counts(
            world, site, files, old, {"int": "str", "x y": "y x", "'x'": "'z'"}.get(old, "99")
        )


def test_two_functions_of_one_decorator_are_not_the_same(world: World, site: Path) -> None:
    lib = "import functools\ndef deco(g):\n @functools.wraps(g)\n def inner(): return g()\n"
    lib += " return inner\n@deco\ndef a(): return 1\n@deco\ndef b(): return 2"
    main = "from lib import a as x, b as y\ndef f(): return x() - y()"
    files = {"lib.py": lib, "main.py": main}
    assert_counts(world, site, files, "a as x, b as y", "b as x, a as y")


@pytest.mark.parametrize(
    "text",
    [
        "import kit\ng = kit.helper\ng.__module__ = __name__\ndef f(): return g()",
        "import kit\nA = kit.Plain\nA.__module__ = __name__\ndef f(): return A().m()",
        "import kit, types\ng = types.FunctionType(kit.helper.__code__, globals())\n"
        "def f(): return g()",
    ],
)
def test_code_of_a_library_does_not_count_by_the_name_of_the_users(
    world: World, site: Path, text: str
) -> None:
    world.write(main=text)
    before = look_with(world, site)
    install(site, "kit", "1.0", {"kit/__init__.py": KIT.replace("return 1\n", "return 2\n")})
    assert packages(before).get("kit", "1.0") == "1.0"
    assert look_with(world, site).value == before.value


def test_a_function_of_a_library_that_is_bound_to_its_state_counts_by_its_name(
    world: World, site: Path
) -> None:
    world.write(main="from random import random, randint\ndef f(): return random() + randint(1, 2)")
    first, second = look_with(world, site), look_with(world, site)
    assert first.error is None, first.reason
    assert first.value == second.value
