"""The help and signature of the decorators that `from metaflow import ...` finds."""

from __future__ import annotations

import functools
import inspect
import pydoc

import metaflow
import pytest

import memoflow
from memoflow.flow.documented import DocumentedDecorator

NAMES = ("memoize", "checkpoint", "model", "huggingface_hub", "with_artifact_store")


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_the_decorator_and_its_options(name: str):
    decorator = getattr(metaflow, name)
    shown = pydoc.plain(pydoc.render_doc(decorator))
    cls = decorator.args[0]
    assert cls.__doc__.partition("\n")[0] in shown
    assert f"\n{name}(f=None, /, *, {cls.option_table[0].name}" in shown
    assert all(f"\n    {option.name} : " in shown for option in cls.option_table)
    assert "partial(" not in shown
    assert "](" not in shown  # A link of the pages, which leads nowhere from a terminal.


@pytest.mark.parametrize("name", NAMES)
def test_the_signature_has_the_options_and_their_defaults(name: str):
    decorator = getattr(metaflow, name)
    shown = inspect.signature(decorator).parameters.values()
    defaults = {each.name: each.default for each in shown if each.kind is each.KEYWORD_ONLY}
    assert defaults == decorator.args[0].defaults


def test_metaflow_still_finds_the_class_for_its_stubs():
    assert isinstance(metaflow.memoize, functools.partial)
    assert metaflow.memoize.args[0].name == "memoize"


def test_the_decorators_of_metaflow_are_left_alone():
    assert type(metaflow.retry) is functools.partial
    assert not isinstance(metaflow.retry, DocumentedDecorator)


def test_an_attribute_of_a_class_is_the_decorator_itself():
    class Kit:
        memo = metaflow.memoize

    assert Kit().memo is Kit.memo is metaflow.memoize


def test_memoflow_has_the_same():
    assert memoflow.checkpoint is metaflow.checkpoint
