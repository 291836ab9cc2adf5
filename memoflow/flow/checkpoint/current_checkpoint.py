"""`current.checkpoint`: saves, lists and loads of the running task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from memoflow import fingerprint
from memoflow.display import printable
from memoflow.errors import (
    IntegrityError,
    MemoflowError,
    NoFingerprintError,
    NotFoundError,
    condition,
)
from memoflow.fingerprint import Fingerprint
from memoflow.flow import artifact_store, code, maintenance, references
from memoflow.flow.artifact_ref import Reference
from memoflow.flow.cards.journal import Watch
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.checkpoint.checkpointer import DEFAULT_NAME, Checkpointer, CheckpointOptions
from memoflow.flow.checkpoint.listing import list_of_task, matching
from memoflow.flow.host.client import add_to_current
from memoflow.flow.lifecycle import Attempt, translated_errors
from memoflow.flow.references import get_ready
from memoflow.flow.spool import spool
from memoflow.flow.task import identity
from memoflow.flow.task.identity import Identity
from memoflow.flow.task.scratch import Scratch
from memoflow.kinds import checkpoint, ranks, state
from memoflow.kinds.checkpoint import SavedCheckpoint
from memoflow.log import WARNING, Say
from memoflow.masking import Mask, without_passwords
from memoflow.threads import apart

Load = Callable[[Path], object]  # into a directory
_BY_POLICY = "load policy"


class CurrentCheckpoint:
    """Saves, lists and loads checkpoints of the running task."""

    def __init__(
        self,
        checkpointer: Checkpointer,
        *,
        scratch: Scratch,
        code: Fingerprint | None,
        say: Say,
        noticed: Callable[[], None],
    ) -> None:
        self._checkpointer = checkpointer
        self._gang = checkpointer.gang
        self._scratch = scratch
        self._code = code
        self._say = say
        self._noticed = noticed
        self._info: Reference | None = None
        self._others: Iterator[tuple[dict[str, Any], Load]] = iter(())
        self._state: Any = None
        self._code_recorded = False
        self._directory = scratch.new()
        checkpointer.stored = self._record_code

    @property
    def directory(self) -> str:
        """A directory of this attempt, with the checkpoint that the policy or `load` loaded."""
        return self._directory

    @property
    def is_loaded(self) -> bool:
        """True if the load policy found a checkpoint; it is in `directory` then."""
        return self._info is not None

    @property
    def info(self) -> Reference | None:
        """The checkpoint that the load policy loaded; None if there was none."""
        return self._info

    @property
    def state(self) -> Any:
        """The state that the load policy found, loaded at first use; None if it found nothing.

        It is the same object until the next save, from when on this holds none. Raises
        CheckpointException for a checkpoint of files, which are in `directory`.
        """
        if self._info is not None and self._state is None:
            with translated_errors(CheckpointException):
                self._state = self._found_state(None, None)
        return self._state

    def load_state(
        self,
        reference: Any = None,
        *,
        only: str | Sequence[str] | None = None,
        map_location: Any = None,
    ) -> Any:
        """Return the state of a checkpoint, by its dict, key or info object, each time another.

        `reference` None is what the load policy found, and None is returned if that is nothing.
        `only` is a glob over paths in the state, such as "model.*", or several: just these bytes
        are read, dicts lose all other keys, and other containers have None in their place. Tensors
        are private and writable; `map_location` is that of `torch.load`. A state that a gang saved
        is that of this node. Raises CheckpointException for a checkpoint of files, or of another
        number of nodes.
        """
        with translated_errors(CheckpointException):
            if reference is None:
                return self._found_state(only, map_location)
            return self._load_state(reference, only, map_location)

    @apart
    def _found_state(self, only: str | Sequence[str] | None, map_location: Any) -> Any:
        """Return the state that was found, or of a damaged one the one before."""
        while self._info is not None:
            try:
                return self._load_state(self._info, only, map_location, why=_BY_POLICY)
            except (IntegrityError, NotFoundError) as error:
                if self._checkpointer.identity.is_gang:
                    raise  # The other nodes have loaded it: the next attempt decides anew.
                self._say_passed(self._info.key, error)
                self._info = None
                self._take_next()
        return None

    @apart
    def _load_state(
        self,
        reference: Any,
        only: str | Sequence[str] | None,
        map_location: Any,
        *,
        why: str = "",
    ) -> Any:
        watch, where, mine = Watch(), self._checkpointer.where, self.identity
        state = references.load_state(
            where,
            reference,
            node=mine.node,
            nodes=mine.nodes or 1,
            only=only,
            map_location=map_location,
        )
        self._note_loaded(references.describe(where, reference), watch, why)
        return state

    @property
    def identity(self) -> Identity:
        """The identity by which tasks share checkpoints."""
        return self._checkpointer.identity

    @property
    def task_identifier(self) -> str:
        """Twelve hex digits, the same for the tasks that share checkpoints across runs."""
        return self.identity.identifier

    def save(
        self,
        path: str | os.PathLike[str] | None = None,
        name: str = DEFAULT_NAME,
        metadata: Mapping[str, Any] | None = None,
        latest: bool = True,
        storage_format: str = "files",
        *,
        state: Any = None,
        wait: bool = True,
        gang: bool = False,
        ignore_patterns: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Save files or a state, and return a reference when all of it is safely stored.

        `path` is a file or directory; None saves `directory`, or `state` if that is given: nested
        dicts, lists, tuples and dataclasses of tensors, arrays and whatever pickles. With `latest`
        False no load policy ever takes it.
        `storage_format` "files" or "tar" is what the reference says; either is stored in pieces,
        and pieces that are there already are not stored again. Nothing is saved of a directory
        whose name, or path in it, matches one of the shell patterns of `ignore_patterns`. Raises
        CheckpointException if it cannot be saved whole; earlier checkpoints are as they were.

        With `wait` False it returns when there is a copy, of a state in memory, of files on the
        disk of this machine, and a thread of low priority stores it: two at most, then the next
        save waits for room. What cannot be stored is raised by the next save or at the task's end.

        With `gang` each node of a `@parallel` step saves a part, as often as the others, and the
        checkpoint exists once all parts of it do. Files are stored before it returns. After one
        that raised this attempt saves no more of them: let the error end the step.
        """
        in_step = self._gang.in_step() if gang and self.identity.nodes else nullcontext()
        with translated_errors(CheckpointException), in_step:
            self._state = None
            found = self._checkpointer.save(
                self.directory if path is None and state is None else path,
                state=state,
                gang=gang,
                name=name,
                metadata=metadata,
                latest=latest,
                storage_format=storage_format,
                wait=wait,
                ignore_patterns=ignore_patterns,
            )
        self._noticed()
        return found

    def list(
        self,
        name: str | None = None,
        task: Any = None,
        attempt: int | None = None,
        full_namespace: bool = False,
        metadata: Mapping[str, Any] | None = None,
        within_task: bool = True,
    ) -> list[dict[str, Any]]:
        """Return references, newest first: of this task in all its attempts, unless told otherwise.

        `task` is a Task or its pathspec. `full_namespace`, or `within_task` False, takes in what
        tasks of the same identity saved in any run. `metadata` keeps those that were saved with
        all of its items.
        """
        with translated_errors(CheckpointException):
            if task is not None:
                listed = list_of_task(self._checkpointer.where, task)
            else:
                listed = self._checkpointer.list(full_namespace=full_namespace or not within_task)
            return matching(listed, name=name, attempt=attempt, metadata=metadata)

    def load(self, reference: Any, path: str | os.PathLike[str] | None = None) -> None:
        """Load a checkpoint by its dict, key or info object, proven, into a directory.

        `path` None is a new `directory`. Files of the same names are replaced, others stay.
        """
        with translated_errors(CheckpointException):
            into = self._load(reference, path)
        if path is None:
            # Only now, since what is in the old one may not be saved yet; and here, since the
            # handler of a signal may be saving it.
            old, self._directory = self._directory, into
            self._scratch.remove(old)

    @apart
    def _load(self, reference: Any, path: str | os.PathLike[str] | None) -> str:
        watch = Watch()
        where = self._checkpointer.where
        into = self._scratch.new() if path is None else os.fspath(path)
        references.load(where, reference, Path(into), writable=True)
        self._note_loaded(references.describe(where, reference), watch)
        return into

    @apart
    def load_latest(self, policy: str, on_code_change: str) -> Reference | None:
        """Load the checkpoint of the load policy and return it; None if there is none.

        One that is damaged is passed over for the one before.
        """
        with translated_errors(CheckpointException):
            self._others = self._candidates(policy, on_code_change)
            self._take_next()
        return self._info

    def _take_next(self) -> None:
        for reference, load in self._others:
            if self._take(reference, load):
                return

    def bring_in(self) -> None:
        """Upload the saves without waiting of a killed attempt on this machine."""
        with translated_errors(CheckpointException):
            self._checkpointer.bring_in(self._say)

    def finish(self) -> None:
        """Wait until all saves are uploaded; CheckpointException if one cannot be."""
        with translated_errors(CheckpointException):
            self._checkpointer.finish()

    def note_subprocesses(self) -> None:
        """Record the saves of subprocesses in the journal."""
        self._checkpointer.note_subprocesses()

    def clean_up(self) -> None:
        self._scratch.clean_up()

    def _candidates(
        self, policy: str, on_code_change: str
    ) -> Iterator[tuple[dict[str, Any], Load]]:
        """Yield the references that the policy may load, each with its load into a directory."""
        mine, where = self.identity, self._checkpointer.where
        fits = partial(self._fits, policy=policy, on_code_change=on_code_change)
        found: Iterable[SavedCheckpoint] = filter(fits, self._of_policy(policy))
        if mine.is_gang:
            whole = self._of_gang(lambda: filter(fits, self._of_policy(policy)))
            if whole is not None:
                yield references.of_checkpoint(where, whole), self._load_of(whole)
                return
            found = _of_node([one for one in found if not one.about.nodes], mine)
        for one in found:
            yield references.of_checkpoint(where, one), self._load_of(one)
        place = (mine.flow, mine.step, mine.legacy_scope or mine.scope, mine.identifier)
        for old in where.legacy.candidates(*place, task=mine.task, policy=policy):
            yield old, partial(where.legacy.load, old)

    def _of_gang(self, found: Callable[[], Iterable[SavedCheckpoint]]) -> SavedCheckpoint | None:
        """Return the checkpoint that all nodes load; None if there is none of a gang."""
        store = self._checkpointer.where.store

        def newest() -> SavedCheckpoint | None:
            whole = (one for one in found() if one.about.nodes and store.is_there(one.ref))
            return next(whole, None)

        self._gang.start(newest, self._checkpointer.options.ttl)
        return self._gang.origin()

    def _load_of(self, one: SavedCheckpoint) -> Load:
        store, mine = self._checkpointer.where.store, self.identity

        def load(into: Path) -> None:
            if one.about.storage_format in (state.FORMAT, ranks.FORMAT):
                if not store.is_there(one.ref):  # It is loaded when it is asked for.
                    raise NotFoundError(f"parts of {one.ref.key} are missing")
            elif one.about.nodes:
                references.load_part(store, one, mine.node, mine.nodes, into)
            else:
                store.load(one.ref, into)

        return load

    def _of_policy(self, policy: str) -> Iterator[SavedCheckpoint]:
        """Yield the checkpoints that any node of a gang may load."""
        mine = self.identity
        if mine.attempt > 0:  # Or there can be none of this task.
            for one in self._checkpointer.of_task(self._warn):
                # Not of this attempt: in a gang another node may have begun, and all nodes are
                # to start from the same attempt.
                if one.about.latest and one.about.attempt < mine.attempt:
                    yield one
        if policy == "eager":
            for one in self._checkpointer.of_scope(self._warn):
                if one.about.latest and one.about.task != mine.task:
                    yield one

    def _fits(self, one: SavedCheckpoint, *, policy: str, on_code_change: str) -> bool:
        """Tell whether a checkpoint may be loaded; say so if other code made it."""
        now, before = self._code, one.about.code
        if policy != "eager" or on_code_change == "load":
            return True
        if now is None or not before or before == now.hex:
            return True
        identity = self.identity
        parts = checkpoint.code_parts(
            self._checkpointer.where.store, identity.flow, identity.step, before
        )
        changed = fingerprint.explain(parts, now.parts) if parts else []
        what = f" ({changed[0]}{f', and {len(changed) - 1} more' * (len(changed) > 1)})" * bool(
            changed
        )
        if on_code_change == "skip":
            line = f"Passing over {one.ref.key}: the code has changed since it was saved{what}"
            self._say(line, WARNING)
            return False
        self._say(
            f"The code has changed since {one.ref.key} was saved{what}; it is loaded all the same, "
            'on_code_change="skip" passes it over and "load" says nothing',
            WARNING,
        )
        return True

    def _warn(self, line: str) -> None:
        self._say(line, WARNING)

    def _say_passed(self, key: str, error: IntegrityError | NotFoundError) -> None:
        self._say(f"Checkpoint {key} {condition(error)} ({error}); trying the one before", WARNING)

    def _take(self, reference: dict[str, Any], load: Load) -> bool:
        watch = Watch()
        try:
            load(Path(self.directory))
        except (IntegrityError, NotFoundError) as error:
            if self.identity.is_gang and self._gang.has_origin:
                raise  # The other nodes begin from it: the next attempt decides anew.
            self._say_passed(reference["key"], error)
            return False
        self._info = info = Reference(reference)
        if info.storage_format != state.FORMAT:  # It is loaded when it is asked for.
            self._note_loaded(reference, watch, _BY_POLICY)
        self._say(
            f"Loading the following checkpoint:\n\t[pathspec] {printable(str(info.pathspec))}"
            f"\n\t[key] {printable(info.key)}\n\t[created on] {info.created_on}"
            f"\n\t[url] {printable(str(info.url))}"
        )
        return True

    def _note_loaded(self, reference: dict[str, Any], watch: Watch, why: str = "") -> None:
        journal = self._checkpointer.journal
        journal.note(reference, "loaded", watch, by=checkpoint.KIND, why=why)

    def _record_code(self) -> None:
        if self._code is not None and not self._code_recorded:
            self._code_recorded = True
            one = self.identity
            try:
                checkpoint.record_code(
                    self._checkpointer.where.store, one.flow, one.step, self._code
                )
            except MemoflowError as error:
                # The checkpoint itself is stored; only what changed since cannot be told later.
                self._say(f"The code that made it could not be noted: {error}", WARNING)


