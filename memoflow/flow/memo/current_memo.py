"""`current.memo`: hit or miss, key and origin of a running task."""

from __future__ import annotations

from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.flow.memo.lookup import LookupResult, MemoizedStep


@dataclass(frozen=True)
class CurrentMemo:
    """The hit or miss of this task, its key, and the task that computed its results.

    `key` is the code key until the step has run, since what a step reads is part of the
    whole key; None if the step cannot be memoized. `origin` is None on a miss.
    """

    hit: bool
    key: str | None
    origin: str | None

    @classmethod
    def of(cls, verdict: LookupResult, memoized: MemoizedStep) -> CurrentMemo:
        entry = verdict.entry
        if entry is not None:
            return cls(True, str(entry.ref.key), entry.origin)
        try:
            return cls(False, str(memoized.code_key), None)
        except NoFingerprintError:
            return cls(False, None, None)
