"""The card of a memoized task, and the cards that a hit comes by from its origin."""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Local, Memory
from memoflow.fingerprint import Part
from memoflow.flow.memo import card as memo_card
from memoflow.flow.memo.card import CardFiles
from memoflow.flow.memo.card_page import Shown, of_hit, page
from memoflow.kinds import card, memo
from memoflow.kinds.memo import Artifact, MemoEntry
from memoflow.names import Digest, Key, Ref
from memoflow.page.frame import MOST_BYTES
from memoflow.store import Payload, Store, open_store
from tests.browser import look
from tests.faults import Faulty
from tests.page_reader import Reader
from tests.said import kept_in
from tests.stories.conftest import Project
from tests.stories.world import once

RESULT = Key.of("memo", "Sweep", "fit", "scope", "results", "inputs", "refs", "00000001")
ENTRY = MemoEntry(
    ref=Ref(RESULT, Digest("sha256:" + "0" * 64), 1, 1.0),
    origin="Sweep/17/fit/3",
    run_time_s=3660.0,
    artifacts={"score": Artifact("a" * 40, {"size": 21}, {})},
    next_step={},
    inputs=(Part("input", "input", "xxh3:" + "b" * 32, summary="0.7"),),
    refs=(),
    refers_to=(),
)
CODE = (
    Part("code", "train()", "xxh3:" + "c" * 32, "train.py:40"),
    Part("names", "train()", "xxh3:" + "d" * 32, "train.py:40"),
    Part("constant", "SCALE", "e" * 32, "train.py:3", summary="3"),
    Part("package", "numpy", "2.3.1"),
)
HIT = of_hit("Sweep/18/fit/9", ENTRY, CODE)
MINE = "blank-mine-d002b063.html"


