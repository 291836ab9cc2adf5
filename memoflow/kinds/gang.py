"""Gangs: checkpoints of several nodes, which exist once each node has saved its part.

    checkpoint/<flow>/<step>/<scope>/<identity>/gang/<task>/<attempt>/start
    checkpoint/<flow>/<step>/<scope>/<identity>/gang/<task>/<attempt>/<round>/<node>

A part is a save of its own that lasts a week. Whoever stores the last one of a round writes the
checkpoint, whose files are those of all parts, each in a folder of its node; its key is known from
the start, so that two who do so write one. `start` is what all nodes of an attempt begin from:
the first to ask decides.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from memoflow.dataclass import dataclass
from memoflow.errors import BadKeyError, IntegrityError, NotFoundError
from memoflow.fields import Fields
from memoflow.kinds import checkpoint
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.names import Digest, Key, Ref
from memoflow.objects import File
from memoflow.store import Payload, Store

_GANG, _START = "gang", "start"
_PARTS_LAST = timedelta(days=7)
_STARTS_LAST = timedelta(days=30)


@dataclass(frozen=True)
class Gang:
    """The nodes of one attempt of a task, as one of them."""

    series: Key
    task: str
    attempt: int
    node: int
    nodes: int

    @property
    def key(self) -> Key:
        task = Digest.of(self.task.encode()).hex[:16]
        return self.series / _GANG / task / f"{self.attempt:04d}"

    def of_attempt(self, attempt: int) -> Gang:
        return replace(self, attempt=attempt)


@dataclass(frozen=True)
class Start:
    """The beginning of an attempt: the checkpoint that all nodes load, and the saves before it.

    `origin` None is no checkpoint of a gang.
    """

    origin: Key | None
    last_number: int

    def key_of(self, gang: Gang, round: int) -> Key:
        """Return the key of the attempt's checkpoint number `round`, from 1 on."""
        return gang.series / f"{self.last_number + round:08d}-{_token(gang, round)}"


def folder_of(node: int) -> str:
    """Return the folder of a node's files in a checkpoint."""
    return f"node-{node}/"


def started(store: Store, gang: Gang) -> Start | None:
    """Return the beginning of an attempt; None before its first node has decided."""
    ref = store.find(gang.key / _START)
    return None if ref is None else _start(store, ref)


def start(store: Store, gang: Gang, origin: SavedCheckpoint | None) -> Start:
    """Return the beginning of this attempt: of its first node the decision for `origin`."""
    ref = store.save(
        gang.key / _START,
        Payload(),
        meta={
            "origin": "" if origin is None else str(origin.ref.key),
            "last_number": checkpoint.last_number(store, gang.series),
        },
        expires=time.time() + _STARTS_LAST.total_seconds(),
    )
    return _start(store, ref)


def _start(store: Store, ref: Ref) -> Start:
    try:
        fields = Fields(store.meta(ref))
        text = fields.text("origin")
        return Start(Key.parse(text) if text else None, fields.whole("last_number"))
    except (ValueError, BadKeyError) as error:
        raise IntegrityError(f"{ref.key} is damaged: {error}") from None


def save_part(store: Store, gang: Gang, round: int, payload: Payload, about: About) -> Ref:
    """Store the part of a node; the same again if it is stored already."""
    return store.save(
        _part_key(gang, round, gang.node),
        payload,
        meta={"about": about.to_json(), "nodes": gang.nodes},
        expires=time.time() + _PARTS_LAST.total_seconds(),
    )


def complete(
    store: Store, gang: Gang, round: int, start: Start, about: About, *, ttl: timedelta | None
) -> SavedCheckpoint | None:
    """Write the checkpoint of a round; None while parts of it are missing.

    The same as before if it is written already.
    """
    key = start.key_of(gang, round)
    try:
        files = _files(store, gang, round)
    except NotFoundError:
        return checkpoint.find(store, key)  # By another node, which has dropped the parts.
    saved = checkpoint.save(
        store,
        gang.series,
        Payload(kept=tuple(files)),
        replace(about, own=gang.task, nodes=gang.nodes),
        token=checkpoint.token_of(key),
        number=checkpoint.number_of(key),
        ttl=ttl,
    )
    drop_parts(store, gang, through=round)
    return saved


def missing_nodes(store: Store, gang: Gang, round: int, key: Key) -> list[int]:
    """Return the nodes without a part of a round whose checkpoint, of this key, is not there."""
    there = [store.find(_part_key(gang, round, node)) is not None for node in range(gang.nodes)]
    if all(there) or checkpoint.find(store, key) is not None:
        return []
    return [node for node, is_there in enumerate(there) if not is_there]


def recover(store: Store, gang: Gang, *, ttl: timedelta | None) -> None:
    """Write the checkpoints of an attempt whose parts are all there, of nodes that were killed."""
    start = started(store, gang)
    for round in _rounds(store, gang) if start is not None else ():
        meta = _meta_of_part(store, gang, round)
        if start is not None and meta is not None:
            nodes, about = meta
            complete(store, replace(gang, nodes=nodes), round, start, about, ttl=ttl)


def drop_parts(store: Store, gang: Gang, *, through: int) -> None:
    """Forget the parts of this round and of those before: each node has stored later ones."""
    for key in store.keys(gang.key):
        if key.parts[-2].isdigit() and key.parts[-1].isdigit() and int(key.parts[-2]) <= through:
            store.forget(key)


def _rounds(store: Store, gang: Gang) -> list[int]:
    """Return the rounds of which parts are stored, in order."""
    return sorted({int(key.parts[-2]) for key in store.keys(gang.key) if key.parts[-1] != _START})


def _meta_of_part(store: Store, gang: Gang, round: int) -> tuple[int, About] | None:
    """Return the number of nodes, and the description, by the first part of a round."""
    for key in store.keys(gang.key / f"{round:08d}"):
        with suppress(NotFoundError, IntegrityError, ValueError):
            ref = store.lookup(key)
            fields = Fields({} if ref is None else store.meta(ref))
            about = About.from_json(checkpoint.KIND, fields.mapping("about"))
            return fields.whole("nodes"), about
    return None


def _files(store: Store, gang: Gang, round: int) -> list[File]:
    """Return the files of all parts of a round; NotFoundError while some are missing."""
    files = []
    for node in range(gang.nodes):
        part = store.find(_part_key(gang, round, node))
        if part is None:
            raise NotFoundError(f"node {node} has stored no part of round {round}")
        for file in store.manifest(part).files:
            files.append(replace(file, path=folder_of(node) + file.path))
    return files


def _part_key(gang: Gang, round: int, node: int) -> Key:
    return gang.key / f"{round:08d}" / f"{node:05d}"


def _token(gang: Gang, round: int) -> str:
    return Digest.of(f"{gang.key} {round}".encode()).hex[:8]
