"""What goes wrong in memoflow is told as Metaflow tells its own."""

from __future__ import annotations

import pytest
from metaflow.exception import MetaflowException

from memoflow.errors import NotFoundError, UsageError
from memoflow.flow import failures
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubException
from memoflow.flow.lifecycle import translated_errors
from memoflow.flow.model.model import ModelException


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


@pytest.mark.parametrize(
    "exception", [CheckpointException, ModelException, HuggingfaceHubException]
)
def test_what_a_run_has_pickled_under_its_former_name_is_found(exception: type) -> None:
    assert getattr(failures, exception.__name__) is exception
