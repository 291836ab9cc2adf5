"""Card: the loads and saves of a task's attempt on a page, beside Metaflow's own cards.

It is kept where Metaflow's `card` commands, `get_cards` and its card server look, and rendered in
the task's process: `@card` starts another one for that, which takes seconds at a task's end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from metaflow.cards import BlankCard
from metaflow.datastore import FlowDataStore
from metaflow.plugins.cards.card_datastore import CardDatastore
from metaflow.plugins.datastores.local_storage import LocalStorage

from memoflow.errors import NotFoundError
from memoflow.flow.cards.card_page import page
from memoflow.flow.cards.journal import Act, of_this_process
from memoflow.flow.host.storage import card_root, storage_of
from memoflow.flow.task.process import tell
from memoflow.kinds.checkpoint import Best
from memoflow.log import WARNING
from memoflow.threads import start

# The id is that of the first decorator here that the step has, as metaflow-checkpoint had them.
_IDS = {
    "checkpoint": "task_checkpoints",
    "model": "model_card",
    "huggingface_hub": "huggingface_hub_models",
}

_REFRESH_EVERY = timedelta(seconds=30)
# How long the end of a task waits for a refresh that has begun, which takes milliseconds.
_PATIENCE = timedelta(seconds=2)


class TaskCard:
    """The card of one attempt of a task, which the decorators of its step share.

    However often it is written, by later attempts too, it is one file, and the newest stands.
    """

    def __init__(
        self,
        flow_datastore: Any,
        pathspec: str,
        attempt: int,
        *,
        refresh_every: timedelta = _REFRESH_EVERY,
    ) -> None:
        self.journal = of_this_process()
        self._pathspec = pathspec
        self._facts = {"task": pathspec, "attempt": str(attempt)}
        self._decorators: set[str] = set()
        self._gather: list[Callable[[], None]] = []
        self._best: Best | None = None
        self._refresh_every = refresh_every
        self._storage = type(storage_of(flow_datastore))
        # Now, since it may go by the working directory, and a step may change that.
        self._root = card_root(flow_datastore)
        self._lock = threading.Lock()
        self._written = time.monotonic()
        self._live = False
        self._finished = False

    def show(
        self,
        decorator: str,
        facts: Mapping[str, str],
        *,
        gather: Callable[[], None] | None = None,
        best: Best | None = None,
    ) -> None:
        """Have a card written for a decorator, by its name; the facts are shown on top.

        Unless one asks for it, `refresh` and `finish` do nothing. `gather` is called before the
        last card is written, and completes the journal. `best` ranks the checkpoints.
        """
        self._decorators.add(decorator)
        self._facts |= facts
        self._best = best or self._best
        if gather is not None:
            self._gather.append(gather)

    def refresh(self) -> None:
        """Write the card in the background, unless that was done a short while ago.

        For after each save: nobody waits for it, and the process may end in the middle of it.
        """
        since = timedelta(seconds=time.monotonic() - self._written)
        if not self._decorators or since < self._refresh_every:
            return
        self._written = time.monotonic()
        acts = list(self.journal.acts)
        start(partial(self._write_running, acts))

    def finish(self, state: str) -> None:
        """Write the card for good, with the state that the task ended in: "succeeded", "failed".

        Only the first call does, so each decorator may. It never raises.
        """
        if not self._decorators or self._finished:
            return
        self._finished = True
        if not self._lock.acquire(timeout=_PATIENCE.total_seconds()):
            self._say("the one before is still being written")
            return
        try:
            with self._quietly():
                for gather in self._gather:
                    gather()
                self._write(list(self.journal.acts), state)
        finally:
            self._lock.release()

    def _write_running(self, acts: Sequence[Act]) -> None:
        with self._lock, self._quietly():
            if not self._finished:
                self._live = True
                self._write(acts, "running")

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Of Metaflow or of ours: a picture is no reason to fail a task.
            self._say(f"{type(error).__name__}: {error}")

    def _write(self, acts: Sequence[Act], state: str) -> None:
        now, began = time.time(), self.journal.began
        facts = self._facts | {
            "state": state,
            "began": f"{datetime.fromtimestamp(began, timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
        }
        token = f"{state}-{now}" if state == "running" else "final"
        html = page(acts, facts, began=began, ended=now, script=_script(token), best=self._best)
        self._keep(html, token, now)

    def _keep(self, html: str, token: str, now: float) -> None:
        if self._root is None:
            raise NotFoundError(f"Metaflow keeps no cards in datastore {self._storage.TYPE}")
        if not issubclass(self._storage, LocalStorage):
            self._save(self._cards(self._root), html, token, now)
            return
        # Elsewhere first: a write that is cut short would leave there a torn card, or a temporary
        # file, at which each listing of the task's cards stops.
        os.makedirs(self._root, exist_ok=True)
        with TemporaryDirectory(prefix=".writing-", dir=self._root) as scratch:
            self._save(self._cards(scratch), html, token, now)
            for path in Path(scratch).rglob("*"):
                if path.is_file():
                    target = Path(self._root, path.relative_to(scratch))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)

    def _save(self, cards: CardDatastore, html: str, token: str, now: float) -> None:
        id = _IDS[self._name]
        uuid = hashlib.sha256(self._pathspec.encode()).hexdigest()[:32]
        cards.save_card(uuid, BlankCard.type, html, card_id=id)
        if self._live:
            # By this the card server sees that the card it shows is not the newest.
            news = {"reload_token": token, "data": {}, "created_on": now}
            cards.save_data(uuid, BlankCard.type, news, card_id=id)

    @property
    def _name(self) -> str:
        return next(name for name in _IDS if name in self._decorators)

    def _say(self, why: str) -> None:
        tell(f"[@{self._name}] no card: {why}", WARNING)

    def _cards(self, root: str) -> CardDatastore:
        flow = self._pathspec.split("/")[0]
        datastore = FlowDataStore(flow, None, storage_impl=self._storage, ds_root=root)
        return CardDatastore(datastore, pathspec=self._pathspec)


@cache
def of_task(flow_datastore: Any, pathspec: str, attempt: int) -> TaskCard:
    """Return the card of the attempt that runs in this process: the same for each decorator."""
    return TaskCard(flow_datastore, pathspec, attempt)


def _script(token: str) -> str:
    """Return the script by which Metaflow's card server loads a card anew that is not the newest.

    It asks for news as long as a card has the second name; a page without data to update has
    nothing to do when it is called.
    """
    update = "" if token == "final" else "window.metaflow_card_update = () => true;"
    return f'var METAFLOW_RELOAD_TOKEN = "{token}";{update}'
