"""Static code: the reach of an import inside a function, from the files alone.

Such a module is never imported for this: importing early could change what the step sees, and
two processes must agree whether or not something else has imported it already.
"""

from __future__ import annotations

import ast
import builtins
import os
from collections.abc import Callable, Iterable
from functools import partial

from memoflow.fingerprint import source
from memoflow.fingerprint.distributions import providers, required
from memoflow.fingerprint.literals import kept, masked
from memoflow.fingerprint.modules import ModuleLocation, absolute, locate, package_of
from memoflow.fingerprint.parts import Part, digest_of
from memoflow.fingerprint.reads import Chain, Import, NamesRead, chain_of, imports_in, reads_of
from memoflow.fingerprint.side_effects import side_effects_of
from memoflow.fingerprint.source import SourceFile, is_main_guard, syntax_digest
from memoflow.fingerprint.witness import NoWitness, Witness
from memoflow.masking import ANY, MASK, Mask

_NO_WITNESS = NoWitness()
_SIMPLE = (ast.Assign, ast.AnnAssign)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


class StaticCode:
    """Collects the parts that names of modules reach."""

    def __init__(
        self,
        ignore: frozenset[str] = frozenset(),
        mask: Mask = ANY,
        witness: Witness = _NO_WITNESS,
    ) -> None:
        self._witness = witness
        self.ignore = ignore
        self.mask = mask
        self.parts: list[Part] = []
        self._seen: set[tuple[str, ...]] = set()
        self._todo: list[Callable[[], None]] = []
        self._known_effects: dict[str, list[ast.stmt]] = {}  # by path
        self._active: dict[str, bool] = {}  # by module
        self._known_locations: dict[str, ModuleLocation] = {}

    def _locate(self, name: str) -> ModuleLocation:
        known = self._known_locations.get(name)
        if known is None:
            known = self._known_locations[name] = locate(name)
            if known.owner in ("user", "missing"):
                self._witness.module(name)
        return known

    def follow(self, reads: NamesRead, package: str) -> None:
        """Follow the imports in the reads of a function of `package`."""
        self._imports(reads, package)
        self._work()

    def _imports(self, reads: NamesRead, package: str) -> None:
        for ran in sorted(reads.ran, key=repr):
            self._run(absolute(ran.module, ran.level, package))
        for target in sorted(reads.imports, key=repr):
            self._import(target, package)
        for prefix in sorted(reads.guesses):
            self._guess(prefix)

    def name(self, module: str, name: str) -> None:
        """Follow one top-level name of a module."""
        self._name(self._locate(module), name, ())
        self._work()

    def whole(self, location: ModuleLocation) -> None:
        """Follow all definitions and imports of a module."""
        self._whole(location)
        self._work()

    def package(self, location: ModuleLocation) -> None:
        """Add the distributions that provide an installed module, and those they require."""
        top = location.name.partition(".")[0]
        found = (
            providers(top, location.path) if self._is_new(location.path, top, "*package*") else ()
        )
        for each in dict.fromkeys([*found, *required(found)]):
            self.parts.append(Part("package", each.name, each.digest, summary=each.version))

    def _work(self) -> None:
        while self._todo:
            self._todo.pop()()

    def _import(self, target: Import, package: str) -> None:
        module = absolute(target.module, target.level, package)
        if target.name is None:
            self._chain(self._locate(module), target.chain)
        elif target.name == "*":
            self._whole(self._locate(module))
        else:
            self._name(self._locate(module), target.name, target.chain)

    def _run(self, module: str) -> None:
        """Add the side effects of importing a module and its packages."""
        names = module.split(".")
        for i in range(1, len(names) + 1):
            location = self._locate(".".join(names[:i]))
            if location.owner == "installed":
                # A namespace package has no file: what provides it is told further down.
                if location.path:
                    self.package(location)
                    return
            elif location.owner == "user":
                self._effects(location)
            elif location.owner == "missing":
                self._missing(location.name)
                return

    def _missing(self, name: str) -> None:
        # Defining it later must make another fingerprint.
        self.parts.append(Part("code", name, "missing"))

    def _guess(self, prefix: str) -> None:
        """Follow all of the package from which a module is imported by a computed name."""
        location = self._locate(prefix) if prefix else None
        if location is None:
            return  # The run alone tells: it records the files that it loads.
        if location.owner == "installed":
            self.package(location)
        for directory in location.search if location.owner == "user" else ():
            for root, _, files in os.walk(directory):
                inner = os.path.relpath(root, directory).replace(os.sep, ".").strip(".")
                for file in sorted(files):
                    if file.endswith(".py"):
                        stem = "" if file == "__init__.py" else file[:-3]
                        names = [name for name in (prefix, inner, stem) if name]
                        self._whole(self._locate(".".join(names)))

    def _chain(self, location: ModuleLocation, chain: Chain) -> None:
        if location.owner == "installed" and (location.path or not chain):
            self.package(location)
        elif location.owner == "missing":
            self._missing(location.name)
        elif chain and location.owner in ("user", "installed"):
            self._name(location, chain[0], chain[1:])
        elif location.owner == "user":
            self._whole(location)

    def _source(self, location: ModuleLocation) -> SourceFile | None:
        self._witness.file(location.path)
        found = source.current(location.path) if location.path.endswith(".py") else None
        if found is None and location.path and self._is_new("file", location.path):
            for each in providers(location.name, location.path):
                where = os.path.basename(location.path)
                self.parts.append(Part("code", each.name, each.digest, where))
        return found

    def _name(self, location: ModuleLocation, name: str, chain: Chain) -> None:
        """Follow `name` of a module: a binding in its file, or a submodule."""
        if location.owner not in ("user", "installed") or (
            location.path and location.owner != "user"
        ):
            self._chain(location, ())
            return
        found = self._source(location)
        bound = found is not None and self._binds(found, location, name, set())
        if bound:
            self._effects(location)
            self._todo.append(partial(self._bound, location, name, chain))
        inner = self._locate(f"{location.name}.{name}") if location.search else None
        if inner is not None and inner.owner != "missing":
            self._chain(inner, chain)
        elif not bound and found is not None:
            if "__getattr__" in found.bindings:
                self._whole(location)
            elif name == "__doc__":
                self._doc(location, "", found.tree)
            elif not name.startswith("__"):
                self._missing(f"{location.name}.{name}")

    def _binds(
        self, found: SourceFile, location: ModuleLocation, name: str, seen: set[str]
    ) -> bool:
        if name in found.bindings:
            return True
        seen.add(location.name)
        for star in self._stars(found, location):
            if star.owner != "user":
                return True  # It may come from there; the package stands for it.
            inner = self._source(star)
            if star.name not in seen and inner and self._binds(inner, star, name, seen):
                return True
        return False

    def _stars(self, found: SourceFile, location: ModuleLocation) -> list[ModuleLocation]:
        """Return the modules of which a module imports all names."""
        statements, package = found.bindings.get("*", ()), package_of(location)
        targets = (target for each in statements for target in imports_in(each, "*"))
        stars = (each for each in targets if each.name == "*")
        return [self._locate(absolute(each.module, each.level, package)) for each in stars]

    def _ignores(self, location: ModuleLocation, name: str) -> bool:
        shown = f"{location.name}.{name}"
        if shown in self.ignore:
            self.parts.append(Part("ignored", shown, digest_of("ignored", shown)))
        return shown in self.ignore

    def _is_new(self, *key: str) -> bool:
        """Note that something is followed; return whether that is for the first time."""
        count = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > count

    def _bound(self, location: ModuleLocation, name: str, chain: Chain) -> None:
        """Add the statements that bind or change a top-level name, and follow their reads."""
        is_followed = self._is_new(location.path, name, *chain)
        found = (
            self._source(location) if is_followed and not self._ignores(location, name) else None
        )
        if found is None:
            return
        package = package_of(location)
        others: list[ast.stmt] = []
        for statement in found.bindings.get(name, ()):
            if "__doc__" in chain:
                self._docs(location, statement)
            for target in imports_in(statement, name):
                if target.name != "*":
                    chained = Import(target.module, target.level, target.name, chain)
                    self._import(chained, package)
            if isinstance(statement, _FUNCTIONS):
                self._function(found, statement, location)
            elif isinstance(statement, ast.ClassDef):
                self._class(found, statement, location)
            elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
                others.append(statement)
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._reads(reads_of([statement]), location)
        if others:
            digest = digest_of("static", location.name, name, syntax_digest(*others))
            self.parts.append(self._constant(found, location, name, digest, others))
            for other in found.registered(name):
                self._todo.append(partial(self._bound, location, other, ()))
        if name not in found.bindings:
            for star in self._stars(found, location):
                inner = self._source(star) if star.owner == "user" else None
                if star.owner == "installed":
                    self.package(star)
                elif inner is not None and self._binds(inner, star, name, set()):
                    self._name(star, name, chain)

    def _constant(
        self,
        found: SourceFile,
        location: ModuleLocation,
        name: str,
        digest: str,
        statements: list[ast.stmt],
    ) -> Part:
        shown, where = _named(location, name), found.where(statements[0])
        is_hidden, text = self.mask.hides(shown), found.text(*statements)
        clean = masked(text, self.mask, whole=is_hidden)
        digest = digest if clean == text else self.mask.keyed(digest)
        summary = MASK if is_hidden else _written(statements, name, self.mask)
        return Part("constant", shown, digest, where, summary, clean)

    def _code(
        self, location: ModuleLocation, name: str, where: str, syntax: str, text: str
    ) -> None:
        digest = digest_of("static", location.name, name, kept(text, syntax, self.mask))
        self.parts.append(Part("code", name, digest, where, source=masked(text, self.mask)))

    def _function(
        self, found: SourceFile, node: ast.stmt, location: ModuleLocation, prefix: str = ""
    ) -> None:
        name: str = node.name  # type: ignore[attr-defined]
        text, syntax = found.text(node), syntax_digest(node)
        self._code(location, f"{prefix}{name}()", found.where(node), syntax, text)

    def _class(self, found: SourceFile, node: ast.ClassDef, location: ModuleLocation) -> None:
        text, syntax = found.text(node, shallow=True), syntax_digest(node, shallow=True)
        self._code(location, f"class {node.name}", found.where(node), syntax, text)
        for statement in node.body:
            if isinstance(statement, _FUNCTIONS):
                self._function(found, statement, location, prefix=f"{node.name}.")

    def _reads(self, reads: NamesRead, location: ModuleLocation) -> None:
        found = self._source(location)
        if found is None:
            return
        for name, *chain in sorted(reads.names):
            if self._binds(found, location, name, set()):
                self._todo.append(partial(self._bound, location, name, tuple(chain)))
            elif name == "__doc__":
                self._doc(location, "", found.tree)
            elif not hasattr(builtins, name) and not (name[:2] == name[-2:] == "__"):
                self._missing(_named(location, name))
        self._imports(reads, package_of(location))
        if reads.dynamic or reads.subclasses:
            self._whole(location)

    def _whole(self, location: ModuleLocation) -> None:
        if location.owner != "user":
            self._chain(location, ())
            return
        found = self._source(location) if self._is_new(location.path, "*whole*") else None
        if found is not None:
            self._effects(location)
            for name in found.bindings:
                self._todo.append(partial(self._bound, location, name, ()))
            for star in self._stars(found, location):
                self._whole(star)

    def _effects(self, location: ModuleLocation) -> None:
        """Add the side effects of running a module, and their reads."""
        found = self._source(location) if self._is_new(location.path, "*effects*") else None
        if found is None:
            return
        effects = self._side_effects(found, location)
        part = self._effects_part(found, location, effects)
        if part is not None:
            self.parts.append(part)
            for effect in effects:
                if isinstance(effect, _DEFINITIONS):
                    self._todo.append(partial(self._bound, location, effect.name, ()))
            self._reads(reads_of(effects), location)
        # What these define does not matter unless it is read, but they run as well.
        for ran in found.imports:
            for module in candidates(ran, package_of(location)):
                inner = self._locate(module)
                if inner.owner == "user":
                    self._todo.append(partial(self._effects, inner))

    def _side_effects(self, found: SourceFile, location: ModuleLocation) -> list[ast.stmt]:
        if location.path not in self._known_effects:
            body = [each for each in found.tree.body if not is_main_guard(each)]
            effects = side_effects_of(body, partial(self._resolve, found, location))
            self._known_effects[location.path] = list(effects)
        return self._known_effects[location.path]

    def _resolve(
        self, found: SourceFile, location: ModuleLocation, node: ast.expr
    ) -> tuple[str, str]:
        """Return the owner and the dotted name of an expression's object."""
        chain = chain_of(node)
        if not chain:
            return "", ""
        (root, *attributes), written = chain, ".".join(chain)
        statements = found.bindings.get(root)
        if statements is None:
            builtin = hasattr(builtins, root) and not self._stars(found, location)
            return ("builtin" if builtin else ""), written
        owners: set[str] = set()
        dotted = written
        for statement in statements:
            targets = [each for each in imports_in(statement, root) if each.name != "*"]
            if not targets:
                return "user", written
            for target in targets:
                module = absolute(target.module, target.level, package_of(location))
                names = [module, *([target.name] if target.name else []), *attributes]
                dotted = ".".join(names)
                owners.add(self._locate(module).owner)
        return (owners.pop() if len(owners) == 1 else "user"), dotted

    def _effects_part(
        self, found: SourceFile, location: ModuleLocation, effects: list[ast.stmt]
    ) -> Part | None:
        """Return the part for the effects of a module, in their order and that of its imports."""
        texts: list[str] = []
        wanted = {id(each) for each in effects}
        lines = {id(statement): i for i, statement in enumerate(found.tree.body)}
        for i, statement in enumerate(found.tree.body):
            if id(statement) in wanted:
                if isinstance(statement, _DEFINITIONS):
                    texts.append(f"define {statement.name}")
                else:
                    texts.append(syntax_digest(statement))
                # `act(N)` before or after `N = 2`.
                for name in sorted({chain[0] for chain in reads_of([statement]).names}):
                    earlier = [lines[id(each)] < i for each in found.bindings.get(name, ())]
                    texts += [f"{name} {sum(earlier)}"] if any(earlier) else []
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for ran in sorted(reads_of([statement]).ran, key=repr):
                    for module in candidates(ran, package_of(location)):
                        if module not in self._active:
                            self._active[module] = self._is_active(module, set())
                        texts += [f"import {module}"] * self._active[module]
        if not effects and len(texts) < 2:
            return None
        where = found.where(effects[0]) if effects else os.path.basename(found.path)
        text = found.text(*effects)
        digest = kept(text, digest_of("static", location.name, *texts), self.mask)
        shown = masked(text, self.mask)
        return Part("code", f"import {location.name}", digest, where, source=shown)

    def _is_active(self, module: str, seen: set[str]) -> bool:
        """Return whether a module or its imports have side effects when run."""
        location = self._locate(module) if module not in seen else None
        seen.add(module)
        found = (
            self._source(location) if location is not None and location.owner == "user" else None
        )
        if location is None or found is None:
            return False
        return bool(self._side_effects(found, location)) or any(
            self._is_active(inner, seen)
            for ran in found.imports
            for inner in candidates(ran, package_of(location))
        )

    def _doc(self, location: ModuleLocation, name: str, node: ast.AST) -> None:
        text = ast.get_docstring(node, clean=False)  # type: ignore[arg-type]
        digest = digest_of("doc", location.name, name, repr(text))
        shown = _named(location, f"{name}.__doc__" if name else "__doc__")
        self.parts.append(Part("constant", shown, digest, os.path.basename(location.path)))

    def _docs(self, location: ModuleLocation, statement: ast.stmt) -> None:
        """Add the docstrings of a statement's classes and functions."""
        if isinstance(statement, _DEFINITIONS):
            for each in ast.walk(statement):
                if isinstance(each, _DEFINITIONS):
                    self._doc(location, each.name, each)
        else:
            for name, *_ in sorted(reads_of([statement]).names):
                self._todo.append(partial(self._bound, location, name, ("__doc__",)))


