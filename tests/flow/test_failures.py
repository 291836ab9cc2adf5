"""What goes wrong in memoflow is told as Metaflow tells its own."""

from __future__ import annotations

import pytest
from metaflow.exception import MetaflowException

from memoflow.errors import NotFoundError, UsageError
from memoflow.flow.failures import CheckpointException, ModelException, translated_errors


@pytest.mark.parametrize("error", [UsageError("no such policy"), NotFoundError("no such policy")])
def test_an_error_of_ours_becomes_metaflows_with_its_words(error: Exception) -> None:
    with pytest.raises(CheckpointException) as raised, translated_errors(CheckpointException):
        raise error
    assert isinstance(raised.value, MetaflowException)
    assert raised.value.headline == "@checkpoint"
    assert "no such policy" in str(raised.value)
    assert raised.value.__cause__ is error


def test_any_other_error_passes() -> None:
    with pytest.raises(ZeroDivisionError), translated_errors(ModelException):
        raise ZeroDivisionError
