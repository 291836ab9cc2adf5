"""Functions: the code, closure and defaults of a function that is reached.

Its bytecode stands for it where no source is certain.
"""

from __future__ import annotations

import ast
import copy
import dis
import functools
import os
import types
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint.literals import kept
from memoflow.fingerprint.modules import (
    LIBRARIES,
    ModuleLocation,
    find,
    location_named,
    owner_of,
    owner_of_function,
)
from memoflow.fingerprint.name_resolution import (
    CodeUnit,
    cells_of,
    follow_import,
    follow_loaded,
    follow_names,
    meanings,
)
from memoflow.fingerprint.parts import digest_of
from memoflow.fingerprint.reads import Chain, Import, NamesRead, reads_of_function
from memoflow.fingerprint.self_attributes import asked_of_inputs, follow_self
from memoflow.fingerprint.source import Function, function_source, root_of, syntax_digest
from memoflow.fingerprint.transparent import behind
from memoflow.fingerprint.values import CODE_TYPES
from memoflow.fingerprint.walk import Walk

# There for the interpreter's sake or for tracing: they come and go with lines and versions.
_NOISE = frozenset({"NOP", "CACHE", "EXTENDED_ARG", "RESUME", "PRECALL"})
_LABELS = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_OF_CELLS = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_PLAIN = (bool, int, float, str, type(None))
_CLASS_METHODS = frozenset({"__class_getitem__", "__init_subclass__", "__new__"})


def bytecode_digest(code: CodeType, constant: Callable[[Any], str]) -> str:
    """Digest a code object without line numbers, docstrings and layout."""
    instructions = _instructions(code)
    ordinals = {instruction.offset: i for i, instruction in enumerate(instructions)}
    flags = code.co_flags & ~0x4000000  # whether there is a docstring, since Python 3.14
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, flags
    arguments = sum(counts[:3:2]) + bool(flags & 4) + bool(flags & 8)
    texts = [repr((code.co_name, counts, code.co_varnames[:arguments], code.co_freevars))]
    texts.append(code.co_exceptiontable.hex() if hasattr(code, "co_exceptiontable") else "")
    for instruction in instructions:
        texts.append(instruction.opname)
        value = instruction.argval
        if isinstance(value, CodeType):
            texts.append(bytecode_digest(value, constant))
        elif instruction.opcode in dis.hasconst:
            texts.append(constant(value))
        elif instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
            later = (ordinals[offset] for offset in ordinals if offset >= value)
            texts.append(f"to {next(later, 'end')}")
        else:
            texts.append(repr(value))
    return digest_of(*texts)


def _instructions(code: CodeType) -> list[dis.Instruction]:
    instructions = [each for each in dis.get_instructions(code) if each.opname not in _NOISE]
    labels: set[int] = set()
    for i, instruction in enumerate(instructions):
        if instruction.opname == "STORE_NAME" and instruction.argval in _LABELS:
            labels |= {i - 1, i}
    return [each for i, each in enumerate(instructions) if i not in labels]


def bytecode_reads(code: CodeType) -> NamesRead:
    """Return the names that a code object reads; uncertain ones count as read."""
    reads = NamesRead(escapes=True)
    _collect(code, reads)
    reads.names |= {(name,) for name in code.co_freevars}
    return reads


def _collect(code: CodeType, reads: NamesRead) -> None:
    instructions = _instructions(code)
    module: tuple[str, int] = "", 0
    for i, instruction in enumerate(instructions):
        is_free = instruction.opname in _OF_CELLS and instruction.argval in code.co_freevars
        if instruction.opname in _GLOBALS or is_free:
            chain: Chain = (instruction.argval,)
            for following in instructions[i + 1 :]:
                if following.opname not in _ATTRIBUTES:
                    break
                chain = (*chain, following.argval)
            reads.names.add(chain)
            if chain in (("eval",), ("exec",), ("globals",), ("vars",), ("locals",)):
                reads.dynamic = True
        elif instruction.opname == "IMPORT_NAME":
            level, names = instructions[i - 2].argval, instructions[i - 1].argval
            module = instruction.argval, level
            reads.ran.add(Import(*module))
            if not names:
                reads.imports.add(Import(*module))
        elif instruction.opname == "IMPORT_FROM":
            reads.imports.add(Import(*module, instruction.argval))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect(constant, reads)


