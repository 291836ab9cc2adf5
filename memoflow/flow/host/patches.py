"""Patches: methods of Metaflow's that answer otherwise, for a while or for good."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_MISSING = object()


@contextlib.contextmanager
def replaced(hooks: Mapping[type, Mapping[str, Any]]) -> Iterator[None]:
    """Replace methods of classes within the block, each by the hook of its name.

    The classes themselves change, so it does not matter who imported them, and when.
    """
    with contextlib.ExitStack() as stack:
        for cls, methods in hooks.items():
            for name, hook in methods.items():
                stack.callback(_restore, cls, name, vars(cls).get(name, _MISSING))
                setattr(cls, name, hook)
        yield


@contextlib.contextmanager
def replaced_code(function: Any, hook: Callable[[], Any]) -> Iterator[None]:
    """Have a function run the code of `hook` within the block, for those who imported it by name.

    It finds the names of the function's own module, and none of those around `hook`.
    """
    code = function.__code__
    function.__code__ = hook.__code__
    try:
        yield
    finally:
        function.__code__ = code


def _restore(cls: type, name: str, was: Any) -> None:
    if was is _MISSING:
        delattr(cls, name)
    else:
        setattr(cls, name, was)


def wrap(cls: type, name: str, hook: Callable[..., Any]) -> None:
    """Have calls of a method answered by `hook` for good: it is given the method first."""
    original = getattr(cls, name)

    @functools.wraps(original)
    def call(*arguments: Any, **options: Any) -> Any:
        return hook(original, *arguments, **options)

    setattr(cls, name, call)
