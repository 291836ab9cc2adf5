"""Classes: the statements, members and bases of a class that is reached.

What a library adds to a class of the user's, such as schemas, validators made of C, registries and
caches, is made from what the user wrote; it differs from process to process, and its package's
version stands for it.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import enum
import functools
import inspect
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import source
from memoflow.fingerprint.arrays import array_handler
from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.flows import BOOKKEEPING
from memoflow.fingerprint.literals import kept
from memoflow.fingerprint.modules import (
    LIBRARIES,
    find,
    functions_of,
    location_named,
    owner_of,
    owner_of_class,
    owner_of_function,
    users_functions,
)
from memoflow.fingerprint.name_resolution import (
    CodeUnit,
    follow_import,
    follow_names,
    follow_statement,
    meanings,
)
from memoflow.fingerprint.parts import digest_of
from memoflow.fingerprint.reads import NamesRead, bound_by, reads_of
from memoflow.fingerprint.source import (
    SourceFile,
    function_source,
    root_of,
    syntax_digest,
    written_in_class,
)
from memoflow.fingerprint.values import CODE_TYPES, Encoder
from memoflow.fingerprint.walk import Walk

_GENERATED = ("<string>", "<attrs generated", "<namedtuple")


@dataclass(frozen=True)
class WrittenClass:
    """The statements that made a class.

    `node` is its class statement, or None if it has none that can be told; then `statements` are
    those that bind its name, if one of them made it.
    """

    module: str
    namespace: Mapping[str, Any]
    path: str
    file: SourceFile | None = None
    node: ast.ClassDef | None = None
    statements: tuple[ast.stmt, ...] = ()
    unnamed: bool = False  # whether its module made it, and by no statement that names it

    @functools.cached_property
    def assigned(self) -> frozenset[str]:
        """The names that the body of its statement binds."""
        body = self.node.body if self.node else ()
        return frozenset(name for statement in body for name in bound_by(statement))

    @functools.cached_property
    def defined(self) -> dict[str, ast.stmt]:
        """The functions and classes in the body of its statement that have decorators."""
        body = self.node.body if self.node else ()
        found = (each for each in body if isinstance(each, source.DECORATED))
        return {each.name: each for each in found if each.decorator_list}


def written_class(cls: type) -> WrittenClass:
    """Return the file and statements that made a user's class, as far as they are certain."""
    home = sys.modules.get(cls.__module__)
    if home is None or location_named(cls.__module__).owner != "user":
        return _by_functions(cls) or WrittenClass(cls.__module__, {}, "")
    namespace = vars(home)
    path = str(namespace.get("__file__") or "")
    file = source.loaded(path) if path else None
    known = WrittenClass(cls.__module__, namespace, path, file)
    if file is None:
        return known
    named = find(cls.__module__, cls.__qualname__) is cls
    node = file.class_(cls.__qualname__)
    if node is not None and (named or _fits(node, cls)):
        return dataclasses.replace(known, node=node)
    found = _by_functions(cls)
    if found is not None:
        return found
    node = file.class_named(cls.__name__)
    if node is not None and _fits(node, cls):
        return dataclasses.replace(known, node=node)
    if not named:
        return known
    top = cls.__qualname__.partition(".")[0]
    bindings = tuple(file.bindings.get(top, ()))
    unnamed = not any(_assigns(each, top) for each in bindings)
    return dataclasses.replace(known, statements=bindings, unnamed=unnamed)


def _assigns(statement: ast.stmt, name: str) -> bool:
    """Return whether a statement binds a name, rather than changing the bound object."""
    nodes = [each for each in ast.walk(statement) if isinstance(each, (ast.Name, ast.alias))]
    names = (each for each in nodes if isinstance(each, ast.Name))
    stored = (each.id for each in names if isinstance(each.ctx, ast.Store))
    imported = (each.asname or each.name for each in nodes if isinstance(each, ast.alias))
    return name in {*stored, *imported}


