"""Eviction: dropping refs because a rule says so: expired, long unused, over budget.

Machines' clocks may be days off, so the backend's clock decides. A ref was written when that says,
and expires as long after as whoever wrote it wanted by a clock of its own: from `created` to
`expires`. When this machine used a ref is moved by as much as its clock is off now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import timedelta

from memoflow.backends import Found
from memoflow.dataclass import dataclass
from memoflow.names import Key, Ref
from memoflow.objects import blob_name
from memoflow.store.deletions import time_there
from memoflow.store.leases import leased
from memoflow.store.refs import Refs


@dataclass(frozen=True)
class Evicted:
    """The refs that were dropped, and their logical size: `sweep` says what that freed."""

    refs: tuple[Ref, ...]
    size_bytes: int


@dataclass(frozen=True)
class _Held:
    ref: Ref
    used: float
    file: Found


def evict(
    refs: Refs,
    *,
    clock: Callable[[], float],
    now: float | None,
    older_than: timedelta | None,
    max_size_bytes: int | None,
    prefix: Key | None,
    keep: Collection[Key] | Callable[[], Collection[Key]],
    dry_run: bool,
) -> Evicted:
    """Drop refs by the rules; see `Store.evict`."""
    if now is None:
        now = clock() if dry_run else time_there(refs.backend)
    held = _held(refs, prefix, ahead=now - clock())
    versions = {key: each.file.version for key, each in held.items()}
    # Asked after listing, so that it knows of all that is listed.
    kept = set(keep() if callable(keep) else keep)
    kept.update(key for key, each in held.items() if each.file.modified > now)
    kept.update(filter(leased(refs.backend), held))
    over = [(key, each.file) for key, each in held.items() if _is_over(each.ref, each.file, now)]
    # By the ref itself: the index may remember one that was made anew elsewhere, and anybody may
    # have left a bundle.
    out = [
        held[key].ref
        for key, file, stored in refs.contents(over, signed=False, copies=False)
        if key not in kept and _is_over(stored.ref, file, now)
    ]
    for ref in out:
        del held[ref.key]
    if older_than is not None:
        oldest = now - older_than.total_seconds()
        unused = [each.ref for key, each in held.items() if key not in kept and each.used < oldest]
        out += unused
        for ref in unused:
            del held[ref.key]
    if max_size_bytes is not None:
        out += _over_budget(refs, held, max_size_bytes, kept)
    if out and not dry_run:
        # What was written anew while all that was decided is another ref.
        there = {key: file.version for key, file in refs.listed(prefix)}
        out = [ref for ref in out if there.get(ref.key) == versions[ref.key]]
        refs.drop([ref.key for ref in out])
    return Evicted(tuple(out), sum(ref.size_bytes for ref in out))


def _held(refs: Refs, prefix: Key | None, *, ahead: float) -> dict[Key, _Held]:
    """Return what the backend lists, with what this machine knows about its use.

    `ahead` is by how many seconds the backend's clock is ahead of ours.
    """
    known = refs.index.entries(prefix)
    held, unknown = {}, []
    for key, file in refs.listed(prefix):
        entry = known.pop(str(key), None)
        if entry is not None:
            held[key] = _Held(entry.ref, max(entry.used + ahead, file.modified), file)
        else:
            unknown.append((key, file))
    for key, file, stored in refs.contents(unknown, signed=False):
        # Seen here for the first time: elsewhere it may be in use, but not before it was made.
        held[key] = _Held(stored.ref, file.modified, file)
    refs.index.drop(Key.parse(text) for text in known)
    return held


def _is_over(ref: Ref, file: Found, now: float) -> bool:
    return ref.expires is not None and file.modified + (ref.expires - ref.created) <= now


def _over_budget(
    refs: Refs, held: dict[Key, _Held], max_size_bytes: int, kept: Collection[Key]
) -> list[Ref]:
    """Return the least recently used, so that the rest and the blobs it reaches fit."""
    sizes = {file.name: file.size_bytes for file in refs.backend.list("blobs")}
    reached: dict[Key, set[str]] = {}
    uses: Counter[str] = Counter()
    listed = [(key, each.file) for key, each in held.items()]
    for key, _, stored in refs.contents(listed, signed=False, copies=False):
        reached[key] = {blob_name(blob) for blob in refs.blobs(stored)}
        uses.update(reached[key])
    total = sum(sizes.get(name, 0) for name in uses)
    total += sum(each.file.size_bytes for each in held.values())
    out = []
    loose = [each for key, each in held.items() if key not in kept]
    for each in sorted(loose, key=lambda each: (each.used, each.ref.created, str(each.ref.key))):
        if total <= max_size_bytes:
            break
        out.append(each.ref)
        total -= each.file.size_bytes
        for name in reached.get(each.ref.key, ()):
            uses[name] -= 1
            if not uses[name]:
                total -= sizes.get(name, 0)
    return out
