"""What users note about a save becomes plain JSON data."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from memoflow.errors import UsageError
from memoflow.flow.task.save_arguments import plain


def test_no_metadata_is_an_empty_dict() -> None:
    assert plain(None) == {}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.arange(2), [0, 1]),
        (date(2024, 1, 2), "2024-01-02"),
        ({2, 1}, [1, 2]),
        ((1, 2), [1, 2]),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_values_are_kept_as_json_has_them(value: Any, kept: Any) -> None:
    assert plain({"x": value}) == {"x": kept}


def test_keys_that_are_numbers_become_text() -> None:
    assert plain({1: "a"}) == {"1": "a"}


def test_the_order_stays() -> None:
    assert list(plain({"b": 1, "a": 2})) == ["b", "a"]


def test_passwords_are_masked_and_counts_of_tokens_are_not() -> None:
    kept = plain({"api_key": "sk-123456789", "tokens": 7, "key": "model/x"})
    assert kept["api_key"] != "sk-123456789"
    assert (kept["tokens"], kept["key"]) == (7, "model/x")


def test_what_is_no_dict_is_an_error() -> None:
    with pytest.raises(UsageError, match="metadata is a dict, not list"):
        plain([1])  # type: ignore[arg-type]


def test_what_holds_itself_is_an_error() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        plain(loop)
