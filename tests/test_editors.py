"""What an editor knows of the package by reading it, as one that goes by jedi does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jedi
import pytest

import memoflow
from memoflow.functions.memoized import MemoizedFunction
from memoflow.functions.options import FunctionOptions
from tests.pages import ROOT, options_of


def script(text: str) -> jedi.Script:
    return jedi.Script(text, path=ROOT / "a_flow.py", project=jedi.Project(ROOT))


def test_each_public_name_is_completed():
    names = {found.name for found in script("from memoflow import ").complete()}
    assert set(memoflow._HOMES) <= names


@pytest.mark.parametrize("decorator", ["memoize", "checkpoint", "model", "huggingface_hub"])
def test_the_options_of_a_decorator_are_completed(decorator: str):
    text = f"from memoflow import {decorator}\n{decorator}("
    shown = {found.name for found in script(text).complete()}
    assert {f"{option}=" for option in options_of(decorator)} <= shown


def test_a_function_shows_its_parameters():
    (signature,) = script("from memoflow import open_store\nopen_store(").get_signatures()
    assert [parameter.name for parameter in signature.params] == ["root", "create"]


def test_what_a_function_returns_completes_as_well():
    text = "from memoflow import open_store\nopen_store().f"
    assert {"find", "forget"} <= {found.name for found in script(text).complete()}


def test_the_options_of_memoize_on_a_function_are_completed():
    shown = {found.name for found in script("from memoflow import memoize\nmemoize(").complete()}
    assert {f"{field.name}=" for field in dataclasses.fields(FunctionOptions)} <= shown


def test_the_defaults_of_memoize_on_a_function_are_those_of_the_page():
    page = options_of("functions")
    assert page.keys() == {field.name for field in dataclasses.fields(FunctionOptions)}
    signatures = script("from memoflow import memoize\nmemoize(").get_signatures()
    (shown,) = [each.params for each in signatures if "codec" in {p.name for p in each.params}]
    defaults = {each.name: each.description.partition("=")[2].strip('"') for each in shown}
    assert {name: defaults[name] for name in page} == page


@pytest.mark.parametrize("decorator", ["memoize", "memoize(codec='pickle')"])
def test_what_a_memoized_function_has_is_completed(decorator: str):
    text = f"from memoflow import memoize\n@{decorator}\ndef f(x): ...\nf."
    names = {found.name for found in script(text).complete()}
    page = (ROOT / "docs" / "functions.md").read_text()
    documented = set(re.findall(r"`f\.(\w+)(?:\(\.\.\.\))?`", page))
    assert {"call", "key", "is_stored", "forget", "why", "hits", "misses"} <= documented <= names
    made = memoflow.memoize(len)
    assert isinstance(made, MemoizedFunction)
    assert all(hasattr(made, name) for name in documented)


TYPED = """
from collections.abc import AsyncIterator, Iterator
from typing import Any
from memoflow import memoize

@memoize
def embed(text: str, model: str = "small") -> list[float]:
    return [1.0]
@memoize(store="store", codec="pickle", scope="global", ttl="30d", single_flight=False)
def fit(rate: float, *, steps: int) -> dict[str, int]:
    return {}
@memoize
async def fetch(url: str) -> bytes:
    return b""
@memoize()
async def lines(url: str) -> AsyncIterator[str]:
    yield url
class Model:
    @memoize(ignore=["x"])
    def predict(self, x: int) -> str:
        return ""
@memoize(inputs=["a"], next="end")
def step(self: Any) -> None: ...

async def right() -> None:
    a: list[float] = embed("a")
    b: list[float] = embed.call("a", model="large")
    c: str = embed.key("a") + embed.why("a")
    d: bool = embed.is_stored("a")
    embed.forget("a")
    e: int = embed.hits + embed.misses
    f: dict[str, int] = fit(0.1, steps=3)
    g: bytes = await fetch("u")
    h: list[str] = [each async for each in lines("u")]
    i: str = Model().predict(3) + Model.predict.key(Model(), 3)
async def wrong() -> None:
    embed(1)  # wrong
    a: str = embed("a")  # wrong
    fit(0.1)  # wrong
    embed.key()  # wrong
    memoize(cdec="pickle")  # wrong
    memoize(codec="joblib")  # wrong
    b: str = await fetch("u")  # wrong
    Model().predict("x")  # wrong
"""


def test_a_memoized_function_keeps_its_parameters_and_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mypy = pytest.importorskip("mypy.api")
    (tmp_path / "typed.py").write_text(TYPED)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    config, cache = ROOT / "pyproject.toml", tmp_path / "cache"
    said, failed, _ = mypy.run(
        [f"{tmp_path / 'typed.py'}", f"--config-file={config}", f"--cache-dir={cache}"]
    )
    found = {int(line) for line in re.findall(r"typed\.py:(\d+): error", said)}
    lines = TYPED.splitlines()
    assert not failed
    assert found == {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}, said
