"""Reach: all of the user's code and constants that a function, a step or a value leads to.

Names are looked up in what is loaded, so aliases, decorators and dispatch tables are what they
are when the fingerprint is taken. At an installed distribution it stops: its version stands
for it. Syntax stands for the code of a function if its file provably is what was loaded, its
bytecode otherwise.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dataclasses
import enum
import functools
import importlib
import os
import platform
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from xxhash import xxh3_128_hexdigest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import modules, source
from memoflow.fingerprint.explain import summary
from memoflow.fingerprint.modules import Place, place_named, place_of
from memoflow.fingerprint.packages import OURS, is_stdlib, site_of
from memoflow.fingerprint.parts import Fingerprint, Part, digest_of
from memoflow.fingerprint.reads import (
    Chain,
    Reads,
    bound_by,
    imports_in,
    reads_of,
    reads_of_function,
)
from memoflow.fingerprint.source import function_source, syntax_digest
from memoflow.fingerprint.static import StaticCode, candidates, effects_part
from memoflow.fingerprint.values import CODE_TYPES, Encoder, Unstable, class_name
from memoflow.names import Digest

_MISSING = object()
# Kept by Python or a library for itself; what of it matters is looked at in another way.
_BOOKKEEPING = frozenset(
    {
        "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__",
        "__annotations_cache__", "__attrs_own_setattr__", "__classcell__",
        "__dataclass_fields__", "__dataclass_params__", "__dict__", "__doc__",
        "__firstlineno__", "__match_args__", "__module__", "__non_callable_proto_members__",
        "__orig_bases__", "__parameters__", "__protocol_attrs__", "__qualname__", "__slotnames__",
        "__slots__", "__static_attributes__", "__type_params__", "__weakref__", "_abc_impl",
        "_is_protocol", "_is_runtime_protocol",
    }
)  # fmt: skip
# What the metaclass of flows keeps on each.
_METAFLOWS = frozenset(
    {"_configs_processed", "_flow_decorators", "_flow_state", "_graph", "_steps"}
)
_HOLDERS = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)
_CLASS_METHODS = frozenset({"__class_getitem__", "__init_subclass__", "__new__"})
# Asked of an object or class, these tell anything.
_TELLING = frozenset(
    {
        "__base__", "__bases__", "__dict__", "__dir__", "__getattr__", "__getattribute__",
        "__getstate__", "__mro__", "__reduce__", "__reduce_ex__", "mro",
    }
)  # fmt: skip
_NAMES_OF_CLASS = frozenset({"__module__", "__name__", "__qualname__"})
_GENERATED = ("<string>", "<attrs generated", "<namedtuple")
_MODULE_NAMES = frozenset(
    {
        "__annotations__", "__builtins__", "__cached__", "__file__", "__loader__", "__name__",
        "__package__", "__path__", "__spec__",
    }
)  # fmt: skip


def of_function(f: Any) -> Fingerprint:
    """Return the fingerprint of a function, class or other code, and of all it can reach.

    NoFingerprintError if it reaches a constant that has no stable meaning, such as a lock.
    """
    walk = Walk()
    walk.python()
    return walk.finish(lambda: walk.code(f), getattr(f, "__qualname__", type(f).__qualname__))


def of_step(cls: type, name: str, *, is_step: Callable[[object], bool]) -> Fingerprint:
    """Return the fingerprint of the step `name` of a flow class.

    `self` is known to be a `cls`, so only the methods that the step uses count; attributes of
    the class that hold data do not, they are inputs, unless they are read of the class and not
    of `self`. Nor do the step's own decorators. Take it before anything of the class is replaced.
    """
    walk = Walk(Flow(cls, name, is_step))
    walk.python()
    step = walk.flow.find(name) if walk.flow else _MISSING
    if step is _MISSING:
        raise NoFingerprintError(f"{cls.__qualname__}.{name}", "there is no such step")
    return walk.finish(lambda: walk.member(step), f"self.{name}")


def of_references(refs: Iterable[tuple[str, str]]) -> Fingerprint:
    """Return the fingerprint of the classes and functions that a pickle names.

    `refs` are (module, qualname) as `find_class` gets them. User code is read from its files
    and not imported; an installed distribution counts by its version; the standard library
    does not count.
    """
    walk = Walk()

    def follow() -> None:
        for module, qualname in sorted(set(refs)):
            place = modules.locate(module)
            value = _find(module, qualname)
            if place.path or place.owner != "user" or value is None:
                if place.owner == "missing" and value is not None:
                    walk.code(value)
                else:
                    walk.static.name(module, qualname.partition(".")[0])
            else:
                walk.code(value)

    return walk.finish(follow, "references")


def of_value(v: Any, *, name: str = "value") -> Digest:
    """Return a typed digest of a value, the same in every process.

    The class of an instance counts by its name only; add its code with `of_references`.
    Functions and classes that are values themselves count with all they reach.
    NoFingerprintError names the path to what has no stable meaning, starting from `name`.
    """
    try:
        encoded = Encoder(lambda code: str(of_function(code))).encode(v)
    except Unstable as error:
        raise error.at(name) from error
    except RecursionError as error:
        raise NoFingerprintError(name, "it is nested too deeply") from error
    return Digest("xxh3:" + xxh3_128_hexdigest(encoded))


def of_constant(v: Any, *, name: str = "value") -> Digest:
    """Return the digest of a value together with all code it holds.

    As `of_value`, but the user's class of each instance in it counts with its code as well, as
    those of a global constant do. Raises NoFingerprintError as `of_value` does.
    """
    walk = Walk()
    digest = walk.constant(v, name)
    # Most values hold no code: they count as for `of_value`.
    parts = [*walk.parts, *walk.static.parts]
    return Digest(Fingerprint.of([*parts, Part("constant", "", digest)])) if parts else digest


class Flow:
    """A flow class whose instance `self` is known to be in a step."""

    def __init__(self, cls: type, name: str, is_step: Callable[[object], bool]) -> None:
        self.cls = cls
        self.root = name
        self.is_step = is_step
        self.classes = [
            each for each in cls.__mro__ if place_named(each.__module__).owner == "user"
        ]
        step = _wrapped(getattr(cls, name, None))
        self.joins = step is not None and step.__code__.co_argcount > 1
        self.names = {(each.__module__, each.__qualname__): each for each in self.classes}

    def called(self, module: str, qualname: str) -> str:
        """Return what a function counts as: equal flows may have other names."""
        prefix = f"{self.cls.__qualname__}."
        if module == self.cls.__module__ and qualname.startswith(prefix):
            return f"self.{qualname.removeprefix(prefix)}"
        return qualname

    def find(self, name: str) -> Any:
        """Return the raw attribute of the class, None for one of Metaflow's, or _MISSING."""
        for each in self.homes(name)[:1]:
            known = place_named(each.__module__).owner in ("user", "installed")
            return each.__dict__[name] if known else None
        return _MISSING

    def shown(self, cls: type, name: str) -> str:
        """Return how an attribute of a class is called; alike in equal flows."""
        own = f"_{cls.__name__.lstrip('_')}__"
        plain = f"__{name.removeprefix(own)}" if name.startswith(own) else name
        return self.called(cls.__module__, f"{cls.__qualname__}.{plain}")

    def data(self, *, public: bool) -> Iterable[tuple[type, str, Any]]:
        """Yield (class, name, value) of the data in the user's classes.

        Public data of the flow class itself is made inputs by Metaflow before a step runs; that
        of the classes it is made from is there to be found with `public`.
        """
        for cls in self.classes:
            for name, value in sorted(cls.__dict__.items()):
                known = name in _BOOKKEEPING or name in _METAFLOWS or name.startswith("_abc_")
                dunder = name.startswith("__") and name.endswith("__")
                ours = type(value).__module__.partition(".")[0] in OURS
                if not (known or dunder or ours or isinstance(value, CODE_TYPES)) and (
                    public or name.startswith("_")
                ):
                    yield cls, name, value

    def homes(self, name: str, *, after: type | None = None) -> list[type]:
        """Return the classes that have an attribute of their own of this name, nearest first."""
        mro = list(self.cls.__mro__)
        start = mro.index(after) + 1 if after else 0
        return [each for each in mro[start:] if name in each.__dict__]

    def owner(self, f: types.FunctionType) -> type | None:
        """Return the class of the flow that a function is a method of."""
        return self.names.get((f.__module__, f.__qualname__.rpartition(".")[0]))

    def is_body(self, f: types.FunctionType) -> bool:
        """Say whether a function is the body of a step, whose decorators count elsewhere."""
        owner = self.owner(f)
        name = f.__name__
        if owner is None:
            return False
        return name == self.root or self.is_step(f) or self.is_step(owner.__dict__.get(name))

    def methods(self) -> Iterable[Any]:
        """Yield all that `self` could be asked for, other than steps and data."""
        for cls in self.classes:
            for name, value in cls.__dict__.items():
                is_code = isinstance(value, CODE_TYPES) and name not in _BOOKKEEPING
                if is_code and name != self.root and not self.is_step(value):
                    yield value


