"""`current.huggingface_hub`: downloads and loads of repositories in a task."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from metaflow.metaflow_current import current

from memoflow.errors import IntegrityError, NotFoundError, UsageError, condition
from memoflow.flow import references
from memoflow.flow.artifact_store import ArtifactStore, current_store
from memoflow.flow.cards.journal import Act, Journal, of_this_process
from memoflow.flow.host.current import add_to_current
from memoflow.flow.hub import revisions
from memoflow.flow.hub.client import HubClient, Transfer
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubException
from memoflow.flow.hub.request import HubRequest, parse
from memoflow.flow.hub.resolving import Resolver, Revalidate, Run
from memoflow.flow.hub.snapshots import Snapshots
from memoflow.flow.lifecycle import Attempt, translated_errors
from memoflow.flow.task import identity
from memoflow.flow.task.scratch import Scratch
from memoflow.kinds import hub
from memoflow.kinds.hub import Scope, Snapshot, Wanted
from memoflow.units import readable, span

# Of the options of `@huggingface_hub` that take more than Metaflow to check.
CHECKS: dict[str, Callable[[Any], Any]] = {"load": parse, "revalidate": Revalidate.parse}


class LoadedSnapshots(Mapping[str, str]):
    """The directories of the repositories that `@huggingface_hub(load=...)` loaded, by id.

    Of several with one id the first has that; the next are `type/id@revision`, with `#2` and so on
    behind it where that is taken as well.
    """

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._info: dict[str, dict[str, Any]] = {}

    @property
    def info(self) -> dict[str, dict[str, Any]]:
        """The reference dicts of the loaded repositories, by the same ids."""
        return self._info

    def __getitem__(self, repo_id: str) -> str:
        if repo_id not in self._paths:
            known = ", ".join(self._paths) or "none"
            raise KeyError(f"{repo_id!r} was not loaded; loaded: {known}")
        return self._paths[repo_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, wanted: Wanted, path: str, info: dict[str, Any]) -> None:
        numbered = (f"{wanted.name}#{number}" for number in count(2))
        names = chain((wanted.repo_id, wanted.name), numbered)
        name = next(name for name in names if name not in self._paths)
        self._paths[name] = path
        self._info[name] = info


class CurrentHub:
    """Downloads repositories once, keeps them in the store and loads them from there."""

    def __init__(
        self,
        where: ArtifactStore,
        snapshots: Snapshots,
        *,
        scratch: Scratch,
        say: Callable[[str], None],
        noticed: Callable[[Wanted, str], None],
        journal: Journal,
    ) -> None:
        self._where = where
        self._snapshots = snapshots
        self._scratch = scratch
        self._say = say
        self._noticed = noticed
        self._journal = journal
        self._loaded = LoadedSnapshots()

    @property
    def loaded(self) -> LoadedSnapshots:
        """The paths that `load=` of the decorator has loaded, by repository id."""
        return self._loaded

    def snapshot_download(self, repo_id: str | None = None, **options: Any) -> dict[str, Any]:
        """Keep a snapshot in the store, downloading missing files, and return its reference.

        `options` are those of `huggingface_hub.snapshot_download`. With `local_dir` the files are
        written there as well, to keep and to change. Raises HuggingfaceHubException if it cannot
        be had whole.
        """
        with translated_errors(HuggingfaceHubException):
            asked = HubRequest.of(_needed(repo_id), options)
            snapshot = self._get(asked)
            if asked.path is not None:
                snapshot = self._load(asked, snapshot, asked.path)
        return references.of_snapshot(self._where, snapshot)

    def load(
        self,
        repo_id: str | None = None,
        path: str | os.PathLike[str] | None = None,
        repo_type: str | None = "model",
        **options: Any,
    ) -> contextlib.AbstractContextManager[str]:
        """Load a repository for the length of a `with` block, which is given the directory.

        Without a path that is a temporary directory, which is removed again. The files are
        read-only, and links into the store where the file system can.
        """
        with translated_errors(HuggingfaceHubException):
            options = {"repo_type": repo_type, **options}
            return self._loading(HubRequest.of(_needed(repo_id), options, path=path))

    @contextlib.contextmanager
    def _loading(self, asked: HubRequest) -> Iterator[str]:
        into = self._scratch.new() if asked.path is None else asked.path
        try:
            with translated_errors(HuggingfaceHubException):
                self._load(asked, self._get(asked), into)
            yield into
        finally:
            if asked.path is None:
                self._scratch.remove(into)

    def load_all(self, wanted: Sequence[HubRequest]) -> None:
        """Load the repositories of the decorator's `load=`."""
        with translated_errors(HuggingfaceHubException):
            for asked in wanted:
                into = self._scratch.new() if asked.path is None else asked.path
                snapshot = self._load(asked, self._get(asked), into, why="load=")
                reference = references.of_snapshot(self._where, snapshot)
                self._loaded.add(asked.wanted, into, reference)

    def clean_up(self) -> None:
        """Remove temporary directories."""
        self._scratch.clean_up()

    def _get(self, asked: HubRequest) -> Snapshot:
        began, clock = time.time(), time.monotonic()
        client = HubClient(asked.transfer, self._say)
        snapshot, is_new = self._snapshots.get(asked.wanted, client, force=asked.force)
        if asked.wanted.commit is None:
            self._noticed(asked.wanted, snapshot.about.commit)
        if is_new:
            took_s = self._note("saved", snapshot, began, clock)
            new = readable(snapshot.ref.new_bytes)
            self._say(f"Saved {asked.wanted.repo} in {span(took_s)}, {new} of it new")
        return snapshot

    def _load(self, asked: HubRequest, snapshot: Snapshot, into: str, *, why: str = "") -> Snapshot:
        began, clock = time.time(), time.monotonic()
        store = self._where.store
        try:
            store.load(snapshot.ref, Path(into), linked=not asked.writable)
        except (IntegrityError, NotFoundError) as error:
            # The store has forgotten it by now, and the Hub has it still.
            what = f"{asked.wanted.repo} {condition(error)} in the store"
            self._say(f"{what} ({error}); getting it again")
            snapshot = self._get(asked)
            store.load(snapshot.ref, Path(into), linked=not asked.writable)
        took_s = self._note("loaded", snapshot, began, clock, why=why)
        self._say(f"Loaded {asked.wanted.repo} at {snapshot.about.commit} in {span(took_s)}")
        return snapshot

    def _note(
        self, verb: str, snapshot: Snapshot, began: float, clock: float, *, why: str = ""
    ) -> float:
        took_s = time.monotonic() - clock
        self._journal.add(
            Act.of(
                references.of_snapshot(self._where, snapshot),
                verb,
                kind=hub.KIND,  # Its reference calls it a checkpoint.
                by="huggingface_hub",
                began=began,
                took_s=took_s,
                new_bytes=snapshot.ref.new_bytes if verb == "saved" else None,
                why=why,
            )
        )
        return took_s


