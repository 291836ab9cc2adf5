"""Classes: what one that is reached holds and is made from."""

from __future__ import annotations

import dataclasses
import enum
import os
import sys
from collections.abc import Mapping
from typing import Any

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import source
from memoflow.fingerprint.bodies import Body, meanings
from memoflow.fingerprint.chains import follow_import, follow_names
from memoflow.fingerprint.flows import BOOKKEEPING
from memoflow.fingerprint.modules import find
from memoflow.fingerprint.parts import digest_of
from memoflow.fingerprint.reads import bound_by, reads_of
from memoflow.fingerprint.source import syntax_digest
from memoflow.fingerprint.values import CODE_TYPES
from memoflow.fingerprint.walk import Walk
from memoflow.fingerprint.whereabouts import written_in_class

_GENERATED = ("<string>", "<attrs generated", "<namedtuple")


def follow_class(walk: Walk, cls: type) -> str:
    """Return the token of a class; follow it, now or when its turn comes."""
    token = f"{cls.__module__}:{cls.__qualname__}"
    walk.tokens[id(cls)] = token
    if walk.home(cls.__module__).owner in ("ours", "stdlib", "installed"):
        return token
    if walk.flow and cls in walk.flow.classes:
        walk.escape(public=cls is not walk.flow.cls)
        return token
    if find(cls.__module__, cls.__qualname__) is cls:
        walk.todo.append(lambda: _body(walk, cls, token))
        return token
    walk.tokens[id(cls)] = f"cycle {token}"
    token = walk.tokens[id(cls)] = f"{token}#{_body(walk, cls, token)}"
    return token


def _body(walk: Walk, cls: type, token: str) -> str:
    """Add the parts of a user's class; return a digest of it with what it holds."""
    walk.classes[token] = cls
    home = sys.modules.get(cls.__module__)
    namespace: Mapping[str, Any] = vars(home) if home is not None else {}
    path = str(namespace.get("__file__") or "")
    found = source.loaded(path) if path else None
    node = found.class_(cls.__qualname__) if found else None
    line = f":{node.lineno}" if node else ""
    where = f"{os.path.basename(path)}{line}"
    shown = cls.__qualname__.replace("<locals>.", "")
    body = Body(shown, cls.__module__, namespace, {}, path, where, True)
    held = {f"base {i}": walk.value(base, shown) for i, base in enumerate(cls.__bases__)}
    if type(cls) is not type:
        held["metaclass"] = walk.code(type(cls))
    assigned = frozenset(
        name for statement in (node.body if node else ()) for name in bound_by(statement)
    )
    taken = _members(walk, cls, shown, body, assigned if node else None, held)
    if dataclasses.is_dataclass(cls):
        held |= _fields(walk, cls, shown)
    syntax = ""
    if node is not None and found is not None:
        # The class that is loaded does not tell whether the file is still what made it.
        origin = "changed since" if found.changed else "as loaded"
        syntax = origin + syntax_digest(node, shallow=True, without=taken)
        marks = [each.annotation for each in node.body if isinstance(each, source.Annotated)]
        reads = reads_of([*node.decorator_list, *node.keywords, *marks])
        held |= follow_names(walk, reads, body)
    follow_import(walk, cls.__module__, namespace)
    text = found.text(node, shallow=True) if node and found and not found.changed else ""
    walk.add("code", f"class {shown}", digest_of(token, syntax), where, source=text)
    names = digest_of(token, *(text for pair in sorted(held.items()) for text in pair))
    walk.add("names", f"class {shown}", names, where, source=meanings(held))
    return digest_of(syntax, names).hex


def _members(
    walk: Walk,
    cls: type,
    shown: str,
    body: Body,
    assigned: frozenset[str] | None,
    held: dict[str, str],
) -> frozenset[str]:
    """Follow the attributes of a class; return the names of those that hold data."""
    taken = set()
    is_enum = issubclass(cls, enum.Enum)
    members = dict(cls.__members__) if is_enum else {}  # type: ignore[attr-defined]
    for name, member in members.items():
        held[name] = walk.constant_part(
            member._value_, f"{shown}.{name}", body.namespace, *written_in_class(cls, name)
        )
    if members:
        held["members"] = repr(list(members))
    generated = dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")
    generated = generated or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    for name, value in sorted(cls.__dict__.items()):
        if name in BOOKKEEPING or name in members:
            continue
        if is_enum and not isinstance(value, CODE_TYPES):
            continue
        if is_enum and isinstance(value, type) and name.startswith("_"):
            continue
        if isinstance(value, CODE_TYPES):
            inner = getattr(value, "__func__", value)
            made = getattr(getattr(inner, "__code__", None), "co_filename", "")
            if not (generated and made.startswith(_GENERATED)):
                held[name] = walk.code(value)
            continue
        if type(value).__name__ == "_tuplegetter":
            continue  # the field of a named tuple
        try:
            held[name] = walk.constant_part(
                value, f"{shown}.{name}", body.namespace, *written_in_class(cls, name)
            )
        except NoFingerprintError:
            # What a metaclass or decorator of a library put there, it can answer for.
            if assigned is None or name in assigned:
                raise
        taken.add(name)
    return frozenset(taken) | members.keys()


def _fields(walk: Walk, cls: type, shown: str) -> dict[str, str]:
    held = {"dataclass": repr(getattr(cls, "__dataclass_params__", None))}
    fields: dict[str, dataclasses.Field[Any]] = getattr(cls, "__dataclass_fields__", {})
    for i, (name, field) in enumerate(fields.items()):
        kind = (
            field.type
            if isinstance(field.type, str)
            else getattr(field.type, "__name__", type(field.type).__name__)
        )
        flags = (field.init, field.repr, field.hash, field.compare)
        texts = [str(i), str(kind), repr(flags), repr(getattr(field, "kw_only", None))]
        for value in (field.default, field.default_factory):
            missing = value is dataclasses.MISSING
            texts.append("" if missing else walk.value(value, f"{shown}.{name}"))
        texts.append(walk.digest(dict(field.metadata), f"{shown}.{name}"))
        held[f"field {name}"] = digest_of(*texts)
    return held