class Walk:
    """Collects parts. A token is the text by which code refers to other code."""

    def __init__(self, flow: Flow | None = None) -> None:
        self.flow = flow
        self.static = StaticCode()
        self.parts: list[Part] = []
        self._tokens: dict[int, str] = {}
        self._alive: list[object] = []
        self._todo: deque[Callable[[], object]] = deque()
        self._ran: set[str] = set()
        self._escaped = False
        self._public = False
        self._subclasses = False
        self._classes: dict[str, type] = {}
        self._closures: dict[str, frozenset[str]] = {}

    def finish(self, start: Callable[[], object], name: str) -> Fingerprint:
        """Follow everything from `start` and add it up."""
        try:
            token = start()
            self._add("names", name, digest_of("root", str(token)))
            self._work()
            while self._subclasses and self._derived():
                self._work()
        except RecursionError as error:
            raise NoFingerprintError(name, "its code is nested too deeply") from error
        return Fingerprint.of([*self.parts, *self.static.parts])

    def _work(self) -> None:
        while self._todo:
            self._todo.popleft()()

    def _derived(self) -> bool:
        """Follow the classes made from those that are reached, for code that asks for them.

        Return whether there is more to do then.
        """
        for token, cls in list(self._classes.items()):
            derived = sorted(map(self.code, type.__subclasses__(cls)))
            self._add("names", f"{token} subclasses", digest_of(token, *derived))
        return bool(self._todo)

    def constant(self, value: Any, name: str) -> Digest:
        """Return the digest of a value; follow the code in it."""
        try:
            encoded = Encoder(self.code, self._instance).encode(value)
            self._work()
            while self._subclasses and self._derived():
                self._work()
        except Unstable as error:
            raise error.at(name) from error
        except RecursionError as error:
            raise NoFingerprintError(name, "it is nested too deeply") from error
        return Digest("xxh3:" + xxh3_128_hexdigest(encoded))

    def python(self) -> None:
        version = "{}.{}".format(*sys.version_info)
        implementation = platform.python_implementation()
        version = version if implementation == "CPython" else f"{implementation} {version}"
        # -O takes assertions out, and -OO docstrings.
        self._add("python", "python", version + " -O" * bool(sys.flags.optimize))

    def _add(self, kind: str, name: str, digest: str, where: str = "", short: str = "") -> None:
        self.parts.append(Part(kind, name, digest, where, short))

    # What a name means

    def code(self, value: Any) -> str:
        """Return the token of a function, class, module or the like; follow it."""
        token = self._tokens.get(id(value))
        if token is not None:
            return token
        self._alive.append(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        self._tokens[id(value)] = f"cycle:{type(value).__name__}"
        token = self._tokens[id(value)] = self._wrapper(value)
        return token

    def _wrapper(self, value: Any) -> str:
        """Return the token of what holds code without being a Python function or class."""
        kind = type(value).__name__
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, types.MethodType):
            return f"bound({self.code(value.__func__)},{self._value(value.__self__, kind)})"
        if isinstance(value, (functools.partial, functools.partialmethod)):
            arguments = self._value((value.args, value.keywords), f"{kind} arguments")
            return f"partial({self._value(value.func, kind)},{arguments})"
        if isinstance(value, (staticmethod, classmethod)):
            return f"{kind}({self._value(value.__func__, kind)})"
        if isinstance(value, property):
            accessors = (value.fget, value.fset, value.fdel)
            return f"property({','.join(self._value(each, kind) for each in accessors)})"
        if isinstance(value, functools.cached_property):
            return f"cached({self._value(value.func, kind)})"
        if isinstance(value, functools.singledispatchmethod):
            registry = self._value(dict(value.dispatcher.registry), kind)
            return f"dispatch({self._value(value.func, kind)},{registry})"
        if hasattr(value, "__wrapped__"):
            return f"{kind}({self._value(value.__wrapped__, kind)})"
        owner = getattr(value, "__self__", None)
        name = getattr(value, "__qualname__", kind)
        if owner is not None and not isinstance(owner, (types.ModuleType, type)):
            return f"{name} of {self._value(owner, name)}"
        home = getattr(value, "__module__", None) or getattr(
            getattr(value, "__objclass__", owner), "__module__", None
        )
        if isinstance(home, str):
            self._home(home)
        return f"{home}:{name}"

    def _home(self, module: str) -> Place:
        """Return the place of a module; add its package, or its file if it is no Python."""
        place = place_named(module)
        if place.owner == "installed":
            self._package(place)
        elif place.owner == "user" and place.path and not place.path.endswith(".py"):
            self.static.whole(place)
        return place

    def _package(self, place: Place) -> None:
        top = sys.modules.get(place.name.partition(".")[0])
        path = getattr(top, "__dict__", {}).get("__file__") or place.path
        if path:
            self.static.package(Place(place.name, place.owner, path))

    def _module(self, module: types.ModuleType) -> str:
        place = self._home(module.__name__)
        if place.owner == "user":
            self.static.whole(place)
        return f"module {module.__name__}"

    def _value(self, value: Any, path: str) -> str:
        """Return the token of a value: of code, or the digest of anything else."""
        if isinstance(value, CODE_TYPES):
            return self.code(value)
        return self._digest(value, path)

    def _digest(self, value: Any, path: str) -> str:
        try:
            return xxh3_128_hexdigest(Encoder(self.code, self._instance).encode(value))
        except Unstable as error:
            raise error.at(path) from error

    def _instance(self, cls: type) -> None:
        if cls.__module__ != "builtins":
            self.code(cls)

    def _constant(self, value: Any, name: str, namespace: Mapping[str, Any], where: str) -> str:
        """Add a value as a part, and return its token."""
        top = type(value).__module__.partition(".")[0]
        if top in OURS:
            return "ours"
        digest = self._digest(_beside(value, namespace), name)
        self._add("constant", name, digest, where, summary(value))
        return f"constant {name} {digest}"

    def _chain(self, chain: Chain, f: _Body) -> str | None:
        """Return the token of what a chain of names means to a function; follow it."""
        root, *rest = chain
        if root in f.cells:
            value, name = f.cells[root], f"{f.shown}.{root}"
            if value is _MISSING:
                return "empty"
        elif root in f.namespace:
            if root in _MODULE_NAMES:
                return None
            value, name = f.namespace[root], f.named(root)
            origin = None if isinstance(value, CODE_TYPES) else self._origin(root, value, f)
            if origin is not None:
                owner, name = origin
                if owner != "user":
                    return f"{name}.{'.'.join(rest)}"
        elif hasattr(builtins, root):
            return None
        else:
            if root in f.within:
                return None  # `@prop.setter`: what a class defines counts with the class.
            if not f.lenient:
                self._add("code", f.named(root), "missing", f.where)
            return "missing"
        return self._follow(value, name, rest, f)

    def _follow(self, value: Any, name: str, rest: list[str], f: _Body) -> str | None:
        namespace = f.namespace
        while isinstance(value, types.ModuleType):
            place = self._home(value.__name__)
            inside = rest and rest[0] in vars(value)
            if place.owner != "user" and not (
                place.owner == "installed" and not place.path and inside
            ):
                return f"{value.__name__}.{'.'.join(rest)}"
            self._import(place.name, vars(value))
            namespace = vars(value)
            if not rest:
                return self.code(value)
            if rest[0] not in namespace:
                self.static.name(value.__name__, rest[0])
                return f"{value.__name__}.{'.'.join(rest)}"
            first, *rest = rest
            if first in _MODULE_NAMES:
                return None
            name, value = _dotted(value.__name__, first), namespace[first]
        if self.flow and any(value is each for each in self.flow.classes):
            return self._flow_class(value, rest, f)
        if value is importlib.import_module and not name.endswith("import_module"):
            raise NoFingerprintError(f.shown, "it imports by another name of import_module")
        if isinstance(value, CODE_TYPES):
            attribute = getattr(value, "__dict__", {}).get(rest[0]) if rest else None
            if rest and rest[0] == "__doc__":
                attribute = value.__doc__
            known = isinstance(value, type) and rest[:1] != ["__doc__"]
            if attribute is None or known or isinstance(attribute, CODE_TYPES):
                return self.code(value)
            inner = self._constant(attribute, f"{name}.{rest[0]}", namespace, f.file)
            return f"{self.code(value)} {inner}"
        wrapped = self._decorated(value)
        if wrapped is not None:
            return wrapped
        return self._constant(value, name, namespace, f.file)

    def _decorated(self, value: Any) -> str | None:
        """Return the token of the user's code that an object of a library wraps, or None."""
        cls = type(value)
        if place_named(cls.__module__).owner != "installed":
            return None
        try:
            wrapped = value.__wrapped__
        except Exception:  # Proxies raise whatever they like.
            return None
        if not isinstance(wrapped, (types.FunctionType, type)):
            return None
        return f"{self.code(cls)}({self.code(wrapped)})"

    def _origin(self, name: str, value: Any, f: _Body) -> tuple[str, str] | None:
        """Return (owner, dotted name) of a constant that the module of `f` imported."""
        found = source.loaded(f.path) if f.path else None
        if found is None or name not in found.imported:
            return None
        for statement in found.bindings.get(name, ()):
            for target in imports_in(statement, name):
                package = str(f.namespace.get("__package__") or "")
                module = modules.absolute(target.module, target.level, package)
                home = sys.modules.get(module)
                attribute = name if target.name == "*" else target.name
                if home is None or attribute is None:
                    continue
                if vars(home).get(attribute, _MISSING) is value:
                    place = self._home(module)
                    # A number is what it is; an object of a library is the library's to know.
                    if place.owner != "user" and type(value).__module__ == "builtins":
                        return None
                    return place.owner, _dotted(module, attribute)
        return None

    def _import(self, module: str, namespace: Mapping[str, Any]) -> None:
        """Add what importing a user's module did to other things."""
        if module in self._ran:
            return
        self._ran.add(module)
        path = namespace.get("__file__")
        found = source.loaded(path) if isinstance(path, str) else None
        if found is None:
            return
        if found.effects:
            part = effects_part(found, module)
            self.parts.append(part)
            body = _Body(f"import {module}", module, namespace, {}, str(path), part.where, True)
            for chain in sorted(reads_of(found.effects).names):
                # Their text counts already; what they were given need not have a meaning.
                with contextlib.suppress(NoFingerprintError):
                    self._chain(chain, body)
        for node in found.definitions:
            if any(self._registers(each, namespace) for each in node.decorator_list):
                value = namespace.get(node.name)
                self._add("code", _dotted(module, node.name), syntax_digest(node))
                if isinstance(value, CODE_TYPES):
                    self.code(value)
        # What these define does not matter unless it is read, but they ran as well.
        for ran in found.imports:
            for name in candidates(ran, str(namespace.get("__package__") or "")):
                inner = sys.modules.get(name)
                if inner is not None and place_of(inner).owner == "user":
                    self._todo.append(functools.partial(self._import, name, vars(inner)))

    # Functions

    def _function(self, f: types.FunctionType) -> str:
        module = str(f.__globals__.get("__name__", "?"))
        qualname = getattr(f.__code__, "co_qualname", f.__qualname__)
        if self.flow:
            qualname = self.flow.called(module, qualname)
        path = _path(f)
        if module.partition(".")[0] in OURS:
            self._tokens[id(f)] = f"ours:{qualname}"
            return self._wrapped(f, f"ours:{qualname}")
        if path and not path.startswith("<") and is_stdlib(module, path):
            self._tokens[id(f)] = f"{module}:{qualname}"
            return self._wrapped(f, f"{module}:{qualname}")
        if path and site_of(path):
            self._package(Place(module, "installed", path))
            self._tokens[id(f)] = f"{module}:{qualname}"
            return self._wrapped(f, f"{module}:{qualname}")
        if _find(f.__module__, f.__qualname__) is f:
            token = f"{module}:{qualname}"
            self._tokens[id(f)] = token
            self._todo.append(lambda: self._body(f, token, module, qualname, path))
            return token
        # Two closures share a name: what is in them has to tell them apart.
        token = f"{module}:{qualname}"
        self._tokens[id(f)] = f"cycle {token}"
        token = f"{token}#{self._body(f, token, module, qualname, path)}"
        self._tokens[id(f)] = token
        return token

    def _wrapped(self, f: types.FunctionType, name: str) -> str:
        """Return the token of a library's function, with the user's code that it holds."""
        held = [getattr(f, "__wrapped__", None), *_cells(f).values()]
        held += [getattr(f, "registry", None), *(f.__defaults__ or ())]
        tokens = [self._held(value) for value in held]
        if not any(tokens):
            return name
        token = self._tokens[id(f)] = f"{name}({','.join(tokens)})"
        return token

    def _held(self, value: Any) -> str:
        if isinstance(value, types.ModuleType):
            return ""
        if isinstance(value, CODE_TYPES):
            return self.code(value)
        if isinstance(value, (dict, types.MappingProxyType)):
            items = sorted((self._held(k), self._held(v)) for k, v in list(value.items()))
            return repr(items) if any(held for _, held in items) else ""
        if isinstance(value, (list, tuple)):
            held = [self._held(each) for each in value]
            return repr(held) if any(held) else ""
        module = type(value).__module__
        if module != "builtins" and place_named(module).owner == "user":
            return self._digest(value, type(value).__qualname__)
        return ""

    def _body(
        self, f: types.FunctionType, token: str, module: str, qualname: str, path: str
    ) -> str:
        """Add the parts of a user's function; return a digest of it with what it holds."""
        code = f.__code__
        shown = qualname.replace("<locals>.", "")
        where = f"{os.path.basename(path)}:{code.co_firstlineno}"
        owner = self.flow.owner(f) if self.flow else None
        bound = owner is not None and not isinstance(owner.__dict__.get(f.__name__), staticmethod)
        cls = _find(f.__module__, f.__qualname__.rpartition(".")[0])
        within: Mapping[str, Any] = vars(cls) if isinstance(cls, type) else {}
        body = _Body(shown, module, f.__globals__, _cells(f), path, where, within=within)
        node = function_source(path, code)
        if node is not None:
            decorators = not (self.flow and self.flow.is_body(f))
            syntax = syntax_digest(node, decorators=decorators)
            reads = reads_of_function(node, first=bound, decorators=decorators)
        else:
            # Not needed in most processes, and `dis` takes a while to import.
            from memoflow.fingerprint.bytecode import bytecode_digest, bytecode_reads

            syntax = bytecode_digest(code, lambda value: self._digest(value, shown))
            reads = bytecode_reads(code)
        self._add("code", f"{shown}()", digest_of(token, syntax), where)
        self._import(module, f.__globals__)
        self._subclasses |= reads.subclasses
        package = str(f.__globals__.get("__package__") or "")
        self.static.follow(reads, package, shown)
        held = self._names(reads, body) | self._loaded(reads, body, package)
        if reads.dynamic:
            self.static.whole(place_named(module))
        self._defaults(f, body, held)
        if isinstance(getattr(f, "__wrapped__", None), CODE_TYPES):
            held["__wrapped__"] = self.code(f.__wrapped__)  # type: ignore[attr-defined]
        if owner is not None and bound:
            found = owner.__dict__.get(f.__name__)
            of_class = isinstance(found, classmethod) or f.__name__ in _CLASS_METHODS
            self._self(reads, owner, body, held, of_class=of_class)
        if self.flow and self.flow.joins:
            held |= self._asked_of_inputs(node)
        elif owner is None and isinstance(cls, type):
            held["<class>"] = self.code(cls)
        names = digest_of(token, *(text for pair in sorted(held.items()) for text in pair))
        if held:
            self._add("names", f"{shown}()", names, where)
        return digest_of(syntax, names).hex

    def _names(self, reads: Reads, body: _Body) -> dict[str, str]:
        """Follow the names that are read; return their tokens."""
        held: dict[str, str] = {}
        for chain in sorted(reads.names):
            token = self._chain(chain, body)
            if token is not None:
                held[".".join(chain)] = token
        return held

    def _asked_of_inputs(self, node: ast.AST | None) -> dict[str, str]:
        """Follow the methods that a join may call on its inputs, which are flows as well."""
        flow = self.flow
        assert flow is not None
        if node is None:
            self._escape()
            return {}
        asked = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
        texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
        asked |= {text for text in texts if isinstance(text, str)}
        held = {}
        for name in sorted(asked):
            value = flow.find(name)
            if isinstance(value, CODE_TYPES) and not flow.is_step(value):
                held[f"inputs.{name}"] = str(self.member(value))
        return held

    def _loaded(self, reads: Reads, body: _Body, package: str) -> dict[str, str]:
        """Follow what a function imports again that its module has certainly loaded.

        What others have put there by then is in no file that it names.
        """
        held: dict[str, str] = {}
        for target in sorted(reads.imports, key=repr):
            module = modules.absolute(target.module, target.level, package)
            if target.name == "*" or module not in self._closure(body.module):
                continue
            rest = [*([target.name] if target.name else []), *target.chain]
            # The file counts already; what is loaded need not have a meaning.
            with contextlib.suppress(NoFingerprintError):
                token = self._follow(sys.modules[module], module, rest, body)
                if token is not None:
                    held[f"import {module}.{'.'.join(rest)}"] = token
        return held

    def _closure(self, module: str) -> frozenset[str]:
        """Return the user's modules that a loaded one has loaded, however deep."""
        known = self._closures.get(module)
        if known is not None:
            return known
        seen: set[str] = set()
        todo = [module, *([self.flow.cls.__module__] if self.flow else [])]
        while todo:
            home = sys.modules.get(name := todo.pop())
            if name in seen or home is None or place_of(home).owner != "user":
                continue
            seen.add(name)
            path = vars(home).get("__file__")
            found = source.loaded(path) if isinstance(path, str) else None
            package = str(vars(home).get("__package__") or "")
            for ran in found.certain_imports if found else ():
                todo += candidates(ran, package)
        self._closures[module] = frozenset(seen)
        return self._closures[module]

    def _registers(self, decorator: ast.expr, namespace: Mapping[str, Any]) -> bool:
        """Say whether a decorator hands what it decorates to a library, which keeps it."""
        if "regist" not in ast.unparse(decorator).lower():
            return False
        value = namespace.get(source.root_of(decorator))
        home = value.__name__ if isinstance(value, types.ModuleType) else None
        home = home or getattr(value, "__module__", None) or type(value).__module__
        return place_named(str(home)).owner == "installed"

    def _defaults(self, f: types.FunctionType, body: _Body, held: dict[str, str]) -> None:
        code = f.__code__
        values = f.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
        for name, value in [*zip(names, values, strict=True), *(f.__kwdefaults__ or {}).items()]:
            if isinstance(value, CODE_TYPES):
                held[f"{name}="] = self.code(value)
            elif type(value) not in (bool, int, float, str, type(None)):
                shown = f"{body.shown}.{name}"
                held[f"{name}="] = self._constant(value, shown, body.namespace, body.file)
            else:
                held[f"{name}="] = repr(value)

    # Classes

    def _class(self, cls: type) -> str:
        token = f"{cls.__module__}:{cls.__qualname__}"
        self._tokens[id(cls)] = token
        if self._home(cls.__module__).owner in ("ours", "stdlib", "installed"):
            return token
        if self.flow and cls in self.flow.classes:
            self._escape(public=cls is not self.flow.cls)
            return token
        if _find(cls.__module__, cls.__qualname__) is cls:
            self._todo.append(lambda: self._class_body(cls, token))
            return token
        self._tokens[id(cls)] = f"cycle {token}"
        token = self._tokens[id(cls)] = f"{token}#{self._class_body(cls, token)}"
        return token

    def _class_body(self, cls: type, token: str) -> str:
        """Add the parts of a user's class; return a digest of it with what it holds."""
        self._classes[token] = cls
        home = sys.modules.get(cls.__module__)
        namespace: Mapping[str, Any] = vars(home) if home is not None else {}
        path = str(namespace.get("__file__") or "")
        found = source.loaded(path) if path else None
        node = found.class_(cls.__qualname__) if found else None
        line = f":{node.lineno}" if node else ""
        where = f"{os.path.basename(path)}{line}"
        shown = cls.__qualname__.replace("<locals>.", "")
        body = _Body(shown, cls.__module__, namespace, {}, path, where, True)
        held = {f"base {i}": self._value(base, shown) for i, base in enumerate(cls.__bases__)}
        if type(cls) is not type:
            held["metaclass"] = self.code(type(cls))
        assigned = frozenset(
            name for statement in (node.body if node else ()) for name in bound_by(statement)
        )
        taken = self._members(cls, shown, body, assigned if node else None, held)
        if dataclasses.is_dataclass(cls):
            held |= self._fields(cls, shown)
        syntax = ""
        if node is not None and found is not None:
            # The class that is loaded does not tell whether the file is still what made it.
            origin = "changed since" if found.changed else "as loaded"
            syntax = origin + syntax_digest(node, shallow=True, without=taken)
            marks = [each.annotation for each in node.body if isinstance(each, source.Annotated)]
            reads = reads_of([*node.decorator_list, *node.keywords, *marks])
            held |= self._names(reads, body)
        self._import(cls.__module__, namespace)
        self._add("code", f"class {shown}", digest_of(token, syntax), where)
        names = digest_of(token, *(text for pair in sorted(held.items()) for text in pair))
        self._add("names", f"class {shown}", names, where)
        return digest_of(syntax, names).hex

    def _members(
        self,
        cls: type,
        shown: str,
        body: _Body,
        assigned: frozenset[str] | None,
        held: dict[str, str],
    ) -> frozenset[str]:
        """Follow the attributes of a class; return the names of those that hold data."""
        taken = set()
        is_enum = issubclass(cls, enum.Enum)
        members = dict(cls.__members__) if is_enum else {}  # type: ignore[attr-defined]
        for name, member in members.items():
            held[name] = self._constant(
                member._value_, f"{shown}.{name}", body.namespace, body.file
            )
        if members:
            held["members"] = repr(list(members))
        generated = dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")
        generated = generated or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        for name, value in sorted(cls.__dict__.items()):
            if name in _BOOKKEEPING or name in members:
                continue
            if is_enum and not isinstance(value, CODE_TYPES):
                continue
            if is_enum and isinstance(value, type) and name.startswith("_"):
                continue
            if isinstance(value, CODE_TYPES):
                inner = getattr(value, "__func__", value)
                made = getattr(getattr(inner, "__code__", None), "co_filename", "")
                if not (generated and made.startswith(_GENERATED)):
                    held[name] = self.code(value)
                continue
            if type(value).__name__ == "_tuplegetter":
                continue  # the field of a named tuple
            try:
                held[name] = self._constant(value, f"{shown}.{name}", body.namespace, body.file)
            except NoFingerprintError:
                # What a metaclass or decorator of a library put there, it can answer for.
                if assigned is None or name in assigned:
                    raise
            taken.add(name)
        return frozenset(taken) | members.keys()

    def _fields(self, cls: type, shown: str) -> dict[str, str]:
        held = {"dataclass": repr(getattr(cls, "__dataclass_params__", None))}
        fields: dict[str, dataclasses.Field[Any]] = getattr(cls, "__dataclass_fields__", {})
        for i, (name, field) in enumerate(fields.items()):
            kind = (
                field.type
                if isinstance(field.type, str)
                else getattr(field.type, "__name__", type(field.type).__name__)
            )
            flags = (field.init, field.repr, field.hash, field.compare)
            texts = [str(i), str(kind), repr(flags), repr(getattr(field, "kw_only", None))]
            for value in (field.default, field.default_factory):
                missing = value is dataclasses.MISSING
                texts.append("" if missing else self._value(value, f"{shown}.{name}"))
            texts.append(self._digest(dict(field.metadata), f"{shown}.{name}"))
            held[f"field {name}"] = digest_of(*texts)
        return held

    # Flows

    def member(self, value: Any) -> str | None:
        """Return the token of an attribute that is read of `self`, or None for data."""
        if isinstance(value, types.ModuleType) or value is None:
            return None
        if isinstance(value, CODE_TYPES):
            if self.flow and any(self.flow.owner(f) is None for f in _methods(value)):
                # Written elsewhere, so it cannot be told which of its parameters is `self`.
                self._escape()
            return self.code(value)
        kind = type(value)
        if kind.__module__.partition(".")[0] in OURS:
            return None
        if "__call__" in dir(kind) or "__get__" in dir(kind):
            return self._digest(value, kind.__qualname__)
        return None

    def _attribute(self, home: type, name: str, chain: Chain, kind: str, body: _Body) -> str | None:
        """Return the token of what a class of the flow holds by a name, or None for an input."""
        flow = self.flow
        assert flow is not None
        if place_named(home.__module__).owner not in ("user", "installed"):
            return None
        value = home.__dict__[name]
        if isinstance(value, types.ModuleType):
            return self._follow(value, name, list(chain[1:]), body)
        if kind == "self" and flow.is_step(value):
            return None
        if isinstance(value, CODE_TYPES):
            return self.member(value)
        if kind == "self" and not name.startswith("__"):
            return self.member(value)
        return self._constant(value, flow.shown(home, name), body.namespace, body.file)

    def _naming(self, name: str, kind: str, found: bool) -> None:
        """Count the name of the flow class if asking `self` or its class for `name` tells it."""
        flow = self.flow
        assert flow is not None
        if name in _TELLING:
            self._escape(public=kind != "self")
        # Metaflow sets `self.name` to the name of the class.
        if (kind != "self" and name in _NAMES_OF_CLASS) or (name == "name" and not found):
            self._name_of(flow.cls)

    def _name_of(self, cls: type) -> None:
        self._add("names", "self.__class__", digest_of("class", cls.__qualname__))

    def _self(
        self, reads: Reads, owner: type, body: _Body, held: dict[str, str], *, of_class: bool
    ) -> None:
        """Follow what a method of the flow asks of `self`, or one of its class of `cls`."""
        flow = self.flow
        assert flow is not None
        for kind, chains in (
            ("class" if of_class else "self", reads.own),
            ("class", reads.of_class),
            ("super", reads.parents | reads.any_parents),
        ):
            for chain in sorted(chains):
                name = chain[0]
                if name.startswith("__") and not name.endswith("__"):
                    name = f"_{owner.__name__.lstrip('_')}{name}"
                anywhere = kind == "super" and chain in reads.any_parents
                after = owner if kind == "super" and not anywhere else None
                homes = flow.homes(name, after=after)
                for home in homes if anywhere else homes[:1]:
                    token = self._attribute(home, name, chain, kind, body)
                    if token is not None:
                        held[f"{kind}.{chain[0]} {flow.shown(home, '')}"] = token
                if not homes and kind == "class":
                    held[f"class.{chain[0]}"] = "missing"
                self._naming(name, kind, bool(homes))
        for hook in ("__getattr__", "__getattribute__", "__setattr__"):
            if flow.find(hook) not in (_MISSING, None):
                held[f"self.{hook}"] = str(self.member(flow.find(hook)))
        for chain in reads.passed_to:
            value = body.cells.get(chain[0], body.namespace.get(chain[0]))
            for name in chain[1:-1]:
                value = getattr(value, name, None) if isinstance(value, types.ModuleType) else None
            if not (isinstance(value, type) and value in flow.cls.__mro__):
                self._escape()
        if reads.escapes:
            self._escape()

    def _escape(self, *, public: bool = False) -> None:
        """Take it that anything may be asked of the flow; with `public`, of its classes."""
        flow = self.flow
        if flow is None:
            return
        if not self._escaped:
            self._escaped = True
            self._name_of(flow.cls)
            for value in flow.methods():
                self._todo.append(functools.partial(self.code, value))
            self._todo.append(functools.partial(self._data, public=False))
        if public and not self._public:
            self._public = True
            self._todo.append(functools.partial(self._data, public=True))

    def _data(self, *, public: bool) -> None:
        """Count the data of the flow's classes, as far as it has a meaning."""
        flow = self.flow
        assert flow is not None
        for cls, name, value in flow.data(public=public):
            # In a walk of its own, for what cannot be told to be left out as a whole.
            walk = Walk(flow)
            walk._escaped = walk._public = True
            shown = flow.shown(cls, name)
            try:
                digest = walk.constant(value, shown)
            except NoFingerprintError:
                digest = digest_of("unstable", class_name(type(value)))
            else:
                self.parts += walk.parts
                self.static.parts += walk.static.parts
            where = os.path.basename(place_named(cls.__module__).path)
            self._add("constant", shown, digest, where, summary(value))

    def _flow_class(self, cls: type, rest: list[str], f: _Body) -> str | None:
        """Follow what is asked of a flow class by its name."""
        assert self.flow is not None
        if not rest:
            return self.code(cls)
        if rest[0] in _NAMES_OF_CLASS:
            self._name_of(cls)
        if rest[0] in _TELLING:
            self._escape(public=True)
        for each in cls.__mro__:
            if rest[0] in each.__dict__ and each in self.flow.classes:
                value = each.__dict__[rest[0]]
                if isinstance(value, CODE_TYPES):
                    return self.code(value)
                return self._constant(value, f"{cls.__qualname__}.{rest[0]}", f.namespace, f.file)
        return None


