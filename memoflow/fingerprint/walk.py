"""The walk: reached objects, their tokens, and the objects still to follow."""

from __future__ import annotations

import ast
import functools
import platform
import sys
import textwrap
import types
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from xxhash import xxh3_128_hexdigest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint.encoding import Unstable, class_name
from memoflow.fingerprint.flows import Flow
from memoflow.fingerprint.instances import Opaque
from memoflow.fingerprint.literals import kept, masked
from memoflow.fingerprint.modules import (
    LIBRARIES,
    ModuleLocation,
    is_builtin,
    location_named,
    location_of,
    owner_of_class,
)
from memoflow.fingerprint.outline import outline, summary
from memoflow.fingerprint.parts import Fingerprint, Outline, Part, digest_of
from memoflow.fingerprint.project import Anchors, anchors
from memoflow.fingerprint.source import syntax_digest, written_in_class
from memoflow.fingerprint.static import StaticCode
from memoflow.fingerprint.transparent import Transparent
from memoflow.fingerprint.values import CODE_TYPES, Encoder
from memoflow.fingerprint.witness import NoWitness, Witness
from memoflow.masking import ANY, Mask
from memoflow.names import Digest

# The functions that stand in for those of the standard library while a step is tracked.
_STAND_INS = "memoflow.tracking.hooks"


