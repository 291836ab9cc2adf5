"""Decision: hit or miss and the one reason for it, made once and shown everywhere.

The log line, the card, `why`, the report and JSON all render it. It is kept as JSON in the metadata
of a task that ran (`memo-decision`); of a hit, `memo-origin`, `memo-key` and `memo-saved` say it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint import Difference, Part
from memoflow.units import span

if TYPE_CHECKING:
    from memoflow.index import Index

HIT, MISS, OFF, UNKNOWN, NONE = "hit", "miss", "off", "unknown", "none"
SHADOW = "shadow"  # it ran, and would have been a hit
FIELD = "memo-decision"
ORIGIN, SAVED = "memo-origin", "memo-saved"  # of a hit: its task, and the run time in seconds
MOST_BYTES = 16 << 10
_MOST_LAST_BYTES = 2000  # of the last decision on a step, in the index
_MOST_DIFF = 2000  # characters of one diff, where not all have room


class Reason(str, Enum):
    """The closed set of reasons."""

    FOUND = "found"
    AUDITED = "audited"
    SHADOWED = "shadowed"
    FIRST_RUN = "first_run"
    NEW_INPUT = "new_input"
    INPUT_CHANGED = "input_changed"
    OUTSIDE_CHANGED = "outside_changed"
    CODE_CHANGED = "code_changed"
    ENVIRONMENT_CHANGED = "environment_changed"
    OPTION_CHANGED = "option_changed"
    EVICTED = "evicted"
    EXPIRED = "expired"
    REFRESHED = "refreshed"
    DAMAGED = "damaged"
    REFERENCE_GONE = "reference_gone"
    FILE_GONE = "file_gone"
    FILE_CHANGED = "file_changed"
    NOT_CACHEABLE = "not_cacheable"  # so it was so far; should it record this time, it can
    NO_FINGERPRINT = "no_fingerprint"
    DIFFERS_EACH_PROCESS = "differs_each_process"
    LOOKUP_FAILED = "lookup_failed"
    NOT_WRITTEN = "not_written"
    UNDECIDED = "undecided"
    AFTER_MISS = "after_miss"
    OFF = "off"
    TOLD = "told"  # by an older memoflow, in words only

    @classmethod
    def of(cls, text: str) -> Reason:
        """Return the reason with this value; TOLD for one of a newer memoflow."""
        return cls(text) if text in set(cls) else cls.TOLD

    @property
    def words(self) -> str:
        """The reason without the names of a single miss, for counts of many."""
        return _TEXTS[self][1] if self in _TEXTS else self.value.replace("_", " ")


# The reason by the kind of the most telling difference.
_OF_KINDS = {
    **dict.fromkeys(("code", "names", "constant"), Reason.CODE_CHANGED),
    **dict.fromkeys(("package", "python"), Reason.ENVIRONMENT_CHANGED),
    **dict.fromkeys(("option", "decorator"), Reason.OPTION_CHANGED),
    **dict.fromkeys(
        ("file", "directory", "environment", "cwd", "client", "s3"), Reason.OUTSIDE_CHANGED
    ),
}
_UNCACHED = {Reason.NOT_CACHEABLE, Reason.NO_FINGERPRINT, Reason.DIFFERS_EACH_PROCESS}
# Results that could never be found again, or are not to be kept.
_NOT_KEPT = {
    Reason.NO_FINGERPRINT,
    Reason.DIFFERS_EACH_PROCESS,
    Reason.AUDITED,
    Reason.SHADOWED,
    Reason.OFF,
}
# Each with its detail, if it has one, and without.
_TEXTS: Mapping[Reason, tuple[str, str]] = {
    Reason.AUDITED: ("{}", "to be audited"),
    Reason.SHADOWED: ("{}", "in shadow mode"),
    Reason.FIRST_RUN: ("first run", "first run"),
    Reason.NEW_INPUT: ("new input {}", "new inputs"),
    Reason.INPUT_CHANGED: ("input {} changed", "an input changed"),
    Reason.OUTSIDE_CHANGED: ("{} changed", "something read outside the flow changed"),
    Reason.CODE_CHANGED: ("{} changed", "the code changed"),
    Reason.ENVIRONMENT_CHANGED: ("{} changed", "the environment changed"),
    Reason.OPTION_CHANGED: ("{} changed", "an option changed"),
    Reason.EVICTED: ("the cached result was evicted ({})", "the cached result is gone"),
    Reason.EXPIRED: ("the cached result expired: {}", "the cached result expired"),
    Reason.REFRESHED: ("refresh requested", "refresh requested"),
    Reason.DAMAGED: ("the cached result was damaged: {}", "the cached result was damaged"),
    Reason.REFERENCE_GONE: ("{}, which the cached result refers to, is gone", "a file is gone"),
    Reason.FILE_GONE: ("{}, which the step wrote, is gone", "a file that the step wrote is gone"),
    Reason.FILE_CHANGED: (
        "{}, which the step wrote, changed since",
        "a file that the step wrote changed since",
    ),
    Reason.NOT_WRITTEN: (
        "found, but not written down: {}",
        "the cached result could not be written down as this task's",
    ),
    Reason.LOOKUP_FAILED: ("lookup failed: {}", "lookup failed"),
    Reason.UNDECIDED: ("{}", "its inputs are known only during the run"),
    Reason.AFTER_MISS: ("code unchanged, depends on {} (miss)", "code unchanged"),
    Reason.OFF: ("off", "off"),
    Reason.TOLD: ("{}", "no result yet"),
}


@dataclass(frozen=True)
class Decision:
    """The outcome of a lookup and its reason.

    `detail` is free text for reasons that need some. `inputs` are the values that were looked up,
    as far as they are known. `differences` are those from the result of the task `nearest`,
    recorded at `recorded` in Unix seconds. On a hit, `nearest` and `recorded` describe the result
    that was found, and `saved_s` is its run time. So they do of a task that ran in shadow mode: its
    `detail` is the difference from that result, "" if there is none. `unrecorded` is the reason
    why the result of a task that ran was not kept. `run_time_s` is what that task took; None before
    it has run, and from an earlier memoflow.
    """

    outcome: str
    reason: Reason
    detail: str = ""
    inputs: tuple[Part, ...] = ()
    differences: tuple[Difference, ...] = ()
    nearest: str = ""
    recorded: float | None = None
    saved_s: float = 0.0
    unrecorded: str = ""
    run_time_s: float | None = None

    @classmethod
    def hit(cls, origin: str, recorded: float | None, saved_s: float = 0.0) -> Decision:
        return cls(HIT, Reason.FOUND, nearest=origin, recorded=recorded, saved_s=saved_s)

    @classmethod
    def shadow(
        cls, origin: str, recorded: float | None, saved_s: float, difference: str
    ) -> Decision:
        """Return the decision on a task that ran although it has a stored result."""
        found = cls.hit(origin, recorded, saved_s)
        return replace(found, outcome=SHADOW, reason=Reason.SHADOWED, detail=difference)

    @classmethod
    def miss(cls, reason: Reason, detail: str = "", **more: Any) -> Decision:
        return cls(OFF if reason is Reason.OFF else MISS, reason, detail, **more)

    @property
    def records(self) -> bool:
        """True if the result of the task is to be recorded."""
        return self.reason not in _NOT_KEPT

    @property
    def is_uncached(self) -> bool:
        """True if the step can never be recorded, rather than missed this time."""
        return self.reason in _UNCACHED

    @property
    def line(self) -> str:
        """The reason in one line."""
        if self.outcome == HIT:
            return f"the result of {self.nearest}"
        if self.outcome == SHADOW:
            would = f"would hit {self.nearest}, {span(self.saved_s)} would be saved"
            return f"{would}, but {self.detail}" if self.detail else f"{would}: the same"
        if self.is_uncached:
            return f"not cached: {self.detail}" if self.detail else "not cached"
        if self.reason is Reason.NEW_INPUT or not self.differences:
            with_detail, without = _TEXTS[self.reason]
            return with_detail.format(self.detail) if self.detail else without
        return headline(self.differences)

    @property
    def saved(self) -> str:
        """The run time that a hit saved, in words."""
        return f"{span(self.saved_s)} saved"

    @property
    def log_line(self) -> str:
        """The line in a task's log."""
        if self.outcome == HIT:
            return f"hit: {self.nearest}, {self.saved}"
        if self.outcome == SHADOW:
            return f"shadow: {self.line}"
        return self.line if self.is_uncached else f"miss: {self.line}"

    def to_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "reason": self.reason.value,
            "detail": self.detail,
            "inputs": [[*part.to_json(), list(map(list, part.outline))] for part in self.inputs],
            "differences": [each.to_json() for each in self.differences],
            "nearest": self.nearest,
            "recorded": self.recorded,
            "saved_s": self.saved_s,
            "unrecorded": self.unrecorded,
            "run_time_s": self.run_time_s,
            "line": self.line,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Decision:
        """Return the decision in such JSON; ValueError, TypeError or KeyError for other data."""
        kept = {name: value for name, value in fields.items() if name in cls.__dataclass_fields__}
        return cls(
            **{
                **kept,
                "reason": Reason(fields["reason"]),
                "inputs": tuple(map(_part, fields.get("inputs", ()))),
                "differences": tuple(map(Difference.from_json, fields.get("differences", ()))),
            }
        )

    @classmethod
    def parse(cls, text: str | None) -> Decision | None:
        """Return the decision in a text, None for a text that holds none or for no text."""
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            return None if text is None else cls.from_json(json.loads(text))
        return None

    def text(self, most_bytes: int = MOST_BYTES) -> str:
        """Return the decision as JSON text of at most so many bytes.

        Long diffs are left out first, then inputs.
        """
        text = json.dumps(self.to_json())
        bare = replace(self, inputs=())
        for less, diff, most in ((self, _MOST_DIFF, None), (bare, 0, None), (bare, 0, 20)):
            if len(text) > most_bytes:
                text = json.dumps(less._shortened(diff, most).to_json())
        if len(text) > most_bytes:
            text = json.dumps(Decision(self.outcome, self.reason, self.line[:500]).to_json())
        return text

    def _shortened(self, longest_diff: int, most: int | None) -> Decision:
        """Return the decision with so many differences, and without longer diffs."""
        differences = tuple(
            each if len(each.diff) <= longest_diff else replace(each, diff="")
            for each in self.differences[:most]
        )
        return replace(self, differences=differences)


