"""Snapshots of repositories in the store: one commit for a whole run, downloaded if missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from memoflow import events, units
from memoflow.dataclass import dataclass
from memoflow.errors import (
    BackendDeniedError,
    BackendUnavailableError,
    IntegrityError,
    NotFoundError,
)
from memoflow.flow.hub.client import HubClient
from memoflow.flow.hub.errors import OfflineError, UnseenError
from memoflow.kinds import hub, hub_files
from memoflow.kinds.about import About
from memoflow.kinds.hub import Resolved, Scope, Snapshot, Wanted
from memoflow.kinds.hub_files import Announced
from memoflow.log import WARNING, Say
from memoflow.names import Key
from memoflow.store import Store

_REVALIDATE = ("run", "never", "always")


@dataclass(frozen=True)
class Revalidate:
    """The option `revalidate`: the time after which the Hub is asked again for a commit.

    `after` None means never. `each_time` asks at each load, so that tasks of one run may see
    different commits.
    """

    after: timedelta | None = timedelta(0)
    each_time: bool = False

    @classmethod
    def parse(cls, value: Any) -> Revalidate:
        """Return the parsed option; UsageError for a value that is none of its spellings."""
        if value in _REVALIDATE:
            return cls(None if value == "never" else timedelta(0), each_time=value == "always")
        return cls(units.duration('revalidate, if not "run", "never" or "always",', value))


@dataclass(frozen=True)
class Run:
    """A run, which uses one commit of each revision; `origin` is the run that it resumes."""

    flow: str
    id: str
    origin: str | None = None


@dataclass(eq=False)
class Resolver:
    """Resolves revisions to commits for one run, in one `cache_scope`."""

    store: Store
    run: Run
    revalidate: Revalidate
    cache_scope: str
    say: Say

    def commit_of(
        self, wanted: Wanted, client: HubClient, has: Callable[[str], bool] | None = None
    ) -> str:
        """Return the commit of a revision in this run, asking the Hub if the run has none yet.

        Where the Hub does not answer, it is the latest known commit for which `has` finds the
        snapshot; without one the error is raised. `has=None` is for callers that need no snapshot:
        then the commit is not recorded for the run.
        """
        if wanted.commit is not None:
            return wanted.commit
        known = self._known(wanted, client)
        if known is None:
            good = self._still_good(hub.stood(self.store, wanted, client.host))
            if good is not None and (has is None or has(good.commit)):
                return self._written(wanted, client, good)
            with client.one_at_a_time(wanted):
                known = self._known(wanted, client)
                if known is None:
                    return self._asked(wanted, client, has)
        return known.commit

    def _known(self, wanted: Wanted, client: HubClient) -> Resolved | None:
        if self.revalidate.each_time:
            return None
        run, host = self.run, client.host
        known = hub.resolved(self.store, hub.revision_key(wanted, host, run.flow, run.id))
        if known is not None:
            return known
        if run.origin is not None:
            known = hub.resolved(self.store, hub.revision_key(wanted, host, run.flow, run.origin))
        if known is None and self.revalidate.after is None:
            known = hub.resolved(self.store, self._first(wanted, client))
        if known is not None:
            self._written(wanted, client, known)
        return known

    def _still_good(self, stood: list[Resolved]) -> Resolved | None:
        after = self.revalidate.after
        if self.revalidate.each_time or after is None or not stood:
            return None
        return stood[0] if 0 <= time.time() - stood[0].asked < after.total_seconds() else None

    def _asked(self, wanted: Wanted, client: HubClient, has: Callable[[str], bool] | None) -> str:
        stood = hub.stood(self.store, wanted, client.host)

        @cache
        def stand_in() -> Resolved | None:
            return next((one for one in stood if has is None or has(one.commit)), None)

        good = self._still_good(stood)
        now = time.time()
        try:
            # What is good still must be there to be downloaded.
            asked_for = wanted if good is None else replace(wanted, revision=good.commit)
            info = client.info(asked_for, has_fallback=lambda: stand_in() is not None)
        except (BackendUnavailableError, BackendDeniedError, UnseenError) as error:
            found = stand_in()
            is_answer = not isinstance(error, BackendUnavailableError)
            # What was put into the global scope is for those as well who may not see it at the Hub.
            if found is None or (is_answer and (has is None or self.cache_scope != "global")):
                raise
            taken = f"taking {wanted.name} as it was when last asked for: {found.commit}"
            self.say(f"{error}; {taken}", WARNING)
            return found.commit if has is None else self._written(wanted, client, found)
        found = good or Resolved(info.commit, now)
        if good is None:
            hub.note_stood(self.store, wanted, client.host, found)
            if self.revalidate.after is None:
                first = self._first(wanted, client)
                found = hub.record_resolved(self.store, first, found, for_ever=True)
        return self._written(wanted, client, found)

    def _written(self, wanted: Wanted, client: HubClient, found: Resolved) -> str:
        """Record the commit for the run and return the recorded one, if another task was first."""
        if self.revalidate.each_time:
            return found.commit
        key = hub.revision_key(wanted, client.host, self.run.flow, self.run.id)
        return hub.record_resolved(self.store, key, found).commit

    def _first(self, wanted: Wanted, client: HubClient) -> Key:
        return hub.first_key(wanted, client.host, self.run.flow, self.cache_scope)


@dataclass(eq=False)
class Snapshots:
    """The snapshots of one task, in its scope."""

    store: Store
    scope: Scope
    run: Run
    revalidate: Revalidate
    task: str
    attempt: int
    say: Say

    def get(
        self, wanted: Wanted, client: HubClient, *, force: bool = False
    ) -> tuple[Snapshot, bool]:
        """Return a snapshot, and True if it is new in the store; `force` downloads it anew."""
        commit = None
        resolver = Resolver(self.store, self.run, self.revalidate, self.scope.kind, self.say)
        try:
            commit = resolver.commit_of(
                wanted, client, has=lambda commit: self._is_at_hand(wanted, commit)
            )
            if not force and (there := self._there(wanted, commit)):
                return there
            with client.one_at_a_time(wanted):
                if not force and (there := self._there(wanted, commit)):
                    return there
                return self._download(wanted, client, commit, force=force), True
        except OfflineError as error:
            raise NotFoundError(f"{error}, and {self._what_is_there(wanted, commit)}") from None

    def _there(self, wanted: Wanted, commit: str) -> tuple[Snapshot, bool] | None:
        """Return a snapshot that needs no download, as `get` does."""
        found = self._find(wanted, commit)
        if found is not None:
            return found, False
        taken = self._take_public(wanted, commit)
        return None if taken is None else (taken, True)

    def _find(self, wanted: Wanted, commit: str) -> Snapshot | None:
        for scope in self.scope.readable():
            try:
                found = hub.find(self.store, hub.key(scope, wanted, commit))
            except (NotFoundError, IntegrityError):
                continue  # It was damaged and is forgotten, so it is downloaded again.
            if found is not None:
                return found
        return None

    def _is_at_hand(self, wanted: Wanted, commit: str) -> bool:
        """Tell whether a snapshot can be had without the Hub."""
        if self._find(wanted, commit) is not None:
            return True
        return hub_files.recall_public(self.store, wanted, commit) is not None

    def _take_public(self, wanted: Wanted, commit: str) -> Snapshot | None:
        """Return a public snapshot of another scope, saved again under this one; None without one.

        Each item of a foreach may have a scope of its own.
        """
        public = hub_files.recall_public(self.store, wanted, commit)
        if public is None:
            return None
        key = self._key(wanted, commit, restricted=False)
        return hub.save(self.store, key, {}, self._about(wanted, commit), kept=public)

    def _download(self, wanted: Wanted, client: HubClient, commit: str, *, force: bool) -> Snapshot:
        # Now, since what was public when the branch was looked up may be private by now.
        restricted = client.info(replace(wanted, revision=commit)).restricted
        key = self._key(wanted, commit, restricted=restricted)
        listed = client.files(wanted, commit)
        hub_files.check_paths(wanted.repo, listed)
        if restricted and listed:
            # Before anything is taken from where another user may have put it.
            client.check_access(wanted, commit, listed[0])
        if force:
            hub_files.quarantine_damaged(self.store, key, listed)
        kept = {} if force else hub_files.recall(self.store, listed)
        missing = [file for file in listed if file.path not in kept]
        contents = {} if force else self._named(missing)
        missing = [file for file in missing if file.path not in contents]
        if missing and not force:
            kept |= hub_files.recognize(self.store, wanted, commit, missing)
            missing = [file for file in missing if file.path not in kept]
        if missing:
            size = units.readable(sum(file.size_bytes for file in missing))
            self.say(
                f"Downloading {wanted.repo} at {commit}: {size} in {len(missing)} of "
                f"{len(listed)} files"
            )
            contents |= client.fetch(wanted, commit, missing, force=force)
            size_bytes = sum(file.size_bytes for file in missing)
            events.emit("download", kind=hub.KIND, repo=wanted.repo, size_bytes=size_bytes)
        about = self._about(wanted, commit)
        snapshot = hub.save(self.store, key, contents, about, kept=kept.values())
        hub_files.remember(self.store, snapshot, listed)
        if not restricted:
            hub_files.remember_public(self.store, snapshot, wanted)
        return snapshot

    def _key(self, wanted: Wanted, commit: str, *, restricted: bool) -> Key:
        return hub.key(self.scope.of(restricted=restricted), wanted, commit)

    def _about(self, wanted: Wanted, commit: str) -> About:
        return About(
            kind=hub.KIND,
            task=self.task,
            attempt=self.attempt,
            repo_id=wanted.repo_id,
            repo_type=wanted.repo_type,
            revision=wanted.revision,
            commit=commit,
            allow=wanted.allow,
            ignore=wanted.ignore,
        )

    def _named(self, files: Sequence[Announced]) -> dict[str, Path]:
        """Return the stored blobs named by the digests of these files, verified."""
        found = hub_files.named(self.store, files)
        return {
            file.path: found[file.path]
            for file in files
            if file.path in found and hub_files.is_proven(file, found[file.path])
        }

    def _what_is_there(self, wanted: Wanted, commit: str | None) -> str:
        there = sorted(
            f"{about.revision} ({about.commit})" + _of_patterns(about)
            if about.revision != about.commit
            else about.commit + _of_patterns(about)
            for about in (found.about for found in hub.there(self.store, self.scope, wanted))
        )
        asked = f"revision {wanted.revision} of {wanted.repo}{_of_patterns(wanted)}"
        if commit not in (None, wanted.revision):
            asked = f"commit {commit}, which this run goes by for {asked},"
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
