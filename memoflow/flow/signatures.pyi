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

@overload
def memoize(
    *,
    inputs: Collection[str] | None = None,
    outputs: Collection[str] | None = None,
    files: Collection[str] | None = None,
    ignore: Collection[str] | None = None,
    ttl: str | timedelta | None = None,
    version: str | None = None,
    environment: bool = True,
    scope: Literal["flow", "global"] = "flow",
    refresh: bool = False,
    mode: Literal["on", "off", "read-only", "only", "shadow"] | None = None,
    single_flight: bool = True,
    audit: float | str = 0,
    show_card: bool | None = None,
    min_time: str | timedelta | None = None,
    mask: Collection[str] | None = None,
    next: str | None = None,
) -> Callable[[_Step], _Step]:
    """Run a step once for the same code and inputs; later runs take its results from the store."""

@overload
def checkpoint(step: _Step, /) -> _Step: ...
@overload
def checkpoint(
    *,
    load_policy: Literal["fresh", "eager", "none"] | None = "fresh",
    temp_dir_root: str | None = None,
    show_card: bool = True,
    keep_last: int | None = None,
    keep_best: tuple[str, int, str] | None = None,
    ttl: str | timedelta | None = None,
    on_code_change: Literal["warn", "load", "skip"] = "warn",
) -> Callable[[_Step], _Step]:
    """Save and resume inside a task: a retry goes on from the last save."""

@overload
def model(step: _Step, /) -> _Step: ...
@overload
def model(
    *,
    load: str | Sequence[str | tuple[str, str | None]] | None = None,
    best_effort_load: bool = False,
    temp_dir_root: str | None = None,
) -> Callable[[_Step], _Step]:
    """Save models and load them by reference, across steps, flows and users."""

@overload
def huggingface_hub(step: _Step, /) -> _Step: ...
@overload
def huggingface_hub(
    *,
    load: Sequence[Any] | None = None,
    cache_scope: Literal["checkpoint", "flow", "global"] = "checkpoint",
    revalidate: str | timedelta = "run",
    temp_dir_root: str | None = None,
) -> Callable[[_Step], _Step]:
    """Load repositories of the Hugging Face Hub from the store, which downloads each once."""

def with_artifact_store(
    *,
    type: str | None = None,
    config: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
) -> Callable[[_Flow], _Flow]:
    """Keep a flow's checkpoints, models and snapshots in another datastore than its artifacts."""
