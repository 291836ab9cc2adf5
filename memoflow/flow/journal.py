"""Journal: what one attempt of a task loaded and saved, in order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Act:
    """One load or save, as the card shows it and the task's metadata keeps it.

    `began` is in Unix seconds. `new_bytes` is how many of `size_bytes` had to be stored; None for
    a load. `why` tells an automatic load from one that was asked for.
    """

    verb: str  # "loaded" or "saved"
    kind: str  # "checkpoint", "model" or "hub"
    name: str
    key: str
    origin: str  # pathspec of the task that saved it
    began: float
    took_s: float
    size_bytes: int
    new_bytes: int | None = None
    why: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


class Journal:
    """The acts of one attempt."""

    def __init__(self) -> None:
        self.began = time.time()
        self.acts: list[Act] = []

    def add(self, act: Act) -> None:
        self.acts.append(act)

    def of(self, verb: str, kind: str) -> list[Act]:
        return [act for act in self.acts if (act.verb, act.kind) == (verb, kind)]
