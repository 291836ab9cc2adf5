"""What `ignore_patterns=` takes."""

from __future__ import annotations

from typing import Any

import pytest

from memoflow.errors import UsageError
from memoflow.flow.task.save_arguments import ignored


def test_none_ignores_nothing() -> None:
    assert ignored(None) == ()


def test_a_folder_may_be_written_as_one() -> None:
    assert ignored(["*.tmp", "logs/", "./cache"]) == ("*.tmp", "logs", "cache")


@pytest.mark.parametrize("given", ["*.tmp", {"*.tmp": 1}, 7])
def test_anything_but_a_list_is_an_error(given: Any) -> None:
    with pytest.raises(UsageError, match="is a list of shell patterns"):
        ignored(given)


@pytest.mark.parametrize("pattern", ["", "/", 7, None])
def test_what_is_no_pattern_is_an_error(pattern: Any) -> None:
    with pytest.raises(UsageError, match="is no shell pattern"):
        ignored([pattern])
