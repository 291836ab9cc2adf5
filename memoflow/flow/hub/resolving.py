"""Resolution of branches and tags: one commit for the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

from memoflow import units
from memoflow.dataclass import dataclass
from memoflow.errors import BackendDeniedError, BackendUnavailableError
from memoflow.flow.hub.client import HubClient
from memoflow.flow.hub.errors import UnseenError
from memoflow.kinds import hub
from memoflow.kinds.hub import Resolved, Wanted
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


class Resolver:
    """Resolves revisions to commits for one run, in one `cache_scope`."""

    def __init__(
        self,
        store: Store,
        run: Run,
        revalidate: Revalidate,
        *,
        cache_scope: str,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._run = run
        self._revalidate = revalidate
        self._cache_scope = cache_scope
        self._say = say

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
            good = self._still_good(hub.stood(self._store, wanted, client.host))
            if good is not None and (has is None or has(good.commit)):
                return self._written(wanted, client, good)
            with client.one_at_a_time(wanted):
                known = self._known(wanted, client)
                if known is None:
                    return self._asked(wanted, client, has)
        return known.commit

    def _known(self, wanted: Wanted, client: HubClient) -> Resolved | None:
        if self._revalidate.each_time:
            return None
        run, host = self._run, client.host
        known = hub.resolved(self._store, hub.revision_key(wanted, host, run.flow, run.id))
        if known is not None:
            return known
        if run.origin is not None:
            known = hub.resolved(self._store, hub.revision_key(wanted, host, run.flow, run.origin))
        if known is None and self._revalidate.after is None:
            known = hub.resolved(self._store, self._first(wanted, client))
        if known is not None:
            self._written(wanted, client, known)
        return known

    def _still_good(self, stood: list[Resolved]) -> Resolved | None:
        after = self._revalidate.after
        if self._revalidate.each_time or after is None or not stood:
            return None
        return stood[0] if 0 <= time.time() - stood[0].asked < after.total_seconds() else None

    def _asked(self, wanted: Wanted, client: HubClient, has: Callable[[str], bool] | None) -> str:
        stood = hub.stood(self._store, wanted, client.host)

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
            if found is None or (is_answer and (has is None or self._cache_scope != "global")):
                raise
            self._say(
                f"{error}; taking {wanted.name} as it was when last asked for: {found.commit}"
            )
            return found.commit if has is None else self._written(wanted, client, found)
        found = good or Resolved(info.commit, now)
        if good is None:
            hub.note_stood(self._store, wanted, client.host, found)
            if self._revalidate.after is None:
                first = self._first(wanted, client)
                found = hub.record_resolved(self._store, first, found, for_ever=True)
        return self._written(wanted, client, found)

    def _written(self, wanted: Wanted, client: HubClient, found: Resolved) -> str:
        """Record the commit for the run and return the recorded one, if another task was first."""
        if self._revalidate.each_time:
            return found.commit
        key = hub.revision_key(wanted, client.host, self._run.flow, self._run.id)
        return hub.record_resolved(self._store, key, found).commit

    def _first(self, wanted: Wanted, client: HubClient) -> Key:
        return hub.first_key(wanted, client.host, self._run.flow, self._cache_scope)
