"""Foreach: the splits, gangs and loops that a task is in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from metaflow.task import MAX_FOREACH_PATH_LENGTH, MetaflowTask

from memoflow.dataclass import dataclass


def nodes_of_gang(flow: Any) -> int:
    """Return the number of nodes of a running gang.

    `current.parallel` says 1 to the control task of one on this machine until its step begins.
    """
    nodes: int = flow._parallel_ubf_iter.num_parallel
    return nodes


@dataclass(frozen=True)
class Foreach:
    """The frames of the foreaches and of the loops around a task, the innermost last.

    A frame of a foreach has `step`, `var`, `num_splits`, `index` and `value`.
    """

    stack: list[Any]
    iterations: list[Any]

    @classmethod
    def of_new_task(
        cls,
        flow: Any,
        step: str,
        datastores: list[Any],
        join_type: str | None,
        split_index: int | None,
    ) -> Foreach:
        """Return those of a task that would start from these datastores, as Metaflow makes them."""
        standin = SimpleNamespace(_graph=flow._graph, _foreach_stack=[])
        task = SimpleNamespace(flow=standin, ubf_context=None)
        MetaflowTask._init_foreach(task, step, join_type, datastores, split_index)
        node = flow._graph[step]
        recursive = node.type == "split-switch" and step in node.out_funcs
        MetaflowTask._init_iteration(task, step, datastores, recursive)
        return cls(standin._foreach_stack, standin._iteration_stack)

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of a task about it, for the Client and for people."""
        noted: dict[str, Any] = {}
        shown = []
        length = 0
        for frame in self.stack:
            if not (frame.var and frame.value):
                break
            item = f"{frame.var}={frame.value}"
            length += len(item)
            if length > MAX_FOREACH_PATH_LENGTH:
                break
            shown.append(item)
        if shown:
            noted["foreach-stack"] = shown
        if self.stack:
            path = ",".join(f"{frame.step}:{frame.index}" for frame in self.stack)
            noted["foreach-execution-path"] = path
        return noted


def stack_of_flow(flow: Any) -> list[Any]:
    """Return the frames around the task that a flow runs."""
    return list(flow._foreach_stack)


def stack_of(datastore: Any) -> list[Any]:
    """Return the frames around a finished task."""
    stack: list[Any] = datastore["_foreach_stack"]
    return stack


def num_splits(datastore: Any) -> int:
    """Return the number of tasks that a finished task split into."""
    splits: int = datastore["_foreach_num_splits"]
    return splits