def _fits(node: ast.ClassDef, cls: type) -> bool:
    """Return whether a class has the definitions of a statement's body."""
    defined = {each.name for each in node.body if isinstance(each, source.DECORATED)}
    return node.name == cls.__name__ and defined <= cls.__dict__.keys()


def _by_functions(cls: type) -> WrittenClass | None:
    """Return the class statement around the functions of a class, under any name."""
    for _, f in functions_of(cls):
        path = f.__code__.co_filename
        if path.startswith("<") or owner_of_function(f) != "user":
            continue
        certain = function_source(path, f.__code__)
        node = certain[0].classes_around.get(id(certain[1])) if certain else None
        if certain and node is not None and node.name == cls.__name__:
            module = str(f.__globals__.get("__name__", "?"))
            return WrittenClass(module, f.__globals__, path, certain[0], node)
    return None


class Members:
    """The attributes of one class of the user's."""

    def __init__(self, walk: Walk, cls: type, body: CodeUnit, written: WrittenClass) -> None:
        self._walk = walk
        self._cls = cls
        self._body = body
        self._written = written
        self._of_framework = _is_of_framework(cls, written)
        generated = dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")
        self._generated = generated or (issubclass(cls, tuple) and hasattr(cls, "_fields"))

    def follow(self, held: dict[str, str]) -> frozenset[str]:
        """Follow the attributes; return the names of those that hold data."""
        members = self._enumeration(held)
        taken = set(members)
        for name, value in sorted(self._cls.__dict__.items()):
            if name in BOOKKEEPING or name in members:
                continue
            if issubclass(self._cls, enum.Enum) and (
                not isinstance(value, CODE_TYPES)
                or (isinstance(value, type) and name.startswith("_"))
            ):
                continue
            if isinstance(value, CODE_TYPES):
                self._code(name, value, held)
            elif type(value).__name__ != "_tuplegetter" and self._data(name, value, held):
                taken.add(name)  # A `_tuplegetter` is the field of a named tuple.
        return frozenset(taken)

    def _enumeration(self, held: dict[str, str]) -> Mapping[str, Any]:
        cls: Any = self._cls
        members = dict(cls.__members__) if issubclass(cls, enum.Enum) else {}
        for name, member in members.items():
            self._walk.witness.name(vars(member), "_value_")
            held[name] = self._constant(name, member._value_)
        if members:
            held["members"] = repr(list(members))
        return members

    def _code(self, name: str, value: Any, held: dict[str, str]) -> None:
        inner = getattr(value, "__func__", value)
        path = getattr(getattr(inner, "__code__", None), "co_filename", "")
        if self._generated and path.startswith(_GENERATED):
            return
        if not self._of_framework or name in self._written.assigned:
            held[name] = self._walk.code(value)
            return
        home = getattr(inner, "__globals__", {}).get("__name__", "")
        if path.startswith("<") and location_named(str(home)).owner != "user":
            return
        try:
            held[name] = self._walk.code(value)
        except NoFingerprintError:
            if not path or owner_of_function(inner) == "user":
                raise

    def _data(self, name: str, value: Any, held: dict[str, str]) -> bool:
        """Count an attribute by its value; return False if it does not, or by its statement."""
        assigned = name in self._written.assigned
        library = owner_of_class(type(value)) == "installed" and not array_handler(type(value))
        if assigned and library and (self._of_framework or name in self._written.defined):
            return self._defined(name, held)
        own = assigned or not self._of_framework
        if not own and (name.startswith("__") or library or not self._is_plain(value)):
            return False
        try:
            held[name] = self._constant(name, value)
        except NoFingerprintError:
            # What a metaclass or decorator of a library put there, it can answer for.
            if assigned or (self._written.node is None and not self._of_framework):
                raise
        return True

    def _defined(self, name: str, held: dict[str, str]) -> bool:
        """Count a library's wrapper of a function by the function's statement."""
        node = self._written.defined.get(name)
        if node is not None:
            shown = f"{self._body.shown}.{name}()"
            body = dataclasses.replace(self._body, shown=shown)
            held[name] = follow_statement(self._walk, node, body)
        return False

    def _is_plain(self, value: Any) -> bool:
        """Return whether a value holds nothing of a library's."""
        found: list[type] = []
        try:
            Encoder(lambda code: "", found.append).encode(value)
        except (Unstable, RecursionError):
            return False
        return all(owner_of_class(cls) in ("user", "missing") for cls in found)

    def _constant(self, name: str, value: Any) -> str:
        location = written_in_class(self._cls, name)
        shown = f"{self._body.shown}.{name}"
        return self._walk.constant_part(value, shown, self._body.namespace, *location)


