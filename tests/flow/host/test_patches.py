"""Patches: methods answer through hooks for a while, and as before afterwards."""

from __future__ import annotations

import pytest
from metaflow import get_namespace
from metaflow.client import core
from metaflow.client.core import MetaflowData, MetaflowObject

from memoflow.flow.host.patches import replaced, replaced_code


def test_a_method_answers_through_its_hook_and_then_as_before() -> None:
    data = MetaflowData({})
    before = vars(MetaflowData)["__contains__"]
    with replaced({MetaflowData: {"__contains__": lambda self, name: True}}):
        assert "x" in data
    assert vars(MetaflowData)["__contains__"] is before
    assert "x" not in data


def test_a_method_that_was_inherited_is_so_again() -> None:
    assert "__getattribute__" not in vars(MetaflowObject)
    with replaced({MetaflowObject: {"__getattribute__": object.__getattribute__}}):
        assert "__getattribute__" in vars(MetaflowObject)
    assert "__getattribute__" not in vars(MetaflowObject)


def test_an_error_in_the_block_puts_all_back() -> None:
    before = dict(vars(MetaflowData)), dict(vars(MetaflowObject))
    hooks = {MetaflowData: {"__str__": repr, "__dir__": dir}, MetaflowObject: {"__str__": repr}}
    with pytest.raises(ZeroDivisionError), replaced(hooks):
        raise ZeroDivisionError
    assert (dict(vars(MetaflowData)), dict(vars(MetaflowObject))) == before


def test_hooks_can_be_laid_over_hooks() -> None:
    data = MetaflowData({})
    with replaced({MetaflowData: {"__str__": lambda self: "outer"}}):
        with replaced({MetaflowData: {"__str__": lambda self: "inner"}}):
            assert str(data) == "inner"
        assert str(data) == "outer"


def test_a_function_that_was_imported_by_name_runs_the_hook() -> None:
    before = core.get_namespace.__code__

    def hook() -> str:
        return "hooked"

    with replaced_code(core.get_namespace, hook):
        assert get_namespace() == "hooked"
    assert get_namespace.__code__ is before
