"""What an editor knows of the package by reading it, as one that goes by jedi does."""

from __future__ import annotations

import jedi
import pytest

import memoflow
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
