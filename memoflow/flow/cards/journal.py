"""Journal: the loads and saves of one attempt of a task, in order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import Any

from memoflow.dataclass import dataclass


@dataclass(frozen=True)
class Act:
    """One load or save, as the card shows it and the task's metadata keeps it.

    `began` is in Unix seconds. `new_bytes` is how many of `size_bytes` had to be stored; None for
    a load. `why` tells an automatic load from one that was asked for.
    """

    verb: str  # "loaded" or "saved"
    kind: str  # what it was done to: "checkpoint", "model" or "hub"
    name: str
    key: str
    origin: str  # pathspec of the task that saved it
    began: float
    took_s: float
    size_bytes: int
    new_bytes: int | None = None
    why: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    storage_format: str = ""  # of a checkpoint: "files", "tar" or "state"
    by: str = ""  # the decorator that did it: "checkpoint", "model", "huggingface_hub"

    @classmethod
    def of(
        cls,
        reference: Mapping[str, Any],
        verb: str,
        *,
        by: str,
        began: float,
        took_s: float,
        new_bytes: int | None = None,
        why: str = "",
        kind: str | None = None,
    ) -> Act:
        """Return one load or save of the thing that a reference dict names.

        `kind` None is the type in the dict."""
        return cls(
            verb=verb,
            by=by,
            kind=str(reference.get("type")) if kind is None else kind,
            # Of models the label, of all others the name.
            name=str(reference.get("label") or reference.get("name") or ""),
            key=str(reference["key"]),
            origin=str(reference.get("pathspec") or ""),
            began=began,
            took_s=took_s,
            size_bytes=int(reference.get("size") or 0),
            new_bytes=new_bytes,
            why=why,
            metadata=dict(reference.get("metadata") or {}),
            storage_format=str(reference.get("storage_format") or ""),
        )


class Watch:
    """The beginning of a load or save, and the time since then."""

    def __init__(self) -> None:
        self.began = time.time()
        self._clock = time.monotonic()

    @property
    def took_s(self) -> float:
        return time.monotonic() - self._clock


class Journal:
    """The acts of one attempt."""

    def __init__(self) -> None:
        self.began = time.time()
        self.acts: list[Act] = []

    def add(self, act: Act) -> None:
        self.acts.append(act)

    def note(self, reference: Mapping[str, Any], verb: str, watch: Watch, **more: Any) -> Act:
        """Add a load or save that ends now, and return it."""
        act = Act.of(reference, verb, began=watch.began, took_s=watch.took_s, **more)
        self.add(act)
        return act


@cache
def of_this_process() -> Journal:
    """Return the journal of the attempt that this process runs; all decorators share it."""
    return Journal()