def _of_node(found: list[SavedCheckpoint], mine: Identity) -> list[SavedCheckpoint]:
    """Return the saves that a gang's node loads: its own of any run, else the control task's.

    A node that never saved must not load the shard of another, but what one node saved for all.
    """
    nodes = {one.node for one in found}
    node = checkpoint.node_of(mine.own, mine.task)
    if node not in nodes:
        node = "" if "" in nodes or len(nodes) != 1 else nodes.pop()
    return [one for one in found if one.node == node]


def begin(
    attempt: Attempt,
    options: Mapping[str, Any],
    *,
    code: Fingerprint | None,
    say: Say,
    noticed: Callable[[], None],
) -> CurrentCheckpoint:
    """Set `current.checkpoint` for an attempt, and return it."""
    mine, notes = identity.of_task(attempt.flow, parallel=attempt.is_parallel)
    for note in notes:
        say(note)
    checkpointer = Checkpointer(
        artifact_store.current_store(),
        mine,
        CheckpointOptions(
            keep_last=options["keep_last"],
            keep_best=options["keep_best"],
            ttl=options["ttl"],
            code="" if code is None else code.hex,
        ),
    )
    get_ready(checkpointer.where)
    checkpointer.tell_subprocesses()
    owner = f"{checkpointer.where.folder} {mine.own}"
    scratch = Scratch(checkpoint.KIND, owner, attempt.number, options["temp_dir_root"])
    current = CurrentCheckpoint(checkpointer, scratch=scratch, code=code, say=say, noticed=noticed)
    add_to_current("checkpoint", current)
    return current


def fingerprint_of(flow: type, step: str, say: Say) -> Fingerprint | None:
    """Return the fingerprint of a step's code; without one no change of it is seen.

    The code may hold objects that threads change, or that raise when they are looked at. Whatever
    they do, the step runs.
    """
    mask = Mask(key=lambda: artifact_store.current_store().store.id.encode())
    try:
        return Fingerprint.of(code.parts_of(flow, step, mask=mask))
    except NoFingerprintError:
        return None
    except Exception as error:
        text = without_passwords(f"{type(error).__name__}: {error}")
        say(f"its code cannot be followed ({text})", WARNING)
        return None


def maintain(say: Say) -> None:
    """Collect garbage after a run, and upload checkpoints that tasks have left on this machine."""
    try:
        store = artifact_store.current_store().store
        maintenance.collect(store, say, [artifact_store.default().store])
        spool.collect(store, say)
    except Exception as error:  # Of whatever kind: the run is over, and went well.
        say(f"the store could not be tidied: {type(error).__name__}: {error}", WARNING)
