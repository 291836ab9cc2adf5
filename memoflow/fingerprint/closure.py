"""Closure: all of the user's code and constants reachable from a function, a step or a value.

Names are looked up in what is loaded, so aliases, decorators and dispatch tables are what they
are when the fingerprint is taken. At an installed distribution it stops: its version stands
for it. Syntax stands for the code of a function if its file provably is what was loaded, its
bytecode otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, ref

from xxhash import xxh3_128_hexdigest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import modules
from memoflow.fingerprint.classes import follow_class
from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.flows import MISSING, Flow
from memoflow.fingerprint.functions import follow_function
from memoflow.fingerprint.modules import find, location_named, owner_of_class
from memoflow.fingerprint.parts import Fingerprint, Part, digest_of
from memoflow.fingerprint.self_attributes import member
from memoflow.fingerprint.values import Encoder
from memoflow.fingerprint.walk import Walk
from memoflow.fingerprint.witness import Witness
from memoflow.masking import ANY, NOTHING, Mask
from memoflow.names import Digest


def of_function(f: Any, *, ignore: frozenset[str] = frozenset(), mask: Mask = ANY) -> Fingerprint:
    """Return the fingerprint of a function, class or other code, and of all it can reach.

    The constants named in `ignore` are left out: `lib.client`, and by the bare name those of the
    script that runs. NoFingerprintError if it reaches one that has no stable meaning, such as a
    generator; a library's object that cannot be encoded counts by its class, see `by_class`.
    """
    return _of_function(f, ignore=ignore, mask=mask)


def of_argument(v: Any, *, name: str = "value") -> str:
    """Return the digest of a value together with the code of the classes of its instances.

    The code of a class or function is followed once, and again when it changed; see `watched`.
    Raises NoFingerprintError as `of_value` does.
    """
    classes: dict[type, None] = {}
    try:
        encoded = Encoder(_code_of, lambda cls: classes.setdefault(cls)).encode(v)
    except Unstable as error:
        raise error.at(name) from error
    except RecursionError as error:
        raise NoFingerprintError(name, "it is nested too deeply") from error
    digest = "xxh3:" + xxh3_128_hexdigest(encoded)
    code = sorted(_code_of(cls) for cls in classes if _is_users(cls))
    return digest_of(digest, *code) if code else digest


# By id, since classes may say that they are equal.
_watched: dict[int, tuple[ref[Any], Fingerprint, Witness]] = {}
_is_of_user: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def _code_of(code: Any) -> str:
    """Return a text for a function or class, with all its code."""
    key = id(code)
    known = _watched.get(key)
    is_known = known is not None and known[0]() is code and not known[2].has_loaded
    if known is not None and is_known and known[2].change() is None:
        return str(known[1])
    found, witness = watched(code, strict=True)
    with suppress(TypeError):  # Of what cannot be referred to weakly, such as a bound method.
        _watched[key] = ref(code, lambda _: _watched.pop(key, None)), found, witness
    return str(found)


def _is_users(cls: type) -> bool:
    known = _is_of_user.get(cls)
    if known is None:
        known = _is_of_user[cls] = owner_of_class(cls) in ("user", "missing")
    return known


def watched(
    f: Any, *, ignore: frozenset[str] = frozenset(), strict: bool = False, mask: Mask = ANY
) -> tuple[Fingerprint, Witness]:
    """Return the fingerprint of a function, and a witness of its validity.

    With `strict` a constant that cannot be encoded is an error, also where its class could stand
    for it. What the script that runs does besides is no code of the function's.
    """
    walk = _walk_of(f, ignore=ignore, strict=strict, mask=mask, is_called=True)
    name = getattr(f, "__qualname__", type(f).__qualname__)
    # An object that is called like a function counts by its class and state.
    found = walk.finish(lambda: walk.value(f, name), name)

    def digest(value: Any, name: str, namespace: Mapping[str, Any]) -> str:
        # Of the witness, which stays in memory: so no text of it is searched for passwords.
        walk = _walk_of(f, ignore=ignore, strict=strict, mask=NOTHING)
        return walk.digest(value, name, namespace)

    walk.witness.settle(digest)
    return found, walk.witness


def _of_function(
    f: Any, *, ignore: frozenset[str] = frozenset(), strict: bool = False, mask: Mask = ANY
) -> Fingerprint:
    walk = _walk_of(f, ignore=ignore, strict=strict, mask=mask)
    return walk.finish(lambda: walk.code(f), getattr(f, "__qualname__", type(f).__qualname__))


def _walk_of(
    f: Any,
    *,
    ignore: frozenset[str] = frozenset(),
    strict: bool = False,
    mask: Mask = ANY,
    is_called: bool = False,
) -> Walk:
    module = str(getattr(f, "__module__", ""))
    walk = _walk(module=module, ignore=ignore, strict=strict, mask=mask, is_called=is_called)
    walk.python()
    return walk


def of_step(
    cls: type,
    name: str,
    *,
    is_step: Callable[[object], bool],
    kept: Collection[str] = frozenset(),
    ignore: frozenset[str] = frozenset(),
    mask: Mask = ANY,
) -> Fingerprint:
    """Return the fingerprint of the step `name` of a flow class.

    `self` is known to be a `cls`, so only the methods that the step uses count; attributes of
    the class that hold data do not, they are inputs, unless they are read of the class and not
    of `self`. Nor do the step's own decorators. Take it before anything of the class is replaced.
    `kept` names what the class holds for its framework, which does not count.
    `ignore` is as for `of_function`, and what `mask` hides is masked in what is shown.
    """
    walk = _walk(Flow(cls, name, is_step, kept), module=cls.__module__, ignore=ignore, mask=mask)
    walk.python()
    step = walk.flow.find(name) if walk.flow else MISSING
    if step is MISSING:
        raise NoFingerprintError(f"{cls.__qualname__}.{name}", "there is no such step")
    return walk.finish(lambda: member(walk, step), f"self.{name}")


def of_references(refs: Iterable[tuple[str, str]], *, mask: Mask = ANY) -> Fingerprint:
    """Return the fingerprint of the classes and functions that a pickle names.

    `refs` are (module, qualname) as `find_class` gets them. User code is read from its files
    and not imported; an installed distribution counts by its version; the standard library
    does not count.
    """
    walk = _walk(mask=mask)

    def follow() -> None:
        for module, qualname in sorted(set(refs)):
            location = modules.locate(module)
            value = find(module, qualname)
            if location.path or location.owner != "user" or value is None:
                if location.owner == "missing" and value is not None:
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
        # A function may be handed anything, so what it holds is as much of an input as itself.
        encoded = Encoder(lambda code: str(_of_function(code, strict=True))).encode(v)
    except Unstable as error:
        raise error.at(name) from error
    except RecursionError as error:
        raise NoFingerprintError(name, "it is nested too deeply") from error
    return Digest("xxh3:" + xxh3_128_hexdigest(encoded))


def of_constant(v: Any, *, name: str = "value", mask: Mask = ANY) -> str:
    """Return the digest of a value together with all code it holds.

    As `of_value`, but the user's class of each instance in it counts with its code as well, as
    those of a global constant do. Raises NoFingerprintError as `of_value` does.
    """
    walk = _walk(mask=mask)
    digest = walk.constant(v, name)
    # Most values hold no code: they count as for `of_value`.
    parts = [*walk.parts, *walk.static.parts]
    return str(Fingerprint.of([*parts, Part("constant", "", digest)])) if parts else digest


def _walk(
    flow: Flow | None = None,
    *,
    module: str = "",
    ignore: frozenset[str] = frozenset(),
    strict: bool = False,
    mask: Mask = ANY,
    is_called: bool = False,
) -> Walk:
    home = location_named(module) if module else None
    if home is None or home.owner != "user":
        home = location_named("__main__")
    file = home.path if home.owner == "user" else ""
    return Walk(
        follow_function,
        follow_class,
        flow=flow,
        file=file,
        ignore=ignore,
        strict=strict,
        mask=mask,
        is_called=is_called,
    )
