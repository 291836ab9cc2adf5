"""Signatures: the decorators' options for editors, made by docs/options.py of their tables."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

_Step = TypeVar("_Step", bound=Callable[..., Any])
_Flow = TypeVar("_Flow", bound=type)

@overload
def memoize(step: _Step, /) -> _Step: ...
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
    mode: Literal["on", "off", "read-only", "only"] | None = None,
    single_flight: bool = True,
    audit: float | str = 0,
    show_card: bool = True,
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
