"""Index: this machine's cache of a store's refs, pieces, facts and outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from memoflow.display import html_rows
from memoflow.errors import BadKeyError
from memoflow.index.database import Database, mounts_of_this_machine
from memoflow.names import Digest, Key, Ref
from memoflow.units import moment, readable

T = TypeVar("T")

_FLUSH_SECONDS = 1.0
_MOST_PENDING = 200
_HITS = "SUM(MAX(hit, 0))"
_MISSES = "SUM(CASE WHEN hit > 0 THEN 0 ELSE MAX(-hit, 1) END)"
_COLUMNS = "digest, size, created, expires, new"


class IndexEntry(NamedTuple):
    """A ref, and the time of its last use on this machine, or of its creation if unused."""

    ref: Ref
    used: float

    @property
    def was_used(self) -> bool:
        """True if this machine is known to have used or saved the entry."""
        return self.used != self.ref.created

    def __repr__(self) -> str:
        ref = self.ref
        return f"<Entry {ref.key}, {readable(ref.size_bytes)}, used {moment(self.used)}>"

    def _repr_html_(self) -> str:
        return html_rows(
            "Entry",
            [
                ("key", str(self.ref.key)),
                ("size", readable(self.ref.size_bytes)),
                ("created", moment(self.ref.created)),
                ("used", moment(self.used)),
            ],
        )


class PieceLocation(NamedTuple):
    """The blob and offset of a piece."""

    blob: Digest
    offset: int
    length: int


class Outcome(NamedTuple):
    """The outcome of a memoized task: a hit saved the run time of the original."""

    flow: str
    run: str
    step: str
    task: str
    hit: bool
    saved_s: float
    at: float


class Tally(NamedTuple):
    """Counts of a step's outcomes; `last` is the time of the latest one."""

    flow: str
    step: str
    hits: int
    misses: int
    saved_s: float
    last: float


class MissCost(NamedTuple):
    """The misses of a step for one reason, and the run time of their tasks.

    `reason` is the value of a `Reason`; "" for calls of functions and misses noted without one.
    """

    flow: str
    step: str
    reason: str
    misses: int
    run_s: float


class Day(NamedTuple):
    """Counts of outcomes on one day of UTC, written as 2026-01-31."""

    date: str
    hits: int
    misses: int
    saved_s: float


