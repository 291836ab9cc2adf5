"""Hints: clocks and random generators that a step uses and its key does not cover.

Told from the syntax of the user's functions that the step can reach by name. Nothing is replaced or
slowed down for it. What libraries do inside does not count: they read the clock all the time.
"""

from __future__ import annotations

import ast
import datetime
import os
import random
import sys
import types
from collections.abc import Mapping
from typing import Any

from memoflow.fingerprint.flows import MISSING
from memoflow.fingerprint.modules import owner_of
from memoflow.fingerprint.name_resolution import cells_of
from memoflow.fingerprint.reads import Chain, imports_of
from memoflow.fingerprint.source import function_source
from memoflow.flow.memo.lookup import MemoizedStep

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


def of_step(memoized: MemoizedStep) -> tuple[str, list[str]]:
    """Return the clocks and generators of a step in one line, "" for none, and each name."""
    found = of_code(memoized.shape.flow, memoized.step)
    left = {name: where for name, where in found.items() if not memoized.ignores(name)}
    if not left:
        return "", []
    named = [f"{name} ({where})" if where else name for name, where in left.items()]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return (
        f"hint: {memoized.step} uses {', '.join(named[:_MOST_NAMED])}{more}, which is not in "
        "the cache key: pass it in as an artifact or parameter, or set a ttl; "
        f"{memoized.spelled('ignore', list(left))} if it does not matter",
        list(left),
    )


def of_code(flow: type, step: str) -> dict[str, str]:
    """Return the clocks and generators in a step's code by name, each with its first place."""
    reader = _HintVisitor(flow)
    reader.follow(getattr(flow, step), bound=True)
    reader.read()
    seeded = {name for name, module in reader.chance.items() if module in reader.seeded}
    return {name: where for name, where in reader.found.items() if name not in seeded}


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
        if id(value) in self._seen or not isinstance(value, (type, types.FunctionType)):
            return
        self._seen.add(id(value))
        if owner_of(value) != "user":
            return
        if isinstance(value, types.FunctionType):
            self._todo.append((value, bound))
        else:
            for each in vars(value).values():
                self.follow(each)

    def read(self) -> None:
        for _ in range(_MOST_FUNCTIONS):
            if not self._todo:
                return
            self._function(*self._todo.pop())

    def _function(self, f: types.FunctionType, bound: bool) -> None:
        found = function_source(os.path.abspath(f.__code__.co_filename), f.__code__)
        if found is None:
            return
        _, node = found
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
        bound = cells_of(f).items()
        self._local = {name: value for name, value in bound if value is not MISSING}
        self._hidden = {*f.__code__.co_varnames, *f.__code__.co_cellvars}
        for inner in ast.walk(node):
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                for name, target in imports_of(inner):
                    module = sys.modules.get(target.module)
                    if not target.level:
                        member = target.name
                        self._local[name] = _member(module, member) if member else module

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
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
        return str(value.__module__ or "")
    return ""


def _chain(node: ast.expr) -> Chain:
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else ()
