"""Hints: clocks and random generators that a step uses and its key does not cover.

Told from the syntax of the user's functions that the step can reach by name. Nothing is replaced or
slowed down for it. What libraries do inside does not count: they read the clock all the time.
"""

from __future__ import annotations

import ast
import datetime
import functools
import os
import random
import sys
import types
from collections.abc import Mapping
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint.modules import OURS, is_stdlib, site_of
from memoflow.fingerprint.source import loaded
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.store import Store

_MOST_FUNCTIONS = 2000
_MOST_NAMED = 5

# Not `monotonic` and `perf_counter`, which only tell how long something took.
_KNOWN = {
    "os": frozenset(["getpid", "urandom"]),
    "random": frozenset(["SystemRandom"]),
    "secrets": frozenset(
        ["SystemRandom", "choice", "randbelow", "randbits", "token_bytes", "token_hex",
         "token_urlsafe"]
    ),
    "time": frozenset(["time", "time_ns"]),
    "uuid": frozenset(["uuid1", "uuid4"]),
}  # fmt: skip
# These tell the time now unless they are given one, as their argument of this number; or make a
# generator without a seed.
_GIVEN = {
    ("numpy.random", "RandomState"): 1,
    ("numpy.random", "default_rng"): 1,
    ("random", "Random"): 1,
    ("time", "asctime"): 1,
    ("time", "ctime"): 1,
    ("time", "gmtime"): 1,
    ("time", "localtime"): 1,
    ("time", "strftime"): 2,
}
_OF_CLASSES: Mapping[type, frozenset[str]] = {
    datetime.datetime: frozenset(["now", "today", "utcnow"]),
    datetime.date: frozenset(["today"]),
}
# In each of these, all draw from one state that was not given, unless something sets it.
_CHANCE = {
    "numpy.random": frozenset(
        ["beta", "binomial", "bytes", "chisquare", "choice", "dirichlet", "exponential", "gamma",
         "geometric", "gumbel", "laplace", "logistic", "lognormal", "multinomial",
         "multivariate_normal", "normal", "pareto", "permutation", "poisson", "rand", "randint",
         "randn", "random", "random_integers", "random_sample", "ranf", "rayleigh", "sample",
         "shuffle", "standard_normal", "triangular", "uniform", "vonmises", "weibull", "zipf"]
    ),
    "random": frozenset(
        ["betavariate", "choice", "choices", "expovariate", "gauss", "getrandbits",
         "lognormvariate", "normalvariate", "paretovariate", "randbytes", "randint", "random",
         "randrange", "sample", "shuffle", "triangular", "uniform", "vonmisesvariate",
         "weibullvariate"]
    ),
    "torch": frozenset(
        ["bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randn",
         "randn_like", "randperm"]
    ),
}  # fmt: skip
# Functions that set the state of one of these, or, of another module, the state of all.
_SEEDS = frozenset(["manual_seed", "seed", "seed_all", "seed_everything", "set_seed"])

Chain = tuple[str, ...]
_NONE = "no state"


@dataclass(frozen=True)
class Hint:
    """The clocks and random generators of a step: a line for people, and each name."""

    line: str
    kinds: tuple[str, ...]


def of_step(memoized: MemoizedStep) -> Hint | None:
    """Return the hint for a step of which a task ran; None if it needs none."""
    found = of_code(memoized.shape.flow, memoized.step)
    left = {name: where for name, where in found.items() if not memoized.ignores(name)}
    if not left:
        return None
    named = [f"{name} ({where})" if where else name for name, where in left.items()]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return Hint(
        f"{memoized.step} uses {', '.join(named[:_MOST_NAMED])}{more}, which is not in "
        "the cache key: pass it in as an artifact or parameter, or set a ttl; "
        f"{memoized.spelled('ignore', list(left))} if it does not matter",
        tuple(left),
    )


def is_news(memoized: MemoizedStep, hint: Hint, store: Store) -> bool:
    """Tell whether a part of a hint is new for the step, on this machine."""
    step = f"{memoized.shape.flow.__name__}/{memoized.step}"
    # All of them, or the next task says those that were left out.
    news = [store.index.set_if_changed(f"hint:{step}:{kind}", "said") for kind in hint.kinds]
    return any(news)


def of_code(flow: type, step: str) -> dict[str, str]:
    """Return the clocks and generators in a step's code by name, each with its first place."""
    reader = _HintVisitor(flow)
    reader.follow(getattr(flow, step), bound=True)
    reader.read()
    return {
        name: where
        for name, where in reader.found.items()
        if reader.chance.get(name, _NONE) not in reader.seeded
    }