class Index:
    """Remember, never know better: nothing here raises, an index that fails has forgotten.

    `warnings` says in words what went wrong. Safe over threads, processes and forks.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        patience: timedelta = timedelta(seconds=5),
        mounts: Callable[[], str] = mounts_of_this_machine,
    ) -> None:
        self._clock = clock
        self._db = Database(path, patience=patience, mounts=mounts)
        self._touched: dict[str, int] = {}
        self._small_values: dict[str, tuple[bytes, bytes, bytes]] = {}  # by the key of the ref
        self._details: dict[str, tuple[bytes, str]] = {}  # by the key of the ref
        self._flushed = 0.0

    @property
    def path(self) -> Path | None:
        """The file; None if the index is in memory, for want of a usable directory."""
        return self._db.path

    @property
    def warnings(self) -> list[str]:
        return self._db.warnings

    def record(self, refs: Iterable[Ref], *, is_used: bool = True) -> None:
        """Remember refs as used now; not `is_used` as seen and never used here."""
        used = int(self._clock()) if is_used else 0
        self._db.change(
            "INSERT OR REPLACE INTO entries (key, digest, size, created, expires, new, used)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    str(ref.key),
                    bytes.fromhex(ref.digest.hex),
                    ref.size_bytes,
                    _milliseconds(ref.created),
                    None if ref.expires is None else _milliseconds(ref.expires),
                    ref.new_bytes,
                    used,
                )
                for ref in refs
            ),
        )

    def lookup(self, key: Key) -> Ref | None:
        """Return the ref, expired or not; None if it is not remembered."""
        row = self._db.first(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (str(key),))
        return None if row is None else _ref(key, row)

    def touch(self, *keys: Key) -> None:
        """Note that refs were used; the last few notes before a crash may be lost."""
        uses = dict.fromkeys(map(str, keys), int(self._clock()))
        self._touched.update(uses)  # In one step: another thread may flush meanwhile.
        self._flush_if_due()

    def record_small_value(self, name: bytes, ref: Ref, value: bytes) -> None:
        """Remember the value of a ref by a name of 16 bytes; a crash may lose the last few."""
        key, row = str(ref.key), (name, bytes.fromhex(ref.digest.hex), value)
        self._small_values[key] = row
        self._flush_if_due()

    def small_value(self, name: bytes) -> tuple[Key, bytes] | None:
        """Return the key of the last ref that has a value of this name, and the value."""
        row = self._db.first(
            "SELECT s.key, s.value FROM small_values s"
            " JOIN entries e ON e.key = s.key AND e.digest = s.digest"
            " WHERE s.name = ? ORDER BY s.key DESC LIMIT 1",
            (name,),
        )
        return None if row is None else self._of_keys(lambda: (Key.parse(row[0]), row[1]), None)

    def record_details(self, details: Iterable[tuple[Ref, str]]) -> None:
        """Remember a text for people about each ref; a crash may lose the last few."""
        for ref, text in details:
            self._details[str(ref.key)] = (bytes.fromhex(ref.digest.hex), text)
        self._flush_if_due()

    def details(self, keys: Sequence[str] | None = None) -> dict[str, str]:
        """Return the remembered text about each of these keys, None: all; by key."""
        self.flush()
        sql = (
            "SELECT d.key, d.text FROM details d"
            " JOIN entries e ON e.key = d.key AND e.digest = d.digest"
        )
        if keys is None:
            return dict(self._db.query(sql))
        found: dict[str, str] = {}
        for marks, batch in self._db.batches(keys):
            found.update(self._db.query(f"{sql} WHERE d.key IN ({marks})", batch))
        return found

    def _flush_if_due(self) -> None:
        is_due = time.monotonic() - self._flushed > _FLUSH_SECONDS
        pending = len(self._touched) + len(self._small_values) + len(self._details)
        if is_due or pending >= _MOST_PENDING:
            self.flush()

    def flush(self) -> None:
        """Write the uses noted by `touch`, small values and details."""
        touched, self._touched = self._touched, {}
        values, self._small_values = self._small_values, {}
        details, self._details = self._details, {}
        self._flushed = time.monotonic()
        if values:
            self._db.change(
                "INSERT OR REPLACE INTO small_values (key, name, digest, value)"
                " VALUES (?, ?, ?, ?)",
                # Listed in one step: another thread may have got hold of the dict.
                ((key, *value) for key, value in list(values.items())),
            )
        if details:
            self._db.change(
                "INSERT OR REPLACE INTO details (key, digest, text) VALUES (?, ?, ?)",
                ((key, *detail) for key, detail in list(details.items())),
            )
        self._db.change(
            "UPDATE entries SET used = ? WHERE key = ?",
            [(used, key) for key, used in list(touched.items())],
        )

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget refs."""
        self._db.change("DELETE FROM entries WHERE key = ?", ((str(key),) for key in keys))

    def keys(self, prefix: Key) -> list[Key]:
        """Return the known keys below the prefix, in order."""
        rows = self._db.query(
            "SELECT key FROM entries WHERE key > ? AND key < ? ORDER BY key", _below(prefix)
        )
        return self._of_keys(lambda: [Key.parse(text) for (text,) in rows], [])

    def entries(self, prefix: Key | None = None) -> dict[str, IndexEntry]:
        """Return all recorded entries, below the prefix if there is one, by key."""
        self.flush()
        rows = self._db.query(
            f"SELECT key, used, {_COLUMNS} FROM entries WHERE key > ? AND key < ?",
            ("", "\x7f") if prefix is None else _below(prefix),
        )
        return self._of_keys(
            lambda: {
                text: IndexEntry(ref := _ref(Key.parse(text), row), used or ref.created)
                for text, used, *row in rows
            },
            {},
        )

    def used_since(self, time: int) -> list[tuple[str, int]]:
        """Return the keys used here since then, each with the time of its latest use."""
        return self._db.query("SELECT key, used FROM entries WHERE used >= ? AND used > 0", (time,))

    def recent(self, prefix: Key, most: int, *, before: float) -> list[Ref]:
        """Return at most so many refs below the prefix, the last created before a time first."""
        rows = self._db.query(
            f"SELECT key, {_COLUMNS} FROM entries WHERE key > ? AND key < ? AND created < ?"
            " ORDER BY created DESC, key DESC LIMIT ?",
            (*_below(prefix), _milliseconds(before), most),
        )
        return self._of_keys(lambda: [_ref(Key.parse(row[0]), row[1:]) for row in rows], [])

    def last(self, series: Key) -> Ref | None:
        """Return the ref with the highest number, with a token or without, below `series`."""
        prefix = f"{series}/"
        at = len(prefix) + 1  # where the number begins
        row = self._db.first(
            f"SELECT key, {_COLUMNS} FROM entries"
            " WHERE key > ? AND key < ? AND substr(key, ?, 8) GLOB ?"
            " AND (length(key) = ? OR substr(key, ?) GLOB '-[0-9a-f]*')"
            " AND substr(key, ?) NOT GLOB '*[^0-9a-f]*'"
            " ORDER BY key DESC LIMIT 1",
            # ":" is the character after "9".
            (prefix, f"{prefix}:", at, "[0-9]" * 8, at + 7, at + 8, at + 9),
        )
        if row is None:
            return None
        return self._of_keys(lambda: _ref(Key.parse(row[0]), row[1:]), None)

    def find_pieces(self, xxh3s: Iterable[str]) -> dict[str, PieceLocation]:
        """Return the locations of the known pieces, by their XXH3-128 in hex.

        Equal hashes are no proof of equal bytes.
        """
        places = {}
        for marks, batch in self._db.batches(xxh3s):
            for xxh3, blob, offset, length in self._db.query(
                f"SELECT xxh3, blob, offset, length FROM pieces WHERE xxh3 IN ({marks})",
                map(bytes.fromhex, batch),
            ):
                places[xxh3.hex()] = PieceLocation(_sha256(blob), offset, length)
        return places

    def record_pieces(self, pieces: Mapping[str, tuple[Digest, int, int]]) -> None:
        """Record the locations of pieces (blob, offset, length), by their XXH3-128 in hex."""
        self._db.change(
            "INSERT OR REPLACE INTO pieces (xxh3, blob, offset, length) VALUES (?, ?, ?, ?)",
            (
                (bytes.fromhex(xxh3), bytes.fromhex(blob.hex), offset, length)
                for xxh3, (blob, offset, length) in pieces.items()
            ),
        )

    def drop_blobs(self, blobs: Iterable[Digest]) -> None:
        """Forget every piece that lies in one of these blobs."""
        for marks, batch in self._db.batches(bytes.fromhex(blob.hex) for blob in blobs):
            self._db.change(f"DELETE FROM pieces WHERE blob IN ({marks})", [tuple(batch)])

    def get(self, names: Sequence[str]) -> dict[str, str]:
        """Return the remembered text of each name; unknown ones are left out."""
        facts: dict[str, str] = {}
        for marks, batch in self._db.batches(names):
            sql = f"SELECT name, value FROM facts WHERE name IN ({marks})"
            facts.update(self._db.query(sql, batch))
        return facts

    def set(self, facts: Mapping[str, str]) -> None:
        """Set the text of each name."""
        self._db.change("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", facts.items())

    def pop(self, name: str) -> str | None:
        """Return the text of a name, and forget it; None if it is unknown."""
        rows = self._db.query("DELETE FROM facts WHERE name = ? RETURNING value", (name,))
        return rows[0][0] if rows else None

    def set_if_changed(self, name: str, value: str) -> bool:
        """Set the text of a name; return True for a change, to one of all concurrent callers.

        False if the index cannot be written now.
        """
        rows = self._db.query(
            "INSERT INTO facts (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE value <> excluded.value RETURNING name",
            (name, value),
        )
        return bool(rows)

    def record_outcomes(
        self, outcomes: Iterable[tuple[str, str, str, str, int, float, float]]
    ) -> None:
        """Record outcomes of tasks; a later record of a task replaces the earlier one.

        A row may stand for many calls of a function: a number in place of `hit` is so many hits, a
        negative one so many misses.
        """
        self._db.change(
            "INSERT OR REPLACE INTO outcomes (flow, run, step, task, hit, saved_s, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            outcomes,
        )

    def outcomes(self, flow: str, run: str) -> list[Outcome]:
        """Return the outcomes of the tasks of a run, in the order in which they ended."""
        rows = self._db.query(
            "SELECT flow, run, step, task, hit, saved_s, at FROM outcomes"
            " WHERE flow = ? AND run = ? ORDER BY at, step, task",
            (flow, run),
        )
        return [Outcome(*row)._replace(hit=row[4] > 0) for row in rows]

    def tally(self, since: float = 0.0) -> list[Tally]:
        """Return the hits and misses of each step and function, over all runs on this machine."""
        rows = self._db.query(
            f"SELECT flow, step, {_HITS}, {_MISSES}, SUM(saved_s), MAX(at) FROM outcomes"
            " WHERE at >= ? GROUP BY flow, step ORDER BY flow, step",
            (since,),
        )
        return [Tally(*row) for row in rows]

    def days(self, since: float = 0.0) -> list[Day]:
        """Return the hits and misses of each day on which a task ended, the first day first."""
        rows = self._db.query(
            f"SELECT date(at, 'unixepoch') AS day, {_HITS}, {_MISSES}, SUM(saved_s)"
            " FROM outcomes WHERE at >= ? GROUP BY day ORDER BY day",
            (since,),
        )
        return [Day(*row) for row in rows]

    def record_misses(
        self, misses: Iterable[tuple[str, str, str, str, str, int, float, float]]
    ) -> None:
        """Record the reasons and run times of tasks that missed, as rows of the table `misses`."""
        self._db.change(
            "INSERT OR REPLACE INTO misses (flow, run, step, task, reason, runs, run_s, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            misses,
        )

    def misses(self, flow: str, run: str) -> list[tuple[str, str, str]]:
        """Return step, id and reason of the tasks of a run that missed, as they ended."""
        return self._db.query(
            "SELECT step, task, reason FROM misses WHERE flow = ? AND run = ?"
            " ORDER BY at, step, task",
            (flow, run),
        )

    def miss_costs(self, since: float = 0.0) -> list[MissCost]:
        """Return the misses of each step by reason, the longest run time first."""
        rows = self._db.query(
            "SELECT flow, step, reason, SUM(runs), SUM(run_s) AS cost FROM ("
            " SELECT flow, step, reason, runs, run_s FROM misses WHERE at >= ?"
            f" UNION ALL SELECT flow, step, '', {_MISSES}, 0.0 FROM outcomes AS other"
            "  WHERE at >= ? AND hit <= 0 AND NOT EXISTS (SELECT 1 FROM misses WHERE"
            "   (flow, run, step, task) = (other.flow, other.run, other.step, other.task))"
            "  GROUP BY flow, step"
            ") GROUP BY flow, step, reason ORDER BY cost DESC, flow, step, reason",
            (since, since),
        )
        return [MissCost(*row) for row in rows]

    def damage(self, *, repair: bool = False) -> list[str]:
        """Return descriptions of damage in the file; `repair` then quarantines it."""
        return self._db.damage(self.entries, repair=repair)  # Which finds a key that is none.

    def inspect(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        return self._db.inspect()

    def _of_keys(self, read: Callable[[], T], default: T) -> T:
        """Return the result of a read of rows; a malformed key drops the index, for `default`."""
        try:
            return read()
        except BadKeyError as error:
            self._db.quarantine(str(error))
            return default

    def close(self) -> None:
        """Write pending rows and close the file; any later call opens it again."""
        if self._touched or self._small_values or self._details:
            self.flush()
        self._db.close()


def _ref(key: Key, row: Sequence[Any]) -> Ref:
    digest, size, created, expires, new = row
    return Ref(
        key,
        _sha256(digest),
        size,
        created / 1000,
        None if expires is None else expires / 1000,
        new,
    )


def _sha256(raw: bytes) -> Digest:
    return Digest("sha256:" + raw.hex())


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _below(prefix: Key) -> tuple[str, str]:
    # "0" is the character after "/".
    return f"{prefix}/", f"{prefix}0"
