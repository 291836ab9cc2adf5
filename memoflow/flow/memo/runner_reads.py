"""Other flows that a step runs or deploys: nobody can tell their results before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial, wraps
from types import FunctionType
from typing import Any

from metaflow import Deployer, NBDeployer, NBRunner, Runner
from metaflow.runner.deployer import DeployedFlow

from memoflow.flow.host.patches import replaced
from memoflow.flow.memo.reads import Around, Never, hushed, is_hushed

_RUNS, _DEPLOYS = "starts another flow with", "deploys another flow with"
# By the names under which users import them, which `ignore=[...]` takes.
_STARTERS: dict[str, tuple[type, str]] = {
    "Runner": (Runner, _RUNS),
    "NBRunner": (NBRunner, _RUNS),
    "Deployer": (Deployer, _DEPLOYS),
    "NBDeployer": (NBDeployer, _DEPLOYS),
    "DeployedFlow": (DeployedFlow, "asks for deployed flows with"),
}


@contextlib.contextmanager
def watching(never: Never, *, around: Around = contextlib.nullcontext) -> Iterator[None]:
    """Tell `never` the name of the class and a reason when this process starts another flow.

    `around` is entered for what that does by itself, in this process.
    """
    hooks = {
        cls: _hooks(cls, partial(never, name, f"{verb} {name}"), around)
        for name, (cls, verb) in _STARTERS.items()
    }
    with replaced(hooks):
        yield


def _hooks(cls: type, tell: Callable[[], None], around: Around) -> dict[str, Any]:
    hooks: dict[str, Any] = {}
    for method, was in vars(cls).items():
        if method == "__init__" or not method.startswith("_"):
            if isinstance(was, FunctionType):
                hooks[method] = _hook(was, tell, around)
            elif isinstance(was, classmethod):
                hooks[method] = classmethod(_hook(was.__func__, tell, around))
    return hooks


def _hook(function: Any, tell: Callable[[], None], around: Around) -> Any:
    """Return the function with a word to the watch first, for each that is called by the step."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if is_hushed():
            return function(*arguments, **named)
        tell()
        with hushed(around):
            return function(*arguments, **named)

    return call
