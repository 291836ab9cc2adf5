"""Expected: the tasks of a step that a run would start, going by what the latest run left."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from metaflow.client import Flow
from metaflow.exception import MetaflowNotFound
from metaflow.metaflow_current import current
from metaflow.util import get_username, resolve_identity

from memoflow.flow.memo import task_record
from memoflow.flow.memo.lookup import Memoized
from memoflow.flow.memo.parents import OF_ONE_RUN, Parents, UndecidedError
from memoflow.flow.memo.session import Session

_LOAD_LIMIT_BYTES = 64 << 20
_MOST_PARENTS = 1000


def latest_run(memoized: Memoized) -> str | None:
    """Return the id of the flow's latest run, whoever started it, or None."""
    try:
        run = Flow(memoized.shape.flow.__name__, _namespace_check=False).latest_run
    except MetaflowNotFound:
        return None
    return None if run is None else str(run.id)


def starts(memoized: Memoized, session: Session, run: str) -> Iterator[Parents]:
    """Yield what each task of a step would start from, had the steps before it run as in `run`.

    UndecidedError if that cannot be told in a short while.
    """
    assert session.store is not None
    for datastores, split_index in _tasks(memoized, session, run):
        standin = task_record.frames(
            memoized.shape.flow, memoized.step, datastores, memoized.join_type, split_index
        )
        yield Parents(
            datastores,
            shape=memoized.shape,
            join_type=memoized.join_type,
            frames=standin._foreach_stack,
            current=partial(_current, memoized),
            facts=session.store.index,
            lists=session.lists,
            load_limit_bytes=_LOAD_LIMIT_BYTES,
        )


def _tasks(
    memoized: Memoized, session: Session, run: str
) -> Iterator[tuple[list[Any], int | None]]:
    """Yield the datastores that a task starts from, and its place in a foreach."""
    flow: Any = memoized.shape.flow
    graph, step = flow._graph, memoized.step
    before = ["_parameters"] if step == graph.start_step else sorted(memoized.node.in_funcs)
    found = [
        datastore
        for datastore in session.reader.get_task_datastores(run, steps=before)
        if step == graph.start_step or step in (datastore.get("_transition") or [[]])[0]
    ]
    if len(found) > _MOST_PARENTS:
        raise UndecidedError(f"{len(found)} tasks come before it")
    if memoized.join_type is not None:
        groups: dict[str, list[Any]] = {}
        for datastore in found:
            stack = datastore["_foreach_stack"]
            outer = stack[:-1] if memoized.join_type == "foreach" else stack
            groups.setdefault(repr([frame[:4] for frame in outer]), []).append(datastore)
        for group in groups.values():
            yield sorted(group, key=lambda each: str(each.pathspec)), None
        return
    for datastore in found:
        if graph.nodes.get(datastore.step_name) is None:  # the parameters
            yield [datastore], None
        elif graph[datastore.step_name].type == "foreach":
            for index in range(datastore["_foreach_num_splits"]):
                yield [datastore], index
        else:
            yield [datastore], None


def _current(memoized: Memoized, name: str) -> Any:
    if name == "flow_name":
        return memoized.shape.flow.__name__
    if name == "step_name":
        return memoized.step
    if name == "username":
        return get_username()
    if name == "namespace":
        return resolve_identity()
    if name in OF_ONE_RUN or name == "tags" or name.startswith("huggingface_hub"):
        raise UndecidedError(f"current.{name} is known in the run only")
    try:
        return getattr(current, name)  # as flow decorators such as @project set it
    except Exception as error:  # A property may raise whatever it likes.
        raise UndecidedError(f"current.{name} is known in the run only") from error
