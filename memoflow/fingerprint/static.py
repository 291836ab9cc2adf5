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
from memoflow.fingerprint.reads import Chain, Import, NamesRead, imports_in, reads_of
from memoflow.fingerprint.side_effects import side_effects_of
from memoflow.fingerprint.source import SourceFile, is_main_guard, syntax_digest
from memoflow.masking import ANY, MASK, Mask

_SIMPLE = (ast.Assign, ast.AnnAssign)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


class StaticCode:
    """Collects the parts that names of modules reach."""

    def __init__(self, ignore: frozenset[str] = frozenset(), mask: Mask = ANY) -> None:
        self.ignore = ignore
        self.mask = mask
        self.parts: list[Part] = []
        self._seen: set[tuple[str, ...]] = set()
        self._todo: list[Callable[[], None]] = []
        self._known_effects: dict[str, list[ast.stmt]] = {}  # by path
        self._active: dict[str, bool] = {}  # by module
        self._located: dict[str, ModuleLocation] = {}

    def follow(self, reads: NamesRead, package: str) -> None:
        """Follow the imports in the reads of a function of `package`."""
        for ran in sorted(reads.ran, key=repr):
            self._run(absolute(ran.module, ran.level, package))
        for target in sorted(reads.imports, key=repr):
            self._import(target, package)
        for prefix in sorted(reads.guesses):
            self._guess(prefix)
        self._work()

    def name(self, module: str, name: str) -> None:
        """Follow one top-level name of a module."""
        self._name(self._locate(module), name, ())
        self._work()

    def whole(self, place: ModuleLocation) -> None:
        """Follow all definitions and imports of a module."""
        self._whole(place)
        self._work()

    def package(self, place: ModuleLocation) -> None:
        """Add the distributions that provide an installed module, and those they require."""
        top = place.name.partition(".")[0]
        if (place.path, top, "*package*") in self._seen:
            return
        self._seen.add((place.path, top, "*package*"))
        found = providers(top, place.path)
        for each in dict.fromkeys([*found, *required(found)]):
            self.parts.append(Part("package", each.name, each.digest, summary=each.version))

    def _work(self) -> None:
        while self._todo:
            self._todo.pop()()

    def _locate(self, name: str) -> ModuleLocation:
        place = self._located.get(name)
        if place is None:
            place = self._located[name] = locate(name)
        return place

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
            place = self._locate(".".join(names[:i]))
            if place.owner == "installed":
                # A namespace package has no file: what provides it is told further down.
                if place.path:
                    self.package(place)
                    return
            elif place.owner == "user":
                self._effects(place)
            elif place.owner == "missing":
                self._missing(place.name)
                return

    def _missing(self, name: str) -> None:
        # Defining it later must make another fingerprint.
        self.parts.append(Part("code", name, "missing"))

    def _guess(self, prefix: str) -> None:
        """Follow all of the package that a module is imported from by a computed name.

        Where not even that is known, the run alone tells: it records the files that it loads.
        """
        place = self._locate(prefix) if prefix else None
        if place is None:
            return
        if place.owner == "installed":
            self.package(place)
        for directory in place.search if place.owner == "user" else ():
            for root, _, files in os.walk(directory):
                inner = os.path.relpath(root, directory).replace(os.sep, ".").strip(".")
                for file in sorted(files):
                    if file.endswith(".py"):
                        stem = "" if file == "__init__.py" else file[:-3]
                        names = [name for name in (prefix, inner, stem) if name]
                        self._whole(self._locate(".".join(names)))

    def _chain(self, place: ModuleLocation, chain: Chain) -> None:
        if place.owner == "installed" and (place.path or not chain):
            self.package(place)
        elif place.owner == "missing":
            self._missing(place.name)
        elif place.owner in ("user", "installed"):
            if chain:
                self._name(place, chain[0], chain[1:])
            else:
                self._whole(place)

    def _source(self, place: ModuleLocation) -> SourceFile | None:
        found = source.current(place.path) if place.path.endswith(".py") else None
        if found is None and place.path and ("file", place.path) not in self._seen:
            self._seen.add(("file", place.path))
            for each in providers(place.name, place.path):
                where = os.path.basename(place.path)
                self.parts.append(Part("code", each.name, each.digest, where))
        return found

    def _name(self, place: ModuleLocation, name: str, chain: Chain) -> None:
        """Follow `name` of a module: a binding in its file, or a submodule."""
        if place.owner not in ("user", "installed") or (place.path and place.owner != "user"):
            self._chain(place, ())
            return
        found = self._source(place)
        bound = found is not None and self._binds(found, place, name, set())
        if bound:
            self._effects(place)
            self._todo.append(partial(self._bound, place, name, chain))
        inner = self._locate(f"{place.name}.{name}") if place.search else None
        if inner is not None and inner.owner != "missing":
            self._chain(inner, chain)
        elif not bound and found is not None:
            if "__getattr__" in found.bindings:
                self._whole(place)
            elif name == "__doc__":
                self._doc(place, "", found.tree)
            elif not name.startswith("__"):
                self._missing(f"{place.name}.{name}")

    def _binds(self, found: SourceFile, place: ModuleLocation, name: str, seen: set[str]) -> bool:
        if name in found.bindings:
            return True
        seen.add(place.name)
        for star in self._stars(found, place):
            if star.owner != "user":
                return True  # It may come from there; the package stands for it.
            inner = self._source(star)
            if star.name not in seen and inner and self._binds(inner, star, name, seen):
                return True
        return False

    def _stars(self, found: SourceFile, place: ModuleLocation) -> list[ModuleLocation]:
        """Return the modules of which a module imports all names."""
        statements, package = found.bindings.get("*", ()), package_of(place)
        targets = (target for each in statements for target in imports_in(each, "*"))
        stars = (each for each in targets if each.name == "*")
        return [self._locate(absolute(each.module, each.level, package)) for each in stars]

    def _ignores(self, name: str) -> bool:
        if name in self.ignore:
            self.parts.append(Part("ignored", name, digest_of("ignored", name)))
        return name in self.ignore

    def _bound(self, place: ModuleLocation, name: str, chain: Chain) -> None:
        """Add the statements that bind or change a top-level name, and follow their reads."""
        if (place.path, name, *chain) in self._seen:
            return
        self._seen.add((place.path, name, *chain))
        found = None if self._ignores(f"{place.name}.{name}") else self._source(place)
        if found is None:
            return
        package = package_of(place)
        others: list[ast.stmt] = []
        for statement in found.bindings.get(name, ()):
            if "__doc__" in chain:
                self._docs(place, statement)
            for target in imports_in(statement, name):
                if target.name != "*":
                    chained = Import(target.module, target.level, target.name, chain)
                    self._import(chained, package)
            if isinstance(statement, _FUNCTIONS):
                self._function(found, statement, place)
            elif isinstance(statement, ast.ClassDef):
                self._class(found, statement, place)
            elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
                others.append(statement)
                self._reads(reads_of([statement]), place)
        if others:
            digest = digest_of("static", place.name, name, syntax_digest(*others))
            self.parts.append(self._constant(found, place, name, digest, others))
            for other in found.registered(name):
                self._todo.append(partial(self._bound, place, other, ()))
        if name not in found.bindings:
            for star in self._stars(found, place):
                inner = self._source(star) if star.owner == "user" else None
                if star.owner == "installed":
                    self.package(star)
                elif inner is not None and self._binds(inner, star, name, set()):
                    self._name(star, name, chain)

    def _constant(
        self,
        found: SourceFile,
        place: ModuleLocation,
        name: str,
        digest: str,
        statements: list[ast.stmt],
    ) -> Part:
        shown, where = _named(place, name), found.place(statements[0])
        is_hidden, text = self.mask.hides(shown), found.text(*statements)
        clean = masked(text, self.mask, whole=is_hidden)
        digest = digest if clean == text else self.mask.keyed(digest)
        summary = MASK if is_hidden else _written(statements, name, self.mask)
        return Part("constant", shown, digest, where, summary, clean)

    def _code(self, place: ModuleLocation, name: str, where: str, syntax: str, text: str) -> None:
        digest = digest_of("static", place.name, name, kept(text, syntax, self.mask))
        self.parts.append(Part("code", name, digest, where, source=masked(text, self.mask)))

    def _function(
        self, found: SourceFile, node: ast.stmt, place: ModuleLocation, prefix: str = ""
    ) -> None:
        name: str = node.name  # type: ignore[attr-defined]
        text, syntax = found.text(node), syntax_digest(node)
        self._code(place, f"{prefix}{name}()", found.place(node), syntax, text)
        if not prefix:
            self._reads(reads_of([node]), place)

    def _class(self, found: SourceFile, node: ast.ClassDef, place: ModuleLocation) -> None:
        text, syntax = found.text(node, shallow=True), syntax_digest(node, shallow=True)
        self._code(place, f"class {node.name}", found.place(node), syntax, text)
        for statement in node.body:
            if isinstance(statement, _FUNCTIONS):
                self._function(found, statement, place, prefix=f"{node.name}.")
        self._reads(reads_of([node]), place)

    def _reads(self, reads: NamesRead, place: ModuleLocation) -> None:
        found = self._source(place)
        if found is None:
            return
        for name, *chain in sorted(reads.names):
            if self._binds(found, place, name, set()):
                self._todo.append(partial(self._bound, place, name, tuple(chain)))
            elif name == "__doc__":
                self._doc(place, "", found.tree)
            elif not hasattr(builtins, name) and not (name[:2] == name[-2:] == "__"):
                self._missing(_named(place, name))
        for ran in sorted(reads.ran, key=repr):
            self._run(absolute(ran.module, ran.level, package_of(place)))
        for target in sorted(reads.imports, key=repr):
            self._import(target, package_of(place))
        for prefix in sorted(reads.guesses):
            self._guess(prefix)
        if reads.dynamic or reads.subclasses:
            self._whole(place)

    def _whole(self, place: ModuleLocation) -> None:
        if place.owner != "user":
            self._chain(place, ())
            return
        if (place.path, "*whole*") in self._seen:
            return
        self._seen.add((place.path, "*whole*"))
        found = self._source(place)
        if found is not None:
            self._effects(place)
            for name in found.bindings:
                self._todo.append(partial(self._bound, place, name, ()))
            for star in self._stars(found, place):
                self._whole(star)

    def _effects(self, place: ModuleLocation) -> None:
        """Add the side effects of running a module, and their reads."""
        if (place.path, "*effects*") in self._seen:
            return
        self._seen.add((place.path, "*effects*"))
        found = self._source(place)
        if found is None:
            return
        effects = self._side_effects(found, place)
        part = self._effects_part(found, place, effects)
        if part is not None:
            self.parts.append(part)
            for effect in effects:
                if isinstance(effect, _DEFINITIONS):
                    self._todo.append(partial(self._bound, place, effect.name, ()))
            self._reads(reads_of(effects), place)
        # What these define does not matter unless it is read, but they run as well.
        for ran in found.imports:
            for module in candidates(ran, package_of(place)):
                inner = self._locate(module)
                if inner.owner == "user":
                    self._todo.append(partial(self._effects, inner))

    def _side_effects(self, found: SourceFile, place: ModuleLocation) -> list[ast.stmt]:
        effects = self._known_effects.get(place.path)
        if effects is None:
            body = [each for each in found.tree.body if not is_main_guard(each)]
            effects = list(side_effects_of(body, partial(self._resolve, found, place)))
            self._known_effects[place.path] = effects
        return effects

    def _resolve(self, found: SourceFile, place: ModuleLocation, node: ast.expr) -> tuple[str, str]:
        """Return the owner and the dotted name of an expression's object."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return "", ""
        written = ".".join([node.id, *attributes])
        statements = found.bindings.get(node.id)
        if statements is None:
            builtin = hasattr(builtins, node.id) and not self._stars(found, place)
            return ("builtin" if builtin else ""), written
        owners: set[str] = set()
        dotted = written
        for statement in statements:
            targets = [each for each in imports_in(statement, node.id) if each.name != "*"]
            if not targets:
                return "user", written
            for target in targets:
                module = absolute(target.module, target.level, package_of(place))
                names = [module, *([target.name] if target.name else []), *attributes]
                dotted = ".".join(names)
                owners.add(self._locate(module).owner)
        return (owners.pop() if len(owners) == 1 else "user"), dotted

    def _effects_part(
        self, found: SourceFile, place: ModuleLocation, effects: list[ast.stmt]
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
                    for module in candidates(ran, package_of(place)):
                        if module not in self._active:
                            self._active[module] = self._is_active(module, set())
                        texts += [f"import {module}"] * self._active[module]
        if not effects and len(texts) < 2:
            return None
        where = found.place(effects[0]) if effects else os.path.basename(found.path)
        text = found.text(*effects)
        digest = kept(text, digest_of("static", place.name, *texts), self.mask)
        shown = masked(text, self.mask)
        return Part("code", f"import {place.name}", digest, where, source=shown)

    def _is_active(self, module: str, seen: set[str]) -> bool:
        """Return whether a module or its imports have side effects when run."""
        place = self._locate(module) if module not in seen else None
        seen.add(module)
        found = self._source(place) if place is not None and place.owner == "user" else None
        if place is None or found is None:
            return False
        return bool(self._side_effects(found, place)) or any(
            self._is_active(inner, seen)
            for ran in found.imports
            for inner in candidates(ran, package_of(place))
        )

    def _doc(self, place: ModuleLocation, name: str, node: ast.AST) -> None:
        text = ast.get_docstring(node, clean=False)  # type: ignore[arg-type]
        digest = digest_of("doc", place.name, name, repr(text))
        shown = _named(place, f"{name}.__doc__" if name else "__doc__")
        self.parts.append(Part("constant", shown, digest, os.path.basename(place.path)))

    def _docs(self, place: ModuleLocation, statement: ast.stmt) -> None:
        """Add the docstrings of a statement's classes and functions."""
        if isinstance(statement, _DEFINITIONS):
            for each in ast.walk(statement):
                if isinstance(each, _DEFINITIONS):
                    self._doc(place, each.name, each)
        else:
            for name, *_ in sorted(reads_of([statement]).names):
                self._todo.append(partial(self._bound, place, name, ("__doc__",)))


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
    where, text = found.place(found.effects[0]), found.text(*found.effects)
    digest = kept(text, digest_of(origin, module, syntax), mask)
    return Part("code", f"import {module}", digest, where, source=masked(text, mask))


def _named(place: ModuleLocation, name: str) -> str:
    return name if place.name == "__main__" else f"{place.name}.{name}"


def _written(statements: Iterable[ast.stmt], name: str, mask: Mask) -> str:
    """Return a short text of the assigned value, or "" if it is not one short value."""
    values = [each.value for each in statements if isinstance(each, _SIMPLE) and each.value]
    if len(values) != 1 or sum(1 for _ in ast.walk(values[0])) > 20:
        return ""
    bound = f"{name} = "
    text = masked(f"{bound}{ast.unparse(values[0])}", mask).removeprefix(bound)
    return text if len(text) <= 60 else ""
