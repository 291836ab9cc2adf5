"""Code: what determines a step's result, whatever its inputs: its functions and its decorators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metaflow.flowspec import FlowStateItems

from memoflow import fingerprint
from memoflow.fingerprint import Part
from memoflow.flow.task import launched

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
_IMAGES = ("batch", "kubernetes")
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
    if any(map(_sets_environment, function.decorators)):
        # What is installed on the machine that launches says nothing about where the step runs:
        # its image and packages stand for that, and are the same to both who ask.
        parts = [part for part in parts if not _of_this_machine(part)]
    parts += _step_decorators(function, step)
    return parts


def _sets_environment(deco: Any) -> bool:
    if deco.name in ("conda", "pypi"):
        return str(deco.attributes["disabled"]).lower() != "true"
    return deco.name in _IMAGES


def _of_this_machine(part: Part) -> bool:
    return part.kind in ("package", "python") or (part.kind, part.digest) == ("code", "missing")


def _step_decorators(function: Any, step: str) -> Iterator[Part]:
    for deco in function.decorators:
        if deco.name in _NO_MATTER or deco.name.endswith("_internal"):
            continue
        attributes = {
            name: value
            for name, value in _attributes(deco, step).items()
            if name in _MATTERS.get(deco.name, deco.attributes) and value not in (None, {}, [])
        }
        for name, value in sorted(attributes.items()):
            # The order of packages or of variables decides nothing.
            plain = sorted(value.items(), key=str) if isinstance(value, dict) else value
            yield Part(
                "decorator",
                f"@{deco.name}({name}=)",
                fingerprint.of_value(plain, name=f"@{deco.name}({name}=)"),
                summary=fingerprint.summary(value),
            )


def _attributes(deco: Any, step: str) -> dict[str, Any]:
    image = launched.image(step)
    if deco.name in _IMAGES and image is not None:
        # Where none is named, Metaflow's configuration does, which this machine has not.
        return {**deco.attributes, "image": image}
    # A decorator of ours says itself what of its arguments decides the result.
    own = getattr(deco, "deciding_attributes", None)
    attributes: dict[str, Any] = deco.attributes if own is None else own()
    return attributes


def _user_decorator(deco: Any) -> list[Part]:
    # @user_step_decorator wraps a generator function in a class of Metaflow's own.
    code = getattr(deco, "_generator", type(deco))
    name = f"@{deco.decorator_name}"
    arguments = (list(deco._args), dict(deco._kwargs))
    digest = fingerprint.of_value((arguments[0], sorted(deco._kwargs.items())), name=name)
    summary = fingerprint.summary(arguments)
    return [*fingerprint.of_function(code).parts, Part("decorator", name, digest, summary=summary)]
