"""Code: the functions, decorators and environment that determine a step's result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memoflow import fingerprint
from memoflow.fingerprint import Part
from memoflow.flow.host.flow_class import (
    KEPT_ON_CLASS,
    arguments_of_decorator,
    code_of_decorator,
    mutators_of,
)
from memoflow.flow.task import launch_info
from memoflow.masking import ANY, Mask

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


def parts_of(
    flow: Any, step: str, *, ignore: frozenset[str] = frozenset(), mask: Mask = ANY
) -> list[Part]:
    """Return the parts of the code of a step of a flow's class, and of its environment.

    `ignore` names globals that do not count, and `mask` tells what is not to be shown. Raises
    NoFingerprintError if the code depends on something without a stable digest.
    """
    function = getattr(flow, step)
    parts = list(
        fingerprint.of_step(
            flow,
            step,
            is_step=lambda found: hasattr(found, "is_step"),
            kept=KEPT_ON_CLASS,
            ignore=ignore,
            mask=mask,
        ).parts
    )
    mutators = mutators_of(flow)
    for deco in (*function.wrappers, *function.config_decorators, *mutators):
        parts += _user_decorator(deco, mask)
    if any(map(_sets_environment, function.decorators)):
        # What is installed on the machine that launches says nothing about where the step runs:
        # its image and packages stand for that, and are the same to both who ask.
        parts = [part for part in parts if not _of_this_machine(part)]
    parts += _step_decorators(function, step, mask)
    return parts


def _sets_environment(deco: Any) -> bool:
    if deco.name in ("conda", "pypi"):
        return str(deco.attributes["disabled"]).lower() != "true"
    return deco.name in _IMAGES


def _of_this_machine(part: Part) -> bool:
    return part.kind in ("package", "python") or (part.kind, part.digest) == ("code", "missing")


def _step_decorators(function: Any, step: str, mask: Mask) -> Iterator[Part]:
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
            shown = f"@{deco.name}({name}=)"
            digest = mask.digest(name, plain, fingerprint.of_value(plain, name=shown))
            summary = fingerprint.summary(value, name, mask)
            yield Part("decorator", shown, digest, summary=summary)


def _attributes(deco: Any, step: str) -> dict[str, Any]:
    image = launch_info.image(step)
    if deco.name in _IMAGES and image is not None:
        # Where none is named, Metaflow's configuration does, which this machine has not.
        return {**deco.attributes, "image": image}
    # A decorator of ours says itself what of its arguments decides the result.
    own = getattr(deco, "deciding_attributes", None)
    attributes: dict[str, Any] = deco.attributes if own is None else own()
    return attributes


def _user_decorator(deco: Any, mask: Mask) -> list[Part]:
    name = f"@{deco.decorator_name}"
    arguments = by_position, by_name = arguments_of_decorator(deco)
    given = (by_position, sorted(by_name.items()))
    digest = mask.digest(name, given, fingerprint.of_value(given, name=name))
    summary = fingerprint.summary(arguments, name, mask)
    return [
        *fingerprint.of_function(code_of_decorator(deco), mask=mask).parts,
        Part("decorator", name, digest, summary=summary),
    ]
