"""Held code: functions of the user's inside objects of C and of libraries."""

from __future__ import annotations

import pytest

from tests.fingerprint.conftest import World

# claim -> (what is imported, the object); `cb` is a function of the user's.
HOLDERS: dict[str, tuple[str, str]] = {
    "partial": ("import functools", "functools.partial(max, key=cb)"),
    "methodcaller": ("import operator", "operator.methodcaller('m', cb)"),
    "lru_cache": ("import functools", "functools.lru_cache(cb)"),
    "cmp_to_key": ("import functools", "functools.cmp_to_key(cb)"),
    "singledispatch": ("import functools", "functools.singledispatch(cb)"),
    "numpy.vectorize": ("import numpy", "numpy.vectorize(cb)"),
    "numpy.frompyfunc": ("import numpy", "numpy.frompyfunc(cb, 1, 1)"),
    "re.Scanner": ("import re", "re.Scanner([('a+', cb)])"),
    "executor": ("import concurrent.futures as c", "c.ThreadPoolExecutor(initializer=cb)"),
    "weakref": ("import weakref", "weakref.ref(cb)"),
    "MethodType": ("import types", "types.MethodType(cb, [1])"),
    "bound method of a list": ("", "[cb].pop"),
    "bound method of a library's object": ("import threading", "threading.Timer(1, cb).start"),
    "ContextVar": ("import contextvars", "contextvars.ContextVar('x', default=cb)"),
    "ExitStack": ("import contextlib", "contextlib.ExitStack().callback(cb)"),
    "JSON decoder": ("import json", "json.JSONDecoder(object_hook=cb)"),
    "array of objects": ("import numpy", "numpy.array([cb], dtype=object)"),
}


@pytest.mark.parametrize("place", ["{}", "{{'a': [{}]}}"])
@pytest.mark.parametrize("claim", HOLDERS)
def test_code_in_an_object_counts(world: World, claim: str, place: str) -> None:
    run, holder = HOLDERS[claim]
    text = f"{run}\ndef cb(*a): return 11\nX = {place.format(holder)}\ndef f(): return X"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("11", "12")})
    assert before.error is None, before.reason
    assert after.value != before.value
    world.write(main=text)
    assert world.look().value == before.value, "it differs in each process"


# claim -> (library, what is imported, the object)
OF_LIBRARIES: dict[str, tuple[str, str, str]] = {
    "FunctionTransformer": (
        "sklearn",
        "from sklearn.preprocessing import FunctionTransformer",
        "FunctionTransformer(cb)",
    ),
    "scorer": ("sklearn", "from sklearn.metrics import make_scorer", "make_scorer(cb)"),
    "joblib.Memory": ("joblib", "import joblib", "joblib.Memory(None, verbose=0).cache(cb)"),
    "tenacity": ("tenacity", "import tenacity", "tenacity.retry(cb)"),
    "click": ("click", "import click", "click.Command('x', callback=cb)"),
    "attrs": ("attrs", "import attrs", "attrs.validators.and_(cb)"),
    "numba": ("numba", "import numba", "numba.njit(cb)"),
    "SQLAlchemy": (
        "sqlalchemy",
        "import sqlalchemy",
        "sqlalchemy.create_engine('sqlite://', creator=cb)",
    ),
    "polars": (
        "polars",
        "import polars",
        "polars.col('a').map_elements(cb, return_dtype=polars.Int64)",
    ),
}


@pytest.mark.parametrize("claim", OF_LIBRARIES)
def test_code_in_an_object_of_a_library_counts(world: World, claim: str) -> None:
    library, run, holder = OF_LIBRARIES[claim]
    pytest.importorskip(library)
    text = f"{run}\ndef cb(*a): return 11\nX = [{holder}]\ndef f(): return X"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("11", "12")})
    assert before.error is None, before.reason
    assert after.value != before.value
    world.write(main=text)
    assert world.look().value == before.value, "it differs in each process"


@pytest.mark.parametrize("change", ["fastmath=True", "fastmath=False, nogil=True"])
def test_what_a_compiler_is_told_counts(world: World, change: str) -> None:
    pytest.importorskip("numba")
    text = "import numba\ndef g(x): return x\nh = numba.njit(g)\nT = {'a': numba.njit(g)}\n"
    text += "def f(): return h(1) + T['a'](1)"
    for old in ("h = numba.njit(g)", "'a': numba.njit(g)"):
        edited = text.replace(old, old.replace("(g)", f"(g, {change})"))
        before, after = world.both({"main.py": text}, {"main.py": edited})
        assert before.error is None, before.reason
        assert before.value != after.value


def test_what_is_registered_with_an_object_of_a_library_counts(world: World) -> None:
    text = "import click\n@click.group()\ndef cli(): pass\n@cli.command()\ndef go(): return 11\n"
    text += "def f(): return cli()"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("11", "12")})
    assert before.error is None, before.reason
    assert before.value != after.value
