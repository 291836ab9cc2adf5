"""Attributes that a method takes from `self`, where `self` is known to be a flow."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Iterable
from typing import Any

from memoflow.fingerprint.flows import MISSING, NAMES_OF_CLASS, TELLING, Flow
from memoflow.fingerprint.modules import location_named, owner_of_class
from memoflow.fingerprint.name_resolution import CodeUnit, follow
from memoflow.fingerprint.reads import Chain, NamesRead
from memoflow.fingerprint.source import written_in_class
from memoflow.fingerprint.values import CODE_TYPES
from memoflow.fingerprint.walk import Walk

_HOLDERS = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)


def member(walk: Walk, value: Any) -> str | None:
    """Return the token of an attribute that is read of `self`, or None for data."""
    if isinstance(value, types.ModuleType) or value is None:
        return None
    if isinstance(value, CODE_TYPES):
        if walk.flow and any(walk.flow.owner(f) is None for f in _methods(value)):
            # Written elsewhere, so it cannot be told which of its parameters is `self`.
            walk.escape()
        return walk.code(value)
    kind = type(value)
    if owner_of_class(kind) == "ours":
        return None
    if "__call__" in dir(kind) or "__get__" in dir(kind):
        return walk.digest(value, kind.__qualname__)
    return None


def follow_self(
    walk: Walk,
    reads: NamesRead,
    owner: type,
    body: CodeUnit,
    held: dict[str, str],
    *,
    of_class: bool,
) -> None:
    """Follow a method's attributes of `self`, or a class method's of `cls`."""
    flow = walk.flow
    assert flow is not None
    for kind, chains in (
        ("class" if of_class else "self", reads.own),
        ("class", reads.of_class),
        ("super", reads.parents | reads.any_parents),
    ):
        for chain in sorted(chains):
            name = chain[0]
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{owner.__name__.lstrip('_')}{name}"
            anywhere = kind == "super" and chain in reads.any_parents
            after = owner if kind == "super" and not anywhere else None
            homes = flow.homes(name, after=after)
            for home in homes if anywhere else homes[:1]:
                token = _attribute(walk, flow, home, (name, *chain[1:]), kind, body)
                if token is not None:
                    held[f"{kind}.{chain[0]} {flow.shown(home, '')}"] = token
            if not homes and kind == "class":
                held[f"class.{chain[0]}"] = "missing"
            _naming(walk, flow, name, kind, bool(homes))
    for hook in ("__getattr__", "__getattribute__", "__setattr__"):
        if flow.find(hook) not in (MISSING, None):
            held[f"self.{hook}"] = str(member(walk, flow.find(hook)))
    for chain in reads.passed_to:
        value = body.cells.get(chain[0], body.namespace.get(chain[0]))
        for name in chain[1:-1]:
            value = getattr(value, name, None) if isinstance(value, types.ModuleType) else None
        if not (isinstance(value, type) and value in flow.cls.__mro__):
            walk.escape()
    if reads.escapes:
        walk.escape()


def _attribute(
    walk: Walk, flow: Flow, home: type, chain: Chain, kind: str, body: CodeUnit
) -> str | None:
    """Return the token of an attribute of the flow's class; None for an input."""
    name, *rest = chain
    if location_named(home.__module__).owner not in ("user", "installed"):
        return None
    value = home.__dict__[name]
    if isinstance(value, types.ModuleType):
        return follow(walk, value, name, rest, body)
    if kind == "self" and flow.is_step(value):
        return None
    if isinstance(value, CODE_TYPES):
        return member(walk, value)
    if kind == "self" and not name.startswith("__"):
        return member(walk, value)
    where, text = written_in_class(home, name)
    return walk.constant_part(value, flow.shown(home, name), body.namespace, where, text)


def _naming(walk: Walk, flow: Flow, name: str, kind: str, found: bool) -> None:
    """Count the name of the flow class if asking `self` or its class for `name` tells it."""
    if name in TELLING:
        walk.escape(public=kind != "self")
    # Metaflow sets `self.name` to the name of the class.
    if (kind != "self" and name in NAMES_OF_CLASS) or (name == "name" and not found):
        walk.name_flow(flow.cls)


def asked_of_inputs(walk: Walk, node: ast.AST | None) -> dict[str, str]:
    """Follow the methods that a join may call on its inputs, which are flows as well."""
    flow = walk.flow
    assert flow is not None
    if node is None:
        walk.escape()
        return {}
    asked = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    asked |= {text for text in texts if isinstance(text, str)}
    held = {}
    for name in sorted(asked):
        value = flow.find(name)
        if isinstance(value, CODE_TYPES) and not flow.is_step(value):
            held[f"inputs.{name}"] = str(member(walk, value))
    return held


def _methods(value: Any) -> Iterable[types.FunctionType]:
    """Return the functions to which `self` or its class is handed when an attribute is used."""
    inner = getattr(value, "__func__", value) if isinstance(value, classmethod) else value
    if isinstance(inner, property):
        inners: list[Any] = [inner.fget, inner.fset, inner.fdel]
    else:
        inners = [inner.func if isinstance(inner, _HOLDERS) else inner]
    return [each for each in inners if isinstance(each, types.FunctionType)]
