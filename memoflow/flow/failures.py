"""Exceptions of Metaflow's kind for errors of memoflow's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from metaflow.exception import MetaflowException

from memoflow.errors import MemoflowError


class CheckpointException(MetaflowException):
    headline = "@checkpoint"


class ModelException(MetaflowException):
    headline = "@model"


class HuggingfaceHubException(MetaflowException):
    headline = "@huggingface_hub"


@contextlib.contextmanager
def translated_errors(exception: type[MetaflowException]) -> Iterator[None]:
    """Raise errors of memoflow's in the block as this exception, with the same message."""
    try:
        yield
    except MemoflowError as error:
        raise exception(str(error)) from error