class Walk:
    """Collects parts. A token is the text by which code refers to other code.

    `function` and `class_` return the token of one and follow it; they know the walk, and the
    walk not them. Paths of constants count as they are from `file` where the module of a
    constant has none. The names in `ignore` are left out; what `mask` hides is masked. If
    `strict`, a constant that cannot be encoded is an error, also where its class could stand for
    it. What the script that runs does besides
    its definitions counts unless the function `is_called` by it.
    """

    def __init__(
        self,
        function: Callable[[Walk, types.FunctionType], str],
        class_: Callable[[Walk, type], str],
        *,
        flow: Flow | None = None,
        file: str = "",
        ignore: frozenset[str] = frozenset(),
        strict: bool = False,
        mask: Mask = ANY,
        is_called: bool = False,
    ) -> None:
        self.witness = Witness() if is_called else NoWitness()
        self.is_called = is_called
        self.mask = mask
        self.flow = flow
        self.file = file
        self.ignore = ignore
        self.strict = strict
        self.by_class: set[str] = set()  # names of constants that count so, in whole or in part
        self.made: set[str] = set()  # those of them whose making was followed
        self._within: list[str] = []  # the constants that are being encoded
        self._encoders: list[Encoder] = []  # those at work, each for code found by the one before
        self._function = function
        self._class = class_
        self.static = StaticCode(ignore, mask, self.witness)
        self.parts: list[Part] = []
        self.tokens: dict[int, str] = {}
        self._alive: list[object] = []
        self._objects: dict[int, tuple[Any, str]] = {}  # by id: an object and its token
        self._bound: dict[int, tuple[Any, str]] = {}
        # Each time that one is asked for it is another object.
        self._methods: dict[tuple[int, int], types.MethodType] = {}
        self.todo: deque[Callable[[], object]] = deque()
        self.ran: set[str] = set()
        self._escaped = False
        self._public = False
        self.subclasses = False
        self.classes: dict[str, type] = {}
        self.closures: dict[str, frozenset[str]] = {}

    def finish(self, start: Callable[[], object], name: str) -> Fingerprint:
        """Follow everything from `start` and add it up."""
        try:
            token = start()
            self.add("names", name, digest_of("root", str(token)))
            self._work()
        except RecursionError as error:
            raise NoFingerprintError(name, "its code is nested too deeply") from error
        return Fingerprint.of([*self.parts, *self.static.parts])

    def _work(self) -> None:
        """Follow everything that is still to follow, and subclasses for code that asks for them."""
        while True:
            while self.todo:
                self.todo.popleft()()
            for token, cls in list(self.classes.items()) if self.subclasses else ():
                self.witness.subclasses(cls)
                derived = sorted(map(self.code, type.__subclasses__(cls)))
                self.add("names", f"{token} subclasses", digest_of(token, *derived))
            if not self.todo:
                return

    def constant(self, value: Any, name: str) -> str:
        """Return the digest of a value; follow the code in it."""
        try:
            encoded = Encoder(self.code, self._instance, anchors=self._anchors({})).encode(value)
            self._work()
        except Unstable as error:
            raise error.at(name) from error
        except RecursionError as error:
            raise NoFingerprintError(name, "it is nested too deeply") from error
        return self.mask.digest(name, value, Digest("xxh3:" + xxh3_128_hexdigest(encoded)))

    def python(self) -> None:
        version = "{}.{}".format(*sys.version_info)
        implementation = platform.python_implementation()
        version = version if implementation == "CPython" else f"{implementation} {version}"
        # -O takes assertions out, and -OO docstrings.
        self.add("python", "python", version + " -O" * bool(sys.flags.optimize))

    def add(
        self,
        kind: str,
        name: str,
        digest: str,
        where: str = "",
        short: str = "",
        *,
        source: str = "",
        leaves: Outline = (),
    ) -> None:
        text = masked(source, self.mask) if kind != "names" else source
        self.parts.append(Part(kind, name, digest, where, short, text, leaves))

    def code(self, value: Any) -> str:
        """Return the token of a function, class, module or the like; follow it."""
        if type(value) is types.FunctionType and value.__globals__.get("__name__") == _STAND_INS:
            value = getattr(value, "__wrapped__", value)  # A module has taken hold of a stand-in.
        value = self.behind(value)
        if isinstance(value, types.MethodType):
            value = self._methods.setdefault((id(value.__func__), id(value.__self__)), value)
        token = self.tokens.get(id(value))
        if token is not None:
            return token
        self._alive.append(value)
        if isinstance(value, types.FunctionType):
            return self._function(self, value)
        if isinstance(value, type):
            return self._class(self, value)
        self.tokens[id(value)] = f"cycle:{type(value).__name__}"
        try:
            token = self.tokens[id(value)] = self._wrapper(value)
        except NoFingerprintError:
            del self.tokens[id(value)]  # The walk may go on without what holds it.
            raise
        return token

    def behind(self, value: Any) -> Any:
        """Return the function behind a transparent object, whose version counts."""
        while isinstance(value, Transparent):
            if value.version:
                self.add("option", f"version of {value.__qualname__}", value.version)
            value = value.__wrapped__
        return value

    def _wrapper(self, value: Any) -> str:
        """Return the token of an object that holds code but is no Python function or class."""
        kind = type(value).__name__
        if isinstance(value, types.ModuleType):
            return self._module(value)
        known = self._of_library(value)
        if known:
            return known
        if isinstance(value, types.MethodType):
            return f"bound({self.code(value.__func__)},{self._bound_to(value.__self__, kind)})"
        if isinstance(value, (functools.partial, functools.partialmethod)):
            # As attributes, since the order of keywords does not count.
            keywords = types.SimpleNamespace(**value.keywords)
            given = [self.value(each, f"{kind} arguments") for each in (value.args, keywords)]
            return f"partial({self.value(value.func, kind)},{','.join(given)})"
        if isinstance(value, (staticmethod, classmethod)):
            return f"{kind}({self.value(value.__func__, kind)})"
        if isinstance(value, property):
            accessors = (value.fget, value.fset, value.fdel)
            return f"property({','.join(self.value(each, kind) for each in accessors)})"
        if isinstance(value, functools.cached_property):
            return f"cached({self.value(value.func, kind)})"
        if isinstance(value, functools.singledispatchmethod):
            self.witness.mapping(value.dispatcher.registry)
            registry = self.value(set(value.dispatcher.registry.items()), kind)
            return f"dispatch({self.value(value.func, kind)},{registry})"
        if hasattr(value, "__wrapped__"):
            return f"{kind}({self.value(value.__wrapped__, kind)})"
        owner = getattr(value, "__self__", None)
        name = getattr(value, "__qualname__", kind)
        if owner is not None and not isinstance(owner, (types.ModuleType, type)):
            return f"{name} of {self._bound_to(owner, name)}"
        home = getattr(value, "__module__", None) or getattr(
            getattr(value, "__objclass__", owner), "__module__", None
        )
        if isinstance(home, str):
            self.home(home)
        return f"{home}:{name}"

    def _of_library(self, value: Any) -> str:
        """Return the token of a bound method that a library's module has by its name.

        Such as `random.random`, bound to an object of the library that differs in each process.
        """
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, (types.ModuleType, type)):
            return ""
        name = getattr(value, "__name__", "")
        for cls in type(owner).__mro__:
            home = sys.modules.get(cls.__module__)
            if home is not None and vars(home).get(name) is value:
                location = self.home(cls.__module__)
                return f"{cls.__module__}:{name}" if location.owner in LIBRARIES else ""
        return ""

    def _bound_to(self, value: Any, path: str) -> str:
        """Return the token of a method's instance, which may hold the method in turn."""
        if isinstance(value, CODE_TYPES):
            return self.code(value)
        if id(value) not in self._bound:
            self._bound[id(value)] = value, f"cycle:{class_name(type(value))}"
            try:
                self._bound[id(value)] = value, self.digest(value, path)
            except NoFingerprintError:
                del self._bound[id(value)]
                raise
        return self._bound[id(value)][1]

    def home(self, module: str | types.ModuleType) -> ModuleLocation:
        """Return the location of a module; add its package, or its file if it is no Python."""
        location = location_named(module) if isinstance(module, str) else location_of(module)
        if location.owner == "installed":
            self.package(location)
        elif location.owner == "user" and location.path and not location.path.endswith(".py"):
            self.static.whole(location)
        return location

    def package(self, location: ModuleLocation) -> None:
        top = sys.modules.get(location.name.partition(".")[0])
        path = getattr(top, "__dict__", {}).get("__file__") or location.path
        if path:
            self.static.package(ModuleLocation(location.name, location.owner, path))

    def _module(self, module: types.ModuleType) -> str:
        location = self.home(module)
        if location.owner == "user":
            self.static.whole(location)
        return f"module {module.__name__}"

    def value(self, value: Any, path: str) -> str:
        """Return the token of a value: of code, or the digest of anything else."""
        if isinstance(value, CODE_TYPES):
            return self.code(value)
        return self.digest(value, path)

    def digest(self, value: Any, path: str, namespace: Mapping[str, Any] | None = None) -> str:
        opaque = None if self.strict else Opaque(self.home, self.code, self._objects)
        located = self._anchors(namespace or {})
        encoder = Encoder(
            self.code,
            self._instance,
            anchors=located,
            opaque=opaque,
            live=True,
            within=self._encoders[-1] if self._encoders else None,
        )
        self._encoders.append(encoder)
        try:
            digest = xxh3_128_hexdigest(encoder.encode(value))
            # The content of a client may change as it is used, which must not change its digest.
            by_class = opaque is not None and bool(opaque.described)
            digest = self.mask.keyed(digest) if by_class else self.mask.digest(path, value, digest)
        except Unstable as error:
            raise error.at(path) from error
        finally:
            self._encoders.pop()
        self.witness.content(value, path, namespace or {})
        for cls, described in opaque.described if opaque else ():
            name = self._within[-1] if self._within else path
            self.by_class.add(name)
            # The version of what provides it is a part of its own.
            self.add("opaque", name, digest_of(cls), short=described)
        return digest

    def _anchors(self, namespace: Mapping[str, Any]) -> Anchors | None:
        files = (namespace.get("__file__"), self.file)
        return anchors(*dict.fromkeys(each for each in files if each and isinstance(each, str)))

    def located(self, value: object, namespace: Mapping[str, Any]) -> bool:
        """Return whether a text names a path of the project of the code that has it."""
        known = self._anchors(namespace)
        return isinstance(value, str) and known is not None and known.split(value) is not None

    def ignores(self, name: str) -> bool:
        """Return whether a constant is to be left out, and note that there is one of this name."""
        if name not in self.ignore:
            return False
        self.add("ignored", name, digest_of("ignored", name))
        return True

    def _instance(self, cls: type) -> None:
        if not is_builtin(cls):
            self.code(cls)

    def constant_part(
        self, value: Any, name: str, namespace: Mapping[str, Any], where: str, source: str = ""
    ) -> str:
        """Add a value as a part, and return its token."""
        if owner_of_class(type(value)) == "ours":
            return "ours"
        if self.ignores(name):
            return "ignored"
        self._within.append(name)
        try:
            digest = self.digest(value, name, namespace)
        finally:
            self._within.pop()
        if name in self.by_class:
            # How it was made is not in it.
            digest = digest_of(digest, kept(source, _syntax(source), self.mask))
        short, leaves = summary(value, name, self.mask), outline(value, name, self.mask)
        source = masked(source, self.mask, whole=self.mask.hides(name, value))
        self.add("constant", name, digest, where, short, source=source, leaves=leaves)
        return f"constant {name} {digest}"

    def escape(self, *, public: bool = False) -> None:
        """Take it that anything may be asked of the flow; with `public`, of its classes."""
        flow = self.flow
        if flow is None:
            return
        if not self._escaped:
            self._escaped = True
            self.name_flow(flow.cls)
            for value in flow.methods():
                self.todo.append(functools.partial(self.code, value))
            self.todo.append(functools.partial(self._data, public=False))
        if public and not self._public:
            self._public = True
            self.todo.append(functools.partial(self._data, public=True))

    def name_flow(self, cls: type) -> None:
        self.add("names", "self.__class__", digest_of("class", cls.__qualname__))

    def _data(self, *, public: bool) -> None:
        """Count the data of the flow's classes, as far as it has a meaning."""
        flow = self.flow
        assert flow is not None
        for cls, name, value in flow.data(public=public):
            # In a walk of its own, so that data without a meaning is left out as a whole.
            walk = Walk(
                self._function,
                self._class,
                flow=flow,
                file=self.file,
                ignore=self.ignore,
                mask=self.mask,
            )
            walk._escaped = walk._public = True
            shown = flow.shown(cls, name)
            if self.ignores(shown):
                continue
            try:
                digest: str = walk.constant(value, shown)
            except NoFingerprintError:
                digest = digest_of("unstable", class_name(type(value)))
            else:
                self.parts += walk.parts
                self.static.parts += walk.static.parts
            where, text = written_in_class(cls, name)
            short = summary(value, shown, self.mask)
            text = masked(text, self.mask, whole=self.mask.hides(shown, value))
            self.add("constant", shown, digest, where, short, source=text)


def _syntax(text: str) -> str:
    """Return the digest of statements, independent of layout; of none for no text."""
    try:
        return syntax_digest(*ast.parse(textwrap.dedent(text)).body)
    except SyntaxError:
        return digest_of(text)