def candidates(ran: Import, package: str) -> list[str]:
    """Return the modules that an import statement may run: `from a import b` a, and perhaps a.b."""
    module = absolute(ran.module, ran.level, package)
    names = module.split(".")
    packages = [".".join(names[:i]) for i in range(1, len(names) + 1)]
    inner = [f"{module}.{ran.name}"] if ran.name and ran.name != "*" else []
    return [*packages, *inner]


def effects_part(found: SourceFile, module: str, mask: Mask = ANY) -> Part:
    """Return the part for the side effects of importing a loaded module.

    What it did cannot be compared with its file; if that was written since, the part is another
    than that of a process which certainly ran these lines.
    """
    origin = "changed since" if found.changed else "as written"
    syntax = syntax_digest(*found.effects)
    where, text = found.where(found.effects[0]), found.text(*found.effects)
    digest = kept(text, digest_of(origin, module, syntax), mask)
    return Part("code", f"import {module}", digest, where, source=masked(text, mask))


def _named(location: ModuleLocation, name: str) -> str:
    return name if location.name == "__main__" else f"{location.name}.{name}"


def _written(statements: Iterable[ast.stmt], name: str, mask: Mask) -> str:
    """Return a short text of the assigned value, or "" if it is not one short value."""
    values = [each.value for each in statements if isinstance(each, _SIMPLE) and each.value]
    if len(values) != 1 or sum(1 for _ in ast.walk(values[0])) > 20:
        return ""
    bound = f"{name} = "
    text = masked(f"{bound}{ast.unparse(values[0])}", mask).removeprefix(bound)
    return text if len(text) <= 60 else ""
