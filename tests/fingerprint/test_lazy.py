"""Lazy imports: what running a module does counts where the body of a step imports it."""

from __future__ import annotations

import pytest

from tests.fingerprint.conftest import World

REGISTRY = """
import functools
T = {}
Y = []
def register(f):
    T[f.__name__] = f
    return f
def add(to, x): to.append(x)
@functools.singledispatch
def g(x): return 0
class Base:
    def __init_subclass__(cls): T[cls.__name__] = cls
def documented():
    'one'
class Documented:
    'first'
    def m(self): 'second'
alias = documented
"""
USE = "def f(x):\n    import L{}\n    return L.T['h'](x)"
# claim -> (files before, what changes in them); `main.f` is what is fingerprinted.
CHANGES: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "registered by a module that the registry imports": (
        {
            "main.py": USE.format(""),
            "L.py": REGISTRY + "import M",
            "M.py": "from L import register\n@register\ndef h(x): return x + 11",
        },
        ("11", "12"),
    ),
    "registered by a module that is imported as well": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "from L import register\n@register\ndef h(x): return x + 11",
        },
        ("11", "12"),
    ),
    "registered by what the registered calls": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "import L\ndef deep(): return 11\n@L.register\ndef h(x): return deep()",
        },
        ("11", "12"),
    ),
    "registered by a package": (
        {
            "main.py": "def f(x):\n    import p.L\n    return p.L.T['h'](x)",
            "p/__init__.py": "from . import M",
            "p/L.py": REGISTRY,
            "p/M.py": "from .L import register\n@register\ndef h(x): return x + 11",
        },
        ("11", "12"),
    ),
    "registered in a block": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "import L\nif L.T is not None:\n    @L.register\n    def h(x): return x + 11",
        },
        ("11", "12"),
    ),
    "registered by a module that the file of the step imports": (
        {
            "main.py": "import M\n" + USE.format(""),
            "L.py": REGISTRY,
            "M.py": "from L import register\n@register\ndef h(x): return x + 11",
        },
        ("11", "12"),
    ),
    "registered by a call": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "from L import register\ndef h(x): return x + 11\n_ = register(h)",
        },
        ("11", "12"),
    ),
    "registered by a decorator under another name": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "import L\nr = L.register\n@r\ndef h(x): return x + 11",
        },
        ("11", "12"),
    ),
    "which is registered last": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "import A\nimport B",
            "A.py": "import L\n@L.register\ndef h(x): return x + 1",
            "B.py": "import L\n@L.register\ndef h(x): return x + 2",
        },
        ("import A\nimport B", "import B\nimport A"),
    ),
    "singledispatch": (
        {
            "main.py": "def f(x):\n    import L, M\n    return L.g(x)",
            "L.py": REGISTRY,
            "M.py": "import L\n@L.g.register(int)\ndef _(x): return 11",
        },
        ("11", "12"),
    ),
    "__init_subclass__": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "from L import Base\nclass h(Base):\n    def __init__(self, x): self.x = 11",
        },
        ("11", "12"),
    ),
    "metaclass": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY + "class Meta(type):\n"
            "    def __init__(cls, *a): T[cls.__name__] = cls\n",
            "M.py": "import L\nclass h(metaclass=L.Meta):\n    def __init__(self, x): self.x = 11",
        },
        ("11", "12"),
    ),
    "method that a decorator registers": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "import L\nclass C:\n    @L.register\n    def h(self): return 11",
        },
        ("11", "12"),
    ),
    "default that registers": (
        {
            "main.py": USE.format(", M"),
            "L.py": REGISTRY,
            "M.py": "import L\ndef h(x): return 11\ndef other(x=L.register(h)): pass",
        },
        ("11", "12"),
    ),
    "names made by globals()": (
        {
            "main.py": "def f(x):\n    from dyn import f1\n    return f1(x)",
            "dyn.py": "def make(n):\n    def made(x): return x + 11\n    return made\n"
            "for n in ('f1', 'f2'): globals()[n] = make(n)",
        },
        ("11", "12"),
    ),
    "names made by setattr": (
        {
            "main.py": "def f(x):\n    import dyn\n    return dyn.f1(x)",
            "dyn.py": "import sys\ndef f1x(x): return 11\n"
            "setattr(sys.modules[__name__], 'f1', f1x)",
        },
        ("11", "12"),
    ),
    "module that is replaced": (
        {
            "main.py": "def f(x):\n    import dyn\n    return dyn.f1(x)",
            "dyn.py": "import sys\nclass P:\n    def f1(self, x): return 11\n"
            "sys.modules['dyn'] = P()",
        },
        ("11", "12"),
    ),
    "alias that is changed": (
        {
            "main.py": "def f():\n    import L\n    return L.Y",
            "L.py": REGISTRY + "Z = Y\nZ.append(11)",
        },
        ("11", "12"),
    ),
    "alias that is added to": (
        {
            "main.py": "def f():\n    import L\n    return L.Y",
            "L.py": REGISTRY + "Z = Y\nZ += [11]",
        },
        ("11", "12"),
    ),
    "argument that is changed": (
        {
            "main.py": "def f():\n    import L\n    return L.Y",
            "L.py": REGISTRY + "_ = add(Y, 11)",
        },
        ("11", "12"),
    ),
    "what an act was given at the time": (
        {
            "main.py": "def f():\n    import L\n    return L.Y",
            "L.py": REGISTRY + "N = 1\nY.append(N)\nN = 2",
        },
        ("Y.append(N)\nN = 2", "N = 2\nY.append(N)"),
    ),
    "docstring of a function": (
        {"main.py": "def f():\n    import L\n    return L.documented.__doc__", "L.py": REGISTRY},
        ("one", "two"),
    ),
    "docstring of an alias": (
        {"main.py": "def f():\n    import L\n    return L.alias.__doc__", "L.py": REGISTRY},
        ("one", "two"),
    ),
    "docstring of an imported function": (
        {
            "main.py": "def f():\n    from L import documented\n    return documented.__doc__",
            "L.py": REGISTRY,
        },
        ("one", "two"),
    ),
    "docstring of a class": (
        {"main.py": "def f():\n    import L\n    return L.Documented.__doc__", "L.py": REGISTRY},
        ("first", "last"),
    ),
    "docstring of a method": (
        {"main.py": "def f():\n    import L\n    return L.Documented.m.__doc__", "L.py": REGISTRY},
        ("second", "last"),
    ),
    "docstring of a module": (
        {"main.py": "def f():\n    import L\n    return L.__doc__", "L.py": "'one'"},
        ("one", "two"),
    ),
    "docstring of a module that it reads": (
        {
            "main.py": "def f():\n    import L\n    return L.g()",
            "L.py": "'one'\ndef g(): return __doc__",
        },
        ("one", "two"),
    ),
}