def reason_of(differences: Iterable[Difference]) -> Reason:
    """Return the reason for a miss with these differences, most telling first."""
    first = next(iter(differences), None)
    return Reason.FIRST_RUN if first is None else _OF_KINDS.get(first.kind, Reason.INPUT_CHANGED)


def headline(differences: tuple[Difference, ...]) -> str:
    """Return the first difference and the number of others.

    A new or missing part beside a changed one mostly follows from it, and is not counted.
    """
    first, *rest = differences
    if first.change in ("changed", "moved"):
        rest = [each for each in rest if each.change in ("changed", "moved")]
    return f"{first}, and {len(rest)} more" if rest else f"{first}"


def keep_missed(index: Index, flow: str, missed: Mapping[str, Decision]) -> None:
    """Remember the latest decisions on misses, by the names of their steps."""
    index.set({_fact(flow, step): each.text(_MOST_LAST_BYTES) for step, each in missed.items()})


def recall_missed(
    index: Index, steps: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Decision]:
    """Return the decision on the last miss of each step, given as flow and step, where known."""
    facts = {_fact(*step): step for step in steps}
    told = {facts[fact]: Decision.parse(text) for fact, text in index.get(list(facts)).items()}
    return {step: decision for step, decision in told.items() if decision is not None}


def _fact(flow: str, step: str) -> str:
    return f"missed:{flow}/{step}"


def _part(fields: list[Any]) -> Part:
    *texts, leaves = fields
    outline = tuple((path, text, mark) for path, text, mark in leaves)
    return replace(Part.from_json(texts), outline=outline)


def would_hit(hits: int, all_of_them: str, saved_s: float, differing: int) -> str:
    """Return the numbers of shadow mode: would-be hits of all, time saved, and those that differ.

    `all_of_them` is a number with its noun, such as `5 tasks`.
    """
    told = f"{hits} of {all_of_them} would hit"
    if not hits:
        return told
    unlike = f"{differing} differ{'s' * (differing == 1)}" if differing else "all the same"
    return f"{told}, {span(saved_s)} would be saved, {unlike}"
