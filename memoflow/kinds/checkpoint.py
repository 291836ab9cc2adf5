"""Checkpoints: the saves of one task identity, numbered over all its runs.

    checkpoint/<flow>/<step>/<scope>/<identity>/<number>-<token>   one save
    checkpoint/<flow>/<step>/code/<fingerprint>                    the code that made some of them

`scope` says who shares them, `identity` which of a step's tasks they belong to. Numbers, not
clocks, tell which is newer; by its random token no key is ever that of another save, in whatever
store, nor after it was deleted.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError, UnsignedError
from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import details, kept_code
from memoflow.kinds.about import About, SavedEntry
from memoflow.log import log
from memoflow.names import Key, Ref
from memoflow.store import Payload, Store

KIND = "checkpoint"
GANG = "gang"  # in place of a node
_NUMBER = re.compile(r"[0-9]{8}(-[0-9a-f]+)?")

# A task that may still run, or run again, has saved within this time.
_ALIVE = timedelta(days=7)


class SavedCheckpoint(SavedEntry):
    """One save of a checkpoint."""

    @property
    def node(self) -> str:
        """The node of a gang that saved it, empty for the control task and for any other task.

        `GANG` for one of all nodes, which no save of a single one replaces.
        """
        return GANG if self.about.nodes else node_of(self.about.own, self.about.task)

    @property
    def number(self) -> int:
        return number_of(self.ref.key)


@dataclass(frozen=True)
class Best:
    """The best saves of a task: so many, by a number in their metadata."""

    field: str
    count: int
    is_least: bool

    def rank(self, metadata: Mapping[str, Any]) -> float | None:
        """Return the less the better, for comparisons; None without a number, or with NaN."""
        value = metadata.get(self.field)
        if not isinstance(value, (int, float)) or value != value:
            return None
        return value if self.is_least else -value

    def of(self, saves: Iterable[SavedCheckpoint]) -> set[Key]:
        """Return the keys of the best of each name; of equal ones the newer, given first.

        A save without such a number, or with NaN, is none of them.
        """
        by_name: dict[str, list[tuple[float, Key]]] = {}
        for save in saves:
            rank = self.rank(save.about.metadata or {})
            if rank is not None:
                by_name.setdefault(save.about.name, []).append((rank, save.ref.key))
        return {
            key
            for found in by_name.values()
            for _, key in sorted(found, key=lambda each: each[0])[: self.count]
        }


def series(flow: str, step: str, scope: str, identity: str) -> Key:
    return Key.of(KIND, flow, step, scope, identity)


def is_save(key: Key) -> bool:
    """Return whether a key is that of a checkpoint, not of the code that made some."""
    return key.kind == KIND and len(key.parts) == 6 and bool(_NUMBER.fullmatch(key.parts[-1]))


def last_number(store: Store, series: Key) -> int:
    """Return the highest number that the backend lists in a series; 0 if there is none."""
    keys = [key for key in store.keys(series) if is_save(key)]
    return max((number_of(key) for key in keys), default=0)


def number_of(key: Key) -> int:
    return int(key.parts[-1].partition("-")[0])


def token_of(key: Key) -> str:
    return key.parts[-1].partition("-")[2]


def node_of(own: str, task: str) -> str:
    """Return the node of a gang from the pathspecs of a task and of the control task.

    The same in each run: Metaflow ends the ids of nodes with their numbers, and begins from 0 to
    count those that it calls workers. Empty for the control task.
    """
    if own in ("", task):
        return ""
    name = own.rpartition("/")[2]
    number = re.search(r"[0-9]+$", name)
    return name if number is None else str(int(number[0]) + ("worker-" in name))


def new_token() -> str:
    """Return random text that makes a key unique."""
    return secrets.token_hex(4)


def save(
    store: Store,
    series: Key,
    payload: Payload,
    about: About,
    *,
    token: str,
    ttl: timedelta | None = None,
    number: int | None = None,
    after: int = 0,
    place: Callable[[int], int] | None = None,
    created: float | None = None,
) -> SavedCheckpoint:
    """Save files under the next number of a series, or under this one; see `Store.append`."""
    expires = None
    if ttl is not None:
        expires = (time.time() if created is None else created) + ttl.total_seconds()
    meta = about.to_json()
    ref = store.append(
        series,
        payload,
        token=token,
        number=number,
        after=after,
        place=place,
        created=created,
        meta=meta,
        expires=expires,
    )
    details.record(store, ref, meta)
    return SavedCheckpoint(ref, about)


def read(store: Store, ref: Ref) -> SavedCheckpoint:
    """Return the checkpoint of a ref; NotFoundError or IntegrityError if it is gone or damaged."""
    return SavedCheckpoint(ref, About.from_json(KIND, store.meta(ref)))


def find(store: Store, key: Key) -> SavedCheckpoint | None:
    """Return the checkpoint of a key, however old, or None."""
    ref = store.lookup(key)
    return None if ref is None else read(store, ref)


def newest_first(
    store: Store, series: Key, say: Callable[[str], None] = log.warning
) -> Iterator[SavedCheckpoint]:
    """Yield the checkpoints of a series, and report the damaged ones that are passed over."""
    for ref in store.series(series):
        try:
            yield read(store, ref)
        except NotFoundError:
            continue  # Forgotten meanwhile.
        except UnsignedError as error:
            say(f"Checkpoint {ref.key} is passed over: {error}")
        except IntegrityError as error:
            say(f"Checkpoint {ref.key} is damaged and quarantined: {error}")


def of_task(store: Store, flow: str, step: str, task: str) -> list[SavedCheckpoint]:
    """Return the saves of one task, newest first, in any series."""
    every = {
        Key.of(*key.parts[:-1]) for key in store.keys(Key.of(KIND, flow, step)) if is_save(key)
    }
    for one in every:
        found = [
            each for each in newest_first(store, one) if task in (each.about.task, each.about.own)
        ]
        if found:
            return found  # A task has one identity.
    return []


def keep_last(
    store: Store,
    series: Key,
    task: str,
    count: int,
    *,
    best: Best | None = None,
    node: str = "",
    attempt: int | None = None,
    keep: Iterable[Key] = (),
) -> list[Ref]:
    """Replace all but the last `count` of each name that a task saved; return the removed refs.

    Nor the `best` of each name. Never the newest that a policy would load, and none of `keep`.
    Other tasks of the same identity may be running, and keep theirs; so do the other nodes of a
    gang, of which `node` is one.
    `attempt` is the one that a gang runs: the newest of the attempts before stays as well, since a
    node that begins later starts from it.
    """
    saves = (each for each in newest_first(store, series) if each.about.task == task)
    mine = [each for each in saves if each.node == node]
    spared = set(keep)
    if best is not None:
        spared |= best.of(mine)
    seen: Counter[str] = Counter()
    gone = []
    to_resume, to_join = False, attempt is None
    for checkpoint in mine:
        name = checkpoint.about.name
        seen[name] += 1
        first = checkpoint.about.latest and not to_resume
        to_resume = to_resume or checkpoint.about.latest
        if not to_join and checkpoint.about.latest and checkpoint.about.attempt < (attempt or 0):
            first = to_join = True
        if seen[name] > count and not first and checkpoint.ref.key not in spared:
            gone.append(checkpoint.ref)
    if gone:
        store.replace(gone[::-1], mine[0].ref)
    return gone


def newest(store: Store) -> set[Key]:
    """Return the keys that are never evicted: of each series the newest, and the newest to resume.

    Of a gang that is the newest of all nodes, and of each. And of each task that saved within a
    week the newest to resume from.
    """
    by_series: dict[Key, list[Key]] = {}
    for key in store.keys(Key.of(KIND)):
        if is_save(key):
            by_series.setdefault(Key.of(*key.parts[:-1]), []).append(key)
    kept = {max(keys, key=str) for keys in by_series.values()}
    several = {key for keys in by_series.values() if len(keys) > 1 for key in keys}
    metas = store.metas(Key.of(KIND), wanted=several.__contains__)
    alive = time.time() - _ALIVE.total_seconds()
    tasks: dict[tuple[str, ...], set[str]] = {}
    for ref, meta in sorted(metas, key=lambda save: str(save[0].key), reverse=True):
        try:
            about = About.from_json(KIND, meta)
        except IntegrityError as error:
            log.warning("checkpoint %s is passed over: %s", ref.key, error)
            continue
        known = tasks.setdefault(ref.key.parts[:-1], set())
        of = SavedCheckpoint(ref, about).node
        node, own = f"node {of}", f"{about.task} {of}"
        if about.latest and own not in known:
            if node not in known or ref.created > alive:
                kept.add(ref.key)
            known |= {node, own}
    return kept


def record_code(store: Store, flow: str, step: str, code: Fingerprint) -> None:
    """Keep the parts of a fingerprint, for later runs to compare with theirs."""
    key = _code_key(flow, step, code.hex)
    if store.find(key) is None:
        parts = json.dumps([part.to_json() for part in code.parts])
        store.save(key, Payload(files={kept_code.PARTS: parts.encode()}), durable=False)


def code_parts(store: Store, flow: str, step: str, code: str) -> tuple[Part, ...] | None:
    """Return the parts of the code that made a checkpoint, None if they are not known."""
    ref = store.find(_code_key(flow, step, code))
    if ref is None:
        return None
    try:
        return kept_code.parsed_parts(store.read_file(store.manifest(ref), kept_code.PARTS))
    except (NotFoundError, IntegrityError):
        return None  # Lost, or damaged: it says only what changed.


def _code_key(flow: str, step: str, code: str) -> Key:
    return Key.of(KIND, flow, step, "code", code)
