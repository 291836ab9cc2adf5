"""Card: the memo card of a task, and the cards that a hit inherits from its origin."""

from __future__ import annotations

import atexit
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from memoflow.backends import Backend, BlobLocation, Local
from memoflow.errors import MemoflowError
from memoflow.flow.host.storage import card_root
from memoflow.flow.memo import card_page
from memoflow.flow.memo.card_page import Shown, page
from memoflow.kinds import card as kept_cards
from memoflow.kinds.memo import MemoEntry
from memoflow.log import WARNING, Say
from memoflow.names import Ref
from memoflow.storages import backend_of
from memoflow.store import Store

if TYPE_CHECKING:
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.store_context import StoreContext

# As Metaflow names cards: the type, the id, and what tells it from others.
_OURS = "blank-memo-"
_AT_ONCE = 8
# A step has cards of its own if it has one of these decorators.
_MAKE_CARDS = frozenset(["card", "checkpoint", "huggingface_hub", "model"])


class CardFiles:
    """The cards of one flow's tasks.

    Layout (Metaflow 2.19), in the folder of all cards that `backend` is:
    <Flow>/runs/<run>/steps/<step>/tasks/<task>/cards/<type>-<id>-<hash>.html
    """

    def __init__(self, backend: Backend, say: Say) -> None:
        self._backend = backend
        self._say = say
        self._running: list[Future[None]] = []

    @classmethod
    def of(cls, flow_datastore: Any, say: Say) -> CardFiles | None:
        """Return the cards of a datastore, None without a folder that we can write."""
        root = card_root(flow_datastore)
        if root is None:
            return None
        try:
            backend = backend_of(flow_datastore.TYPE, root)
            if isinstance(backend, Local):
                # Not by the backend: what it makes is private, and this is Metaflow's.
                os.makedirs(root, exist_ok=True)
        except (MemoflowError, OSError) as error:
            say(f"no cards: {error}", WARNING)
            return None
        return cls(backend, say)

    def may_exist(self, memoized: MemoizedStep) -> bool:
        """Tell whether a task of the step may have cards: on a server, a question costs a trip."""
        makes_some = any(deco.name in _MAKE_CARDS for deco in memoized.decorators)
        return makes_some or not self._backend.takes_round_trips

    def write(self, task: str, html: str) -> None:
        """Write the memo's own card of a task, in place of that of an earlier attempt."""
        name = hashlib.sha256(task.encode()).hexdigest()[:32]
        self._backend.write(f"{_folder(task)}/{_OURS}{name}.html", html.encode(), durable=False)

    def inherit(self, task: str, entry: MemoEntry, store: Store) -> int:
        """Give a hit the cards of its origin; return how many there are.

        By hard link, or a copy that the server makes: nobody writes into a card. If the origin's
        run was cleaned up they are those that were kept with the result.
        """
        found = self._files(entry.origin)
        for source in found:
            name = source.rpartition("/")[2]
            place = BlobLocation(self._backend, source)
            self._backend.link_or_copy(f"{_folder(task)}/{name}", place)
        if found:
            return len(found)
        kept = kept_cards.give(store, entry.ref.key)
        for name, data in kept.items():
            self._backend.write(f"{_folder(task)}/{name}", data, durable=False)
        return len(kept)

    def replace(self, task: str, entry: MemoEntry, store: Store) -> None:
        """Give a hit its origin's cards in place of those that it has made without running.

        For a worker that hits: `@card` has made one there, of a step that was not run.
        """
        made = self._files(task)
        self.inherit(task, entry, store)
        there = set(self._files(task)) - set(made)
        given = {_card(name) for name in there}
        self._backend.delete([name for name in made if _card(name) in given])

    def keep(self, task: str, result: Ref, store: Store) -> None:
        """Keep the cards of the task that computed a result, for as long as the result."""
        cards = {}
        for name in self._files(task):
            data = self._backend.read(name)
            if data is not None:
                cards[name.rpartition("/")[2]] = data
        kept_cards.keep(store, result.key, cards, expires=result.expires)

    def quietly(self, act: Callable[[], object]) -> None:
        """Do work for a card: a failure costs a line in the log, and nothing else."""
        try:
            act()
        except Exception as error:  # A picture is no reason to fail a task.
            self._say(f"no card: {type(error).__name__}: {error}", WARNING)

    def later(self, act: Callable[[], object]) -> None:
        """Do it quietly in the background: no decision waits for a card."""
        self._running.append(self._pool.submit(self.quietly, act))

    def wait(self) -> None:
        """Return once all is done that was to be done later."""
        while self._running:
            self._running.pop().result()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="memoflow-cards")

    def _files(self, task: str) -> list[str]:
        """Return the cards of a task, but not the memo's own, as names in the backend."""
        names = (found.name for found in self._backend.list(_folder(task)))
        return [
            name
            for name in names
            if name.endswith(".html") and not name.rpartition("/")[2].startswith(_OURS)
        ]


def _card(name: str) -> str:
    """Return the type and id of a card, by the name of its file."""
    return name.rpartition("/")[2].rpartition("-")[0]


def _folder(task: str) -> str:
    flow, run, step, task_id = task.split("/")
    return f"{flow}/runs/{run}/steps/{step}/tasks/{task_id}/cards"


def of_hit(task: str, entry: MemoEntry, memoized: MemoizedStep, context: StoreContext) -> None:
    """Write the card of a task that the scheduler answered, and give it those of its origin."""
    cards, store = cards_of(memoized, context), context.store
    if cards is None or store is None:
        return

    def write() -> None:
        if memoized.has_card:
            cards.write(task, page(card_page.of_hit(task, entry, memoized.code.parts)))
        if cards.may_exist(memoized):
            cards.inherit(task, entry, store)

    cards.later(write)


def cards_of(memoized: MemoizedStep, context: StoreContext) -> CardFiles | None:
    """Return the cards of the flow; None if those of this step are not wanted."""
    return None if memoized.options.show_card is False else context.cards


def of_worker(shown: Shown, context: StoreContext) -> None:
    """Write the card of a task that runs in this process."""
    cards = context.cards
    if cards is not None:
        cards.quietly(lambda: cards.write(shown.task, page(shown)))


def at_exit(
    act: Callable[..., None],
    task: str,
    result: Ref | MemoEntry,
    context: StoreContext,
    memoized: MemoizedStep,
) -> None:
    """Keep or replace a task's cards once all decorators are done: `@card` makes its own last."""
    cards, store = cards_of(memoized, context), context.store
    if cards is not None and store is not None and cards.may_exist(memoized):
        atexit.register(cards.quietly, partial(act, cards, task, result, store))
