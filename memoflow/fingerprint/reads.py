"""Reads: the names that a piece of syntax takes from outside, and its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import field

from memoflow.dataclass import dataclass

Chain = tuple[str, ...]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_DYNAMIC = frozenset({"eval", "exec", "globals", "vars", "locals"})


@dataclass(frozen=True)
class Import:
    """An import: of `name` from `module`, of the module if `name` is None, of all if `*`.

    `module` is absolute if `level` is 0, else as many packages up as `level` says. `chain` are
    the attributes then taken from it.
    """

    module: str
    level: int = 0
    name: str | None = None
    chain: Chain = ()


@dataclass
class NamesRead:
    """The outside names that a piece of code reads.

    `names` are chains such as ("np", "random", "rand"), longest known; `own` are chains of
    attributes read of the first parameter, `of_class` those read of its class, `parents` those
    read of `super()`, and `any_parents` of a `super(...)` that says from where to look. `ran` are
    import statements, `imports` the uses of what they bind. `escapes` says that the first
    parameter went where it cannot be followed, `passed_to` that a method of a named class got it;
    `dynamic` that names are looked up at run time; `guesses` are the packages that modules
    are then imported from ("" if any).
    """

    names: set[Chain] = field(default_factory=set)
    ran: set[Import] = field(default_factory=set)
    imports: set[Import] = field(default_factory=set)
    own: set[Chain] = field(default_factory=set)
    of_class: set[Chain] = field(default_factory=set)
    parents: set[Chain] = field(default_factory=set)
    any_parents: set[Chain] = field(default_factory=set)
    passed_to: set[Chain] = field(default_factory=set)
    escapes: bool = False
    dynamic: bool = False
    guesses: set[str] = field(default_factory=set)
    subclasses: bool = False  # whether classes are asked for those made from them


def reads_of(nodes: Iterable[ast.AST]) -> NamesRead:
    """Return the reads of statements or expressions."""
    reader = _NameVisitor(NamesRead())
    for node in nodes:
        reader.visit(node, _Scope(None))
    return reader.reads


def reads_of_function(node: ast.AST, *, first: bool, decorators: bool) -> NamesRead:
    """Return the reads of a function; with `first`, follow its first parameter."""
    assert isinstance(node, _FUNCTIONS)
    reader = _NameVisitor(NamesRead())
    reader.function(node, _Scope(None), first=first, decorated=decorators)
    return reader.reads


def set_by(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds or deletes in its own scope."""
    scope = _Scope(None)
    _bind(node, scope)
    return scope.bound | set(scope.imports)


