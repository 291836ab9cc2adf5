"""Code units: pieces of reached code, each with the namespaces that resolve its names."""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Mapping
from typing import Any

from memoflow.dataclass import dataclass

MISSING = object()


@dataclass(frozen=True)
class CodeUnit:
    """A piece of code: its namespace for names, and its label for people."""

    shown: str
    module: str
    namespace: Mapping[str, Any]
    cells: Mapping[str, Any]
    path: str
    where: str
    lenient: bool = False  # about names that mean nothing
    within: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )  # what the class around it defines

    @property
    def file(self) -> str:
        return os.path.basename(self.path)

    def named(self, name: str) -> str:
        return dotted(self.module, name)


def meanings(held: Mapping[str, str]) -> str:
    """Return the meaning of each name as text: the source of a part of the kind "names"."""
    return "\n".join(f"{name}\t{token!r}" for name, token in sorted(held.items()))


def dotted(module: str, name: str) -> str:
    return name if module == "__main__" else f"{module}.{name}"


def cells_of(f: types.FunctionType) -> dict[str, Any]:
    cells = {}
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            cells[name] = MISSING
    return cells