def _is_of_framework(cls: type, written: WrittenClass) -> bool:
    """Return whether a library had a hand in making a class: by a base, metaclass or decorator."""
    made_by = [*type.mro(type(cls))[:-2], *cls.__mro__[1:]]
    if any(owner_of_class(each) == "installed" for each in made_by):
        return True
    decorators = written.node.decorator_list if written.node else ()
    values = (written.namespace.get(root_of(each)) for each in decorators)
    return any(owner_of(value) == "installed" for value in values)


def follow_class(walk: Walk, cls: type) -> str:
    """Return the token of a class, and follow it, at once or later in the walk."""
    token = f"{cls.__module__}:{cls.__qualname__}"
    walk.tokens[id(cls)] = token
    if not isinstance(cls.__module__, str):
        return _described(walk, cls)
    owner = owner_of_class(cls)
    if owner in LIBRARIES:
        walk.home(cls.__module__)
        return _of_library(walk, cls, token)
    if owner == location_named(cls.__module__).owner:
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
    walk.witness.class_(cls)
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
    walk.witness.class_(cls)
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
        fields = cls.__dict__.get("__dataclass_fields__", {})
        held |= follow_names(walk, _reads(written, {*taken, *fields}), body)
    if written.unnamed:
        # Its file made it without naming it, such as the messages of a protocol.
        walk.static.whole(location_named(cls.__module__))
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

    The values of the names in `taken` count by themselves, not by the statements that bind them.
    """
    node = written.node
    if node is None:
        return reads_of(written.statements)
    plain = [each for each in node.body if not isinstance(each, source.DECORATED)]
    marks = [each.annotation for each in plain if isinstance(each, ast.AnnAssign)]
    others = [each for each in plain if not bound_by(each) or not bound_by(each) <= set(taken)]
    return reads_of([*node.decorator_list, *node.keywords, *marks, *others])


def _annotations(walk: Walk, cls: type, shown: str) -> dict[str, str]:
    """Return the annotations of a class without a known statement, where they matter."""
    held = {}
    with contextlib.suppress(Exception):  # Evaluating them runs the code in them.
        for name, mark in inspect.get_annotations(cls).items():
            with contextlib.suppress(NoFingerprintError):
                held[f"annotation {name}"] = walk.value(mark, shown)
    return held


def _fields(walk: Walk, cls: type, shown: str) -> dict[str, str]:
    held = {"dataclass": repr(getattr(cls, "__dataclass_params__", None))}
    fields: dict[str, dataclasses.Field[Any]] = getattr(cls, "__dataclass_fields__", {})
    for i, (name, field) in enumerate(fields.items()):
        named = getattr(field.type, "__name__", type(field.type).__name__)
        kind = field.type if isinstance(field.type, str) else named
        flags = (field.init, field.repr, field.hash, field.compare)
        texts = [str(i), str(kind), repr(flags), repr(getattr(field, "kw_only", None))]
        for value in (field.default, field.default_factory):
            missing = value is dataclasses.MISSING
            texts.append("" if missing else walk.value(value, f"{shown}.{name}"))
        texts.append(walk.digest(dict(field.metadata), f"{shown}.{name}"))
        held[f"field {name}"] = walk.mask.digest(name, field.default, digest_of(*texts))
    return held