@dataclasses.dataclass(frozen=True)
class _Body:
    """Where a piece of code looks its names up, and how it is shown."""

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
        return _dotted(self.module, name)


def _beside(value: Any, namespace: Mapping[str, Any]) -> Any:
    """Return a value; for a path beside the code that uses it, one that moves along with it."""
    directory = os.path.dirname(str(namespace.get("__file__") or ""))
    if directory and isinstance(value, (str, PurePath)):
        text = str(value)
        if text == directory or text.startswith(directory + os.sep):
            return "beside", type(value).__name__, os.path.relpath(text, directory)
    return value


def _dotted(module: str, name: str) -> str:
    return name if module == "__main__" else f"{module}.{name}"


def _cells(f: types.FunctionType) -> dict[str, Any]:
    cells = {}
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            cells[name] = _MISSING
    return cells


def _wrapped(f: Any) -> types.FunctionType | None:
    """Return the function at the bottom of a stack of `functools.wraps`, or None."""
    while isinstance(f, types.FunctionType) and hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    return f if isinstance(f, types.FunctionType) else None


def _methods(value: Any) -> Iterable[types.FunctionType]:
    """Return the functions to which `self` or its class is handed when an attribute is used."""
    inner = getattr(value, "__func__", value) if isinstance(value, classmethod) else value
    if isinstance(inner, property):
        inners: list[Any] = [inner.fget, inner.fset, inner.fdel]
    else:
        inners = [inner.func if isinstance(inner, _HOLDERS) else inner]
    return [each for each in inners if isinstance(each, types.FunctionType)]


def _path(f: types.FunctionType) -> str:
    path = f.__code__.co_filename
    if path.startswith("<") or os.path.isabs(path):
        return path
    home = f.__globals__.get("__file__")
    if isinstance(home, str) and os.path.basename(home) == os.path.basename(path):
        return home
    return os.path.abspath(path)


def _find(module: str | None, qualname: str) -> Any:
    """Return what is loaded under a name, unwrapped from staticmethod and classmethod, or None."""
    value: Any = sys.modules.get(module or "")
    for name in qualname.split("."):
        value = getattr(value, "__dict__", {}).get(name)
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
