"""Literals: texts in code bound to names of passwords, masked for people.

Bound by assignment, keyword, default, key of a dict, comparison or argument beside the name; what
a function or class of such a name holds; and whatever text has a password in a URL or header.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import Any

from memoflow.masking import ANY, MASK, Mask, without_passwords

# A text that has none of these binds no password, and is not parsed.
_SUSPECT = (
    r"(?i)://|pass|pwd|\bpw|psw|secret|token|key|cred|auth|bearer|basic|cookie|jwt|dsn|conn|pem"
    r"|webhook|pin|otp|sas|AKIA|ASIA|gh[pousr]_|glpat-|hf_|sk[-_]|xox|AIza|eyJ"
)
_LOOKUPS = frozenset({"get", "getenv", "pop", "getattr", "getpass"})
_SHORTEST = 4  # characters of a password that is masked wherever else it stands


def masked(text: str, mask: Mask = ANY, *, whole: bool = False) -> str:
    """Return statements as text with the passwords in them masked; all literals if `whole`."""
    if not text:
        return text
    names = frozenset(mask.names)
    if whole or re.search(_SUSPECT, text) or any(name in text.lower() for name in names):
        return _masked(text, names, whole)
    return text


def kept(text: str, digest: str, mask: Mask = ANY) -> str:
    """Return the digest of code as it may be kept: keyed if its text has passwords in it."""
    return digest if masked(text, mask) == text else mask.keyed(digest)


@lru_cache(maxsize=2048)
def _masked(text: str, names: frozenset[str], whole: bool) -> str:
    tree, offset = _parsed(text)
    if tree is None:
        return _without_tree(text, Mask(names))
    found = _Passwords(Mask(names))
    if whole:
        found.hide(tree)
    found.visit(tree)
    lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
    spans = _Spans(lines, offset)
    hidden: set[str] = set()
    for node in found.nodes:
        spans.mask(node)
        hidden |= _values(node)
    for node in found.texts:
        spans.rewrite(node)
    result = spans.text
    for value in sorted(hidden, key=len, reverse=True):
        # In a comment, for instance.
        if len(value) >= _SHORTEST and value not in MASK:
            result = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, result)
    return "\n".join(map(_comment, result.split("\n")))


def _parsed(text: str) -> tuple[ast.AST | None, int]:
    """Return the syntax of statements, however far they are indented, and the lines before it."""
    is_indented = text[:1] in (" ", "\t")
    for before, after in (("if 1:\n" if is_indented else "", ""), ("if 1:\n", "\n{}pass")):
        indent = re.match(r"[ \t]*", text)
        within = f"{indent[0] if indent else ''}    "
        try:
            found = ast.parse(f"{before if is_indented else ''}{text}{after.format(within)}")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return found, int(is_indented)
    return None, 0


def _without_tree(text: str, mask: Mask) -> str:
    """Return code that cannot be parsed, without any literal on a line that names a password."""
    lines = []
    for line in text.split("\n"):
        names = re.findall(r"[A-Za-z_][\w-]*", line)
        if any(mask.hides(name) for name in names):
            line = re.sub(r"('''|\"\"\"|'|\").*(\1|$)", f'"{MASK}"', line)
        lines.append(without_passwords(line, pairs=False))
    return "\n".join(lines)


def _comment(line: str) -> str:
    """Return a line of code with the passwords in its comment masked."""
    code, sign, comment = line.partition("#")
    if not sign or code.count('"') % 2 or code.count("'") % 2:
        return line
    return f"{code}#{without_passwords(comment)}"


def _values(node: ast.AST) -> set[str]:
    values = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return {_as_text(each) for each in values if isinstance(each, (str, bytes))}


class _Spans:
    """Lines of code in which literals are replaced; lines stay where they are."""

    def __init__(self, lines: list[bytes], offset: int) -> None:
        self._lines = lines
        self._offset = offset
        self._edits: dict[tuple[int, int], tuple[int, int, bytes]] = {}

    def mask(self, node: ast.expr) -> None:
        self._replace(node, f'"{MASK}"')

    def rewrite(self, node: ast.expr) -> None:
        """Mask the passwords in a literal's text, where it has any."""
        first, start, last, end = self._place(node)
        lines = self._lines[first : last + 1]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][start:]
        raw = b"\n".join(lines).decode("utf-8", "surrogatepass")
        clean = without_passwords(raw)
        if clean != raw:
            if clean.count("\n") != raw.count("\n"):
                clean = f'"{MASK}"'
            self._replace(node, clean)

    def _replace(self, node: ast.expr, text: str) -> None:
        first, start, last, end = self._place(node)
        if 0 <= first <= last < len(self._lines):
            known = self._edits.get((first, start))
            if known is None or known[:2] < (last, end):
                self._edits[first, start] = last, end, text.encode("utf-8", "surrogatepass")

    def _place(self, node: ast.expr) -> tuple[int, int, int, int]:
        last = node.end_lineno or node.lineno
        at = self._offset + 1
        return node.lineno - at, node.col_offset, last - at, node.end_col_offset or 0

    @property
    def text(self) -> str:
        lines = list(self._lines)
        covered = (len(lines), 0)
        for (first, start), (last, end, text) in sorted(self._edits.items(), reverse=True):
            if (last, end) > covered:
                continue  # Within another one that is replaced as a whole.
            new = text.split(b"\n")
            new += [b""] * (last - first + 1 - len(new))
            new[0] = lines[first][:start] + new[0]
            new[-1] += lines[last][end:]
            lines[first : last + 1] = new
            covered = (first, start)
        return b"\n".join(lines).decode("utf-8", "surrogatepass")


