"""Listed: the entries of a store, with the names by which people tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from memoflow.fingerprint import Part
from memoflow.fingerprint.outline import flat
from memoflow.index import IndexEntry
from memoflow.kinds import checkpoint, hub, retention
from memoflow.names import Key, Ref
from memoflow.store import Store
from memoflow.store.entries import entries
from memoflow.units import iso

SHOWN_ID = 8
_LONGEST_WHAT = 60


class Listed(NamedTuple):
    """An entry with its names. Its `id` is the beginning of its reference's digest."""

    entry: IndexEntry
    id: str
    key: str

    @property
    def ref(self) -> Ref:
        """The reference, with size and times."""
        return self.entry.ref

    @property
    def kind(self) -> str:
        """One of `memo`, `checkpoint`, `model` and `hub`."""
        return self.ref.key.kind

    @property
    def flow(self) -> str:
        """The flow of the entry; empty if all flows share it."""
        return _place(self.ref.key)[0]

    @property
    def step(self) -> str:
        """The step of the entry; empty if all steps share it."""
        return _place(self.ref.key)[1]

    @property
    def what(self) -> str:
        """A short text that distinguishes the entry from others of its step."""
        parts = self.ref.key.parts
        if self.kind == hub.KIND:
            return f"{parts[-3]}@{parts[-2][:SHOWN_ID]}"
        if self.kind == checkpoint.KIND:
            return f"{parts[-2]} {checkpoint.number_of(self.ref.key)}"
        is_memo = self.kind == "memo" and len(parts) > 5
        return f"inputs {parts[5][:SHOWN_ID]}" if is_memo else parts[-1][:SHOWN_ID]

    @property
    def where(self) -> str:
        """Flow and step."""
        return "/".join(filter(None, _place(self.ref.key)))

    def to_json(self) -> dict[str, Any]:
        ref = self.ref
        return {
            "id": self.id,
            "key": self.key,
            "kind": self.kind,
            "flow": self.flow or None,
            "step": self.step or None,
            "size_bytes": ref.size_bytes,
            "new_bytes": ref.new_bytes,
            "created": iso(ref.created),
            "used": iso(self.entry.used),
            "expires": None if ref.expires is None else iso(ref.expires),
        }


def shown_value(part: Part) -> str:
    """Return an input's value in short: `lr=0.1 seed=7` for a small dict."""
    return flat(part.outline, _LONGEST_WHAT) or part.summary


def listed(store: Store) -> list[Listed]:
    """Return the entries of a store, in the order of keys, without auxiliary references."""
    return of_entries(entries(store))


def of_entries(everything: Mapping[str, IndexEntry]) -> list[Listed]:
    """Return the entries among all references that `entries` found."""
    found = {key: each for key, each in everything.items() if retention.is_entry(each.ref.key)}
    digests = [entry.ref.digest.hex for entry in found.values()]
    length = _length_of_ids(digests)
    return [
        Listed(entry, digest[:length], key)
        for (key, entry), digest in zip(found.items(), digests, strict=True)
    ]


def _length_of_ids(digests: list[str]) -> int:
    for length in range(SHOWN_ID, 64):
        if len({digest[:length] for digest in digests}) == len(digests):
            return length
    return 64


def _place(key: Key) -> tuple[str, str]:
    parts = (*key.parts, "", "")  # Nobody says that all keys in a store are of ours.
    if key.kind != hub.KIND:
        return parts[1], parts[2]
    if parts[1] == "checkpoint":
        return parts[2], parts[3]
    return (parts[2], "") if parts[1] == "flow" else ("", "")
