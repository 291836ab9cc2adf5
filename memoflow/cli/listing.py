"""Listing: the entries of a store as people see them, and the names they give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from memoflow.cli.context import CommandContext
from memoflow.errors import BadKeyError, MemoflowError, NotFoundError
from memoflow.index import IndexEntry
from memoflow.kinds import checkpoint, hub, memo, retention
from memoflow.names import Key, Ref
from memoflow.store import Store
from memoflow.store.refs.entries import entries
from memoflow.units import iso, moment, readable

SHORTEST_ID = 4
_SHOWN_ID = 8
_MOST_CANDIDATES = 20
_LONGEST_WHAT = 60
_HEX = re.compile(r"[0-9a-f]+")


class AmbiguousError(click.UsageError):
    """A name that stands for several entries."""

    def __init__(self, text: str, found: Sequence[Listed]) -> None:
        lines = [f"  {each.id}  {each.key}" for each in found[:_MOST_CANDIDATES]]
        if len(found) > _MOST_CANDIDATES:
            lines.append(f"  and {len(found) - _MOST_CANDIDATES} more")
        super().__init__(
            "\n".join([f"{text!r} stands for {len(found)} entries; name one of them:", *lines])
        )


class Listed(NamedTuple):
    """An entry, as `ls` shows it. Its `id` is the beginning of its ref's digest."""

    entry: IndexEntry
    id: str
    key: str

    @property
    def ref(self) -> Ref:
        return self.entry.ref

    @property
    def kind(self) -> str:
        return self.ref.key.kind

    @property
    def flow(self) -> str:
        """The flow it is of; empty if it is shared by all."""
        return _place(self.ref.key)[0]

    @property
    def step(self) -> str:
        """The step it is of; empty if it is shared by all steps."""
        return _place(self.ref.key)[1]

    @property
    def what(self) -> str:
        """What tells it from others of its step, as far as people can make use of it."""
        parts = self.ref.key.parts
        if self.kind == hub.KIND:
            return f"{parts[-3]}@{parts[-2][:_SHOWN_ID]}"
        if self.kind == checkpoint.KIND:
            return f"{parts[-2]} {checkpoint.number_of(self.ref.key)}"
        is_memo = self.kind == "memo" and len(parts) > 5
        return f"inputs {parts[5][:_SHOWN_ID]}" if is_memo else parts[-1][:_SHOWN_ID]

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

    def row(self) -> list[str]:
        """Return all that `ls` shows of it where a program reads that."""
        ref = self.ref
        return [
            self.id,
            self.kind,
            self.where,
            readable(ref.size_bytes),
            moment(ref.created),
            moment(self.entry.used),
            "" if ref.expires is None else moment(ref.expires),
            self.key,
        ]

    def short_row(self, store: Store) -> list[str]:
        """Return what fits on a terminal."""
        size, used = readable(self.ref.size_bytes), moment(self.entry.used)
        what = _read_of(store, self.ref) if self.kind == "memo" else ""
        return [self.id, self.kind, self.where, size, used, what or self.what]


COLUMNS = ("id", "kind", "step", "size", "created", "used", "expires", "key")
SHORT_COLUMNS = ("id", "kind", "step", "size", "used", "what")
FIELDS = {
    "id": "beginning of the digest of what is stored, long enough to name the entry",
    "key": "the entry's full name in the store",
    "kind": "`memo`, `checkpoint`, `model` or `hub`",
    "flow, step": "what it is of; null for what all flows or steps share",
    "size_bytes": "bytes that a load gives back",
    "new_bytes": "bytes among them that the store did not hold when it was saved",
    "created, expires": "ISO 8601 in UTC; null for what never expires",
    "used": "when this machine last used it",
}


