"""Bytecode: the meaning of a function without a certain source."""

from __future__ import annotations

import dis
from collections.abc import Callable
from types import CodeType
from typing import Any

from memoflow.fingerprint.parts import digest_of
from memoflow.fingerprint.reads import Chain, Import, NamesRead

# There for the interpreter's sake or for tracing: they come and go with lines and versions.
_NOISE = frozenset({"NOP", "CACHE", "EXTENDED_ARG", "RESUME", "PRECALL"})
_LABELS = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")


def bytecode_digest(code: CodeType, constant: Callable[[Any], str]) -> str:
    """Digest a code object without line numbers, docstrings and layout."""
    return digest_of(*_texts(code, constant))


def _texts(code: CodeType, constant: Callable[[Any], str]) -> list[str]:
    kept = _instructions(code)
    ordinals = {instruction.offset: i for i, instruction in enumerate(kept)}
    flags = code.co_flags & ~0x4000000  # whether there is a docstring, since Python 3.14
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, flags
    arguments = sum(counts[:3:2]) + bool(flags & 4) + bool(flags & 8)
    texts = [repr((code.co_name, counts, code.co_varnames[:arguments], code.co_freevars))]
    texts.append(code.co_exceptiontable.hex() if hasattr(code, "co_exceptiontable") else "")
    for instruction in kept:
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
    return texts


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
        if instruction.opname in _GLOBALS:
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
