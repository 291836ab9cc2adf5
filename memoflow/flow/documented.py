"""Documented: decorators as `from metaflow import ...` finds them, with their options for `help`.

Metaflow makes each as a functools.partial, which `help` and editors show as just that.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from memoflow.flow.lifecycle import WithOptions


class DocumentedDecorator(functools.partial):  # type: ignore[type-arg]
    """A decorator of Metaflow's making, with the name, signature and text of its class."""

    @property
    def __signature__(self) -> inspect.Signature:
        decorator: type[WithOptions] = self.args[0]
        options = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=option.type,
            )
            for option in decorator.option_table
        ]
        decorated = inspect.Parameter("f", inspect.Parameter.POSITIONAL_ONLY, default=None)
        return inspect.Signature([decorated, *options])

    def __get__(self, instance: object, owner: type | None = None) -> DocumentedDecorator:
        """Return the decorator itself; `help` takes objects with this method for functions."""
        return self


def documented(names: Mapping[str, Any]) -> dict[str, DocumentedDecorator]:
    """Return the decorators of memoflow among the names of Metaflow, for `help` and editors."""
    found = {}
    for name, each in names.items():
        if not isinstance(each, functools.partial) or not each.args:
            continue
        (decorator, *_) = each.args
        if isinstance(decorator, type) and issubclass(decorator, WithOptions):
            found[name] = DocumentedDecorator(each.func, decorator)
            found[name].__dict__.update(
                __name__=name, __qualname__=name, __module__="metaflow", __doc__=decorator.__doc__
            )
    return found
