"""Transition: the steps that a step sent the flow on to, as plain JSON."""

from __future__ import annotations

from typing import Any

from metaflow.flowspec import ParallelUBF

from memoflow.masking import ANY, Mask

_ALWAYS = ("_foreach_var", "_foreach_num_splits")
_OF_A_FOREACH = ("_foreach_values", "_unbounded_foreach")


def keep(flow: Any, node: Any, mask: Mask = ANY) -> dict[str, Any]:
    """Return the decision of a step that has just run: the arguments of its `self.next`.

    Without the items of a foreach over passwords: Metaflow has them to show them only.
    """
    kept = {name: getattr(flow, name, None) for name in _ALWAYS}
    if flow._transition is not None:
        steps, foreach = flow._transition
        kept["_transition"] = [list(steps), foreach]
    if node.type == "foreach":
        for name in _OF_A_FOREACH:
            if name in vars(flow):
                kept[name] = vars(flow)[name]
        if mask.conceals(str(kept["_foreach_var"]), kept.get("_foreach_values")):
            kept["_foreach_values"] = None
        if node.parallel_foreach:
            kept["num_parallel"] = flow._parallel_ubf_iter.num_parallel
    return kept


def fits(kept: dict[str, Any], node: Any) -> bool:
    """Tell whether a step could have decided this: else the run would stop at a step it has not."""
    if "_transition" not in kept:
        return not node.out_funcs
    steps, foreach = kept["_transition"]
    if node.type != "foreach":
        is_over = foreach is None
    elif node.foreach_param is not None and not node.parallel_foreach:
        is_over = foreach == node.foreach_param
    else:
        is_over = foreach is not None
    return is_over and bool(steps) and set(steps) <= set(node.out_funcs)


def restore_on(flow: Any, kept: dict[str, Any]) -> None:
    """Set a kept decision on a flow, in place of its step's own."""
    for name, value in restore(kept).items():
        setattr(flow, name, value)


def restore(kept: dict[str, Any]) -> dict[str, Any]:
    """Return the artifacts that stand for a kept decision in Metaflow."""
    artifacts = dict(kept)
    if "num_parallel" in artifacts:
        artifacts["_parallel_ubf_iter"] = ParallelUBF(artifacts.pop("num_parallel"))
    if "_transition" in artifacts:
        steps, foreach = artifacts["_transition"]
        artifacts["_transition"] = (steps, foreach)
    else:
        artifacts["_transition"] = None
    return artifacts


def single_steps(kept: dict[str, Any]) -> list[str]:
    """Return the steps of which a kept decision starts one task each, so none of a foreach."""
    steps, foreach = kept.get("_transition") or ((), None)
    return [] if foreach is not None else list(steps)


def next_steps(datastore: Any) -> list[str]:
    """Return the steps that a finished task sent the flow on to."""
    return list((datastore.get("_transition") or [[]])[0])
