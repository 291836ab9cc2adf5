"""Other flows that a step runs or deploys: what comes of them nobody can tell before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from types import FunctionType
from typing import Any

from metaflow import Deployer, NBDeployer, NBRunner, Runner
from metaflow.runner.deployer import DeployedFlow

from memoflow.flow.memo.untracked import Around, hushed, is_hushed

Never = Callable[[str, str], None]

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
    with contextlib.ExitStack() as stack:
        for name, (cls, verb) in _STARTERS.items():
            told = _teller(never, name, f"{verb} {name}")
            for method, was in list(vars(cls).items()):
                if method != "__init__" and method.startswith("_"):
                    continue
                if isinstance(was, FunctionType):
                    hook: Any = _hook(was, told, around)
                elif isinstance(was, classmethod):
                    hook = classmethod(_hook(was.__func__, told, around))
                else:
                    continue
                stack.callback(setattr, cls, method, was)
                setattr(cls, method, hook)
        yield


def _teller(never: Never, name: str, reason: str) -> Callable[[], None]:
    return lambda: never(name, reason)


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
