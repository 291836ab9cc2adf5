"""Checkpointer: saves, lists and loads the checkpoints of one task identity, in any process."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from datetime import timedelta
from functools import cache, cached_property, partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import MemoflowError, UsageError, usage_error
from memoflow.flow import references
from memoflow.flow.artifact_store import (
    ArtifactStore,
    current_store,
    default,
    tell_subprocesses,
)
from memoflow.flow.cards.journal import Act, Journal, Watch, of_this_process
from memoflow.flow.checkpoint.gang_saves import GangSaves
from memoflow.flow.checkpoint.order import Order
from memoflow.flow.spool import spool, uploading
from memoflow.flow.spool.entry import Entry
from memoflow.flow.spool.held import MEMORY, HeldEntry
from memoflow.flow.spool.spool import SpoolEntry
from memoflow.flow.task.identity import Identity
from memoflow.flow.task.process import IDENTIFIER, OPTIONS, UID
from memoflow.flow.task.save_arguments import ignored, plain
from memoflow.kinds import checkpoint, memo, ranks
from memoflow.kinds import state as kinds_state
from memoflow.kinds.about import About
from memoflow.kinds.checkpoint import Best, SavedCheckpoint
from memoflow.log import WARNING, Say, log
from memoflow.names import Key
from memoflow.objects import Content, Tree
from memoflow.state import StateSnapshot, snapshot
from memoflow.store import Payload
from memoflow.threads import apart

DEFAULT_NAME = "mfchckpt"
STORAGE_FORMATS = ("files", "tar")

# Bytes that `keep_last` lets go are freed by sweeps this far apart, and kept this long at least,
# since another save may be about to refer to them.
_SWEEP_EVERY = timedelta(minutes=5)
_LOOK_EVERY = timedelta(minutes=1)
_MOST_NOTED = 1000


@dataclass(frozen=True)
class CheckpointOptions:
    """The options of `@checkpoint` that concern each save."""

    keep_last: int | None = None
    keep_best: tuple[str, int, str] | None = None  # field, count, "min" or "max"
    ttl: timedelta | None = None
    code: str = ""

    @property
    def best(self) -> Best | None:
        if self.keep_best is None:
            return None
        field, count, order = self.keep_best
        return Best(field, count, order == "min")


@dataclass
class Checkpointer:
    """The checkpoints of one task identity, as one process saves and loads them."""

    where: ArtifactStore
    identity: Identity
    options: CheckpointOptions = CheckpointOptions()
    journal: Journal = field(default_factory=of_this_process)
    stored: Callable[[], None] = lambda: None  # called after each save, in any thread
    _swept: float = field(default_factory=time.monotonic)
    _referred: tuple[float, set[Key]] = (-math.inf, set())
    _tokens: dict[int, str] = field(default_factory=dict)  # of the next save, by process
    _order: Order = field(default_factory=Order)

    @classmethod
    def from_environment(cls) -> Checkpointer | None:
        """Return the checkpointer of the task that started this process; None outside of tasks."""
        uid = os.environ.get(UID)
        if uid is None:
            return None
        return cls.of_uid(uid, os.environ.get(OPTIONS, "{}"), current_store())

    @classmethod
    @cache  # The same for each call in a process: it knows when it last swept, and its next key.
    def of_uid(cls, uid: str, told: str, where: ArtifactStore) -> Checkpointer:
        """Return the checkpointer described by these environment variables."""
        try:
            flow, run, step, task, identifier, scope, attempt = uid.split("/")
            fields = json.loads(told)
            ttl, own = fields.pop("ttl_s", None), fields.pop("own", None)
            options = CheckpointOptions(
                **fields, ttl=None if ttl is None else timedelta(seconds=ttl)
            )
            pathspec = f"{flow}/{run}/{step}/{task}"
            own = pathspec if own is None else f"{flow}/{run}/{step}/{own}"
            identity = Identity(flow, step, scope, identifier, pathspec, own, int(attempt))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{UID}={uid!r} is not what a task with @checkpoint sets ({error}); pass it on to "
                "subprocesses as it is"
            ) from None
        return cls(where, identity, options)

    def tell_subprocesses(self) -> None:
        """Set the environment variables that `from_environment` reads in subprocesses."""
        one = self.identity
        os.environ[UID] = "/".join((one.task, one.identifier, one.scope, str(one.attempt)))
        os.environ[IDENTIFIER] = one.identifier
        ttl = self.options.ttl
        os.environ[OPTIONS] = json.dumps(
            {
                "keep_last": self.options.keep_last,
                "keep_best": self.options.keep_best,
                "ttl_s": None if ttl is None else ttl.total_seconds(),
                "code": self.options.code,
                "own": self.identity.own.rpartition("/")[2],
            }
        )
        tell_subprocesses()

    @cached_property
    def gang(self) -> GangSaves:
        return GangSaves(lambda: self.where.store, self.identity, self.series)

    @property
    def series(self) -> Key:
        one = self.identity
        return checkpoint.series(one.flow, one.step, one.scope, one.identifier)

    @apart
    def key(self, number: int | None = None) -> str:
        """Return the key of the save with this number, by default of the next save."""
        if number is None:
            store = self.where.store
            listed = checkpoint.last_number(store, self.series)
            number = max(listed, spool.last_number(store, self.series)) + 1
        token = self._tokens.setdefault(os.getpid(), checkpoint.new_token())
        return str(self.series / f"{number:08d}-{token}")

    def save(
        self,
        path: str | os.PathLike[str] | None,
        *,
        name: str,
        metadata: Mapping[str, Any] | None,
        latest: bool,
        storage_format: str,
        state: Any = None,
        wait: bool = True,
        gang: bool = False,
        ignore_patterns: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Save a file, a directory or a state, and return its reference.

        See `current.checkpoint.save`.
        """
        if storage_format not in STORAGE_FORMATS:
            raise ValueError(f"storage_format is 'files' or 'tar', not {storage_format!r}")
        if gang and not self.identity.nodes:
            raise UsageError(
                "save(gang=True) is for the nodes of a step with num_parallel, each in its own "
                "process; leave gang= out, or in subprocesses save by "
                "memoflow.integrations.torch.StorageWriter"
            )
        ignore = ignored(ignore_patterns)
        stored_as = storage_format if state is None else kinds_state.FORMAT
        about = self._about(name, metadata, latest, stored_as)
        if not wait:
            uploading.watch_for_sigterm()
        if state is not None:
            if path is not None:
                raise UsageError("save takes a path or a state, not both; save them one by one")
            return self._save_state(state, about, wait=wait, gang=gang)
        named = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        if not isinstance(named, str) or not named or "\0" in named:
            raise usage_error(named, str)(
                f"a checkpoint is saved from a file or directory, not {path!r}"
            )
        if wait or gang:
            return self._save_now(Payload(tree=Path(named), ignore=ignore), about, gang=gang)
        return self._save_later(Path(named), about, ignore)

    def _about(
        self, name: str, metadata: Mapping[str, Any] | None, latest: bool, storage_format: str
    ) -> About:
        if not isinstance(name, str) or not name:
            raise usage_error(name, str)(f"a checkpoint's name is a text, not {name!r}")
        return About(
            kind=checkpoint.KIND,
            task=self.identity.task,
            attempt=self.identity.attempt,
            name=name,
            latest=bool(latest),
            metadata=plain(metadata),
            storage_format=storage_format,
            code=self.options.code,
            own=self.identity.own,
        )

    @apart
    def save_part(self, files: Mapping[str, Content]) -> str:
        """Store the files of one of several processes; within a day `save_parts` takes the key."""
        return str(ranks.save_part(self.where.store, self.series, files))

    @apart
    def save_parts(
        self,
        parts: Iterable[str],
        files: Mapping[str, Content],
        *,
        name: str,
        metadata: Mapping[str, Any] | None,
        latest: bool,
    ) -> dict[str, Any]:
        """Save the files of all parts, and more files, as one checkpoint; return its reference."""
        about, store = self._about(name, metadata, latest, ranks.FORMAT), self.where.store
        keys = [Key.parse(part) for part in parts]
        reference = self._save_now(Payload(files=files, kept=ranks.files_of(store, keys)), about)
        for key in keys:
            store.forget(key)
        return reference

    def _save_state(self, state: Any, about: About, *, wait: bool, gang: bool) -> dict[str, Any]:
        # In the thread of the caller, whose stream a GPU copies by.
        if wait:
            files = kinds_state.files_of(snapshot(state))
            return self._save_now(Payload(files=files), about, gang=gang)
        self._wait_for_room()  # Before anything is copied.
        taken = snapshot(state)
        try:
            copy = MEMORY.take(taken.copy_bytes)
        except MemoryError as error:
            log.warning("the state is saved while the task waits: %s", error)
            files = kinds_state.files_of(taken)
            return self._save_now(Payload(files=files), about, gang=gang)
        taken = taken.copied(copy)
        return self._hold(taken, about, lambda: MEMORY.give_back(copy), gang=gang)

    @apart
    def _wait_for_room(self) -> None:
        uploading.of_this_process().wait_for_room(0)

    @apart
    def _save_now(self, payload: Payload, about: About, *, gang: bool = False) -> dict[str, Any]:
        watch = Watch()
        store = self.where.store
        with self._order.turn() as place:
            uploading.drain()  # In order.
            if gang:
                one = self.gang.next_part(self.options.ttl).store(store, payload, about)
            else:
                one = checkpoint.save(
                    store,
                    self.series,
                    payload,
                    about,
                    token=self._next_token(),
                    ttl=self.options.ttl,
                    after=spool.last_number(store, self.series),
                    place=place,
                )
        reference, new_bytes = references.of_checkpoint(self.where, one), one.ref.new_bytes
        self.journal.note(reference, "saved", watch, by=checkpoint.KIND, new_bytes=new_bytes)
        self._after(one)
        return reference

    @apart
    def finish(self) -> None:
        """Wait until all saves are uploaded, also of dead subprocesses; raise if one fails."""
        store = self.where.store
        uploading.drain()
        if self.identity.nodes:
            try:
                self.gang.say_missing(log.warning)
            except MemoflowError as error:  # What this node saved is stored all the same.
                log.warning("whether parts of other nodes are missing is unknown: %s", error)
        try:
            spool.rescue(store, self.series)
        except MemoflowError as error:
            mine = (self.identity.own, self.identity.attempt)
            for entry, lives in spool.pending(store, self.series):
                if not lives and (entry.about.own, entry.about.attempt) == mine:
                    raise
            log.warning(
                "checkpoints of other attempts on this machine were not uploaded: %s", error
            )

    @apart
    def bring_in(self, say: Say) -> None:
        """Upload the saves that earlier attempts of this identity left on this machine."""
        try:
            found = spool.rescue(self.where.store, self.series)
        except MemoflowError as error:
            say(f"What an attempt left on this machine could not be uploaded: {error}", WARNING)
        else:
            for one in found:
                say(f"Uploaded {one.ref.key}, which an attempt had left on this machine")

    @apart
    def _save_later(self, path: Path, about: About, ignore: tuple[str, ...]) -> dict[str, Any]:
        """Commit a save to this machine and queue its upload; save at once if there is no room."""
        try:
            return self._commit(path, about, ignore)
        except OSError as error:
            log.warning("%s is saved while the task waits: %s", path, error)
            return self._save_now(Payload(tree=path, ignore=ignore), about)

    @apart
    def _hold(
        self,
        taken: StateSnapshot,
        about: About,
        let_go: Callable[[], None],
        *,
        gang: bool,
    ) -> dict[str, Any]:
        """Queue a state in memory."""
        watch = Watch()
        uploader = uploading.of_this_process()
        size_bytes = sum(leaf.buffer.nbytes for leaf in taken.leaves)
        uploader.wait_for_room(size_bytes)
        store, series, write = self.where.store, self.series, None
        if gang:
            part = self.gang.next_part(self.options.ttl)
            number, token, write = part.number, part.token, part.store
        else:
            number, token = uploader.next_number(store, series), self._next_token()
        release = self._reserved(f"{number:08d}-{token}")

        def stored() -> None:
            let_go()
            with suppress(OSError):
                release()

        entry = HeldEntry(
            series=series,
            number=number,
            token=token,
            size_bytes=size_bytes,
            created=round(watch.began, 3),  # As refs keep it.
            ttl=self.options.ttl,
            about=about,
            files=kinds_state.files_of(taken),
            let_go=stored,
            write=write,
        )
        return self._queue(entry, watch, "not stored yet")

    def _reserved(self, name: str) -> Callable[[], None]:
        """Have other processes of this machine count a save; return the function that ends it."""
        try:
            own = uploading.of_this_process().own(self.where.store, self.series)
            return own.reserve(name).rmdir
        except OSError:  # Without a disk, only saves of two processes at once are out of order.
            return lambda: None

    def _queue(self, entry: Entry, watch: Watch, why: str) -> dict[str, Any]:
        reference = references.of_checkpoint(self.where, entry.saved)
        act = self.journal.note(reference, "saved", watch, by=checkpoint.KIND, why=why)
        uploader = uploading.of_this_process()
        uploader.add(self.where.store, entry, partial(self._uploaded, act))
        return reference

    def _commit(self, path: Path, about: About, ignore: tuple[str, ...]) -> dict[str, Any]:
        watch = Watch()
        uploader = uploading.of_this_process()
        uploader.raise_failure()
        tree = Tree.survey(path, {}, ignore)
        size_bytes = sum(source.size_bytes for source in tree.sources)
        uploader.wait_for_room(size_bytes)
        store, series = self.where.store, self.series
        own = uploader.own(store, series)
        number, token = uploader.next_number(store, series), self._next_token()
        folder, inside, size_bytes = own.copy(tree, f"{number:08d}-{token}", is_file=path.is_file())
        entry = SpoolEntry(
            folder=folder,
            series=series,
            number=number,
            token=token,
            path=inside,
            size_bytes=size_bytes,
            created=round(watch.began, 3),  # As refs keep it.
            ttl=self.options.ttl,
            about=about,
        )
        entry.write()
        return self._queue(entry, watch, "not uploaded yet")

    def _uploaded(self, act: Act, outcome: SavedCheckpoint | Exception) -> None:
        """Record the outcome of an upload in the journal; called in the uploading thread."""
        acts = self.journal.acts
        place = next(
            n for n, each in enumerate(acts) if (each.verb, each.key) == (act.verb, act.key)
        )
        if isinstance(outcome, Exception):
            acts[place] = replace(act, why=f"not stored: {outcome}")
        else:
            acts[place] = replace(act, why="without waiting", new_bytes=outcome.ref.new_bytes)
            self._after(outcome)

    def _next_token(self) -> str:
        # In one step, as threads save as well; nor may a fork have that of its parent.
        return self._tokens.pop(os.getpid(), None) or checkpoint.new_token()

    def note_subprocesses(self) -> None:
        """Record the saves of subprocesses in this attempt, as far as the store shows them."""
        known = {act.key for act in self.journal.acts}
        mine = islice(self.of_scope(), _MOST_NOTED)
        for one in takewhile(lambda each: each.about.task == self.identity.task, mine):
            if str(one.ref.key) not in known and one.about.attempt == self.identity.attempt:
                self.journal.add(
                    Act.of(
                        references.of_checkpoint(self.where, one),
                        "saved",
                        by=checkpoint.KIND,
                        began=one.ref.created,
                        took_s=0.0,
                        new_bytes=one.ref.new_bytes,
                        why="by a subprocess",
                    )
                )
        self.journal.acts.sort(key=lambda act: act.began)

    def of_task(self, say: Callable[[str], None] = log.warning) -> Iterator[SavedCheckpoint]:
        """Yield the saves of this task in all its attempts, newest first."""
        for one in self.of_scope(say):
            if one.about.task == self.identity.task:
                yield one

    def of_scope(self, say: Callable[[str], None] = log.warning) -> Iterator[SavedCheckpoint]:
        """Yield the saves of this identity in all runs, newest first."""
        return checkpoint.newest_first(self.where.store, self.series, say)

    @apart
    def list(self, *, full_namespace: bool) -> list[dict[str, Any]]:
        """Return references, newest first, followed by those of metaflow-checkpoint's saves."""
        one, task = self.identity, None if full_namespace else self.identity.task
        return [
            each
            for saves in references.sources(self.where)
            for each in saves.of_scope(one.flow, one.step, one.scope, one.identifier, task=task)
        ]

    def _after(self, newest: SavedCheckpoint) -> None:
        self.stored()
        try:
            self._keep_last(newest)
        except MemoflowError as error:
            # It is stored all the same: an older one stays longer than it was asked to.
            log.warning("could not remove older checkpoints of %s: %s", self.identity.task, error)

    def _keep_last(self, newest: SavedCheckpoint) -> None:
        best = self.options.best
        count = self.options.keep_last or (None if best is None else 1)
        if count is None:
            return
        store = self.where.store
        if len(store.keys(self.series)) <= count:
            return
        kept = {newest.ref.key, *self._referred_to()}
        one = self.identity
        attempt = one.attempt if one.is_gang else None
        gone = checkpoint.keep_last(
            store,
            self.series,
            one.task,
            count,
            best=best,
            node=newest.node,
            attempt=attempt,
            keep=kept,
        )
        if gone and time.monotonic() - self._swept > _SWEEP_EVERY.total_seconds():
            self._swept = time.monotonic()
            store.sweep(keep_newer=_SWEEP_EVERY)

    def _referred_to(self) -> set[Key]:
        """Return the keys that live memos refer to, at most a minute old: each memo is read."""
        now = time.monotonic()
        if now - self._referred[0] > _LOOK_EVERY.total_seconds():
            # Memos are kept with the flow's artifacts, which may be in another store.
            stores = {self.where, default()}
            texts = {text for each in stores for text in memo.references(each.store)}
            self._referred = now, memo.keys_of(texts)
        return self._referred[1]