def follow_function(walk: Walk, f: types.FunctionType) -> str:
    """Return the token of a function, and follow it, at once or later in the walk."""
    walk.witness.function(f)
    module = str(f.__globals__.get("__name__", "?"))
    qualname = _written_name(f)
    if walk.flow:
        qualname = walk.flow.called(module, qualname)
    path = _path(f)
    owner = owner_of_function(f)
    if owner in LIBRARIES:
        token = f"ours:{qualname}" if owner == "ours" else f"{module}:{qualname}"
        if owner == "installed":
            walk.package(ModuleLocation(module, owner, path))
        walk.tokens[id(f)] = token
        return _of_library(walk, f, token)
    token = f"{module}:{qualname}{_other_name(walk, f)}"
    if behind(find(f.__module__, f.__qualname__)) is f:
        walk.tokens[id(f)] = token
        walk.todo.append(lambda: _body(walk, f, token, module, qualname, path))
        return token
    # Two closures share a name: what is in them has to tell them apart.
    walk.tokens[id(f)] = f"cycle {token}"
    token = f"{token}#{_body(walk, f, token, module, qualname, path)}"
    walk.tokens[id(f)] = token
    return token


def _written_name(f: types.FunctionType) -> str:
    """Return the qualified name of a function in its source, below any decorator."""
    known: str | None = getattr(f.__code__, "co_qualname", None)
    if known is not None:
        return known
    # Before Python 3.11 the file alone tells, if the name was changed at all.
    is_changed = hasattr(f, "__wrapped__") or f.__name__ != f.__code__.co_name
    written = function_source(_path(f), f.__code__) if is_changed else None
    return (written[0].qualnames.get(id(written[1])) if written else "") or f.__qualname__


def _other_name(walk: Walk, f: types.FunctionType) -> str:
    """Return the name that a decorator gave a function: one wrapper has it for each it wraps."""
    code, module = f.__code__, str(f.__module__)
    written = _written_name(f)
    plain = f.__qualname__.rpartition(".")[2] == code.co_name
    if module == f.__globals__.get("__name__", "?") and f.__qualname__ == written and plain:
        return ""
    qualname = walk.flow.called(module, f.__qualname__) if walk.flow else f.__qualname__
    return f" as {module}:{qualname}"


def _of_library(walk: Walk, f: types.FunctionType, name: str) -> str:
    """Return the token of a library's function, with the user's code that it holds."""
    held = [getattr(f, "__wrapped__", None), *cells_of(f).values()]
    held += [getattr(f, "registry", None), *(f.__defaults__ or ())]
    tokens = [_held(walk, value) for value in held]
    if not any(tokens):
        return name
    token = walk.tokens[id(f)] = f"{name}({','.join(tokens)})"
    return token