def _needed(repo_id: str | None) -> str:
    if repo_id is None:
        raise ValueError("repo_id is needed: the name of a repository such as 'org/name'")
    return repo_id


def begin(attempt: Attempt, options: Mapping[str, Any], say: Callable[[str], None]) -> CurrentHub:
    """Set `current.huggingface_hub` for an attempt, and return it."""
    where = current_store()
    mine = CurrentHub(
        where,
        Snapshots(
            where.store,
            _scope(attempt, options["cache_scope"], say),
            Run(str(current.flow_name), attempt.run_id, current.origin_run_id),
            options["revalidate"],
            task=attempt.pathspec,
            attempt=attempt.number,
            say=say,
        ),
        scratch=Scratch(
            "hf", f"{where.folder} {attempt.pathspec}", attempt.number, options["temp_dir_root"]
        ),
        say=say,
        noticed=revisions.note,
        journal=of_this_process(),
    )
    add_to_current("huggingface_hub", mine)
    return mine


def _scope(attempt: Attempt, kind: str, say: Callable[[str], None]) -> Scope:
    user = str(current.username)
    if kind == "global":
        return Scope((kind,), user)
    if kind == "flow":
        return Scope((kind, str(current.flow_name)), user)
    mine, notes = identity.of_task(attempt.flow, parallel=attempt.is_parallel)
    for note in notes:
        say(note)
    return Scope((kind, mine.flow, mine.step, mine.scope, mine.identifier), user)


def commit_of(
    wanted: Wanted,
    run: tuple[str, str, str | None],
    options: Mapping[str, Any],
    say: Callable[[str], None],
) -> str:
    """Return the commit that a run goes by for a branch or tag; MemoflowError if none."""
    requests = [one for one in options["load"] if one.wanted.name == wanted.name]
    if wanted.at and not requests:
        raise UsageError(f"how to reach {wanted.at} is known to the step alone")
    transfer = requests[0].transfer if requests else Transfer()
    scope, revalidate = options["cache_scope"], options["revalidate"]
    resolver = Resolver(current_store().store, Run(*run), revalidate, cache_scope=scope, say=say)
    return resolver.commit_of(wanted, HubClient(transfer, say))