class _Passwords(ast.NodeVisitor):
    """Collects the literals that are passwords, and those that may have one in them."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.nodes: list[ast.expr] = []
        self.texts: list[ast.expr] = []

    def visit(self, node: ast.AST) -> None:
        """Look at a node, and then at those inside it."""
        look = getattr(self, f"visit_{type(node).__name__}", None)
        if look is not None:
            look(node)
        if not isinstance(node, ast.JoinedStr):
            self.generic_visit(node)

    def hide(self, value: ast.AST | None, name: str = "") -> None:
        """Take all literals in a value for passwords, but for the names that it looks up."""
        if value is None:
            return
        if isinstance(value, ast.JoinedStr):
            self.nodes.append(value)
        elif isinstance(value, ast.Constant):
            if isinstance(value.value, (str, bytes, int, float, complex)):
                is_asked = not name or self._mask.hides(name, value.value)
                self.nodes += [value] if is_asked else []
        elif isinstance(value, ast.Subscript):
            self.hide(value.value, name)
        elif isinstance(value, ast.Call):
            has_key = any(isinstance(each, ast.Constant) for each in value.args[:1])
            looks_up = _called(value) in _LOOKUPS and has_key
            for each in value.args[1:] if looks_up else value.args:
                self.hide(each, name)
            for keyword in value.keywords:
                self.hide(keyword.value, name)
        else:
            for child in ast.iter_child_nodes(value):
                self.hide(child, name)

    def _hide_named(self, name: str | None, *values: ast.AST | None) -> None:
        """Take the literals in values for passwords if they have the name of one."""
        if name and self._mask.hides(name):
            for each in values:
                self.hide(each, name)

    def _bind(self, target: ast.AST | None, value: ast.AST | None) -> None:
        if not isinstance(target, (ast.Tuple, ast.List)):
            self._hide_named(_name(target), value)
            return
        values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
        if len(values) != len(target.elts):
            values = [value] * len(target.elts)  # type: ignore[list-item]
        for one, other in zip(target.elts, values, strict=True):
            self._bind(one, other)

    def _visit_binding(self, node: Any) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._bind(target, node.iter if hasattr(node, "iter") else node.value)

    visit_Assign = visit_AnnAssign = visit_AugAssign = visit_NamedExpr = _visit_binding
    visit_For = visit_comprehension = _visit_binding

    def visit_keyword(self, node: ast.keyword) -> None:
        self._hide_named(node.arg, node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            self._hide_named(_name(key), value)

    def visit_arguments(self, node: ast.arguments) -> None:
        plain = [*node.posonlyargs, *node.args]
        values = [*zip(plain[len(plain) - len(node.defaults) :], node.defaults, strict=True)]
        for argument, value in [*values, *zip(node.kwonlyargs, node.kw_defaults, strict=True)]:
            self._hide_named(argument.arg, value)

    def visit_Call(self, node: ast.Call) -> None:
        called = _called(node)
        if called not in _LOOKUPS:
            self._hide_named(called, node)  # `set_password("x")`, `Secret("x")`
        self._beside([*node.args, *(each.value for each in node.keywords if each.arg != "help")])

    def visit_Tuple(self, node: ast.Tuple) -> None:
        self._beside(node.elts)

    def visit_List(self, node: ast.List) -> None:
        # `["tool", "--password", "x"]`; in other lists a name is one among names.
        for before, after in zip(node.elts, node.elts[1:], strict=False):
            if _name(before).startswith("-"):
                self._beside([before, after])

    def _beside(self, values: list[ast.expr]) -> None:
        """Mask the argument after a name: `setdefault("X_TOKEN", "x")`."""
        for i, value in enumerate(values):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                name = value.value
                if re.fullmatch(r"-{0,2}[A-Za-z_][\w.-]*", name) and self._mask.hides(name):
                    for each in values[i + 1 :]:
                        self.hide(each, name)
                    return

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        names = [_name(each, texts=False) for each in sides]
        self._hide_named(next((each for each in names if self._mask.hides(each)), ""), *sides)

    def visit_Match(self, node: ast.Match) -> None:
        self._hide_named(_name(node.subject, texts=False), *(each.pattern for each in node.cases))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if self._mask.hides(node.name):
            for each in ast.walk(node):
                if isinstance(each, (ast.Return, ast.Yield)):
                    self.hide(each.value, node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bound = [each for each in node.body if isinstance(each, (ast.Assign, ast.AnnAssign))]
        self._hide_named(node.name, *(each.value for each in bound))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        # What is inside has no place of its own before Python 3.12.
        inner = _Passwords(self._mask)
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                inner.visit(each.value)
        (self.nodes if inner.nodes else self.texts).append(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, (str, bytes)):
            self.texts.append(node)


def _name(node: ast.AST | None, *, texts: bool = True) -> str:
    """Return the name by which something is bound or asked for, "" if it has none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.slice) or _name(node.value, texts=texts)
    if isinstance(node, ast.Starred):
        return _name(node.value, texts=texts)
    if isinstance(node, ast.Call):
        first = node.args[0] if node.args and _called(node) in _LOOKUPS else node.func
        return _name(first) if first is not node.func else _name(first, texts=texts)
    if texts and isinstance(node, ast.Constant):
        return _as_text(node.value)
    return ""


def _as_text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _called(node: ast.Call) -> str:
    return _name(node.func, texts=False)