class _HintVisitor:
    """Reads the functions of the user's that one leads to."""

    def __init__(self, flow: type) -> None:
        self.found: dict[str, str] = {}
        self.chance: dict[str, str] = {}
        self.seeded: set[str] = set()
        self._flow = flow
        self._todo: list[tuple[types.FunctionType, bool]] = []
        self._seen: set[int] = set()

    def follow(self, value: Any, *, bound: bool = False) -> None:
        """Read a function, or the methods of a class, if it is the user's."""
        value = getattr(value, "__func__", value)
        if isinstance(value, property):
            value = value.fget
        if id(value) in self._seen:
            return
        if isinstance(value, type):
            self._seen.add(id(value))
            path = getattr(sys.modules.get(value.__module__), "__file__", None)
            if _is_users(value.__module__, path or ""):
                for each in vars(value).values():
                    self.follow(each)
        elif isinstance(value, types.FunctionType):
            self._seen.add(id(value))
            if _is_users(str(value.__globals__.get("__name__")), value.__code__.co_filename):
                self._todo.append((value, bound))

    def read(self) -> None:
        for _ in range(_MOST_FUNCTIONS):
            if not self._todo:
                return
            self._function(*self._todo.pop())

    def _function(self, f: types.FunctionType, bound: bool) -> None:
        source = loaded(os.path.abspath(f.__code__.co_filename))
        node = None if source is None else source.function(f.__code__)
        if node is None:
            return
        names = _Names(f, node)
        first = node.args.args[0].arg if bound and node.args.args else None
        shown = os.path.basename(f.__code__.co_filename)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                self._call(inner, names, f"{shown}:{inner.lineno}")
            if isinstance(inner, (ast.Name, ast.Attribute)):
                chain = _chain(inner)
                if chain and chain[0] == first and len(chain) > 1:
                    method = getattr(self._flow, chain[1], None)
                    if not hasattr(method, "is_step"):  # As `self.next` names them.
                        self.follow(method, bound=True)
                elif chain:
                    self._name(chain, names, f"{shown}:{inner.lineno}")

    def _name(self, chain: Chain, names: _Names, where: str) -> None:
        owner, value = names.find(chain)
        if value is None:
            return
        self.follow(value)
        for cls, known in _OF_CLASSES.items():
            is_kind = isinstance(owner, type) and issubclass(owner, cls)
            if is_kind and chain[-1] in known and not isinstance(value, types.FunctionType):
                self.found.setdefault(f"{owner.__name__}.{chain[-1]}", where)

    def _call(self, node: ast.Call, names: _Names, where: str) -> None:
        chain = _chain(node.func)
        if not chain:
            return
        owner, value = names.find(chain)
        module = _module(owner, value)
        name = getattr(value, "__name__", chain[-1])
        given = [*node.args, *(each.value for each in node.keywords)]
        if given and isinstance(given[0], ast.Constant) and given[0].value is None:
            del given[0]
        if chain[-1] in _SEEDS and given:
            self.seeded |= {module} if module in _CHANCE else set(_CHANCE)
        if len(given) < _GIVEN.get((module, name), 0) or name in _KNOWN.get(module, ()):
            self.found.setdefault(f"{module}.{name}", where)
        elif name in _CHANCE.get(module, ()):
            self.found.setdefault(f"{module}.{name}", where)
            self.chance[f"{module}.{name}"] = module


class _Names:
    """The values of names in a function: its own imports, then its globals."""

    def __init__(self, f: types.FunctionType, node: ast.AST) -> None:
        self._globals = f.__globals__
        self._local: dict[str, Any] = {}
        self._hidden = {*f.__code__.co_varnames, *f.__code__.co_cellvars}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                for alias in inner.names:
                    top = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._local[alias.asname or top] = sys.modules.get(top)
            elif isinstance(inner, ast.ImportFrom) and not inner.level:
                module = sys.modules.get(inner.module or "")
                for alias in inner.names:
                    self._local[alias.asname or alias.name] = _member(module, alias.name)
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        for name, cell in cells:
            try:
                self._local.setdefault(name, cell.cell_contents)
            except ValueError:
                continue  # Not bound yet.

    def find(self, chain: Chain) -> tuple[Any, Any]:
        """Return the value of a chain of names and the owner of it; None if unknown.

        Only modules and classes are looked into: to look into others may run code.
        """
        name, *rest = chain
        if name in self._hidden and name not in self._local:
            return None, None
        owner, value = None, self._local.get(name, self._globals.get(name))
        for attribute in rest:
            owner, value = value, _member(value, attribute)
        return owner, value


def _member(value: Any, name: str) -> Any:
    if isinstance(value, types.ModuleType):
        return vars(value).get(name)
    if isinstance(value, type):
        for cls in value.__mro__:
            if name in vars(cls):
                return vars(cls)[name]
    return None


def _module(owner: Any, value: Any) -> str:
    """Return the public module of a function, also of a bound one."""
    if isinstance(owner, types.ModuleType):
        return owner.__name__
    of = getattr(value, "__self__", None)
    if isinstance(of, types.ModuleType):
        return of.__name__  # A builtin, such as `time.time`.
    if isinstance(of, random.Random) and getattr(random, value.__name__, None) == value:
        return "random"
    return (
        str(getattr(value, "__module__", "") or "")
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type))
        else ""
    )


def _chain(node: ast.expr) -> Chain:
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else ()


@functools.cache
def _is_users(module: str, path: str) -> bool:
    if not path or path.startswith("<") or module.partition(".")[0] in OURS:
        return False
    return not site_of(path) and not is_stdlib(module, path)
