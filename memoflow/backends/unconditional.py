"""Unconditional: a backend on a server that ignores conditions, made to look before it writes.

Of two that write at the same moment both may take themselves for the winner; then the later one's
bytes are there. What is named by its content does not mind, and a ref that is not the one that
was found is noticed by its digest. So work may be done twice, and no answer is wrong.
"""

from __future__ import annotations

from pathlib import Path

from memoflow.backends.backend import Backend, BlobLocation, Data, Forwarding


class Unconditional(Forwarding):
    """Wrap a backend with an unreliable `if_absent`."""

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        if if_absent and self.has(name):
            return False
        self.backend.write(name, data, durable=durable)
        # Not ours if another wrote in between: the last one is the one there now.
        return not (if_absent and isinstance(data, bytes)) or self.backend.read(name) == data

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        return not self.has(name) and self.backend.link_or_copy(name, source)


def honours_conditions(backend: Backend, probe: str) -> bool:
    """Tell whether a write that must not replace anything does not.

    On a server that is tried: `probe` is overwritten.
    """
    if not backend.takes_round_trips:
        return True
    # Not deleted: who may not delete may have a store, too. It is there for the next one to ask.
    backend.write(probe, b"")
    return not backend.write(probe, b"again", if_absent=True)