def tables(html: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table by its title."""
    return {table.heading: table.rows for table in Reader(html).tables}


def plain(html: str) -> str:
    return re.sub("<[^>]*>", "", html)


def test_it_shows_code_with_its_place_inputs_packages_and_outputs():
    assert tables(page(HIT)) == {
        "Inputs": [["input", "0.7", "b" * 12]],
        "Code": [
            ["train()", "train.py:40", "code", "", "c" * 12],
            ["SCALE", "train.py:3", "constant", "3", "e" * 12],
        ],
        "Packages": [["numpy", "2.3.1"]],
        "Outputs": [["score", "21 B"]],
    }


def test_it_says_what_was_saved_and_by_which_task():
    text = plain(page(HIT))
    assert "61 min saved" in text
    assert "Sweep/17/fit/3" in text


def test_hostile_names_and_values_are_text():
    hostile = Part("input", "<script>alert(1)</script>", "d", summary='"><img src=x onerror=1>')
    html = page(replace(HIT, inputs=(hostile,), why="<b>", notes=("<i>",)))
    assert not re.search("<(script|img|b>|i>)", html)


def test_it_needs_no_script_and_nothing_from_a_server():
    assert not re.search(r"<script|<link|src=|url\(|@import", page(HIT))


def test_many_parts_are_cut_short():
    code = tuple(Part("code", f"f{i}()", "d") for i in range(1000))
    html = page(replace(HIT, code=code))
    assert len(tables(html)["Code"]) == 300
    assert "and 700 more" in html


def test_a_card_with_more_than_it_has_room_for_says_so_and_stays_small():
    code = tuple(
        Part("code", f"module.Class.f{i}()", "d" * 32, f"src/a{i}.py") for i in range(1000)
    )
    code += tuple(Part("package", f"library-{i}", f"1.{i}") for i in range(300))
    inputs = [Part("input", f"x{i}", "d" * 32, summary="'" * 400) for i in range(1000)]
    outputs = {f"out{i}": i for i in range(1000)}
    html = page(replace(HIT, code=code, inputs=inputs, outputs=outputs, notes=("'" * 300,)))
    assert len(html.encode()) <= MOST_BYTES
    shown = tables(html)
    assert set(shown) == {"Inputs", "Code", "Packages", "Outputs"}
    for rows, count in zip(shown.values(), (1000, 1000, 300, 1000), strict=True):
        assert f"and {count - len(rows):,} more" in html


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_an_error(width, dark, tmp_path):
    (tmp_path / "card.html").write_text(page(HIT))
    seen = look(tmp_path / "card.html", tmp_path / "profile", width=width, dark=dark)
    assert seen.errors == []
    assert "61 min saved" in seen.text
    assert (seen.width, seen.is_dark, seen.cut) == (width, dark, [])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def folder(task: str) -> str:
    flow, run, step, number = task.split("/")
    return f"{flow}/runs/{run}/steps/{step}/tasks/{number}/cards"


def names_in(backend: Any, task: str) -> set[str]:
    return {found.name.rpartition("/")[2] for found in backend.list(folder(task))}


def fail(line: str) -> None:
    raise AssertionError(line)


def test_a_hit_shares_the_bytes_of_its_origins_cards(store, tmp_path):
    backend = Local(tmp_path / "cards")
    backend.write(f"{folder(ENTRY.origin)}/{MINE}", b"page")
    CardFiles(backend, fail).inherit("Sweep/18/fit/9", ENTRY, store)
    mine = backend.path(f"{folder('Sweep/18/fit/9')}/{MINE}")
    assert mine.samefile(backend.path(f"{folder(ENTRY.origin)}/{MINE}"))


def test_the_origins_own_memo_is_not_among_them(store):
    backend = Memory()
    files = CardFiles(backend, fail)
    files.write(ENTRY.origin, "a miss")
    assert files.inherit("Sweep/18/fit/9", ENTRY, store) == 0


def test_elsewhere_a_hit_costs_a_listing_and_a_copy(store):
    backend = Faulty(Memory(), takes_round_trips=True)
    backend.write(f"{folder(ENTRY.origin)}/{MINE}", b"page")
    backend.calls.clear()
    files = CardFiles(backend, fail)
    files.later(lambda: files.inherit("Sweep/18/fit/9", ENTRY, store))
    files.wait()
    assert (backend.calls["list"], backend.calls["write"]) == (1, 1)
    assert names_in(backend, "Sweep/18/fit/9") == {MINE}


def test_cards_kept_with_a_result_outlive_its_run(store):
    backend = Memory()
    files = CardFiles(backend, fail)
    backend.write(f"{folder(ENTRY.origin)}/{MINE}", b"page")
    files.keep(ENTRY.origin, ENTRY.ref, store)
    backend.delete([f"{folder(ENTRY.origin)}/{MINE}"])
    files.inherit("Sweep/18/fit/9", ENTRY, store)
    assert backend.read(f"{folder('Sweep/18/fit/9')}/{MINE}") == b"page"


def test_cards_that_are_gone_are_no_trouble(store):
    assert CardFiles(Memory(), fail).inherit("Sweep/18/fit/9", ENTRY, store) == 0


def test_large_cards_are_not_kept(store):
    card.keep(store, RESULT, {MINE: bytes(card.MOST_BYTES + 1)})
    assert store.keys(Key.of("card")) == []


def test_of_cards_that_are_too_large_together_the_small_ones_are_kept(store):
    large, small = bytes(card.MOST_BYTES), b"page"
    card.keep(store, RESULT, {"blank-large-0.html": large, MINE: small})
    assert card.give(store, RESULT) == {MINE: small}


def test_the_program_that_draws_cards_is_stored_once(store):
    program = b"<script>" + random.Random(1).randbytes(500_000) + b"</script>"
    pages = [b"<html><script>data = %d</script>" % i + program + b"</html>" for i in range(10)]
    for i, one in enumerate(pages):
        card.keep(store, Key.of(*RESULT.parts[:-1], str(i)), {MINE: one})
    stored = sum(file.size_bytes for file in store.backend.list("blobs"))
    assert stored < 2 * len(program)
    assert card.give(store, Key.of(*RESULT.parts[:-1], "7")) == {MINE: pages[7]}


def test_kept_cards_are_orphaned_without_their_result(store):
    store.save(RESULT, Payload())
    card.keep(store, RESULT, {MINE: b"page"})
    assert card.orphans(store) == []
    assert card.orphans(store, [RESULT]) == [card.key(RESULT)]
    store.forget(RESULT)
    assert card.orphans(store) == [card.key(RESULT)]


def test_a_worker_that_hits_has_its_origins_card_in_place_of_its_own(store):
    backend = Memory()
    backend.write(f"{folder(ENTRY.origin)}/{MINE}", b"page")
    for name in ("blank-mine-0123.html", "default-0456.html"):
        backend.write(f"{folder('Sweep/18/fit/9')}/{name}", b"of a step that did not run")
    CardFiles(backend, fail).replace("Sweep/18/fit/9", ENTRY, store)
    assert names_in(backend, "Sweep/18/fit/9") == {MINE, "default-0456.html"}


def test_trouble_with_cards_costs_a_line():
    backend = Faulty(Memory())
    backend.fail_at("write")
    said: list[str] = []
    files = CardFiles(backend, kept_in(said))
    files.later(lambda: files.write("Sweep/18/fit/9", "page"))
    files.wait()
    assert len(said) == 1
    assert said[0].startswith("no card: BackendUnavailableError")


@pytest.fixture
def shown(host, record) -> Any:
    """Show a hit of a task of `fit` in a run, with cards in this backend."""

    def shown(backend: Any, task: str = "Train/1/fit/2") -> CardFiles:
        files = host.session.context.cards = CardFiles(backend, fail)
        memoized = host.memoized()
        entry = memo.read(host.store, record(memoized, host.left(x=1), "x"))
        memo_card.of_hit(task, entry, memoized, host.session.context)
        files.wait()
        return files

    return shown


def test_a_hit_of_the_scheduler_has_a_card_and_those_of_its_origin(shown):
    backend = Memory()
    backend.write(f"{folder('Train/0/fit/9')}/{MINE}", b"page")
    shown(backend)
    (own,) = names_in(backend, "Train/1/fit/2") - {MINE}
    html = (backend.read(f"{folder('Train/1/fit/2')}/{own}") or b"").decode()
    assert "2.0 s saved" in plain(html)
    assert tables(html)["Inputs"][0][:2] == ["x", "1"]


def test_elsewhere_a_step_without_cards_of_its_own_costs_no_listing(shown):
    backend = Faulty(Memory(), takes_round_trips=True)
    shown(backend)
    assert backend.calls.get("list", 0) == 0
    assert len(names_in(backend, "Train/1/fit/2")) == 1


def test_a_task_that_ran_is_shown_in_place_of_its_earlier_attempt(host):
    backend = Memory()
    host.session.context.cards = CardFiles(backend, fail)
    for why in ("first run", "input x changed"):
        missed = Shown("Train/1/fit/2", "miss", why, {"key": "not recorded"})
        memo_card.of_worker(missed, host.session.context)
    (name,) = names_in(backend, "Train/1/fit/2")
    html = (backend.read(f"{folder('Train/1/fit/2')}/{name}") or b"").decode()
    assert "input x changed" in plain(html)


def test_a_card_that_cannot_be_written_costs_a_line(host):
    said: list[str] = []
    backend = Faulty(Memory())
    backend.fail_at("write")
    host.session.context.cards = CardFiles(backend, kept_in(said))
    memo_card.of_worker(Shown("Train/1/fit/2", "miss", "first run", {}), host.session.context)
    assert said[0].startswith("no card: BackendUnavailableError")


def test_where_cards_have_no_place_there_are_none(host):
    host.session.context.cards = None
    memo_card.of_worker(Shown("Train/1/fit/2", "miss", "first run", {}), host.session.context)


FLOW = """
    from metaflow import FlowSpec, Parameter, card, current, memoize, step
    from metaflow.cards import Markdown

    class Sweep(FlowSpec):
        alpha = Parameter("alpha", default=1)

        @step
        def start(self):
            import only_in_worker
            self.thing = only_in_worker.Thing(5)
            self.next(self.fit)

        @card(id="mine", type="blank")
        @memoize(show_card=True)
        @step
        def fit(self):
            current.card.append(Markdown("my own"))
            current.card.refresh({"of": "a step that goes on"})
            self.score = self.alpha + 1
            self.next(self.late)

        @card(id="late", type="blank")
        @memoize
        @step
        def late(self):
            current.card.append(Markdown("of late"))
            self.value = self.thing.n
            self.next(self.silent)

        @memoize(show_card=False)
        @step
        def silent(self):
            self.next(self.plain)

        @memoize
        @step
        def plain(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""

# The scheduler is the process without `step` on its command line.
ONLY_IN_WORKER = """
    import sys
    if "step" not in sys.argv:
        raise ImportError("this machine has no such package")

    class Thing:
        def __init__(self, n):
            self.n = n
"""

CARDS = """
    from metaflow.cards import get_cards
    answer = {}
    for one in Flow("Sweep").latest_run:
        try:
            cards = [] if one.id in ("start", "end") else list(get_cards(one.task))
        except Exception as error:
            if type(error).__name__ != "CardNotPresentException":
                raise
            cards = []
        answer[one.id] = {card.id: card.get() for card in cards}
"""


@once
def ran(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    project.write("only_in_worker.py", ONLY_IN_WORKER)
    first = project.run()
    missed = project.ask(CARDS)
    for path in (project.folder / ".cache").rglob("*.sqlite*"):
        path.unlink()  # Else the scheduler remembers what the workers found out.
    second = project.run()
    hit = project.ask(CARDS)
    listed = project.python("flow.py", "card", "list", "fit", "--as-json").stdout
    shutil.rmtree(project.folder / ".metaflow" / "mf.cards" / "Sweep" / "runs")
    project.run()
    return {
        "first": first.run_id,
        "workers": second.workers,
        "missed": missed,
        "hit": hit,
        "listed": listed,
        "after": project.ask(CARDS),
    }


PLAIN = """
    from metaflow import FlowSpec, step

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.next(self.fit)

        @step
        def fit(self):
            self.x = 1
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""


@once
def by_option(project: Project) -> dict[str, Any]:
    project.write("flow.py", PLAIN)
    found: dict[str, Any] = {}
    for given in ("memoize", "memoize:show_card=True"):
        for _ in range(2):
            project.run(f"--with={given}")
            found.setdefault(given, []).append(list(project.ask(CARDS)["fit"]))
    return found


def test_a_task_that_ran_has_a_card(ran):
    assert set(ran["missed"]["plain"]) == {"memo"}
    assert "first run" in plain(ran["missed"]["plain"]["memo"])
    assert "hit" in plain(ran["hit"]["plain"]["memo"])


def test_beside_a_users_own_there_is_none_unless_it_is_asked_for(ran):
    assert set(ran["missed"]["late"]) == set(ran["hit"]["late"]) == {"late"}
    assert set(ran["missed"]["fit"]) == {"mine", "memo"}
    assert "first run" in plain(ran["missed"]["fit"]["memo"])
    assert tables(ran["missed"]["fit"]["memo"])["Inputs"][0][:2] == ["alpha", "1"]


def test_a_hit_shows_the_cards_of_its_origin_and_says_which_that_is(ran):
    assert "fit" not in ran["workers"]
    assert ran["hit"]["fit"]["mine"] == ran["missed"]["fit"]["mine"]
    assert f"Sweep/{ran['first']}/fit/" in plain(ran["hit"]["fit"]["memo"])


def test_a_hit_that_a_worker_found_shows_them_too(ran):
    assert "late" in ran["workers"]
    assert ran["hit"]["late"]["late"] == ran["missed"]["late"]["late"]


def test_the_card_commands_list_them(ran):
    assert '"id": "mine"' in ran["listed"]
    assert '"id": "memo"' in ran["listed"]


def test_a_memoize_of_the_command_line_makes_no_card_unless_it_is_asked_for(by_option):
    assert by_option == {"memoize": [[], []], "memoize:show_card=True": [["memo"], ["memo"]]}


def test_they_outlive_the_cards_of_the_runs_they_came_from(ran):
    assert ran["after"]["fit"]["mine"] == ran["missed"]["fit"]["mine"]


def test_show_card_false_is_no_card(ran):
    assert ran["missed"]["silent"] == ran["hit"]["silent"] == {}
