"""Legacy identity: the names by which metaflow-checkpoint told scopes and tasks apart.

Computed as metaflow-checkpoint 0.2.14 computes them (`utils/identity_utils.py`), so that what it
saved is found. Changing a value here loses every checkpoint saved under it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

_TAG = "checkpoint:"
_LENGTH = 12  # hex characters; of a pathspec 8


def scope_of(text: str) -> str:
    """Return the scope of a namespace such as `user:alice`, or of the text in a tag."""
    return _sha256(text)[:_LENGTH]


def scope_of_tag(tag: str) -> str | None:
    """Return the scope that a run tag `checkpoint:<text>` asks for; None for any other tag.

    As there, the prefix may stand anywhere in the tag, and the text goes from the first colon of
    the tag to its second.
    """
    return scope_of(tag.split(":")[1]) if _TAG in tag else None


def step_identifier(step: str) -> str:
    """Return the identifier of every task of a step that no foreach leads to."""
    return _hash(step)[:_LENGTH]


def foreach_identifier(values: Iterable[object]) -> str | None:
    """Return the identifier of a task by the items of its foreach stack, outermost first.

    None if an item is nothing that JSON can hold: metaflow-checkpoint failed such a task.
    """
    return _stack_identifier([*values, _hash("foreach-task-entropy")])


def parallel_identifier(outer: Iterable[object], index: int = 0) -> str | None:
    """Return the identifier that the nodes of a @parallel step share.

    `outer` holds the items of the foreach stack without its last, which is the node's own. The
    control node took `foreach_identifier` of the whole stack where Metaflow told it no
    `control_task_id`, as it does for local runs.
    """
    return _stack_identifier([*outer, index, _hash("parallel-task-entropy")])


def pathspec_hash(pathspec: str) -> str:
    """Return the part of a key for the task `Flow/run/step/task` that saved it."""
    return _hash(pathspec)[:8]


def _stack_identifier(values: list[object]) -> str | None:
    try:
        return _sha256("".join(map(_hash, values)))[:_LENGTH]
    except (TypeError, ValueError, RecursionError):
        return None


def _hash(value: object) -> str:
    # It meant to use hash() where a value has one, and JSON only otherwise; hash() never worked.
    return _sha256(json.dumps(value, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
