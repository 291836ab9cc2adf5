"""The card of an attempt in process: asked for by decorators, written for good once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from metaflow.datastore import FlowDataStore
from metaflow.plugins.cards import card_datastore
from metaflow.plugins.datastores.local_storage import LocalStorage

from memoflow.flow.cards.card import TaskCard
from memoflow.flow.cards.journal import Act, Journal
from tests.page_reader import Reader

TASK = "Train/1/fit/2"
SAVE = Act("saved", "checkpoint", "weights", "checkpoint/x", TASK, 1.0, 0.5, 1000, 100)


class Cards:
    """The cards that Metaflow finds of one task."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "data"
        self.datastore = FlowDataStore(
            "Train", None, storage_impl=LocalStorage, ds_root=str(self.root)
        )

    def card(self, *, refresh_every: timedelta = timedelta(0)) -> TaskCard:
        card = TaskCard(self.datastore, TASK, 0, refresh_every=refresh_every)
        card.journal = Journal()
        return card

    @property
    def pages(self) -> list[Reader]:
        found = sorted(self.root.glob("Train/**/*.html"))
        return [Reader(path.read_text()) for path in found]

    @property
    def page(self) -> Reader:
        (page,) = self.pages
        return page


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    # Any root is enough for Metaflow to keep cards beside the datastore.
    monkeypatch.setattr(card_datastore, "CARD_LOCALROOT", str(tmp_path))
    return Cards(tmp_path)


def until(holds: Callable[[], object]) -> None:
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never held")


def test_unless_a_decorator_asks_there_is_none(cards):
    card = cards.card()
    card.refresh()
    card.finish("succeeded")
    assert cards.pages == []


def test_it_shows_the_facts_of_all_decorators_and_the_state(cards):
    card = cards.card()
    card.show("checkpoint", {"load policy": "fresh"})
    card.show("model", {"models": "net"})
    card.finish("succeeded")
    facts = cards.page.facts
    assert (
        facts.items()
        >= {
            "task": TASK,
            "attempt": "0",
            "load policy": "fresh",
            "models": "net",
            "state": "succeeded",
        }.items()
    )


def test_only_the_first_end_counts(cards):
    card = cards.card()
    card.show("checkpoint", {})
    card.finish("failed")
    card.finish("succeeded")
    assert cards.page.facts["state"] == "failed"


def test_the_journal_is_completed_before_the_last_card(cards):
    card = cards.card()
    card.show("checkpoint", {}, gather=lambda: card.journal.add(SAVE))
    card.finish("succeeded")
    assert cards.page.figures["Saved"] == "1"


@pytest.mark.parametrize(
    ("decorators", "id"),
    [
        (["huggingface_hub", "model", "checkpoint"], "task_checkpoints"),
        (["huggingface_hub", "model"], "model_card"),
        (["huggingface_hub"], "huggingface_hub_models"),
    ],
)
def test_its_id_is_that_of_the_first_decorator(cards, decorators, id):
    card = cards.card()
    for decorator in decorators:
        card.show(decorator, {})
    card.finish("succeeded")
    (path,) = cards.root.rglob("*.html")
    assert path.name.startswith(f"blank-{id}-")


def test_while_the_task_runs_a_refresh_shows_the_saves_so_far(cards):
    card = cards.card()
    card.show("checkpoint", {})
    card.journal.add(SAVE)
    card.refresh()
    until(lambda: cards.pages)
    assert cards.page.figures["Saved"] == "1"
    assert cards.page.facts["state"] == "running"
    card.finish("succeeded")
    assert cards.page.facts["state"] == "succeeded"


def test_soon_after_a_card_a_refresh_writes_none(cards):
    card = cards.card(refresh_every=timedelta(days=1))
    card.show("checkpoint", {})
    card.refresh()
    assert cards.pages == []


def test_trouble_costs_a_line_and_no_task(cards, capsys):
    def fail() -> None:
        raise ValueError("no list of uploads")

    card = cards.card()
    card.show("checkpoint", {}, gather=fail)
    card.finish("succeeded")
    assert "[@checkpoint] no card: ValueError: no list of uploads" in capsys.readouterr().out
    assert cards.pages == []


def test_a_place_that_cannot_be_written_costs_a_line(cards, capsys):
    cards.root.write_text("a file where Metaflow has its cards")
    card = cards.card()
    card.show("model", {})
    card.finish("succeeded")
    assert "[@model] no card: FileExistsError" in capsys.readouterr().out


def test_no_half_written_file_is_left_beside_it(cards):
    card = cards.card()
    card.show("checkpoint", {})
    card.finish("succeeded")
    names: list[Any] = [path.suffix for path in cards.root.rglob("*") if path.is_file()]
    assert names == [".html"]