def _held(walk: Walk, value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return ""
    if isinstance(value, CODE_TYPES):
        return walk.code(value)
    if isinstance(value, (dict, types.MappingProxyType)):
        walk.witness.mapping(value)
        items = sorted((_held(walk, k), _held(walk, v)) for k, v in list(value.items()))
        return repr(items) if any(held for _, held in items) else ""
    if isinstance(value, (list, tuple)):
        held = [_held(walk, each) for each in value]
        return repr(held) if any(held) else ""
    module = type(value).__module__
    if module != "builtins" and location_named(module).owner == "user":
        return walk.digest(value, type(value).__qualname__)
    return ""


def _body(
    walk: Walk, f: types.FunctionType, token: str, module: str, qualname: str, path: str
) -> str:
    """Add the parts of a user's function; return a digest of it with its closure."""
    code = f.__code__
    shown = qualname.replace("<locals>.", "")
    where = f"{os.path.basename(path)}:{code.co_firstlineno}"
    if " at 0x" in where:  # Generated, and named by where in memory something is.
        where = ""
    owner = walk.flow.owner(f) if walk.flow else None
    bound = owner is not None and not isinstance(owner.__dict__.get(f.__name__), staticmethod)
    cls = find(f.__module__, f.__qualname__.rpartition(".")[0])
    within: Mapping[str, Any] = vars(cls) if isinstance(cls, type) else {}
    body = CodeUnit(shown, module, f.__globals__, cells_of(f), path, where, within=within)
    made = _made_of(walk, f, path, shown, bound=bound)
    syntax, reads = kept(made.text, made.syntax, walk.mask), made.reads
    walk.add("code", f"{shown}()", digest_of(token, syntax), where, source=made.text)
    follow_import(walk, module, f.__globals__)
    walk.subclasses |= reads.subclasses
    package = str(f.__globals__.get("__package__") or "")
    walk.static.follow(reads, package)
    held = follow_names(walk, reads, body) | follow_loaded(walk, reads, body, package)
    if reads.dynamic:
        walk.static.whole(location_named(module))
    _defaults(walk, f, body, held)
    if isinstance(getattr(f, "__wrapped__", None), CODE_TYPES):
        held["__wrapped__"] = walk.code(f.__wrapped__)  # type: ignore[attr-defined]
    if owner is not None and bound:
        found = owner.__dict__.get(f.__name__)
        of_class = isinstance(found, classmethod) or f.__name__ in _CLASS_METHODS
        follow_self(walk, reads, owner, body, held, of_class=of_class)
    if walk.flow and walk.flow.joins:
        held |= asked_of_inputs(walk, made.node)
    elif owner is None and isinstance(cls, type):
        held["<class>"] = walk.code(cls)
    names = digest_of(token, *(text for pair in sorted(held.items()) for text in pair))
    if held:
        walk.add("names", f"{shown}()", names, where, source=meanings(held))
    return digest_of(syntax, names).hex


@dataclass(frozen=True)
class _Made:
    """The form of a function: its syntax if that is certain, else its bytecode."""

    syntax: str
    reads: NamesRead
    text: str = ""
    node: ast.AST | None = None


def _made_of(walk: Walk, f: types.FunctionType, path: str, shown: str, *, bound: bool) -> _Made:
    written = function_source(path, f.__code__)
    if written is not None:
        file, node = written
        decorators = not (walk.flow and walk.flow.is_body(f))
        node = _without_ours(node, f)
        reads = reads_of_function(node, first=bound, decorators=decorators)
        return _Made(syntax_digest(node, decorators=decorators), reads, file.text(node), node)
    syntax = bytecode_digest(f.__code__, lambda value: walk.digest(value, shown))
    return _Made(syntax, bytecode_reads(f.__code__))


def _without_ours(node: Function, f: types.FunctionType) -> Function:
    """Return the definition of a function without decorators of memoflow: they decide nothing."""
    if isinstance(node, ast.Lambda):
        return node
    kept = [each for each in node.decorator_list if not _is_ours(each, f)]
    if len(kept) == len(node.decorator_list):
        return node
    bare = copy.copy(node)
    bare.decorator_list = kept
    return bare


def _is_ours(decorator: ast.expr, f: types.FunctionType) -> bool:
    value = f.__globals__.get(root_of(decorator))
    while isinstance(value, functools.partial):
        value = value.func
    return value is not None and owner_of(value) == "ours"


def _defaults(walk: Walk, f: types.FunctionType, body: CodeUnit, held: dict[str, str]) -> None:
    code = f.__code__
    values = f.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    for name, value in [*zip(names, values, strict=True), *(f.__kwdefaults__ or {}).items()]:
        if isinstance(value, CODE_TYPES):
            held[f"{name}="] = walk.code(value)
        elif code.co_filename.startswith("<") and owner_of(value) in LIBRARIES[1:]:
            # A library hands its objects to a function that it generates in this way.
            held[f"{name}="] = walk.code(type(value))
        elif type(value) not in _PLAIN or walk.located(value, body.namespace):
            shown = f"{body.shown}.{name}"
            held[f"{name}="] = walk.constant_part(value, shown, body.namespace, body.where)
        else:
            held[f"{name}="] = walk.mask.digest(name, value, repr(value))


def _path(f: types.FunctionType) -> str:
    path = f.__code__.co_filename
    if path.startswith("<") or os.path.isabs(path):
        return path
    home = f.__globals__.get("__file__")
    if isinstance(home, str) and os.path.basename(home) == os.path.basename(path):
        return home
    return os.path.abspath(path)
