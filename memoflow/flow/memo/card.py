"""Card: the memo card of a task, and the cards that a hit inherits from its origin."""

from __future__ import annotations

import atexit
from functools import partial

from memoflow.flow.memo import card_page
from memoflow.flow.memo.card_files import CardFiles
from memoflow.flow.memo.card_page import Shown, page
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.store_context import StoreContext
from memoflow.kinds.memo import MemoEntry
from memoflow.names import Ref

_MAKE_CARDS = frozenset(["card", "checkpoint", "huggingface_hub", "model"])


def of_hit(task: str, entry: MemoEntry, memoized: MemoizedStep, context: StoreContext) -> None:
    """Write the card of a task that the scheduler answered, and give it those of its origin."""
    cards, store = context.cards, context.store
    if cards is None or store is None:
        return
    shown = card_page.of_hit(task, entry, memoized.scope.parts)

    def write() -> None:
        cards.write(task, page(shown))
        if _has_cards(memoized, cards):
            cards.inherit(task, entry, store)

    cards.later(write)


def of_worker(shown: Shown, context: StoreContext) -> None:
    """Write the card of a task that runs in this process."""
    cards = context.cards
    if cards is not None:
        cards.quietly(lambda: cards.write(shown.task, page(shown)))


def keep_at_exit(task: str, result: Ref, context: StoreContext, memoized: MemoizedStep) -> None:
    """Before this process ends, keep the cards of the task with the result that it recorded.

    Then all decorators are done: `@card` makes its own last.
    """
    cards, store = context.cards if memoized.options.show_card else None, context.store
    if cards is not None and store is not None and _has_cards(memoized, cards):
        atexit.register(cards.quietly, partial(cards.keep, task, result, store))


def replace_at_exit(
    task: str, entry: MemoEntry, context: StoreContext, memoized: MemoizedStep
) -> None:
    """Before this process ends, give the task that it did not run the cards of its origin."""
    cards, store = context.cards if memoized.options.show_card else None, context.store
    if cards is not None and store is not None and _has_cards(memoized, cards):
        atexit.register(cards.quietly, partial(cards.replace, task, entry, store))


def _has_cards(memoized: MemoizedStep, cards: CardFiles) -> bool:
    """Tell whether the task may have cards: on a server each question takes a round trip."""
    decorators = getattr(memoized.shape.flow, memoized.step).decorators
    return not cards.takes_round_trips or any(deco.name in _MAKE_CARDS for deco in decorators)
