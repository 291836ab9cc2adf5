"""Cells: the names that a notebook's cell sets, and those that it reads of the notebook.

A cell binds names of the notebook, so that to Python each name in it is a global. As a function its
own names are local, and only what was there before the cell decides its results.
"""

from __future__ import annotations

import ast
import copy
import linecache
import re
import types
from collections.abc import Iterable, Sequence
from typing import Any

from memoflow.fingerprint.reads import reads_of, set_by
from memoflow.names import Digest

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOKING_UP = frozenset({"eval", "exec", "globals", "locals"})
_LEAVING = (ast.Raise, ast.Break, ast.Continue)


class Cell:
    """The syntax of one cell, and the names of its variables by their use.

    `results` are read at its end. `sets` are the names that it binds, `names` all that it mentions,
    `reads_first` those that it sets and may read before, and `starts_unset` those that a loop, a
    `with` or a `:=` may have bound where they are read.
    """

    def __init__(self, tree: ast.Module, results: Sequence[str]) -> None:
        self.tree = tree
        self._end: list[ast.stmt] = ast.parse(f"({', '.join(results)},)").body
        self.sets = frozenset().union(*map(set_by, tree.body))
        flow = _Flow()
        flow.block([*tree.body, *self._end])
        self.reads_first = frozenset(flow.first & self.sets)
        self.starts_unset = frozenset((flow.perhaps & self.sets) - flow.first)

    @property
    def names(self) -> set[str]:
        found = {each.id for each in ast.walk(self.tree) if isinstance(each, ast.Name)}
        return found | self.sets

    @property
    def looks_up(self) -> set[str]:
        """The functions that it uses to find variables by names which no syntax shows."""
        return self.names & _LOOKING_UP

    @property
    def names_in_texts(self) -> set[str]:
        """The names that texts may ask for: `table.query("x > @limit")`, `!ls {folder}`."""
        marks = "@$\\{" if "get_ipython" in self.names else "@"
        inner = (each.value for each in ast.walk(self.tree) if isinstance(each, ast.Constant))
        texts = (each for each in inner if isinstance(each, str))
        return {name for each in texts for name in re.findall(rf"[{marks}]\s*([^\W\d]\w*)", each)}

    @property
    def defines(self) -> bool:
        """True if it defines a function or class, which no other process could import."""
        return any(isinstance(each, (*_FUNCTIONS, ast.ClassDef)) for each in ast.walk(self.tree))

    def function(self, name: str, namespace: dict[str, Any]) -> types.FunctionType:
        """Return a function for a fingerprint: its code is the cell's, its own names are local.

        SyntaxError for a cell that can be no function, such as one with `from x import *`.
        """
        body = [each for each in self.tree.body if not _is_future(each)]
        asked = sorted((self.names_in_texts - self.sets) & namespace.keys())
        body += ast.parse("\n".join(f"({name},)" for name in asked)).body
        declared = [ast.Global(sorted(self.reads_first))] if self.reads_first else []
        made: Any = ast.parse(f"def {name}(): pass")
        made.body[0].body = [*declared, *copy.deepcopy(body), *self._end]
        text = ast.unparse(ast.fix_missing_locations(made)) + "\n"
        path = f"<{name} {Digest.of(text.encode()).hex[:16]}>"
        # Where a fingerprint looks for the text of code that no file has.
        linecache.cache[path] = len(text), None, text.splitlines(keepends=True), path
        scope: dict[str, Any] = {}
        exec(compile(text, path, "exec", dont_inherit=True), scope)
        return types.FunctionType(scope[name].__code__, namespace, name)


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


