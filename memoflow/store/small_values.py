"""Small values: the bytes of small results in the index, each as long as its ref is there."""

from __future__ import annotations

from memoflow.index import Index
from memoflow.names import Key, Ref
from memoflow.objects import state_of
from memoflow.objects.blobs import xxh3_of
from memoflow.store.refs.refs import Refs

LARGEST_SMALL_BYTES = 8 << 10
_PROOF_BYTES = 16


class SmallValues:
    """Values by name, beside the refs that they are the content of.

    Only where it costs nothing to ask whether the ref is still there: elsewhere another machine may
    have forgotten it. And only without keys: the index is signed by nobody.
    """

    def __init__(self, refs: Refs) -> None:
        self._refs = refs
        self._index: Index = refs.index
        self._is_on = not (refs.backend.takes_round_trips or refs.keyring)

    def get(self, name: bytes) -> tuple[Key, bytes] | None:
        """Return the ref's key and the value, proven; None if it is not remembered."""
        found = self._index.small_value(name) if self._is_on else None
        if found is None:
            return None
        key, data = found
        value = data[_PROOF_BYTES:]
        return (key, value) if self._proof(key, value) == data[:_PROOF_BYTES] else None

    def put(self, name: bytes, ref: Ref, value: bytes) -> None:
        """Remember a value with a ref; one that is larger than some kilobytes is not."""
        if self._is_on and len(value) <= LARGEST_SMALL_BYTES:
            proof = self._proof(ref.key, value)
            if proof is not None:
                self._index.record_small_value(name, ref, proof + value)

    def _proof(self, key: Key, value: bytes) -> bytes | None:
        """Return the XXH3-128 of a value and of the state of the ref's file, None without one."""
        path = self._refs.backend.path(self._refs.names.of(key))
        state = None if path is None else state_of(path)
        return None if state is None else bytes.fromhex(xxh3_of(b"%d %d %d " % state + value))