def bound_by(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds, deletes or changes in its own scope."""
    names = set_by(node)
    for child in _same_scope(node):
        root = child if not isinstance(getattr(child, "ctx", ast.Load()), ast.Load) else None
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
            if isinstance(root, ast.Name):
                names.add(root.id)
    return names


def imports_in(node: ast.stmt, name: str) -> Iterator[Import]:
    """Yield the imports, also inside blocks, by which a statement binds `name`; stars as well."""
    for child in _same_scope(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            for bound, target in imports_of(child):
                if bound in (name, "*"):
                    yield target


def imports_of(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Yield each name that an import statement binds, and its meaning."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            target = Import(node.module or "", node.level, alias.name)
            yield alias.asname or alias.name, target
        elif alias.asname:
            yield alias.asname, Import(alias.name)
        else:
            yield alias.name.partition(".")[0], Import(alias.name.partition(".")[0])


class _Scope:
    def __init__(self, parent: _Scope | None, *, is_class: bool = False) -> None:
        self.parent = parent
        self.is_class = is_class
        self.bound: set[str] = set()
        self.outer: set[str] = set()  # declared global or nonlocal
        self.imports: dict[str, set[Import]] = {}
        self.first: str | None = None
        self.rest: str | None = None

    def find(self, name: str) -> _Scope | None:
        """Return the scope that binds a name which is read in this one."""
        scope: _Scope | None = self
        while scope is not None:
            # What a class body binds may still be read from outside before: `SCALE = SCALE`.
            if name in scope.imports and (scope is self or not scope.is_class):
                return scope
            if name in scope.bound and name not in scope.outer and not scope.is_class:
                return scope
            scope = scope.parent
        return None


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and its descendants in the same scope."""
    yield node
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        return
    for child in ast.iter_child_nodes(node):
        yield from _same_scope(child)


def _bind(node: ast.AST, scope: _Scope) -> None:
    """Record the names that a node binds in its scope."""
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        if not isinstance(node, ast.Lambda):
            scope.bound.add(node.name)
        for outside in _outside(node):
            _bind(outside, scope)
        return
    if isinstance(node, _COMPREHENSIONS):
        # Only a walrus binds outside of a comprehension.
        walruses = (child for child in ast.walk(node) if isinstance(child, ast.NamedExpr))
        scope.bound.update(child.target.id for child in walruses)
        return
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            scope.bound.add(node.id)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for bound, target in imports_of(node):
            scope.imports.setdefault(bound, set()).add(target)
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        scope.outer.update(node.names)
    else:
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        # An exception handler or a capture pattern; the name of a `type` statement is a Name.
        if isinstance(name, str) and not isinstance(node, ast.alias):
            scope.bound.add(name)
    for child in ast.iter_child_nodes(node):
        _bind(child, scope)


def _outside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a function or class that are evaluated where it is defined."""
    yield from getattr(node, "decorator_list", ())
    if isinstance(node, ast.ClassDef):
        yield from node.bases
        yield from node.keywords
    elif isinstance(node, _FUNCTIONS):
        yield from node.args.defaults
        yield from (default for default in node.args.kw_defaults if default is not None)


def _type_parameters(node: ast.AST) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", ())}


class _NameVisitor:
    def __init__(self, reads: NamesRead) -> None:
        self.reads = reads

    def visit(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, _FUNCTIONS):
            self.function(node, scope)
        elif isinstance(node, ast.ClassDef):
            self.class_(node, scope)
        elif isinstance(node, _COMPREHENSIONS):
            self.comprehension(node, scope)
        elif isinstance(node, (ast.Attribute, ast.Name)):
            self.chain(node, scope)
        elif isinstance(node, ast.Call):
            self.call(node, scope)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias, (_, target) in zip(node.names, imports_of(node), strict=True):
                # `import a.b` binds a, and runs a.b as well.
                whole = isinstance(node, ast.Import)
                self.reads.ran.add(Import(alias.name) if whole else target)
        elif isinstance(node, ast.Subscript) and chain_of(node.value) == ("sys", "modules"):
            if isinstance(node.slice, ast.Name) and node.slice.id == "__name__":
                self.reads.dynamic = True
            else:
                self.import_by_name(node.slice)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self.name(node.target.id, (), scope)
            self.visit(node.value, scope)
        elif isinstance(node, ast.AnnAssign) and not scope.is_class:
            self.visit(node.target, scope)
            if node.value is not None:
                self.visit(node.value, scope)
        else:
            for child in ast.iter_child_nodes(node):
                self.visit(child, scope)

    def function(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        scope: _Scope,
        *,
        first: bool = False,
        decorated: bool = True,
    ) -> None:
        decorators = getattr(node, "decorator_list", [])
        for outside in list(_outside(node))[0 if decorated else len(decorators) :]:
            self.visit(outside, scope)
        inner = _Scope(scope)
        inner.bound.update(_type_parameters(node))
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        rest = [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
        parameters = [*positional, *arguments.kwonlyargs, *rest]
        inner.bound.update(parameter.arg for parameter in parameters)
        body = node.body if isinstance(node.body, list) else [node.body]
        for statement in body:
            _bind(statement, inner)
        if first and positional:
            inner.first = positional[0].arg
        elif first and arguments.vararg:
            inner.rest = arguments.vararg.arg
        if decorators and decorated:
            # A decorator may act on annotations; where they cannot be resolved it cannot either.
            for parameter in parameters:
                if parameter.annotation is not None:
                    self.visit(parameter.annotation, scope)
        for statement in body:
            self.visit(statement, inner)

    def class_(self, node: ast.ClassDef, scope: _Scope) -> None:
        for outside in _outside(node):
            self.visit(outside, scope)
        generic = _Scope(scope)
        generic.bound.update(_type_parameters(node))
        inner = _Scope(generic, is_class=True)
        for statement in node.body:
            _bind(statement, inner)
        for statement in node.body:
            self.visit(statement, inner)

    def comprehension(self, node: ast.AST, scope: _Scope) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        self.visit(generators[0].iter, scope)
        inner = _Scope(scope)
        for generator in generators:
            _bind(generator.target, inner)
        for i, generator in enumerate(generators):
            self.visit(generator.target, inner)
            if i:
                self.visit(generator.iter, inner)
            for condition in generator.ifs:
                self.visit(condition, inner)
        for name, child in ast.iter_fields(node):
            if name != "generators" and isinstance(child, ast.AST):
                self.visit(child, inner)

    def chain(self, node: ast.expr, scope: _Scope) -> None:
        """Record a name with the attributes taken from it, as far as they are constant."""
        attributes: list[str] = []
        root: ast.expr = node
        storing = not isinstance(node.ctx, ast.Load)  # type: ignore[attr-defined]
        while isinstance(root, ast.Attribute):
            attributes.append(root.attr)
            self.reads.subclasses |= root.attr == "__subclasses__"
            root = root.value
        if storing and attributes:
            if isinstance(root, ast.Name) and self.is_first(root, scope):
                # A property of the class may have a setter.
                self.reads.own.add(tuple(reversed(attributes)))
            attributes = attributes[1:]
        elif storing:
            return
        chain = tuple(reversed(attributes))
        if isinstance(root, ast.Name):
            stored = storing and not chain
            self.name(root.id, chain, scope, stored=stored)
        elif isinstance(root, ast.Call) and self.is_super(root, scope):
            if chain:
                asked = self.reads.any_parents if root.args else self.reads.parents
                asked.add(chain)
            else:
                self.reads.escapes = True
        elif isinstance(root, ast.Call) and self.is_type_of_first(root, scope) and chain:
            self.reads.of_class.add(chain)
        else:
            self.visit(root, scope)

    def name(self, name: str, chain: Chain, scope: _Scope, *, stored: bool = False) -> None:
        reads = self.reads
        found = scope.find(name)
        if found is None:
            reads.names.add((name, *chain))
            if name in _DYNAMIC and not chain:
                reads.dynamic = True
        elif name in found.imports:
            for target in found.imports[name]:
                reads.imports.add(Import(target.module, target.level, target.name, chain))
        elif name == found.first:
            if chain[:1] == ("__class__",) and chain[1:]:
                reads.of_class.add(chain[1:])
            elif chain and chain != ("__class__",):
                reads.own.add(chain)
            elif not stored:
                reads.escapes = True
        elif name == found.rest:
            reads.escapes = True

    def is_super(self, node: ast.Call, scope: _Scope) -> bool:
        is_named = isinstance(node.func, ast.Name) and node.func.id == "super"
        return is_named and scope.find("super") is None

    def is_first(self, node: ast.AST, scope: _Scope) -> bool:
        if not isinstance(node, ast.Name):
            return False
        found = scope.find(node.id)
        return found is not None and node.id == found.first and node.id not in found.imports

    def is_type_of_first(self, node: ast.Call, scope: _Scope) -> bool:
        function = node.func
        is_type = isinstance(function, ast.Name) and function.id == "type"
        return is_type and len(node.args) == 1 and self.is_first(node.args[0], scope)

    def call(self, node: ast.Call, scope: _Scope) -> None:
        function, arguments = node.func, list(node.args)
        keywords: list[ast.AST] = list(node.keywords)
        named = function.id if isinstance(function, ast.Name) else None
        if named is not None and scope.find(named) is not None:
            named = None
        dotted = chain_of(function)
        if dotted and dotted[-1] in ("import_module", "__import__") and arguments:
            self.import_by_name(arguments[0])
        elif named in ("getattr", "hasattr", "setattr", "delattr") and len(arguments) >= 2:
            target, attribute, *others = arguments
            constant = attribute.value if isinstance(attribute, ast.Constant) else None
            if named in ("setattr", "delattr") and self.is_first(target, scope):
                arguments = [attribute, *others]
            elif isinstance(constant, str) and (
                isinstance(target, (ast.Name, ast.Attribute))
                or (isinstance(target, ast.Call) and self.is_super(target, scope))
                or (isinstance(target, ast.Call) and self.is_type_of_first(target, scope))
            ):
                self.chain(ast.Attribute(value=target, attr=constant, ctx=ast.Load()), scope)
                arguments = others
        elif self.is_super(node, scope):
            arguments = []
        elif dotted[1:] and arguments and self.is_first(arguments[0], scope):
            # `Base.method(self)`: where it went is known if Base turns out to be a class.
            self.reads.passed_to.add(dotted)
            arguments = arguments[1:]
        self.visit(function, scope)
        for argument in arguments:
            if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Name):
                found = scope.find(argument.value.id)
                if found is not None and found.rest == argument.value.id:
                    continue  # Handed on whole, to what is followed as well.
            self.visit(argument, scope)
        for keyword in keywords:
            self.visit(keyword, scope)

    def import_by_name(self, argument: ast.expr) -> None:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            level = len(argument.value) - len(argument.value.lstrip("."))
            self.reads.imports.add(Import(argument.value[level:], level, "*"))
            return
        prefix = ""
        if isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
            prefix = str(argument.values[0].value).rpartition(".")[0]
        self.reads.guesses.add(prefix)


def chain_of(node: ast.AST) -> Chain:
    """Return a name and the attributes taken from it; () for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()
