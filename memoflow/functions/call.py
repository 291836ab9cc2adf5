"""Call: one call of a memoized function, by the parts of its key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from memoflow import events
from memoflow.dataclass import dataclass
from memoflow.fingerprint import Fingerprint, Part
from memoflow.functions.place import Place
from memoflow.functions.tallies import CallId
from memoflow.kinds import memo
from memoflow.names import Key
from memoflow.objects.blobs import xxh3_of


@dataclass(frozen=True)
class Call:
    """One call of a memoized function, by the parts of its key."""

    place: Place
    code: Fingerprint
    series: Key
    inputs: tuple[Part, ...]
    bound: Mapping[str, Any]

    @cached_property
    def id(self) -> CallId:
        """The identity of this call in this process, at little cost."""
        return str(self.code), *(part.digest for part in self.inputs)

    @cached_property
    def name(self) -> bytes:
        """The name of its result among small ones, in any process."""
        return bytes.fromhex(xxh3_of("\0".join((*self.series.parts, *self.id)).encode()))

    @cached_property
    def code_key(self) -> Key:
        return self.series / self.code.hex

    @property
    def lease_key(self) -> Key:
        """The key that is leased while it runs, in a folder of few levels."""
        return Key.of("call", f"{self.code.hex}-{self.key.parts[-1]}")

    @cached_property
    def key(self) -> Key:
        return memo.results_key(self.code_key, self.inputs)

    def note(self, event: str, **facts: Any) -> None:
        """Append a hit or miss of the call to the events."""
        if events.path():
            function = ".".join(self.series.parts[1:])
            fields = {"kind": "memo", "function": function, "key": str(self.key), **facts}
            events.emit(event, **fields)
