"""The store as Python code opens it: with its entries, figures, decisions and maintenance."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoflow.catalog.answers import of_pathspec
from memoflow.catalog.figures import Stats, collect
from memoflow.catalog.listed import Listed, listed
from memoflow.catalog.naming import some
from memoflow.dataclass import dataclass
from memoflow.errors import UsageError, WrongTypeError, usage_error
from memoflow.functions.place import PLACES
from memoflow.kinds import retention
from memoflow.names import Key, Ref
from memoflow.objects import Manifest
from memoflow.storages import opening
from memoflow.store import Store
from memoflow.units import duration, readable, size

if TYPE_CHECKING:
    from memoflow.flow.memo.run_decisions import RunDecisions
    from memoflow.flow.memo.why import Why


@dataclass(frozen=True)
class Collected:
    """The entries that `gc` evicted, with a reason in words for each, and the freed bytes.

    Of a dry run, those that it would evict and free. `note` tells of a size that was not reached.
    """

    entries: tuple[Ref, ...]
    reasons: tuple[str, ...]
    freed_bytes: int
    dry_run: bool
    note: str = ""

    def __repr__(self) -> str:
        done = "would free" if self.dry_run else "freed"
        return f"<{done} {readable(self.freed_bytes)}, {len(self.entries)} entries evicted>"


class OpenedStore(Store):
    """The store that `memoflow.open_store` returns.

    A key may be given as a `Key` or as its text; other types are a TypeError.
    """

    def entries(self, *names: str, kind: str | None = None) -> list[Listed]:
        """Return results, checkpoints, models and snapshots of the Hub, in the order of keys.

        `names` are as for `memoflow ls`: `"Flow/step"`, a run or task, the beginning of a key or
        id; NotFoundError if one matches nothing. `kind` is "memo", "checkpoint", "model" or "hub".

            for entry in store.entries("Sweep/fit"):
                print(entry.id, entry.ref.size_bytes)
        """
        for name in names:
            _check("a name of entries", name, str)
        if kind is not None and kind not in retention.KINDS:
            raise usage_error(kind, str)(
                f"entries(kind=...) is one of {', '.join(retention.KINDS)}, not {kind!r}"
            )
        found = some(self, names, all_of_them=True) if names else listed(self)
        return [each for each in found if kind is None or each.kind == kind]

    def stats(self) -> Stats:
        """Return hits, time saved and sizes, as `memoflow stats` shows them for this machine."""
        PLACES.flush()
        return collect(self)

    def why(self, name: Any) -> Why | RunDecisions:
        """Return the decision on a task, with its differences, or those on all tasks of a run.

        `name` is a Task or Run of Metaflow's Client, or a pathspec: Flow/run/step/task, Flow/run.
        NotFoundError if Metaflow has no such task or run.
        """
        pathspec = getattr(name, "pathspec", name)
        _check("the name of a task or run", pathspec, str)
        if not 1 <= pathspec.count("/") <= 3 or not all(pathspec.split("/")):
            raise UsageError(
                f"{pathspec!r} is no task or run; name one as Flow/run/step/task or Flow/run"
            )
        return of_pathspec(lambda: self, pathspec)

    def gc(
        self,
        *,
        older_than: str | timedelta | None = None,
        max_size: str | int | None = None,
        kinds: Collection[str] | None = None,
        dry_run: bool = False,
    ) -> Collected:
        """Evict expired entries, and those that the rules name, and free unreferenced bytes.

        `older_than` ("30d", a timedelta) evicts entries unused for that long, `max_size` ("50GB",
        a number of bytes) the least recently used until the store fits. Both take results and
        snapshots of the Hub, or the `kinds` given; see `memoflow gc`.
        """
        wanted = retention.RECOVERABLE if kinds is None else _kinds(kinds)
        limit = None if max_size is None else _bytes("gc(max_size=...)", max_size)
        evicted, swept = retention.tidy(
            self,
            older_than=None if older_than is None else duration("gc(older_than=...)", older_than),
            max_size_bytes=limit,
            kinds=wanted,
            now=True,
            dry_run=dry_run,
        )
        refs, reasons = retention.entries_of(evicted)
        return Collected(
            tuple(refs),
            tuple(reasons),
            swept.size_bytes,
            dry_run,
            retention.unreached(evicted, limit),
        )

    # The same as in `Store`, of arguments that are checked.

    def find(self, key: Key | str) -> Ref | None:
        return super().find(_key(key))

    def lookup(self, key: Key | str) -> Ref | None:
        return super().lookup(_key(key))

    def latest(self, series: Key | str) -> Ref | None:
        return super().latest(_key(series))

    def series(self, series: Key | str) -> list[Ref]:
        return super().series(_key(series))

    def save(self, key: Key | str, *given: Any, **named: Any) -> Ref:
        return super().save(_key(key), *given, **named)

    def keys(self, prefix: Key | str | None = None) -> list[Key]:
        return super().keys(None if prefix is None else _key(prefix))

    def forget(self, key: Key | str) -> None:
        super().forget(_key(key))

    def manifest(self, ref: Ref) -> Manifest:
        return super().manifest(_check("a ref", ref, Ref))

    def meta(self, ref: Ref) -> dict[str, Any]:
        return super().meta(_check("a ref", ref, Ref))

    def is_there(self, ref: Ref) -> bool:
        return super().is_there(_check("a ref", ref, Ref))

    def load(self, ref: Ref, into: str | Path, **named: Any) -> Path:
        return super().load(_check("a ref", ref, Ref), Path(into), **named)


def open_store(root: str | Path | None = None, *, create: bool = False) -> OpenedStore:
    """Return the store in a directory or at an address such as `s3://bucket/folder`.

    By default that of the datastore that Metaflow is configured to use. With `create` a new one is
    made where there is none; else that is a NotFoundError.

        import memoflow
        store = memoflow.open_store()
        for entry in store.entries():
            print(entry.key, entry.ref.size_bytes)
    """
    opened = opening.open_store(root, create=create)
    return OpenedStore(opened.id, opened.backend, opened.index, keyring=opened.keyring)


def _key(key: Key | str) -> Key:
    return Key.parse(key) if isinstance(key, str) else _check("a key", key, Key)


def _check(noun: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise WrongTypeError(f"{noun} is a {kind.__name__}, not {value!r:.100}")
    return value


def _kinds(kinds: Iterable[str]) -> frozenset[str]:
    named = kinds.split(",") if isinstance(kinds, str) else kinds
    if not isinstance(named, Iterable):
        raise WrongTypeError(f"gc(kinds=...) is a list of kinds, not {kinds!r:.100}")
    found = frozenset(named)
    if unknown := sorted(map(str, found - set(retention.KINDS))):
        raise UsageError(
            f"gc(kinds=...) has {unknown[0]!r}; the kinds are {', '.join(retention.KINDS)}"
        )
    return found


def _bytes(option: str, value: str | int) -> int:
    is_number = type(value) is int and value >= 0
    return value if is_number and isinstance(value, int) else size(option, value)
