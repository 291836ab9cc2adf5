"""Snapshots of repositories in the store, downloaded where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memoflow import units
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.flow.hub.client import HubClient
from memoflow.flow.hub.errors import OfflineError
from memoflow.flow.hub.resolving import Resolver, Revalidate, Run
from memoflow.kinds import hub, hub_files
from memoflow.kinds.about import About
from memoflow.kinds.hub import Scope, Snapshot, Wanted
from memoflow.kinds.hub_files import Announced
from memoflow.names import Key
from memoflow.store import Store


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
        self._resolver = Resolver(store, run, revalidate, cache_scope=scope.kind, say=say)
        self._task = task
        self._attempt = attempt
        self._say = say

    def get(
        self, wanted: Wanted, client: HubClient, *, force: bool = False
    ) -> tuple[Snapshot, bool]:
        """Return a snapshot, and True if it is new in the store; `force` downloads it anew."""
        commit = None
        try:
            commit = self._resolver.commit_of(
                wanted, client, has=lambda commit: self._is_at_hand(wanted, commit)
            )
            found = None if force else self._find(wanted, commit)
            if found is not None:
                return found, False
            taken = None if force else self._take_public(wanted, commit)
            if taken is not None:
                return taken, True
            with client.one_at_a_time(wanted):
                found = None if force else self._find(wanted, commit)
                if found is not None:
                    return found, False
                taken = None if force else self._take_public(wanted, commit)
                if taken is not None:
                    return taken, True
                return self._download(wanted, client, commit, force=force), True
        except OfflineError as error:
            raise NotFoundError(f"{error}, and {self._what_is_there(wanted, commit)}") from None

    def _find(self, wanted: Wanted, commit: str) -> Snapshot | None:
        for scope in self._scope.readable():
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
            self._say(
                f"Downloading {wanted.repo} at {commit}: {size} in {len(missing)} of "
                f"{len(listed)} files"
            )
            contents |= client.fetch(wanted, commit, missing, force=force)
        about = self._about(wanted, commit)
        snapshot = hub.save(self.store, key, contents, about, kept=kept.values())
        hub_files.remember(self.store, snapshot, listed)
        if not restricted:
            hub_files.remember_public(self.store, snapshot, wanted)
        return snapshot

    def _key(self, wanted: Wanted, commit: str, *, restricted: bool) -> Key:
        return hub.key(self._scope.of(restricted=restricted), wanted, commit)

    def _about(self, wanted: Wanted, commit: str) -> About:
        return About(
            kind=hub.KIND,
            task=self._task,
            attempt=self._attempt,
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
            for about in (found.about for found in hub.there(self.store, self._scope, wanted))
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
