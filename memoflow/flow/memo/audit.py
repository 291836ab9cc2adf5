"""Audit: a hit that runs again, to compare its result with the stored one."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

from xxhash import xxh3_64_intdigest

from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import INTERNAL, TaskArtifacts
from memoflow.flow.memo.comparison import compared, first_ones, next_steps_differ, raised
from memoflow.kinds.memo import MemoEntry
from memoflow.masking import ANY, Mask


def is_due(share: float, entry: MemoEntry, run_id: str) -> bool:
    """Tell whether a hit is among the share that is audited.

    Drawn by the digest of its key and the run: the same for all tasks of a run, anew in each run.
    """
    drawn = xxh3_64_intdigest(f"{entry.ref.key} {run_id}".encode()) / 2**64
    return drawn < share


class Audit:
    """One step that runs although its result is stored; the stored result is kept."""

    def __init__(self, flow: Any, entry: MemoEntry, mask: Mask = ANY) -> None:
        self._mask = mask
        self._flow = flow
        self._entry = entry
        self._there = set(vars(flow))
        self._bound = TaskArtifacts.of_flow(flow)
        self._carried = set(self._bound.names())
        self._merged: set[str] = set()
        self._raised = ""
        self.differences: list[str] = []

    def absorb(self, exception: Exception, node: Any) -> bool:
        """Take an exception of the step as its result, if Metaflow lets it; then `settle`."""
        if node.parallel_foreach:
            return False
        traceback.print_exception(exception)
        self._raised = raised(exception)
        self._restore(dict(vars(self._flow)))
        # Metaflow now calls it in place of the step, with what it can guess.
        vars(self._flow)["next"] = lambda *steps, **how: None
        return True

    def settle(self) -> None:
        """Go on as a hit does, where the step raised."""
        if self._raised:
            vars(self._flow).pop("next", None)
            self._restore({})

    def compare(self, node: Any, wanted: tuple[str, ...] | None) -> None:
        """Note the differences between the new and the stored result, then bind the stored one.

        `wanted` are the only outputs that count, None for all. Whatever goes wrong meanwhile, the
        task ends with the stored result.
        """
        left = dict(vars(self._flow))
        try:
            self._merged = set(self._bound.names())
            came_to = transition.keep(self._flow, node, self._mask)
            left |= self._bound_unread(left)
            self._restore(left)
            for name, line in self._compared(left, wanted):
                self.differences.append(f"{name}: {line}")
            self.differences += next_steps_differ(self._entry.next_step, came_to)
        finally:
            self._restore(left)

    @property
    def line(self) -> str:
        """The comparison in one line."""
        entry = self._entry
        if self._raised:
            return f"raised {self._raised}, unlike {entry.origin}; the stored result is kept"
        if not self.differences:
            return f"the same as {entry.origin}"
        named = first_ones(self.differences)
        return f"differs from {entry.origin} in {named}; the stored result is kept"

    def _bound_unread(self, left: dict[str, Any]) -> dict[str, Any]:
        """Return artifacts bound without being set, by `merge_artifacts` or from the parent."""
        artifacts = self._entry.artifacts
        found = {}
        for name, sha1 in self._bound.sha1s().items():
            if name in left or name in INTERNAL:
                continue
            is_stored = name in artifacts and artifacts[name].sha1 == sha1
            if not is_stored and (name in artifacts or name not in self._carried):
                found[name] = self._bound.load(name)
        return found

    def _restore(self, left: dict[str, Any]) -> None:
        """Bind the artifacts of a hit: those of the entry, and the rest of the parent's."""
        flow, entry = self._flow, self._entry
        for name in left:
            # Bound to the parent's, or no artifact of a hit.
            if name not in self._there and name not in INTERNAL:
                vars(flow).pop(name, None)
        for name in set(self._bound.names()) - self._carried:
            self._bound.unbind(name)
        for name, artifact in entry.artifacts.items():
            vars(flow).pop(name, None)
            self._bound.bind(name, artifact.sha1, artifact.info)
        transition.restore_on(flow, entry.next_step)

    def _compared(
        self, left: dict[str, Any], wanted: tuple[str, ...] | None
    ) -> Iterator[tuple[str, str]]:
        for name in sorted({*left, *self._entry.artifacts}):
            if name in INTERNAL or name in self._there or (wanted and name not in wanted):
                continue
            if name not in left:
                if name not in self._merged:
                    yield name, "not set this time"
            elif name not in self._bound:
                yield name, "not stored"
            else:
                try:
                    line = compared(name, self._bound.load(name), left[name], self._mask)
                except Exception as error:  # Whatever a user's class does when it is loaded.
                    line = f"cannot be compared ({error})"
                if line:
                    yield name, line
