"""Classes: the members and bases of a class that is reached."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
from collections.abc import Collection
from typing import Any

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import source
from memoflow.fingerprint.code_unit import CodeUnit, meanings
from memoflow.fingerprint.literals import kept
from memoflow.fingerprint.members import Members
from memoflow.fingerprint.modules import find, place_named
from memoflow.fingerprint.name_resolution import follow_import, follow_names
from memoflow.fingerprint.ownership import LIBRARIES, functions_of, owner_of_class, users_functions
from memoflow.fingerprint.parts import digest_of
from memoflow.fingerprint.reads import NamesRead, bound_by, reads_of
from memoflow.fingerprint.source import syntax_digest
from memoflow.fingerprint.walk import Walk
from memoflow.fingerprint.written import WrittenClass, written_class


def follow_class(walk: Walk, cls: type) -> str:
    """Return the token of a class; follow it, now or when its turn comes."""
    token = f"{cls.__module__}:{cls.__qualname__}"
    walk.tokens[id(cls)] = token
    if not isinstance(cls.__module__, str):
        return _described(walk, cls)
    owner = owner_of_class(cls)
    if owner in LIBRARIES:
        walk.home(cls.__module__)
        return _of_library(walk, cls, token)
    if owner == place_named(cls.__module__).owner:
        walk.home(cls.__module__)
    if walk.flow and cls in walk.flow.classes:
        walk.escape(public=cls is not walk.flow.cls)
        return token
    if find(cls.__module__, cls.__qualname__) is cls:
        walk.todo.append(lambda: _body(walk, cls, token))
        return token
    walk.tokens[id(cls)] = f"cycle {token}"
    token = walk.tokens[id(cls)] = f"{token}#{_body(walk, cls, token)}"
    return token


def _of_library(walk: Walk, cls: type, name: str) -> str:
    """Return the token of a library's class, with the user's code that it holds."""
    if find(cls.__module__, cls.__qualname__) is cls:
        held = [f"{name} {walk.code(f)}" for name, f in users_functions(cls)]
    else:
        # Made while a decorator of the library ran, it may derive from the user's or hold it.
        held = [walk.code(base) for base in cls.__bases__ if base is not object]
        held += [walk.code(f) for _, f in functions_of(cls)]
    if held:
        walk.tokens[id(cls)] = name = f"{name}({','.join(held)})"
    return name


def _described(walk: Walk, cls: type) -> str:
    """Return the token of a class without a module, which a library made of a description.

    As protobuf's message_factory does: the description in its bytes is what the class is.
    NoFingerprintError for one of another library.
    """
    try:
        text = cls.DESCRIPTOR.file.serialized_pb.hex()  # type: ignore[attr-defined]
    except AttributeError:
        raise NoFingerprintError(cls.__qualname__, "it is a class without a module") from None
    walk.home(type(cls).__module__)
    token = walk.tokens[id(cls)] = f"{cls.__qualname__} of {digest_of(text)}"
    return token


def _body(walk: Walk, cls: type, token: str) -> str:
    """Add the parts of a user's class; return a digest of it with its members."""
    walk.classes[token] = cls
    written = written_class(cls)
    found, node = written.file, written.node
    where = os.path.basename(written.path) + (f":{node.lineno}" if node else "")
    shown = cls.__qualname__.replace("<locals>.", "")
    within = dict(vars(cls)) | dict.fromkeys(written.assigned)
    body = CodeUnit(
        shown, written.module, written.namespace, {}, written.path, where, True, within=within
    )
    held = {f"base {i}": walk.value(base, shown) for i, base in enumerate(cls.__bases__)}
    if type(cls) is not type:
        held["metaclass"] = walk.code(type(cls))
    taken = Members(walk, cls, body, written).follow(held)
    if dataclasses.is_dataclass(cls):
        held |= _fields(walk, cls, shown)
    syntax = ""
    if found is not None and (node is not None or written.statements):
        # The class that is loaded does not tell whether the file is still what made it.
        origin = "changed since" if found.changed else "as loaded"
        if node is not None:
            syntax = origin + syntax_digest(node, shallow=True, without=taken)
        else:
            syntax = origin + syntax_digest(*written.statements)
        held |= follow_names(walk, _reads(written, taken | fields_of(cls).keys()), body)
    if written.unnamed:
        # Its file made it without naming it, such as the messages of a protocol.
        walk.static.whole(place_named(cls.__module__))
    if node is None:
        held |= _annotations(walk, cls, shown)
    follow_import(walk, written.module, written.namespace)
    text = found.text(node, shallow=True) if node and found else ""
    syntax = kept(text, syntax, walk.mask)
    text = "" if found and found.changed else text
    walk.add("code", f"class {shown}", digest_of(token, syntax), where, source=text)
    names = digest_of(token, *(text for pair in sorted(held.items()) for text in pair))
    walk.add("names", f"class {shown}", names, where, source=meanings(held))
    return digest_of(syntax, names).hex


def _reads(written: WrittenClass, taken: Collection[str]) -> NamesRead:
    """Return the names that a class statement reads itself, outside its functions.

    The values that its body gives to the names in `taken` count by what they came to.
    """
    node = written.node
    if node is None:
        return reads_of(written.statements)
    plain = [each for each in node.body if not isinstance(each, source.DECORATED)]
    marks = [each.annotation for each in plain if isinstance(each, source.Annotated)]
    others = [each for each in plain if not bound_by(each) or not bound_by(each) <= set(taken)]
    return reads_of([*node.decorator_list, *node.keywords, *marks, *others])


def _annotations(walk: Walk, cls: type, shown: str) -> dict[str, str]:
    """Return the annotations of a class without a known statement, where they matter."""
    held = {}
    with contextlib.suppress(Exception):  # Evaluating them runs whatever code is in them.
        for name, mark in inspect.get_annotations(cls).items():
            with contextlib.suppress(NoFingerprintError):
                held[f"annotation {name}"] = walk.value(mark, shown)
    return held


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    fields: dict[str, dataclasses.Field[Any]] = cls.__dict__.get("__dataclass_fields__", {})
    return fields


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
        held[f"field {name}"] = walk.mask.digest(name, field.default, digest_of(*texts))
    return held
