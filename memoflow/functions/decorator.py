"""Decorator: `memoize`, of steps and of functions, without the imports of either before its use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def memoize(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Store the results of a function, and return them for equal calls.

    On a step of a flow it is the decorator that Metaflow has by this name, with its options. Equal
    are calls with equal arguments of the same code, with all that it reaches, in an equal
    environment, while the files and variables that it read are as they were.

        @memoize
        def embed(text, model="small"):
            return encode(text, model)

    `ignore` names arguments and globals that do not count, `ttl` is how long a result may be used
    (`"30d"`, a timedelta; None: until it is evicted), `version` is part of the key, `mode` is
    "on", "off", "read-only" or "only" (a miss is an error), `scope` "global" shares results with
    equal functions of other modules, without `environment` Python's version and packages do not
    count, `single_flight` waits while another call computes the same, `codec` is "auto", "pickle"
    or "cloudpickle", `store` a store, a directory or an address; None: where Metaflow keeps its.
    """

    def decorate(f: Callable[..., Any]) -> Any:
        if hasattr(f, "is_step"):
            from metaflow import memoize as of_step  # Which a flow has imported.

            return of_step(**options)(f) if options else of_step(f)
        # By its name, as `memoflow` imports: a worker of a flow that names `memoize` needs none of
        # it.
        return import_module("memoflow.functions.memoized").memoized(f, options)

    return decorate if function is None else decorate(function)
