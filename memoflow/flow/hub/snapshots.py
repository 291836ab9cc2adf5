"""Snapshots: repositories of the Hub as the store has them, downloaded where it has them not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from memoflow import units
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.flow.hub.upstream import OfflineError, Upstream
from memoflow.kinds import hub, hub_files
from memoflow.kinds.hub import About, Resolved, Scope, Snapshot, Wanted
from memoflow.kinds.hub_files import Announced
from memoflow.store import Store

_REVALIDATE = ("run", "never", "always")


@dataclass(frozen=True)
class Revalidate:
    """When to ask the Hub again what a branch or tag stands for.

    `after` None means never. `each_time` asks at each load, so that tasks of one run may see
    different commits.
    """

    after: timedelta | None = timedelta(0)
    each_time: bool = False

    @classmethod
    def parse(cls, value: Any) -> Revalidate:
        """Return what an option says; RequestError if it says nothing."""
        if value in _REVALIDATE:
            return cls(None if value == "never" else timedelta(0), each_time=value == "always")
        return cls(units.duration('revalidate, if not "run", "never" or "always",', value))


@dataclass(frozen=True)
class Run:
    """The run that sees one commit of each revision."""

    flow: str
    id: str


def resolve(
    store: Store,
    upstream: Upstream,
    wanted: Wanted,
    run: Run,
    revalidate: Revalidate,
    say: Callable[[str], None],
) -> Resolved | None:
    """Return the commit that a run goes by for a revision, asking the Hub if it must.

    None if a commit is what was asked for. Where the Hub cannot be asked, what any run was last
    told stands; OfflineError if none was.
    """
    if wanted.commit is not None:
        return None
    key = hub.revision_key(wanted, run.flow, run.id)
    known = None if revalidate.each_time else hub.resolved(store, key)
    if known is None and revalidate.after is None:
        known = hub.last_resolved(store, wanted)
    if known is not None:
        return known
    with upstream.one_at_a_time(wanted):
        known = None if revalidate.each_time else hub.resolved(store, key)
        if known is not None:
            return known
        last, now = hub.last_resolved(store, wanted), time.time()
        if last is not None and not revalidate.each_time and _still_good(last, revalidate, now):
            found = last
        else:
            try:
                found = upstream.resolve(wanted, now=now)
            except OfflineError as error:
                if last is None:
                    raise
                say(f"{error}; taking {wanted.name} as it was when last asked for: {last.commit}")
                found = last
        of_run = hub.record_resolved(store, key, found, for_ever=revalidate.after is None)
        return found if revalidate.each_time else of_run


def _still_good(last: Resolved, revalidate: Revalidate, now: float) -> bool:
    if revalidate.after is None:
        return True
    return 0 <= now - last.asked < revalidate.after.total_seconds()


class Snapshots:
    """The snapshots of one task, in its scope."""

    def __init__(
        self,
        store: Store,
        scope: Scope,
        run: Run,
        revalidate: Revalidate,
        *,
        task: str,
        attempt: int,
        say: Callable[[str], None],
    ) -> None:
        self.store = store
        self._scope = scope
        self._run = run
        self._revalidate = revalidate
        self._task = task
        self._attempt = attempt
        self._say = say

    def get(
        self, wanted: Wanted, upstream: Upstream, *, force: bool = False
    ) -> tuple[Snapshot, bool]:
        """Return a snapshot, and whether it had to be saved first; `force` downloads it anew."""
        try:
            resolved = self.resolve(wanted, upstream)
            commit = resolved.commit if resolved is not None else wanted.revision
            found = None if force else self._find(wanted, commit)
            if found is not None:
                return found, False
            with upstream.one_at_a_time(wanted):
                found = None if force else self._find(wanted, commit)
                if found is not None:
                    return found, False
                return self._save(wanted, upstream, commit, resolved, force=force), True
        except OfflineError as error:
            raise NotFoundError(f"{error}, and {self._what_is_there(wanted)}") from None

    def resolve(self, wanted: Wanted, upstream: Upstream) -> Resolved | None:
        return resolve(self.store, upstream, wanted, self._run, self._revalidate, self._say)

    def _find(self, wanted: Wanted, commit: str) -> Snapshot | None:
        for scope in self._scope.readable():
            try:
                found = hub.find(self.store, hub.key(scope, wanted, commit))
            except (NotFoundError, IntegrityError):
                continue  # It was damaged and is forgotten, so it is downloaded again.
            if found is not None:
                return found
        return None

    def _save(
        self,
        wanted: Wanted,
        upstream: Upstream,
        commit: str,
        resolved: Resolved | None,
        *,
        force: bool,
    ) -> Snapshot:
        if resolved is None:
            resolved = upstream.resolve(wanted, now=time.time())
        key = hub.key(self._scope.of(restricted=resolved.restricted), wanted, commit)
        about = About(
            task=self._task,
            attempt=self._attempt,
            repo_id=wanted.repo_id,
            repo_type=wanted.repo_type,
            revision=wanted.revision,
            commit=commit,
            allow=wanted.allow,
            ignore=wanted.ignore,
        )
        if not force and not resolved.restricted:
            # Each item of a foreach may have a scope of its own.
            public = hub_files.recall_public(self.store, wanted, commit)
            if public is not None:
                return hub.save(self.store, key, {}, about, kept=public)
        listed = upstream.files(wanted, commit)
        hub_files.check_paths(wanted.repo, listed)
        if resolved.restricted and listed:
            # Before anything is taken from where another user may have put it.
            upstream.check_access(wanted, commit, listed[0])
        kept = {} if force else hub_files.recall(self.store, listed)
        missing = [file for file in listed if file.path not in kept]
        contents = {} if force else self._named(missing)
        missing = [file for file in missing if file.path not in contents]
        if missing:
            size = units.readable(sum(file.size_bytes for file in missing))
            self._say(
                f"Downloading {wanted.repo} at {commit}: {size} in {len(missing)} of "
                f"{len(listed)} files"
            )
            contents |= upstream.fetch(wanted, commit, missing, force=force)
        snapshot = hub.save(self.store, key, contents, about, kept=kept.values())
        hub_files.remember(self.store, snapshot, listed)
        if not resolved.restricted:
            hub_files.remember_public(self.store, snapshot, wanted)
        return snapshot

    def _named(self, files: Sequence[Announced]) -> dict[str, Path]:
        """Return the blobs that have the name of one of the files, proven."""
        found = hub_files.named(self.store, files)
        return {
            file.path: found[file.path]
            for file in files
            if file.path in found and hub_files.is_proven(file, found[file.path])
        }

    def _what_is_there(self, wanted: Wanted) -> str:
        there = sorted(
            f"{about.revision} ({about.commit})" + _of_patterns(about)
            if about.revision != about.commit
            else about.commit + _of_patterns(about)
            for about in (found.about for found in hub.there(self.store, self._scope, wanted))
        )
        asked = f"revision {wanted.revision} of {wanted.repo}{_of_patterns(wanted)}"
        if not there:
            return f"{asked} is not in the store, nor is any other revision"
        return f"{asked} is not in the store; there are {', '.join(dict.fromkeys(there))}"


def _of_patterns(what: About | Wanted) -> str:
    named = [
        f"{name}={list(patterns)}"
        for name, patterns in (("allow_patterns", what.allow), ("ignore_patterns", what.ignore))
        if patterns is not None
    ]
    return f" with {', '.join(named)}" if named else ""