class _Flow:
    """The names that are bound at each statement, in the order of a run.

    `bound` is None where nothing runs any more, as after `raise`.
    """

    def __init__(self) -> None:
        self.bound: frozenset[str] | None = frozenset()
        self.first: set[str] = set()
        self.perhaps: set[str] = set()  # read where only a block may have bound them
        self._blocks: set[str] = set()
        self._later: dict[str, set[str]] = {}  # what functions read once they are called

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for each in statements:
            self._statement(each)

    def _statement(self, node: ast.stmt) -> None:
        visit = getattr(self, f"visit_{type(node).__name__.lower().removeprefix('async')}", None)
        if visit is not None:
            visit(node)
            return
        self._read([node])
        self._bind(set_by(node) - _walruses([node]))
        if isinstance(node, _LEAVING):
            self.bound = None

    def _read(self, nodes: Sequence[ast.AST]) -> None:
        # `a and (b := c)` may bind b or not.
        self._blocks |= _walruses(nodes) - (self.bound or frozenset())
        self._read_all({chain[0] for chain in reads_of(nodes).names})

    def _read_all(self, names: set[str]) -> None:
        todo, seen = set(names), set[str]()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo |= self._later.get(name, set())
        if self.bound is not None:
            unbound = seen - self.bound
            self.perhaps |= unbound & self._blocks
            self.first |= unbound - self._blocks

    def _bind(self, names: Iterable[str]) -> None:
        if self.bound is not None:
            self.bound |= set(names)

    def visit_functiondef(self, node: Any) -> None:
        defaults = [each for each in (*node.args.defaults, *node.args.kw_defaults) if each]
        self._read([*node.decorator_list, *defaults])
        reads = {chain[0] for chain in reads_of([node]).names} - {node.name}
        if node.decorator_list:  # It may be called at once.
            self._read_all(reads)
        self._later[node.name] = reads
        self._bind([node.name])

    def visit_classdef(self, node: ast.ClassDef) -> None:
        bare = copy.copy(node)
        bare.body = [each for each in node.body if not isinstance(each, _FUNCTIONS)]
        self._read([bare])
        self._later[node.name] = {chain[0] for chain in reads_of([node]).names} - {node.name}
        self._bind([node.name])

    def visit_delete(self, node: ast.Delete) -> None:
        names = set_by(node)
        self._read([node])
        self._read_all(names)
        if self.bound is not None:
            self.bound -= names

    def visit_augassign(self, node: ast.AugAssign) -> None:
        self._read([node])
        self._bind(set_by(node))

    def visit_annassign(self, node: ast.AnnAssign) -> None:
        self._read([node])
        if node.value is not None:
            self._bind(set_by(node))

    def visit_if(self, node: ast.If) -> None:
        self._read([node.test])
        before = self.bound
        self.block(node.body)
        after, self.bound = self.bound, before
        self.block(node.orelse)
        self.bound = _join([after, self.bound])

    def visit_for(self, node: Any) -> None:
        self._read([node.iter])
        before = self.bound
        self._bind(set_by(ast.Assign([node.target], ast.Constant(None))))
        self._loop(node, before)

    def visit_while(self, node: ast.While) -> None:
        self._read([node.test])
        self._loop(node, self.bound)

    def _loop(self, node: Any, before: frozenset[str] | None) -> None:
        self.block(node.body)
        self._blocks |= set_by(node) - (before or frozenset())
        self.bound = before
        self.block(node.orelse)
        self.bound = before

    def visit_with(self, node: Any) -> None:
        for item in node.items:
            self._read([item.context_expr])
            if item.optional_vars is not None:
                self._bind(set_by(ast.Assign([item.optional_vars], ast.Constant(None))))
        before = self.bound
        self.block(node.body)
        # It may suppress the error that ended its block.
        self._blocks |= set_by(node) - (before or frozenset())
        self.bound = before

    def visit_try(self, node: Any) -> None:
        before = self.bound
        self.block(node.body)
        self.block(node.orelse)
        ends = [self.bound]
        for handler in node.handlers:
            self.bound = before
            self._read([handler.type] if handler.type else [])
            self._bind([handler.name] if handler.name else [])
            self.block(handler.body)
            if self.bound is not None and handler.name:
                self.bound -= {handler.name}
            ends.append(self.bound)
        after = _join(ends)
        self.bound = before
        self.block(node.finalbody)
        if after is not None and self.bound is not None:
            after |= self.bound
        self.bound = None if self.bound is None else after

    visit_trystar = visit_try

    def visit_match(self, node: ast.Match) -> None:
        self._read([node.subject])
        before = self.bound
        ends = [before]
        for case in node.cases:
            self.bound = before
            self._read([case.pattern])
            self._bind(_captures(case.pattern))
            self._read([case.guard] if case.guard else [])
            self.block(case.body)
            ends.append(self.bound)
        last = node.cases[-1]
        is_caught = isinstance(last.pattern, ast.MatchAs) and not last.pattern.pattern
        self.bound = _join(ends[1:] if is_caught and not last.guard else ends)


def _join(states: list[frozenset[str] | None]) -> frozenset[str] | None:
    """Return the names that are bound in all states; None if nothing runs in any."""
    known = [each for each in states if each is not None]
    return frozenset.intersection(*known) if known else None


def _walruses(nodes: Iterable[ast.AST]) -> set[str]:
    inner = (each for node in nodes for each in ast.walk(node))
    return {each.target.id for each in inner if isinstance(each, ast.NamedExpr)}


def _captures(pattern: ast.pattern) -> set[str]:
    names = (getattr(each, "name", getattr(each, "rest", None)) for each in ast.walk(pattern))
    return {name for name in names if isinstance(name, str)}
