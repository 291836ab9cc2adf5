"""Handoff: the scheduler's message to the worker of a task, with its decision or without."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping

from memoflow.dataclass import dataclass
from memoflow.flow.memo.uncached import Seen
from memoflow.kinds.decision import Decision

_VARIABLE = "MEMOFLOW_TOLD"
_PLAIN = frozenset(
    ("mode", "refresh", "began", "quiet", "off", "follows")
)  # Of others a worker knows nothing.


@dataclass(frozen=True)
class Handoff:
    """The scheduler's decision; None if the worker is to look.

    `mode` and `refresh` are as the command line of the run has them, `began` is when the run did,
    in Unix seconds, `seen` how the step's code looks there. With `quiet` a line that is said once a
    run has been said. With `off` the run goes on without the store, since that cannot be reached,
    which costs too long to be found out by each of its tasks. With `follows` the scheduler reads
    the worker's output, and waits for word of its result.
    """

    decision: Decision | None = None
    mode: str | None = None
    refresh: bool | None = None
    began: float | None = None
    seen: Seen | None = None
    quiet: bool = False
    off: bool = False
    follows: bool = False

    def put(self, environment: MutableMapping[str, str]) -> None:
        """Write it where the worker reads it; large decisions without their diffs."""
        decision = None if self.decision is None else self.decision.text()
        seen = None if self.seen is None else vars(self.seen)
        environment[_VARIABLE] = json.dumps({**vars(self), "decision": decision, "seen": seen})

    @classmethod
    def is_off(cls) -> bool:
        """Tell whether this process is to go on without the store, and leave the message."""
        return bool(json.loads(os.environ.get(_VARIABLE, "{}")).get("off"))

    @classmethod
    def take(cls) -> Handoff:
        """Return the message to this process, once: processes that a step starts do not get it."""
        told = json.loads(os.environ.pop(_VARIABLE, "{}"))
        decision, seen = told.pop("decision", None), told.pop("seen", None)
        return cls(
            decision=None if decision is None else Decision.from_json(json.loads(decision)),
            seen=None if seen is None else Seen(**seen),
            **{name: told[name] for name in _PLAIN & told.keys()},
        )