def _read_of(store: Store, ref: Ref) -> str:
    """Return the values that a result was computed from, in short; empty where that takes long."""
    if not store.backend.is_local:
        return ""
    try:
        inputs = memo.read(store, ref).inputs
    except MemoflowError:
        return ""
    texts = [
        part.summary if part.name == "input" else f"{part.name}={part.summary}"
        for part in inputs
        if part.summary
    ]
    line = ", ".join(texts)
    return line if len(line) <= _LONGEST_WHAT else f"{line[: _LONGEST_WHAT - 3]}..."


def listed(store: Store) -> list[Listed]:
    """Return what people saved, in the order of keys; what only helps to find it is left out."""
    return of_entries(entries(store))


def of_entries(everything: Mapping[str, IndexEntry]) -> list[Listed]:
    """Return what people saved of all that `entries` found."""
    found = {key: each for key, each in everything.items() if retention.is_entry(each.ref.key)}
    digests = [entry.ref.digest.hex for entry in found.values()]
    length = _length_of_ids(digests)
    return [
        Listed(entry, digest[:length], key)
        for (key, entry), digest in zip(found.items(), digests, strict=True)
    ]


def matching(among: Collection[Listed], text: str) -> list[Listed]:
    """Return the entries that a name stands for.

    It may be a key, the beginning of an id or of a key, or some parts of keys that follow each
    other, such as Flow/step. What is tried first and fits is what is meant.
    """
    text = text.strip("/")
    exact = [each for each in among if each.key == text]
    if exact or not text:
        return exact
    if len(text) >= SHORTEST_ID and _HEX.fullmatch(text):
        by_id = [each for each in among if each.ref.digest.hex.startswith(text)]
        if by_id:
            return by_id
    below = [each for each in among if each.key.startswith(f"{text}/")]
    if below:
        return below
    beginning = [each for each in among if each.key.startswith(text)]
    if beginning:
        return beginning
    return [each for each in among if f"/{text}/" in f"/{each.key}/"]


def one(store: Store, text: str) -> Listed:
    """Return the entry that a name stands for; NotFoundError for none, AmbiguousError for many."""
    known = _by_key(store, text)
    if known is not None:
        return known
    found = matching(listed(store), text)
    if not found:
        raise NotFoundError(f"nothing in {store.backend} is called {text!r}; `ls` shows what is")
    if len(found) > 1:
        raise AmbiguousError(text, found)
    return found[0]


def some(store: Store, texts: Iterable[str], *, all_of_them: bool) -> list[Listed]:
    """Return the entries that names stand for, each once; one a name unless `all_of_them`."""
    among = listed(store)
    chosen: dict[str, Listed] = {}
    for text in texts:
        found = matching(among, text)
        if not found:
            raise NotFoundError(
                f"nothing in {store.backend} is called {text!r}; `ls` shows what is"
            )
        if len(found) > 1 and not all_of_them:
            raise AmbiguousError(text, found)
        chosen.update((each.key, each) for each in found)
    return list(chosen.values())


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the keys that begin so, as this machine's index knows them."""
    try:
        known = CommandContext(ctx.find_root().params.get("root")).store.index.entries()
    except MemoflowError:
        return []  # Whoever presses a key is not to read why.
    return [
        text
        for text, entry in known.items()
        if text.startswith(incomplete) and retention.is_entry(entry.ref.key)
    ]


def _by_key(store: Store, text: str) -> Listed | None:
    """Return the entry of a full key, without listing all others."""
    try:
        key = Key.parse(text)
    except (BadKeyError, UnicodeError):
        return None
    ref = store.find(key, even_expired=True) if retention.is_entry(key) else None
    if ref is None:
        return None
    # Its own folder alone: that is a listing of one entry.
    remembered = store.index.entries(Key.of(*key.parts[:-1])).get(text)
    used = remembered.used if remembered is not None else ref.created
    return Listed(IndexEntry(ref, used), ref.digest.hex[:_SHOWN_ID], text)


def _length_of_ids(digests: list[str]) -> int:
    for length in range(_SHOWN_ID, 64):
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
