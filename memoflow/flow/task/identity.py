"""Identity: the scope of a task's checkpoints and its name within that.

Scope and identifier are those of metaflow-checkpoint wherever it has one, so that what it saved
is found.
"""

from __future__ import annotations

from typing import Any

from metaflow import get_namespace
from metaflow.metaflow_current import current

from memoflow import fingerprint
from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.flow.host.artifacts import untouched
from memoflow.flow.host.foreach import nodes_of_gang
from memoflow.kinds import legacy_identity

TAG = "checkpoint:"


@dataclass(frozen=True)
class Identity:
    """The parts of a key that tell a task's checkpoints from those of others.

    `task` is the pathspec that they are saved for: that of the control task in a gang. `own` is
    the pathspec of this very task.
    """

    flow: str
    step: str
    scope: str
    identifier: str
    task: str
    own: str
    attempt: int
    legacy_scope: str = ""  # of metaflow-checkpoint; empty where it is the same
    is_gang: bool = False
    node: int = 0  # of the gang, from 0 on
    nodes: int = 0  # of the gang; 0 outside of gangs


def of_task(flow: Any, *, parallel: bool) -> tuple[Identity, list[str]]:
    """Return the identity of the running task, and a warning for the user, if any."""
    notes: list[str] = []
    legacy_scope = ""
    tags = sorted(tag for tag in (current.tags or ()) if tag.startswith(TAG))
    if tags:
        shared = tags[0].removeprefix(TAG)
        legacy_scope = legacy_identity.scope_of_tag(tags[0]) or ""
        notes.append(f"checkpoints are shared under the tag {tags[0]}")
        if len(tags) > 1:
            notes.append(f"of the tags {', '.join(tags)} the first one counts")
    else:
        shared = get_namespace() or f"user:{current.username}"
    own = str(current.pathspec)
    control = _gang(own) if parallel else None
    identifier = _identifier(flow, gang=control is not None, notes=notes)
    identity = Identity(
        flow=current.flow_name,
        step=current.step_name,
        scope=legacy_identity.scope_of(shared),
        identifier=identifier,
        task=control or own,
        own=own,
        attempt=int(current.retry_count),
        legacy_scope=legacy_scope,
        is_gang=control is not None,
        **({} if control is None else _place_in_gang(flow)),
    )
    return identity, notes


def _place_in_gang(flow: Any) -> dict[str, int]:
    return {"node": int(current.parallel.node_index), "nodes": nodes_of_gang(flow)}


def _gang(own: str) -> str | None:
    """Return the pathspec of the control task of a gang; None outside of gangs."""
    parallel = getattr(current, "parallel", None)
    control = getattr(parallel, "control_task_id", None)
    if control is None and getattr(parallel, "node_index", None) == 0:
        control = current.task_id  # This is it, and on one machine it is not told so.
    return None if control is None else "/".join((*own.split("/")[:-1], control))


def _identifier(flow: Any, *, gang: bool, notes: list[str]) -> str:
    if flow.index is None:
        return legacy_identity.step_identifier(current.step_name)
    with untouched(flow):
        stack = flow.foreach_stack()
    values = [value for _, _, value in (stack[:-1] if gang else stack)]
    make = legacy_identity.parallel_identifier if gang else legacy_identity.foreach_identifier
    identifier = make(values)
    if identifier is None:
        # Not all is JSON, so metaflow-checkpoint had no identifier for it.
        digests = [
            _digest(value, index, notes)
            for value, (index, _, _) in zip(values, stack, strict=False)
        ]
        identifier = make(digests)
        assert identifier is not None
    return identifier


def _digest(value: Any, index: int, notes: list[str]) -> str:
    try:
        return str(fingerprint.of_value(value, name="input"))
    except NoFingerprintError as error:
        notes.append(f"the foreach item is known by its index {index}, not by its value: {error}")
        return f"index {index}"
