"""Audit: a hit that runs again, to compare its result with the stored one."""

from __future__ import annotations

import json
import traceback
from collections.abc import Hashable, Iterator
from typing import Any

from xxhash import xxh3_64_intdigest

from memoflow.errors import MemoflowError
from memoflow.flow.artifact_ref import Reference
from memoflow.flow.host import transition
from memoflow.flow.host.artifacts import INTERNAL, TaskArtifacts
from memoflow.flow.memo.inputs import current_saves
from memoflow.kinds.memo import MemoEntry
from memoflow.masking import ANY, Mask, without_passwords

_MOST_NAMED = 3
_LONGEST = 200  # characters of what was raised


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
        text = without_passwords(" ".join(f"{type(exception).__name__}: {exception}".split()))
        self._raised = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
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
            # Through JSON, as what is stored has been.
            if json.loads(json.dumps(came_to)) != self._entry.next_step:
                self.differences.append("self.next: another next step")
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
        named = "; ".join(self.differences[:_MOST_NAMED])
        more = len(self.differences) - _MOST_NAMED
        return (
            f"differs from {entry.origin} in {named}"
            + (f"; and {more} more" if more > 0 else "")
            + "; the stored result is kept"
        )

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
        # Here, since every worker imports this, and few audit.
        from memoflow.flow.memo.difference import difference

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
                    before, now = self._bound.load(name), left[name]
                    line = _of_saved(before, now)
                    if line is None:
                        line = difference(before, now, name=name, mask=self._mask)
                except Exception as error:  # Whatever a user's class does when it is loaded.
                    line = f"cannot be compared ({error})"
                if line:
                    yield name, line


def _of_saved(stored: Any, now: Any) -> str | None:
    """Return the differences between the files of two references; None for other values.

    Each save of a model has a key of its own, so the references themselves always differ.
    """
    before, after = _files(stored), _files(now)
    if before is None or after is None:
        return None
    names = sorted(name for name in before | after if before.get(name) != after.get(name))
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"other content in {', '.join(names[:_MOST_NAMED])}{more}"


def _files(reference: Any) -> dict[str, Hashable] | None:
    """Return the content of each file, by digest; None for no reference or a dead one."""
    if not isinstance(reference, (dict, str, Reference)):
        return None
    try:
        references, where = current_saves()
        found: dict[str, Hashable] | None = references.contents(where, reference)
    except MemoflowError:
        return None
    return found
