"""What an edit of the code must and must not change, looked at from fresh processes."""

from __future__ import annotations

import pytest

from tests.fingerprint.conftest import World

# claim -> (files before, what changes in them); `main.f` is what is fingerprinted.
CHANGES: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "body": ({"main.py": "def f(): return 1"}, ("1", "2")),
    "type of a literal": ({"main.py": "def f(): return 1"}, ("1", "1.0")),
    "truth for one": ({"main.py": "def f(): return 1"}, ("1", "True")),
    "helper in the module": ({"main.py": "def f(): return g()\ndef g(): return 1"}, ("1", "2")),
    "helper's helper": (
        {"main.py": "def f(): return g()\ndef g(): return h()\ndef h(): return 1"},
        ("1", "2"),
    ),
    "helper in another module": (
        {"main.py": "from lib import g\ndef f(): return g()", "lib.py": "def g(): return 1"},
        ("1", "2"),
    ),
    "helper by module attribute": (
        {"main.py": "import lib\ndef f(): return lib.g()", "lib.py": "def g(): return 1"},
        ("1", "2"),
    ),
    "helper in a package": (
        {
            "main.py": "import p.q.lib\ndef f(): return p.q.lib.g()",
            "p/__init__.py": "",
            "p/q/__init__.py": "",
            "p/q/lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "relative import": (
        {
            "main.py": "from p.a import g\ndef f(): return g()",
            "p/__init__.py": "",
            "p/a.py": "from . import b\ndef g(): return b.h()",
            "p/b.py": "def h(): return 1",
        },
        ("1", "2"),
    ),
    "helper behind an alias": (
        {
            "main.py": "from lib import g as x\ny = x\ndef f(): return y()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "what an alias means": (
        {
            "main.py": "from lib import a as x\nfrom lib import b as y\ndef f(): return x() - y()",
            "lib.py": "def a(): return 1\ndef b(): return 2",
        },
        ("a as x\nfrom lib import b as y", "b as x\nfrom lib import a as y"),
    ),
    "what a library alias means": (
        {"main.py": "from math import sin as x\ndef f(): return x(1)"},
        ("sin", "cos"),
    ),
    "which numpy function": (
        {"main.py": "from numpy import mean as x\ndef f(): return x([1])"},
        ("mean", "median"),
    ),
    "which numpy module": (
        {"main.py": "import numpy.fft as x\ndef f(): return x.norm([1])"},
        ("fft", "linalg"),
    ),
    "star import": (
        {"main.py": "from lib import *\ndef f(): return g()", "lib.py": "def g(): return 1"},
        ("1", "2"),
    ),
    "method": (
        {"main.py": "class A:\n def m(self): return 1\ndef f(): return A().m()"},
        ("1", "2"),
    ),
    "private method": (
        {"main.py": "class A:\n def __m(self): return 1\ndef f(): return A()"},
        ("1", "2"),
    ),
    "base class": (
        {"main.py": "class B:\n def m(self): return 1\nclass A(B): pass\ndef f(): return A().m()"},
        ("1", "2"),
    ),
    "base class in another module": (
        {
            "main.py": "import lib\nclass A(lib.B): pass\ndef f(): return A().m()",
            "lib.py": "class B:\n def m(self): return 1",
        },
        ("1", "2"),
    ),
    "order of bases": (
        {"main.py": "class B: pass\nclass C: pass\nclass A(B, C): pass\ndef f(): return A()"},
        ("A(B, C)", "A(C, B)"),
    ),
    "abstract and generic base": (
        {
            "main.py": """
            import abc, typing
            T = typing.TypeVar("T")
            class B(abc.ABC, typing.Generic[T]):
                @abc.abstractmethod
                def m(self) -> T: ...
                def n(self): return 1
            class A(B[int]):
                def m(self): return self.n()
            def f(): return A().m()
            """
        },
        ("return 1", "return 2"),
    ),
    "protocol": (
        {
            "main.py": """
            import typing
            class B(typing.Protocol):
                def m(self): return 1
            class A(B): pass
            def f(): return A().m()
            """
        },
        ("return 1", "return 2"),
    ),
    "metaclass": (
        {
            "main.py": """
            class M(type):
                def size(cls): return 1
            class A(metaclass=M): pass
            def f(): return A.size()
            """
        },
        ("return 1", "return 2"),
    ),
    "property": (
        {"main.py": "class A:\n @property\n def m(self): return 1\ndef f(): return A().m"},
        ("1", "2"),
    ),
    "setter of a property": (
        {
            "main.py": """
            class A:
                @property
                def m(self): return 0
                @m.setter
                def m(self, value): self.x = 1
            def f(): A().m = 3
            """
        },
        ("self.x = 1", "self.x = 2"),
    ),
    "cached property": (
        {
            "main.py": """
            import functools
            class A:
                @functools.cached_property
                def m(self): return 1
            def f(): return A().m
            """
        },
        ("return 1", "return 2"),
    ),
    "static method": (
        {"main.py": "class A:\n @staticmethod\n def m(): return 1\ndef f(): return A.m()"},
        ("1", "2"),
    ),
    "class method": (
        {"main.py": "class A:\n @classmethod\n def m(cls): return 1\ndef f(): return A.m()"},
        ("1", "2"),
    ),
    "method bound to an instance": (
        {"main.py": "class A:\n def m(self): return 1\nm = A().m\ndef f(): return m()"},
        ("1", "2"),
    ),
    "state of a bound method": (
        {
            "main.py": """
            class A:
                def __init__(self, x): self.x = x
                def m(self): return self.x
            m = A(1).m
            def f(): return m()
            """
        },
        ("A(1)", "A(2)"),
    ),
    "partialmethod": (
        {
            "main.py": """
            import functools
            class A:
                def m(self, x): return x
                n = functools.partialmethod(m, 1)
            def f(): return A().n()
            """
        },
        ("m, 1", "m, 2"),
    ),
    "call of an instance": (
        {"main.py": "class A:\n def __call__(self): return 1\na = A()\ndef f(): return a()"},
        ("1", "2"),
    ),
    "class attribute": ({"main.py": "class A:\n x = 1\ndef f(): return A.x"}, ("1", "2")),
    "class attribute set later": (
        {"main.py": "class A: pass\nA.x = 1\ndef f(): return A().x"},
        ("1", "2"),
    ),
    "method patched in at import": (
        {
            "main.py": """
            class A:
                def m(self): return 0
            def one(self): return 1
            def two(self): return 2
            A.m = one
            def f(): return A().m()
            """
        },
        ("A.m = one", "A.m = two"),
    ),
    "nested class": (
        {"main.py": "class A:\n class B:\n  def m(self): return 1\ndef f(): return A.B()"},
        ("1", "2"),
    ),
    "__init_subclass__": (
        {
            "main.py": """
            class B:
                def __init_subclass__(cls, k): cls.k = k
            class A(B, k=1): pass
            def f(): return A.k
            """
        },
        ("k=1", "k=2"),
    ),
    "class decorator": (
        {
            "main.py": """
            def deco(cls):
                cls.m = lambda self: 1
                return cls
            @deco
            class A: pass
            def f(): return A().m()
            """
        },
        ("self: 1", "self: 2"),
    ),
    "super in a method": (
        {
            "main.py": """
            class B:
                def m(self): return 1
            class A(B):
                def m(self): return super().m()
            def f(): return A().m()
            """
        },
        ("return 1", "return 2"),
    ),
    "nested function": (
        {"main.py": "def f():\n def g(): return 1\n return g()"},
        ("1", "2"),
    ),
    "lambda": ({"main.py": "g = lambda: 1\ndef f(): return g()"}, ("1", "2")),
    "one of two lambdas in a line": (
        {"main.py": "g, h = (lambda: 1), (lambda: 3)\ndef f(): return g() + h()"},
        ("1", "2"),
    ),
    "which of two lambdas": (
        {"main.py": "g, h = (lambda: 1), (lambda: 3)\ndef f(): return g() - h()"},
        ("g, h", "h, g"),
    ),
    "partial's function": (
        {
            "main.py": """
            import functools
            def g(x): return x + 1
            p = functools.partial(g, 5)
            def f(): return p()
            """
        },
        ("x + 1", "x + 2"),
    ),
    "partial's argument": (
        {"main.py": "import functools\np = functools.partial(max, 1)\ndef f(): return p(0)"},
        ("1", "2"),
    ),
    "partial's keyword": (
        {"main.py": "import functools\np = functools.partial(int, base=1)\ndef f(): return p('0')"},
        ("1", "2"),
    ),
    "wraps decorator's wrapper": (
        {
            "main.py": """
            from lib import deco
            @deco
            def f(): return 0
            """,
            "lib.py": """
            import functools
            def deco(g):
                @functools.wraps(g)
                def wrapper(*args): return g(*args) + 1
                return wrapper
            """,
        },
        ("+ 1", "+ 2"),
    ),
    "what a wraps decorator wraps": (
        {
            "main.py": """
            import functools
            def deco(g):
                @functools.wraps(g)
                def wrapper(*args): return g(*args)
                return wrapper
            @deco
            def h(): return 1
            def f(): return h()
            """
        },
        ("return 1", "return 2"),
    ),
    "argument of a decorator": (
        {
            "main.py": """
            def times(n):
                def deco(g):
                    def wrapper(): return g() * n
                    return wrapper
                return deco
            @times(1)
            def f(): return 5
            """
        },
        ("@times(1)", "@times(2)"),
    ),
    "constant given to a decorator": (
        {
            "main.py": """
            N = 1
            def times(n):
                def deco(g):
                    def wrapper(): return g() * n
                    return wrapper
                return deco
            @times(N)
            def f(): return 5
            """
        },
        ("N = 1", "N = 2"),
    ),
    "decorator class": (
        {
            "main.py": """
            class deco:
                def __init__(self, g): self.g = g
                def __call__(self): return self.g() + 1
            @deco
            def h(): return 0
            def f(): return h()
            """
        },
        ("+ 1", "+ 2"),
    ),
    "what a decorator class holds": (
        {
            "main.py": """
            class deco:
                def __init__(self, g): self.g = g
                def __call__(self): return self.g()
            @deco
            def h(): return 1
            def f(): return h()
            """
        },
        ("return 1", "return 2"),
    ),
    "lru_cache": (
        {
            "main.py": "import functools\n@functools.lru_cache\n"
            "def g(): return 1\ndef f(): return g()"
        },
        ("1", "2"),
    ),
    "contextmanager": (
        {
            "main.py": """
            import contextlib
            @contextlib.contextmanager
            def g(): yield 1
            def f():
                with g() as x: return x
            """
        },
        ("yield 1", "yield 2"),
    ),
    "singledispatch": (
        {
            "main.py": """
            import functools
            @functools.singledispatch
            def g(x): return 0
            @g.register
            def _(x: int): return 1
            def f(): return g(3)
            """
        },
        ("return 1", "return 2"),
    ),
    "type that singledispatch registers": (
        {
            "main.py": """
            import functools
            @functools.singledispatch
            def g(x): return 0
            @g.register(int)
            def _(x): return 1
            def f(): return g(3)
            """
        },
        ("register(int)", "register(str)"),
    ),
    "dispatch table": (
        {"main.py": "def a(): return 1\nH = {'a': a}\ndef f(): return H['a']()"},
        ("1", "2"),
    ),
    "entry of a dispatch table": (
        {
            "main.py": """
            def a(): return 1
            def b(): return 2
            H = {'x': a, 'y': b}
            def f(k): return H[k]()
            """
        },
        ("'x': a, 'y': b", "'x': b, 'y': a"),
    ),
    "dispatch table of closures": (
        {
            "main.py": """
            def make(n):
                def g(): return n
                return g
            H = {'x': make(1), 'y': make(2)}
            def f(k): return H[k]()
            """
        },
        ("make(1), 'y': make(2)", "make(2), 'y': make(1)"),
    ),
    "dispatch table of lambdas": (
        {"main.py": "H = {'a': lambda: 1}\ndef f(): return H['a']()"},
        ("1", "2"),
    ),
    "registry filled by a decorator": (
        {
            "main.py": """
            H = {}
            def register(g):
                H[g.__name__] = g
                return g
            @register
            def a(): return 1
            def f(): return H['a']()
            """
        },
        ("return 1", "return 2"),
    ),
    "global constant": ({"main.py": "N = 1\ndef f(): return N"}, ("1", "2")),
    "type of a global constant": ({"main.py": "N = 1\ndef f(): return N"}, ("1", "True")),
    "imported constant": (
        {"main.py": "from lib import N\ndef f(): return N", "lib.py": "N = 1"},
        ("1", "2"),
    ),
    "which constant is imported": (
        {
            "main.py": "from lib import A as X, B as Y\ndef f(): return X - Y",
            "lib.py": "A = 1\nB = 2",
        },
        ("A as X, B as Y", "B as X, A as Y"),
    ),
    "constant of a module": (
        {"main.py": "import lib\ndef f(): return lib.N", "lib.py": "N = 1"},
        ("1", "2"),
    ),
    "constant changed by code on import": (
        {"main.py": "C = {}\nC.update(a=1)\ndef f(): return C"},
        ("1", "2"),
    ),
    "global array": (
        {"main.py": "import numpy\nW = numpy.array([1.0, 2.0])\ndef f(): return W"},
        ("2.0", "3.0"),
    ),
    "global random generator": (
        {"main.py": "import numpy\nR = numpy.random.default_rng(1)\ndef f(): return R.random()"},
        ("1", "2"),
    ),
    "global instance": (
        {"main.py": "class C:\n def __init__(s, x): s.x = x\nC0 = C(1)\ndef f(): return C0.x"},
        ("C(1)", "C(2)"),
    ),
    "class of a global instance": (
        {"main.py": "class C:\n def m(self): return 1\nc = C()\ndef f(): return c.m()"},
        ("1", "2"),
    ),
    "class of an instance in a list": (
        {"main.py": "class C:\n def m(self): return 1\ncs = [C()]\ndef f(): return cs[0].m()"},
        ("1", "2"),
    ),
    "regular expression": (
        {"main.py": "import re\nP = re.compile('a')\ndef f(): return P.match('a')"},
        ("'a')\ndef", "'b')\ndef"),
    ),
    "default argument": ({"main.py": "def f(x=1): return x"}, ("1", "2")),
    "default that is a constant": ({"main.py": "N = 1\ndef f(x=N): return x"}, ("1", "2")),
    "default that is a function": (
        {"main.py": "def g(): return 1\ndef f(x=g): return x()"},
        ("1", "2"),
    ),
    "keyword default": ({"main.py": "N = 1\ndef f(*, x=N): return x"}, ("1", "2")),
    "closure value": (
        {"main.py": "def make(n):\n def f(): return n\n return f\nf = make(1)"},
        ("(1)", "(2)"),
    ),
    "closure of closures": (
        {
            "main.py": """
            def make(n):
                def g(): return n
                return g
            def add(a, b):
                def f(): return a() - b()
                return f
            f = add(make(1), make(2))
            """
        },
        ("make(1), make(2)", "make(2), make(1)"),
    ),
    "function in a closure": (
        {
            "main.py": """
            def g(): return 1
            def make(h):
                def f(): return h()
                return f
            f = make(g)
            """
        },
        ("return 1", "return 2"),
    ),
    "enum member": (
        {"main.py": "import enum\nclass E(enum.Enum):\n A = 1\ndef f(): return E.A"},
        ("1", "2"),
    ),
    "new enum member": (
        {"main.py": "import enum\nclass E(enum.Enum):\n A = 1\ndef f(): return list(E)"},
        ("A = 1", "A = 1\n B = 2"),
    ),
    "method of an enum": (
        {
            "main.py": "import enum\nclass E(enum.Enum):\n A = 0\n"
            " def m(self): return 1\ndef f(): return E.A.m()"
        },
        ("1", "2"),
    ),
    "dataclass default": (
        {
            "main.py": "import dataclasses\n@dataclasses.dataclass\n"
            "class D:\n x: int = 1\ndef f(): return D()"
        },
        ("1", "2"),
    ),
    "dataclass field": (
        {
            "main.py": "import dataclasses\n@dataclasses.dataclass\n"
            "class D:\n x: int\ndef f(): return D"
        },
        ("x: int", "x: int\n y: int"),
    ),
    "order of dataclass fields": (
        {
            "main.py": "import dataclasses\n@dataclasses.dataclass\n"
            "class D:\n x: int\n y: int\ndef f(): return D"
        },
        ("x: int\n y: int", "y: int\n x: int"),
    ),
    "dataclass options": (
        {
            "main.py": "import dataclasses\n@dataclasses.dataclass(order=True)\n"
            "class D:\n x: int\ndef f(): return D"
        },
        ("True", "False"),
    ),
    "default factory": (
        {
            "main.py": """
            import dataclasses
            def g(): return [1]
            @dataclasses.dataclass
            class D:
                x: list = dataclasses.field(default_factory=g)
            def f(): return D()
            """
        },
        ("[1]", "[2]"),
    ),
    "named tuple default": (
        {"main.py": "import typing\nclass T(typing.NamedTuple):\n x: int = 1\ndef f(): return T()"},
        ("1", "2"),
    ),
    "method of a named tuple": (
        {
            "main.py": "import typing\nclass T(typing.NamedTuple):\n x: int = 0\n"
            " def m(self): return 1\ndef f(): return T().m()"
        },
        ("1", "2"),
    ),
    "fields of a namedtuple": (
        {
            "main.py": "import collections\nT = collections.namedtuple('T', 'a b')\n"
            "def f(): return T(1, 2).a"
        },
        ("'a b'", "'b a'"),
    ),
    "comprehension reads a global": (
        {"main.py": "N = 1\ndef f(): return [N * x for x in range(3)]"},
        ("N = 1", "N = 2"),
    ),
    "lambda inside reads a global": (
        {"main.py": "N = 1\ndef f(): return (lambda: N)()"},
        ("N = 1", "N = 2"),
    ),
    "nested class reads a global": (
        {"main.py": "N = 1\ndef f():\n class C:\n  N = N\n return C.N"},
        ("N = 1", "N = 2"),
    ),
    "global statement": (
        {"main.py": "N = 1\ndef f():\n global N\n N += 0\n return N"},
        ("N = 1", "N = 2"),
    ),
    "match statement reads a class": (
        {
            "main.py": """
            class P:
                __match_args__ = ("x",)
                def __init__(self): self.x = 1
            def f(v):
                match v:
                    case P(x): return x
            """
        },
        ("self.x = 1", "self.x = 2"),
    ),
    "async function": (
        {"main.py": "async def g(): return 1\nasync def f(): return await g()"},
        ("1", "2"),
    ),
    "generator": ({"main.py": "def g(): yield 1\ndef f(): return list(g())"}, ("1", "2")),
    "function behind try": (
        {
            "main.py": "try:\n import nowhere as g\nexcept ImportError:\n"
            " def g(): return 1\ndef f(): return g()"
        },
        ("1", "2"),
    ),
    "attribute of a function": (
        {"main.py": "def g(): return g.n\ng.n = 1\ndef f(): return g()"},
        ("g.n = 1", "g.n = 2"),
    ),
    "docstring that is read": (
        {"main.py": "def g(): 'one'\ndef f(): return g.__doc__"},
        ("one", "two"),
    ),
    "name that is missing so far": (
        {"main.py": "def f(): return g()\n#"},
        ("#", "def g(): return 1"),
    ),
    "getattr by name": (
        {
            "main.py": "import lib\ndef f(): return getattr(lib, 'g')()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "getattr of a module by a variable": (
        {
            "main.py": "import lib\ndef f(k): return getattr(lib, k)()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "module handed on": (
        {
            "main.py": "import lib\ndef f(): return h(lib)\ndef h(m): return m.g()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "globals()": (
        {"main.py": "def g(): return 1\ndef f(): return globals()['g']()"},
        ("return 1", "return 2"),
    ),
    "eval": ({"main.py": "def g(): return 1\ndef f(x): return eval(x)"}, ("1", "2")),
    "module __getattr__": (
        {
            "main.py": "import lib\ndef f(): return lib.x",
            "lib.py": "def __getattr__(name): return 1",
        },
        ("return 1", "return 2"),
    ),
    "seed set on import": (
        {"main.py": "import numpy as np\nnp.random.seed(1)\ndef f(): return np.random.rand()"},
        ("1", "2"),
    ),
    "environment set on import": (
        {"main.py": "import os\nos.environ['A'] = '1'\ndef f(): return os.environ['A']"},
        ("1", "2"),
    ),
    "setup called on import": (
        {
            "main.py": "import lib\ndef f(): return lib.g()",
            "lib.py": "import random\ndef setup(): random.seed(1)\n"
            "setup()\ndef g(): return random.random()",
        },
        ("1", "2"),
    ),
    "patch applied by an import that is not used": (
        {
            "main.py": "import patches\ndef f(): return 1",
            "patches.py": "import string\ndef fix(x): return 1\nstring.capwords = fix",
        },
        ("x): return 1", "x): return 2"),
    ),
    "seed set deep in what is imported": (
        {
            "main.py": "from p.a import g\ndef f(): return g()",
            "p/__init__.py": "from . import b",
            "p/a.py": "def g(): return 0",
            "p/b.py": "import c",
            "c.py": "import random\nrandom.seed(1)",
        },
        ("1", "2"),
    ),
    "seed set deep in what a function imports": (
        {
            "main.py": "def f():\n from p.a import g\n return g()",
            "p/__init__.py": "from . import b",
            "p/a.py": "def g(): return 0",
            "p/b.py": "import c",
            "c.py": "import random\nrandom.seed(1)",
        },
        ("1", "2"),
    ),
    "module taken from sys.modules": (
        {
            "main.py": "import sys, lib\ndef f(): return sys.modules['lib'].g()",
            "lib.py": "def g(): return 1",
        },
        ("return 1", "return 2"),
    ),
    "class found among the subclasses": (
        {
            "main.py": """
            class B: pass
            class A(B):
                v = 1
            def f(): return [each.v for each in B.__subclasses__()]
            """
        },
        ("v = 1", "v = 2"),
    ),
    "class found among the subclasses in what a function imports": (
        {
            "main.py": "def f():\n import lib\n return lib.make()",
            "lib.py": "class B: pass\nclass A(B):\n v = 1\n"
            "def make(): return B.__subclasses__()[0].v",
        },
        ("v = 1", "v = 2"),
    ),
    "registry that a decorator fills where a function imports it": (
        {
            "main.py": "def f():\n from lib import R\n return R['a']()",
            "lib.py": """
            R = {}
            def register(g):
                R[g.__name__] = g
                return g
            @register
            def a(): return 1
            """,
        },
        ("return 1", "return 2"),
    ),
    "docstring of a class that is read": (
        {"main.py": "class C:\n 'one'\ndef f(): return C.__doc__"},
        ("one", "two"),
    ),
    "descriptor": (
        {
            "main.py": """
            class D:
                def __init__(self, n): self.n = n
                def __get__(self, instance, owner): return self.n
            class C:
                d = D(1)
            def f(): return C().d
            """
        },
        ("D(1)", "D(2)"),
    ),
    "function in numpy.vectorize": (
        {"main.py": "import numpy\nV = numpy.vectorize(lambda x: x + 1)\ndef f(): return V([1])"},
        ("x + 1", "x + 2"),
    ),
    "import in a function": (
        {"main.py": "def f():\n import lib\n return lib.g()", "lib.py": "def g(): return 1"},
        ("1", "2"),
    ),
    "from-import in a function": (
        {
            "main.py": "def f():\n from lib import g as h\n return h()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "helper of what a function imports": (
        {
            "main.py": "def f():\n from p.a import g\n return g()",
            "p/__init__.py": "",
            "p/a.py": "from .b import h\ndef g(): return h()",
            "p/b.py": "def h(): return 1",
        },
        ("1", "2"),
    ),
    "constant of what a function imports": (
        {"main.py": "def f():\n import lib\n return lib.g()", "lib.py": "N = 1\ndef g(): return N"},
        ("1", "2"),
    ),
    "constant that is changed where a function imports it": (
        {"main.py": "def f():\n from lib import C\n return C", "lib.py": "C = {}\nC.update(a=1)"},
        ("1", "2"),
    ),
    "item set where a function imports it": (
        {"main.py": "def f():\n from lib import C\n return C", "lib.py": "C = {}\nC['a'] = 1"},
        ("1", "2"),
    ),
    "constant set in a block": (
        {
            "main.py": "def f():\n from lib import C\n return C",
            "lib.py": "if True:\n C = 1\nelse:\n C = 0",
        },
        ("1", "2"),
    ),
    "class that a function imports": (
        {
            "main.py": "def f():\n from lib import A\n return A()",
            "lib.py": "class B:\n def m(self): return 1\nclass A(B): pass",
        },
        ("1", "2"),
    ),
    "re-export that a function imports": (
        {
            "main.py": "def f():\n import p\n return p.g()",
            "p/__init__.py": "from .a import *",
            "p/a.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "submodule that a function imports": (
        {
            "main.py": "def f():\n import p.a\n return p.a.g()",
            "p/__init__.py": "",
            "p/a.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "module imported by name": (
        {
            "main.py": "import importlib\ndef f(): return importlib.import_module('lib').g()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "module of a package imported by a made-up name": (
        {
            "main.py": "import importlib\ndef f(n): return importlib.import_module(f'p.{n}').g()",
            "p/__init__.py": "",
            "p/a.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "module that is missing so far": (
        {"main.py": "def f():\n import lib", "lib_.py": "def g(): return 1"},
        ("lib_", "lib"),
    ),
    "optional import in a function": (
        {
            "main.py": "def f():\n try:\n  from lib import g\n"
            " except ImportError:\n  g = None\n return g()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "seed set by an import in a function": (
        {
            "main.py": "def f():\n import lib\n return lib.g()",
            "lib.py": "import random\nrandom.seed(1)\ndef g(): return random.random()",
        },
        ("1", "2"),
    ),
    "import in a nested function": (
        {
            "main.py": "def f():\n def h():\n  import lib\n  return lib.g()\n return h()",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
    "import in a function used in a nested one": (
        {
            "main.py": "def f():\n import lib\n return [lib.g() for _ in 'a']",
            "lib.py": "def g(): return 1",
        },
        ("1", "2"),
    ),
}


@pytest.mark.parametrize("claim", CHANGES)
def test_changing_this_misses(world: World, claim: str) -> None:
    files, (old, new) = CHANGES[claim]
    edited = {name.replace(old, new): text.replace(old, new) for name, text in files.items()}
    assert edited != files, "the edit changes nothing"
    before, after = world.both(files, edited)
    assert before.error is None, before.reason
    assert before.value != after.value


BASE = """
import json
from lib import g

N = 3

class A:
    def m(self): return N
    def n(self): return 2

def unused(): return 1

def f(x):
    y = g(x) + A().m()
    return [y, N]
"""
LIB = "K = 5\ndef g(x): return x * K\n"
# claim -> what main.py and lib.py are afterwards
KEEPS: dict[str, tuple[str, str]] = {
    "nothing": (BASE, LIB),
    "comment": (BASE.replace("    y =", "    # why\n    y ="), "# lib\n" + LIB),
    "docstring": (
        BASE.replace("    y =", '    """Say why."""\n    y =').replace(
            "class A:", "class A:\n    'an A'"
        ),
        "'a lib'\n" + LIB,
    ),
    "blank lines and line numbers": (BASE.replace("\n", "\n\n"), "\n\n\n" + LIB),
    "formatting": (
        BASE.replace("[y, N]", "[\n        y,\n        N,\n    ]"),
        LIB.replace("x * K", "(x*K)"),
    ),
    "unused import": ("import string\n" + BASE, "import string, random\n" + LIB),
    "unused helper": (BASE.replace("unused(): return 1", "unused(): return 2"), LIB + "def h(): 0"),
    "unused constant": (BASE + "\nM = 4\n", LIB + "Q = 4\n"),
    "order of definitions": (
        BASE.replace("def unused(): return 1\n\n", "").replace(
            "class A:\n    def m(self): return N\n    def n(self): return 2",
            "def unused(): return 1\nclass A:\n    def n(self): return 2\n"
            "    def m(self): return N",
        ),
        LIB.replace("K = 5\n", "") + "K = 5\n",
    ),
    "main guard": (BASE + "\nif __name__ == '__main__':\n    print(f(1))\n", LIB),
    "logging": (BASE + "\nimport logging\nlogging.basicConfig(level=10)\nprint(1)\n", LIB),
    "how a constant is written": (BASE.replace("N = 3", "N = 1 + 2"), LIB.replace("5", "0x5")),
}


@pytest.mark.parametrize("claim", KEEPS)
def test_changing_this_hits(world: World, claim: str) -> None:
    main, lib = KEEPS[claim]
    before, after = world.both({"main.py": BASE, "lib.py": LIB}, {"main.py": main, "lib.py": lib})
    assert before.error is None
    assert before.value == after.value


@pytest.mark.parametrize("claim", [each for each in KEEPS if "constant is written" not in each])
def test_changing_this_in_what_a_function_imports_hits(world: World, claim: str) -> None:
    main, lib = KEEPS[claim]
    world.write(start="def f():\n    import main\n    return main.f(1)")
    before, after = world.both(
        {"main.py": BASE, "lib.py": LIB},
        {"main.py": main, "lib.py": lib},
        run="import start",
        show="of_function(start.f)",
    )
    assert before.error is None
    assert before.value == after.value


def test_moving_the_files_hits(world: World, tmp_path) -> None:
    world.write(
        main="from pathlib import Path\nimport lib\nHERE = Path(__file__).parent\n"
        "def f():\n    import late\n    return lib.g(), late.h(), HERE / 'data'",
        lib=LIB,
        late="def h(): return 1",
    )
    before = world.look()
    world.move(tmp_path / "elsewhere" / "deep")
    assert world.look().value == before.value


def test_a_local_name_hides_the_global_one(world: World) -> None:
    text = "N = 1\ndef f(N): return N + sum(N for N in [1])"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("N = 1", "N = 2")})
    assert before.value == after.value


def test_a_walrus_binds_around_its_comprehension(world: World) -> None:
    text = "N = 1\ndef f(x):\n    [N := i for i in x]\n    return N"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("N = 1", "N = 2")})
    assert before.value == after.value


def test_a_capture_pattern_is_local(world: World) -> None:
    text = "N = 1\ndef f(x):\n    match x:\n        case [N, *M]: return N, M\n"
    text += "        case {**M}: return M"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("N = 1", "N = 2")})
    assert before.value == after.value


def test_an_import_in_a_function_is_not_carried_out(world: World) -> None:
    world.write(
        main="def f():\n    import lib, p.a\n    return lib.g() + p.a.h()",
        lib="raise SystemExit('imported')\ndef g(): return 1",
    )
    world.write({"p/__init__.py": "raise SystemExit('imported')", "p/a.py": "def h(): return 1"})
    look = world.look(run="import main, sys", show="(of_function(main.f), 'lib' in sys.modules)[1]")
    assert look.value is False


def test_an_import_in_a_function_counts_alike_when_it_is_loaded_already(world: World) -> None:
    world.write(main="def f():\n    import lib\n    return lib.g()", lib="N = 1\ndef g(): return N")
    early = world.look(run="import lib\nlib.N = 7\nimport main")
    assert early.value == world.look().value


def test_functions_that_call_each_other_have_a_fingerprint(world: World) -> None:
    text = "def f(n): return n and g(n - 1)\ndef g(n): return n and f(n - 2)"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("2", "3")})
    assert before.error is None
    assert before.value != after.value


def test_modules_that_import_each_other_have_a_fingerprint(world: World) -> None:
    world.write(
        main="import lib\ndef f(): return lib.g()\ndef h(): return 1",
        lib="import main\ndef g(): return main.h() or main.f()",
    )
    assert world.look().error is None
    world.write(start="def f():\n    import main\n    return main.f()")
    assert world.look(run="import start", show="of_function(start.f)").error is None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("G = (n for n in [1])\ndef f(): return next(G)", "main.G"),
        ("C = {'a': [iter([1])]}\ndef f(): return C", "main.C['a'][0]"),
        ("class A:\n    items = map(str, [1])\ndef f(): return A", "A.items"),
    ],
)
def test_a_constant_without_meaning_is_named(world: World, text: str, path: str) -> None:
    world.write(main=text)
    assert world.look().error == path


def test_a_logger_counts_by_its_name(world: World) -> None:
    text = "import logging\nlog = logging.getLogger(__name__)\ndef f(): log.info('x')"
    world.write(main=text)
    before = world.look()
    after = world.look(run="import main, logging\nlogging.getLogger('main').setLevel(10)")
    assert before.error is None
    assert before.value == after.value


@pytest.mark.parametrize(
    "text",
    [
        "import typing\nX = typing.Optional[int]\ndef f(): return X",
        "import typing\nT = typing.TypeVar('T')\ndef f(): return T, list[int], int | None",
        "_NONE = object()\ndef f(x=_NONE): return x is _NONE",
        "import re, decimal, datetime\nA = re.I, decimal.Decimal(1), datetime.timezone.utc\n"
        "def f(): return A",
        "import sys\nV = sys.version_info, sys.flags.optimize\ndef f(): return V",
        "import os\ndef f(): return os.environ.get('A'), os.path.join('a')",
        "import random\ndef f(): return random.random()",
        "import warnings, contextvars, logging.handlers\n"
        "def f(): warnings.warn(logging.handlers.__name__)",
        "import operator\ng = operator.itemgetter(1)\ndef f(): return g([0, 1])",
        "import string\nT = string.Template('$a')\ndef f(): return T.substitute(a=1)",
        "import numpy as np\nU = np.add\ndef f(): return U.reduce([1]), np.pi, np.newaxis",
        "import collections.abc\nclass A(collections.abc.Mapping):\n"
        " def __len__(self): return 0\n def __iter__(self): return iter(())\n"
        " def __getitem__(self, k): return 0\ndef f(): return A()",
        "import enum\nclass E(enum.IntFlag):\n A = enum.auto()\n B = enum.auto()\n"
        "def f(): return E.A | E.B",
        "import dataclasses\n@dataclasses.dataclass(frozen=True, slots=True)\nclass D:\n"
        " x: int = 1\n y: list = dataclasses.field(default_factory=list)\nd = D()\n"
        "def f(): return d, dataclasses.replace(d)",
        "import typing\nclass T(typing.TypedDict):\n a: int\ndef f() -> T: return T(a=1)",
        "class A:\n def __init_subclass__(cls): pass\n def clone(self): return type(self)()\n"
        " def me(self): return __class__\ndef f(): return A().me()",
        "def f(x): return f.cache\nf.cache = {}",
        "class A:\n __slots__ = ('a', '__weakref__')\na = A()\ndef f(): return a",
        "def f(name):\n    import importlib\n    return importlib.import_module(name)",
        "from importlib import import_module as load\ndef f(name): return load(name)",
        "import pkgutil, runpy\ndef f(n): return pkgutil.resolve_name(n), runpy.run_path(n)",
        "import sys\ndef f(name): return sys.modules[name], __import__(name)",
        "exec('def f(n):\\n import importlib as i\\n return i.import_module(n)')",
        "import abc\nclass A(abc.ABC):\n @property\n @abc.abstractmethod\n def x(self): ...\n"
        "def f(): return A",
    ],
)
def test_usual_code_has_one_fingerprint_in_all_processes(world: World, text: str) -> None:
    world.write(main=text)
    first, second = world.look(), world.look()
    assert first.error is None, first.reason
    assert first.value == second.value
