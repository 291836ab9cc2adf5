"""Listing: the entries of a store for people, and the resolution of their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from memoflow.cli.table import first
from memoflow.cli.verb import CommandContext, decisions
from memoflow.errors import BadKeyError, MemoflowError, NotFoundError
from memoflow.fingerprint import Part
from memoflow.fingerprint.outline import flat
from memoflow.index import IndexEntry
from memoflow.kinds import checkpoint, hub, memo, retention
from memoflow.names import Key, Ref
from memoflow.store import Store
from memoflow.store.entries import entries
from memoflow.units import iso, moment, readable

SHORTEST_ID = 4
_SHOWN_ID = 8
_MOST_CANDIDATES = 20
_LONGEST_WHAT = 60
_HEX = re.compile(r"[0-9a-f]+")
_TASK = re.compile(r"\w+/(?:\d+|(?:argo|sfn)-[^/]+)/\w+(?:/[^/]+)?")


class AmbiguousError(click.UsageError):
    """A name that matches several entries."""

    def __init__(self, text: str, found: Sequence[Listed]) -> None:
        lines = first([f"{each.id}  {each.key}" for each in found], _MOST_CANDIDATES)
        super().__init__(f"{text!r} matches {len(found)} entries; name one of them:\n{lines}")


class Listed(NamedTuple):
    """An entry with its names. Its `id` is the beginning of its reference's digest."""

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
        """Return the full row, for programs."""
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
        """Return the row for a terminal."""
        size, used = readable(self.ref.size_bytes), moment(self.entry.used)
        what = _read_of(store, self.ref) if self.kind == "memo" else ""
        return [self.id, self.kind, self.where, size, used, what or self.what]


COLUMNS = ("id", "kind", "step", "size", "created", "used", "expires", "key")
SHORT_COLUMNS = ("id", "kind", "step", "size", "used", "what")
FIELDS = {
    "id": "beginning of the entry's digest, long enough to name the entry",
    "key": "the entry's full name in the store",
    "kind": "`memo`, `checkpoint`, `model` or `hub`",
    "flow, step": "flow and step of the entry, or module and function; null for entries that all "
    "flows or steps share",
    "size_bytes": "size of the entry when loaded",
    "new_bytes": "bytes of these that were new to the store at the save",
    "created, expires": "ISO 8601 in UTC; null for entries that never expire",
    "used": "last use by this machine",
}


def _read_of(store: Store, ref: Ref) -> str:
    """Return the inputs of a result, in short; empty where reading them takes long."""
    if store.backend.takes_round_trips:
        return ""
    try:
        inputs = memo.read(store, ref).outlined_inputs
    except MemoflowError:
        return ""
    texts = [
        text if part.name == "input" else f"{part.name}={text}"
        for part in inputs
        if (text := shown_value(part))
    ]
    line = ", ".join(texts)
    return line if len(line) <= _LONGEST_WHAT else f"{line[: _LONGEST_WHAT - 3]}..."


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


def matching(among: Collection[Listed], text: str) -> list[Listed]:
    """Return the entries that match a name.

    A name is a key, the beginning of an id or of a key, consecutive parts of keys, such as
    Flow/step, or module.function, in this order: the first kind with a match counts.
    """
    text = text.strip("/")
    is_id = len(text) >= SHORTEST_ID and _HEX.fullmatch(text)
    for fits in (
        lambda each: each.key == text,
        lambda each: is_id and each.ref.digest.hex.startswith(text),
        lambda each: each.key.startswith(f"{text}/"),
        lambda each: text and each.key.startswith(text),
        lambda each: text and f"/{text}/" in f"/{each.key}/",
        lambda each: each.kind == "memo" and text == f"{each.flow}.{each.step}",
    ):
        if found := [each for each in among if fits(each)]:
            return found
    return []


def one(store: Store, text: str) -> Listed:
    """Return the entry that matches a name; NotFoundError for none, AmbiguousError for many."""
    known = _by_key(store, text)
    if known is not None:
        return known
    found = _named(store, listed(store), text)
    if len(found) > 1:
        raise AmbiguousError(text, found)
    return found[0]


def some(store: Store, texts: Iterable[str], *, all_of_them: bool) -> list[Listed]:
    """Return the entries that match names, each once; one a name unless `all_of_them`."""
    among = listed(store)
    chosen: dict[str, Listed] = {}
    for text in texts:
        found = _named(store, among, text)
        if len(found) > 1 and not all_of_them:
            raise AmbiguousError(text, found)
        chosen.update((each.key, each) for each in found)
    return list(chosen.values())


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the keys in this machine's index that begin with a text."""
    try:
        known = CommandContext(ctx.find_root().params.get("root")).store.index.entries()
    except MemoflowError:
        return []  # No place for an error message: a key was pressed.
    return [
        text
        for text, entry in known.items()
        if text.startswith(incomplete) and retention.is_entry(entry.ref.key)
    ]


def _named(store: Store, among: Collection[Listed], text: str) -> list[Listed]:
    """Return the entries that match a name, or the entry of a task; NotFoundError for none."""
    found = matching(among, text)
    if found:
        return found
    if not _TASK.fullmatch(text):
        raise NotFoundError(
            f"{store.backend} has no entry named {text!r}; list the entries with `memoflow ls`"
        )
    why, _, _ = decisions()
    key = why.result_key(text)
    of_task = None if key is None else _by_key(store, key)
    if of_task is None:
        raise NotFoundError(f"the task {text} has no entry in the store; ask `memoflow why {text}`")
    return [of_task]


def _by_key(store: Store, text: str) -> Listed | None:
    """Return the entry of a full key, without listing all others."""
    try:
        key = Key.parse(text)
    except (BadKeyError, UnicodeError):
        return None
    ref = store.lookup(key) if retention.is_entry(key) else None
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