@pytest.mark.parametrize("claim", CHANGES)
def test_changing_this_misses(world: World, claim: str) -> None:
    files, (old, new) = CHANGES[claim]
    edited = {name: text.replace(old, new) for name, text in files.items()}
    assert edited != files, "the edit changes nothing"
    before, after = world.both(files, edited)
    assert before.error is None, before.reason
    assert before.value != after.value
    world.write(files)
    assert world.look().value == before.value


PLAIN = """
from __future__ import annotations
import collections, contextlib, dataclasses, enum, functools, logging, os, re, sys, typing
import other
if typing.TYPE_CHECKING:
    import nowhere
try:
    import missing
except ImportError:
    missing = None
log = logging.getLogger(__name__)
T = typing.TypeVar("T")
P = re.compile("a")
X: dict[str, int] = {}
Point = collections.namedtuple("Point", "x y")
Alias = typing.Optional[int]
half = functools.partial(max, 1)
@functools.lru_cache(maxsize=3)
def cached(): return 21
@contextlib.contextmanager
def manager(): yield 22
@dataclasses.dataclass(frozen=True)
class D:
    x: int = 23
    y: list = dataclasses.field(default_factory=list)
    @property
    def z(self): return 24
    @z.setter
    def z(self, v): return 25
class E(enum.Enum):
    A = enum.auto()
    B = 26
def plain(x: int, y=27) -> int: return x + 28
class G(typing.Generic[T]):
    def m(self): return 29
if sys.version_info >= (3, 9):
    def new(): return 30
def used(): return 1
"""


@pytest.mark.parametrize("number", range(21, 31))
def test_what_is_only_defined_does_not_count(world: World, number: int) -> None:
    main = "def f():\n    import L\n    return L.used()"
    before, after = world.both(
        {"main.py": main, "L.py": PLAIN, "other.py": "def h(): return 1"},
        {"L.py": PLAIN.replace(str(number), "99"), "other.py": "def h(): return 2"},
    )
    assert before.error is None, before.reason
    assert before.value == after.value
