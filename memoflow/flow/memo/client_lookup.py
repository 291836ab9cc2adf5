"""Lookups through Metaflow's Client: the digest now of a read that is known by its name."""

from __future__ import annotations

import time
from dataclasses import replace
from types import GeneratorType
from typing import Any

from metaflow.client import core
from metaflow.client.core import Flow, MetaflowData, MetaflowObject, Run, Step, Task
from metaflow.exception import MetaflowNamespaceMismatch, MetaflowNotFound

from memoflow.flow.host.client import WITHOUT_NAMESPACE, artifacts_of, looking_at
from memoflow.flow.memo import client_digests as digests
from memoflow.flow.memo import client_names as names
from memoflow.flow.memo.client_digests import NAMESPACE, THERE
from memoflow.flow.memo.client_names import OWN, Name, Segment
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.memo.reads import GONE, Seen, hushed

_KEEP_SECONDS = 5.0
_BY_LENGTH = {1: Flow, 2: Run, 3: Step, 4: Task}


class _GoneError(Exception):
    """There is no such object now, or there is one of another kind."""


class _Listing(list[Any]):
    """The children of an object, as a walk over it finds them."""


class Evaluator:
    """Answers names for as long as the Client would hardly say otherwise.

    A foreach of 500 tasks asks the same 500 times, and names share the walk to the run that they
    are of. `metadata` is the provider of the run, as `MetadataProvider.metadata_str` names it, if
    it is not this process's own.
    """

    def __init__(self, *, metadata: str | None = None, keep_s: float = _KEEP_SECONDS) -> None:
        self._metadata = metadata
        self._keep_s = keep_s
        self._known: dict[str, Seen] = {}
        self._walked: dict[Name, Any] = {}
        self._since = 0.0

    def evaluate(self, text: str) -> Seen:
        """Return digest and summary of a read as they are now.

        Both are "absent" where the object is gone. Raises UndecidedError if that cannot be told.
        """
        now = time.monotonic()
        if now - self._since > self._keep_s:
            self._known.clear()
            self._walked.clear()
            self._since = now
        if text not in self._known:
            try:
                with hushed():
                    self._known[text] = self._asked(text)
            except Exception as error:
                # Of the provider, the network, or a name of another version's: nobody can tell.
                raise UndecidedError(f"{text} cannot be told: {error}") from error
        return self._known[text]

    def _asked(self, text: str) -> Seen:
        # Workers are told "" for no namespace, under which Metaflow finds less than under None.
        own = core.get_namespace() or ""
        if text == NAMESPACE:
            return digests.of_value(own)
        name = names.parse(text)
        namespace = own if name.namespace == OWN else name.namespace
        with looking_at(namespace, self._metadata if name.metadata == OWN else name.metadata):
            return self._seen(name)

    def _seen(self, name: Name) -> Seen:
        slices = [at for at, each in enumerate(name.segments) if each[0] == "first"]
        if slices:
            at, segments = slices[0], name.segments
            one_by_one = [(*segments[:at], ("index", i)) for i in range(segments[at][1])]
            rest = segments[at + 1 :]
            each = (replace(name, segments=(*one, *rest)) for one in one_by_one)
            return digests.of_many(map(self._seen, each))
        try:
            found = self._walk(replace(name, exists=False))
            if name.exists:
                return THERE
            if isinstance(found, _Listing) and (not found or isinstance(found[0], MetaflowObject)):
                return digests.of_listing(found)
            if name.segments[-1] == ("attr", "artifacts"):
                return digests.of_names(found._fields)
            if len(name.segments) > 1 and name.segments[-1][0] in ("attr", "call"):
                above = self._walk(replace(name, segments=name.segments[:-1], exists=False))
                value = list(found) if isinstance(found, _Listing) else found
                return digests.of_attribute(above, name.segments[-1][1], value)
            return digests.of_object(found)
        except _GoneError:
            return GONE

    def _walk(self, name: Name) -> Any:
        """Return the object at the end of a path."""
        if name not in self._walked:
            try:
                self._walked[name] = self._step(name)
            except _GONE as error:
                self._walked[name] = _GoneError(str(error))
        found = self._walked[name]
        if isinstance(found, _GoneError):
            raise found
        return found

    def _step(self, name: Name) -> Any:
        *before, last = name.segments
        if name.is_fixed:
            return _fixed(name.segments, name.namespace)
        if last[0] == "metaflow":
            return core.Metaflow()
        above = self._walk(replace(name, segments=tuple(before)))
        if above is None:
            raise _GoneError
        return _below(above, last)


def _fixed(segments: tuple[Segment, ...], namespace: str | None) -> Any:
    path = [segment[1] for segment in segments if segment[0] == "item"]
    attempt = next((each[1] for each in segments if each[0] == "attempt"), None)
    options: dict[str, Any] = {} if namespace is not None else dict(WITHOUT_NAMESPACE)
    if attempt is not None:
        options["attempt"] = attempt
    if len(path) > len(_BY_LENGTH):
        task = Task("/".join(path[:4]), **options)
        return task["/".join(path[4:])]
    return _BY_LENGTH[len(path)]("/".join(path), **options)


def _below(above: Any, segment: Segment) -> Any:
    kind = segment[0]
    if kind == "all":
        return _Listing(above)
    if kind in ("index", "item"):
        return above[segment[1]]
    if kind == "call":
        value = getattr(above, segment[1])(*segment[2], **dict(segment[3]))
    elif isinstance(above, MetaflowData):
        value = artifacts_of(above)[segment[1]]
    else:
        value = getattr(above, segment[1])
    return _Listing(value) if isinstance(value, GeneratorType) else value


_GONE = (
    _GoneError,
    MetaflowNotFound,
    MetaflowNamespaceMismatch,
    KeyError,
    IndexError,
    AttributeError,
)
