"""Code: what determines a step's result, whatever its inputs: its functions and its decorators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metaflow.flowspec import FlowStateItems

from memoflow import fingerprint
from memoflow.fingerprint import Part

# They decide where, when or how often a step runs, or show what it did; not what it computes.
_NO_MATTER = {
    "card",
    "checkpoint",
    "memoize",
    "model",
    "resources",
    "retry",
    "secrets",
    "timeout",
}
# Of these only the named attributes decide the result.
_MATTERS = {
    "batch": ("image",),
    "catch": ("var",),  # a success sets it to None
    "conda": ("packages", "libraries", "python", "disabled"),
    "environment": ("vars",),
    "kubernetes": ("image",),
    "pypi": ("packages", "python", "disabled"),
}


def parts_of(flow: Any, step: str) -> list[Part]:
    """Return the parts of the code of a step of a flow's class, and of its environment.

    Raises NoFingerprintError if the code depends on something without a stable digest.
    """
    function = getattr(flow, step)
    parts = list(
        fingerprint.of_step(flow, step, is_step=lambda found: hasattr(found, "is_step")).parts
    )
    mutators = flow._flow_state[FlowStateItems.FLOW_MUTATORS]
    for deco in (*function.wrappers, *function.config_decorators, *mutators):
        parts += _user_decorator(deco)
    parts += _step_decorators(function)
    return parts


def _step_decorators(function: Any) -> Iterator[Part]:
    for deco in function.decorators:
        if deco.name in _NO_MATTER or deco.name.endswith("_internal"):
            continue
        attributes = {
            name: value
            for name, value in _attributes(deco).items()
            if name in _MATTERS.get(deco.name, deco.attributes) and value not in (None, {}, [])
        }
        for name, value in sorted(attributes.items()):
            yield Part(
                "decorator",
                f"@{deco.name}({name}=)",
                fingerprint.of_value(value, name=f"@{deco.name}({name}=)"),
                summary=fingerprint.summary(value),
            )


def _attributes(deco: Any) -> dict[str, Any]:
    # A decorator of ours says itself what of its arguments decides the result.
    own = getattr(deco, "deciding_attributes", None)
    attributes: dict[str, Any] = deco.attributes if own is None else own()
    return attributes


def _user_decorator(deco: Any) -> list[Part]:
    # @user_step_decorator wraps a generator function in a class of Metaflow's own.
    code = getattr(deco, "_generator", type(deco))
    name = f"@{deco.decorator_name}"
    arguments = (list(deco._args), dict(deco._kwargs))
    digest = fingerprint.of_value(arguments, name=name)
    summary = fingerprint.summary(arguments)
    return [*fingerprint.of_function(code).parts, Part("decorator", name, digest, summary=summary)]
