"""The option `load=` of `@model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memoflow.errors import UsageError
from memoflow.flow.model.model import parse


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, []),
        ("best", [("best", None)]),
        (["a", "b"], [("a", None), ("b", None)]),
        ([("a", "to"), ("b", None)], [("a", "to"), ("b", None)]),
        ([("a", Path("to")), "b"], [("a", "to"), ("b", None)]),
    ],
)
def test_names_and_paths_are_found(wanted: Any, found: Any) -> None:
    assert parse("load", wanted) == found


@pytest.mark.parametrize("wanted", ["", 7, {"a": "to"}, [7], [("a",)], [("a", 7)], [(7, "to")]])
def test_any_other_shape_is_an_error(wanted: Any) -> None:
    with pytest.raises(UsageError, match="it takes a name, a list of names, or a list of"):
        parse("load", wanted)
