"""Comparison: the differences between the outputs of a task and those of a stored result."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from memoflow.errors import MemoflowError
from memoflow.fingerprint.difference import difference
from memoflow.flow.artifact_ref import Reference
from memoflow.flow.memo.inputs import current_saves
from memoflow.kinds.memo_fields import Artifact
from memoflow.masking import ANY, Mask, without_passwords

_MOST_NAMED = 3
_LONGEST = 200  # characters of what was raised

Outputs = Mapping[str, Artifact]


def outputs_differ(
    stored: Outputs, now: Outputs, load: Callable[[Artifact], Any], mask: Mask = ANY
) -> Iterator[str]:
    """Yield a line for each output that differs in meaning; equal bytes are not loaded."""
    for name in sorted({*stored, *now}):
        if name not in now:
            yield f"{name}: not set this time"
        elif name not in stored:
            yield f"{name}: not stored"
        elif stored[name].sha1 != now[name].sha1:
            try:
                line = compared(name, load(stored[name]), load(now[name]), mask)
            except Exception as error:  # Whatever a user's class does when it is loaded.
                line = f"cannot be compared ({type(error).__name__}: {error})"
            if line:
                yield f"{name}: {line}"


def next_steps_differ(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line if a step went on to something else than the stored result says."""
    if json.loads(json.dumps(now)) != stored:  # Through JSON, as what is stored has been.
        yield "self.next: another next step"


def first_ones(differences: Sequence[str]) -> str:
    """Return the first differences in one line, and the number of the others."""
    more = len(differences) - _MOST_NAMED
    named = "; ".join(differences[:_MOST_NAMED])
    return f"{named}; and {more} more" if more > 0 else named


def raised(exception: BaseException) -> str:
    """Return an exception in one short line."""
    text = without_passwords(" ".join(f"{type(exception).__name__}: {exception}".split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def compared(name: str, stored: Any, now: Any, mask: Mask) -> str:
    """Return the difference in meaning between two values of an output, "" for none."""
    line = _of_saved(stored, now)
    return difference(stored, now, name=name, mask=mask) if line is None else line


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
