"""Options: the tables of the pages and the stub for editors, made of the decorators' own tables.

python docs/options.py
"""

from __future__ import annotations

import re
from pathlib import Path

from memoflow.flow.checkpoint.checkpoint import CheckpointDecorator
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubDecorator
from memoflow.flow.lifecycle import Option, WithOptions
from memoflow.flow.memo.memoize import MemoizeDecorator
from memoflow.flow.model.model import ModelDecorator
from memoflow.flow.with_artifact_store import ArtifactStoreDecorator

_DOCS = Path(__file__).parent
STUB = _DOCS.parent / "memoflow" / "flow" / "signatures.pyi"

OF_STEPS = (MemoizeDecorator, CheckpointDecorator, ModelDecorator, HuggingfaceHubDecorator)
PAGES = {
    **{decorator: _DOCS / f"{decorator.name}.md" for decorator in OF_STEPS},
    ArtifactStoreDecorator: _DOCS / "checkpoint.md",
}

_STUB = '''\
"""Signatures: the decorators' options for editors, made by docs/options.py of their tables."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from os import PathLike
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from memoflow.store import Store

_Step = TypeVar("_Step", bound=Callable[..., Any])
_Flow = TypeVar("_Flow", bound=type)
_Given = ParamSpec("_Given")
_Rest = ParamSpec("_Rest")
_Self = TypeVar("_Self")
_Result = TypeVar("_Result")

class _ShadowedCalls(Protocol):
    """The calls in shadow mode that this process has made."""

    calls: int
    hits: int
    differing: int
    saved_s: float
    @property
    def summary(self) -> str: ...

class MemoizedFunction(Generic[_Given, _Result]):
    """A function with stored results; call it like the function."""

    hits: int
    misses: int
    shadow: _ShadowedCalls
    @property
    def __wrapped__(self) -> Callable[_Given, _Result]: ...
    def __call__(self, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Return the result for these arguments, stored or made now."""

    @overload
    def __get__(
        self, instance: None, owner: type | None = None
    ) -> MemoizedFunction[_Given, _Result]: ...
    @overload
    def __get__(
        self: MemoizedFunction[Concatenate[_Self, _Rest], _Result],
        instance: _Self,
        owner: type | None = None,
    ) -> Callable[_Rest, _Result]: ...
    def call(self, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Run the function and store its result anew, over a stored one."""

    def key(self, *args: _Given.args, **kwargs: _Given.kwargs) -> str:
        """Return the key of the result; NoFingerprintError if the call has none."""

    def is_stored(self, *args: _Given.args, **kwargs: _Given.kwargs) -> bool:
        """Tell whether the call would be a hit, with files and variables as they are now."""

    def forget(self, *args: _Given.args, **kwargs: _Given.kwargs) -> None:
        """Remove the results of these arguments; none is fine."""

    def why(self, *args: _Given.args, **kwargs: _Given.kwargs) -> str:
        """Return the reason for a hit or miss of a call, against the nearest earlier result."""

class _Memoize(Protocol):
    def __call__(
        self, function: Callable[_Given, _Result], /
    ) -> MemoizedFunction[_Given, _Result]: ...

@overload
def memoize(function: Callable[_Given, _Result], /) -> MemoizedFunction[_Given, _Result]: ...
@overload
def memoize(
    *,
    ignore: Collection[str] | None = None,
    ttl: str | timedelta | None = None,
    version: str | None = None,
    mode: Literal["on", "off", "read-only", "only"] | None = None,
    scope: Literal["function", "global"] = "function",
    environment: bool = True,
    single_flight: bool = True,
    codec: Literal["auto", "pickle", "cloudpickle"] = "auto",
    store: Store | str | PathLike[str] | None = None,
) -> _Memoize:
    """Store the results of a function, and return them for equal calls."""
'''


def default(option: Option) -> str:
    """Return a default as Python has it, with double quotes."""
    return f'"{option.default}"' if isinstance(option.default, str) else repr(option.default)


def table(decorator: type[WithOptions]) -> str:
    """Return the table of a decorator's options for a page."""
    rows = [
        f"| `{option.name}` | `{default(option)}` | {option.doc.replace('|', chr(92) + '|')} |"
        for option in decorator.option_table
    ]
    return "\n".join(("| option | default | what it does |", "|---|---|---|", *rows))


def with_table(page: str, decorator: type[WithOptions]) -> str:
    """Return a page with a decorator's table in place of the one that begins with its option."""
    first = decorator.option_table[0].name
    old = rf"^\| option \| default \|.*\n\|---.*\n\| `{first}` (?:.+\n)+"
    return re.sub(old, lambda _: table(decorator) + "\n", page, count=1, flags=re.MULTILINE)


def stub() -> str:
    """Return the stub with the signatures of all decorators."""
    return "".join((_STUB, *map(_signature, PAGES)))


def _signature(decorator: type[WithOptions]) -> str:
    kind = "_Step" if decorator in OF_STEPS else "_Flow"
    name = decorator.name
    options = "".join(
        f"    {option.name}: {option.type} = {default(option)},\n"
        for option in decorator.option_table
    )
    about = (decorator.__doc__ or "").partition("\n")[0]
    alone = f"@overload\ndef {name}(step: _Step, /) -> _Step: ...\n"
    if decorator is MemoizeDecorator:
        alone = ""  # That of functions stands for both: no type tells a step from a function.
    above = f"{alone}@overload\n" if kind == "_Step" else ""
    return (
        f"\n{above}def {name}(\n    *,\n{options}"
        f') -> Callable[[{kind}], {kind}]:\n    """{about}"""\n'
    )


if __name__ == "__main__":
    STUB.write_text(stub())
    for decorator, page in PAGES.items():
        page.write_text(with_table(page.read_text(), decorator))
