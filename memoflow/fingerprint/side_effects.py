"""Side effects: the top-level statements of a module that may do more than bind a name.

A registry may be filled by a decorator, a base class, a call or an item set on another name for
it. Which of them do cannot be told from the files, so all that might count.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

# Given the dotted name of what is called, as written: ("stdlib", "dataclasses.field"), or "user",
# "installed", "builtin" or "" as owner.
Resolve = Callable[[ast.expr], tuple[str, str]]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_PURE = frozenset(
    {
        "collections.namedtuple", "dataclasses.field", "enum.auto", "functools.partial",
        "logging.getLogger", "pathlib.Path", "re.compile", "typing.NewType", "typing.ParamSpec",
        "typing.TypeVar",
    }
)  # fmt: skip
# Calls that stand alone and do not change results.
_TELLING = frozenset({"logging", "print", "warnings"})
_COMPUTED = (ast.UnaryOp, ast.BinOp, ast.JoinedStr)
_BLOCKS = (ast.If, ast.Try, *([ast.TryStar] if hasattr(ast, "TryStar") else []))


def side_effects_of(body: Iterable[ast.stmt], resolve: Resolve) -> Iterator[ast.stmt]:
    """Yield the statements of a module or class body that may act on something."""
    known: set[str] = set()
    for statement in body:
        if not _plain(statement, resolve, frozenset(known)):
            yield statement
        if isinstance(statement, _FUNCTIONS):
            known.add(statement.name)


def _plain(statement: ast.stmt, resolve: Resolve, known: frozenset[str]) -> bool:
    """Return whether a statement only binds names; `known` are the functions before it."""
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass, ast.Global)):
        return True
    if isinstance(statement, _FUNCTIONS):
        arguments = statement.args
        evaluated = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
        marks = [each.annotation for each in every] + [statement.returns]
        return (
            all(_decorates(each, resolve, known) for each in statement.decorator_list)
            and all(_value(each, resolve) for each in evaluated)
            and not any(_calls(each) for each in marks if each is not None)
        )
    if isinstance(statement, ast.ClassDef):
        return (
            all(_decorates(each, resolve, known) for each in statement.decorator_list)
            and not any(_is_users(each, resolve) for each in statement.bases)
            and all(_value(each.value, resolve) for each in statement.keywords)
            and not any(_is_users(each.value, resolve) for each in statement.keywords)
            and not any(side_effects_of(statement.body, resolve))
        )
    if isinstance(statement, ast.Assign):
        names = all(_is_target(each) for each in statement.targets)
        return names and _value(statement.value, resolve)
    if isinstance(statement, ast.AnnAssign):
        valued = statement.value is None or _value(statement.value, resolve)
        return _is_target(statement.target) and valued and not _calls(statement.annotation)
    if isinstance(statement, ast.Delete):
        return all(isinstance(each, ast.Name) for each in statement.targets)
    if isinstance(statement, ast.Expr):
        return _value(statement.value, resolve) or _tells(statement.value, resolve)
    if isinstance(statement, _BLOCKS):
        test = getattr(statement, "test", None)
        inner: list[ast.stmt] = [*statement.body, *statement.orelse]
        inner += getattr(statement, "finalbody", [])
        for handler in getattr(statement, "handlers", []):
            inner += handler.body
        inside = all(isinstance(each, ast.Raise) or _plain(each, resolve, known) for each in inner)
        return inside and (test is None or not _calls(test))
    return False


def _decorates(node: ast.expr, resolve: Resolve, known: frozenset[str]) -> bool:
    """Return whether a decorator only wraps its function."""
    function = node.func if isinstance(node, ast.Call) else node
    owner, dotted = resolve(function)
    if dotted.partition(".")[0] in known and dotted.endswith((".setter", ".getter", ".deleter")):
        return True
    if isinstance(node, ast.Call) and not _is_given_values(node, resolve):
        return False
    return owner in ("stdlib", "builtin") and not dotted.endswith("register")


def _is_users(node: ast.expr, resolve: Resolve) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Constant):
        return False
    return resolve(node)[0] not in ("stdlib", "builtin", "installed")


def _is_target(node: ast.expr) -> bool:
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(_is_target(each) for each in node.elts)
    return isinstance(node, ast.Name)


def _value(node: ast.expr | None, resolve: Resolve) -> bool:
    """Return whether to evaluate an expression runs no code that could act."""
    if node is None or isinstance(node, (ast.Constant, ast.Name)):
        return True
    if isinstance(node, ast.Lambda):
        return all(_value(each, resolve) for each in (*node.args.defaults, *node.args.kw_defaults))
    if isinstance(node, (ast.Attribute, ast.Tuple, ast.List, ast.Set, ast.Dict)):
        inner = (each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr))
        return all(_value(each, resolve) for each in inner)
    if isinstance(node, _COMPUTED):
        inner = (each for each in ast.walk(node) if isinstance(each, ast.expr))
        return all(isinstance(each, (*_COMPUTED, ast.Constant)) for each in inner)
    if isinstance(node, ast.Call):
        owner, dotted = resolve(node.func)
        return owner == "stdlib" and dotted in _PURE and _is_given_values(node, resolve)
    if isinstance(node, ast.Subscript):
        return resolve(node.value)[0] in ("stdlib", "builtin") and not _calls(node)
    return False


def _calls(node: ast.AST) -> bool:
    return any(isinstance(each, (ast.Call, ast.NamedExpr, ast.Await)) for each in ast.walk(node))


def _tells(node: ast.expr, resolve: Resolve) -> bool:
    """Return whether a statement only prints or logs values without side effects."""
    if not isinstance(node, ast.Call):
        return False
    owner, dotted = resolve(node.func)
    quiet = owner in ("stdlib", "builtin") and dotted.partition(".")[0] in _TELLING
    return quiet and _is_given_values(node, resolve)


def _is_given_values(node: ast.Call, resolve: Resolve) -> bool:
    given = [*node.args, *(each.value for each in node.keywords)]
    return all(_value(each, resolve) for each in given)
