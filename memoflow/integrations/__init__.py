"""Integrations: checkpoints by the means of the libraries that train.

Each module is named for its library, and nothing else of memoflow imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed(package: str) -> Iterator[None]:
    """Say in the ImportError of the block that the package is to be installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        raise ImportError(f"there is no {name} here: pip install '{package}'", name=name) from error
