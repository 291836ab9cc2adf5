"""The card of what a task loaded and saved: whole, found by Metaflow, in nobody's way."""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memoflow.flow.cards.card_page import page as page_of
from memoflow.flow.cards.journal import Act
from memoflow.page.frame import MOST_BYTES
from tests.browser import look
from tests.page_reader import Reader
from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    from pathlib import Path
    from metaflow import FlowSpec, Parameter, card, checkpoint, current, model, retry, step
    from metaflow.cards import Markdown

    class Train(FlowSpec):
        fail = Parameter("fail", default=-1)

        @card(id="mine", type="blank")
        @model
        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @step
        def start(self):
            current.card.append(Markdown("my own"))
            Path("weights").write_bytes(bytes(range(256)) * 40)
            current.checkpoint.save("weights", name="<b>a|b</b>", metadata={"epoch": 3})
            if current.retry_count <= self.fail:
                raise ValueError("diverged")
            self.net = current.model.save("weights", label="net")
            self.next(self.use, self.silent)

        @model(load="net")
        @step
        def use(self):
            self.next(self.join)

        @checkpoint(show_card=False)
        @step
        def silent(self):
            current.checkpoint.save("weights")
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Train()
"""

ALL_CARDS = """
    from metaflow.cards import get_cards
    answer = {}
    for one in Flow("Train").latest_run:
        for task in one:
            try:
                cards = list(get_cards(task))
            except Exception as error:
                if type(error).__name__ != "CardNotPresentException":
                    raise
                cards = []
            answer[one.id] = [[card.id, card.get()] for card in cards]
"""

# A task as decorators see it, without a flow around it: `wait` is how long a write takes, and
# the process dies in the middle of the write that is numbered `die_at`.
TASK = """
    import _thread, os, sys, threading, time
    begun, ended, start_thread = [], [], _thread.start_new_thread

    def counted(act, arguments):
        begun.append(act)
        def run():
            act(*arguments)
            ended.append(act)
        return start_thread(run, ())

    _thread.start_new_thread = counted  # Before anybody takes it from there.
    from datetime import timedelta
    from metaflow.datastore import FlowDataStore
    from metaflow.plugins.datastores.local_storage import LocalStorage
    from memoflow.flow.cards.card import TaskCard
    from memoflow.flow.cards.journal import Act

    class Slow(LocalStorage):
        wait, die_at, writes = 0, None, 0

        def save_bytes(self, path_and_bytes_iter, overwrite=False, len_hint=0):
            Slow.writes += 1
            for path, data in path_and_bytes_iter:
                whole = data.read()
                target = self.full_uri(path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(whole[: len(whole) // 2])
                    file.flush()
                    if Slow.writes == Slow.die_at:
                        os._exit(9)
                    time.sleep(Slow.wait)
                    file.write(whole[len(whole) // 2 :])

    def of_task(storage=LocalStorage, attempt=0, asked=True, **options):
        root = os.path.join(os.getcwd(), ".metaflow")
        os.makedirs(root, exist_ok=True)
        datastore = FlowDataStore("Train", None, storage_impl=storage, ds_root=root)
        made = TaskCard(datastore, "Train/1/start/2", attempt, **options)
        if asked:
            made.show("checkpoint", {"load policy": "fresh"})
        return made

    def save(card, number, size=1000, new=100, name="mfchckpt", **metadata):
        key = f"checkpoint/Train/start/scope/id/{number:08d}"
        card.journal.add(Act("saved", "checkpoint", name, key, "Train/1/start/2",
                             card.journal.began + number, 0.1, size, new, metadata=metadata))

    def background():
        while len(ended) < len(begun):
            time.sleep(0.01)
"""


def rows(html: str, table: str = "Saved") -> list[dict[str, str]]:
    return Reader(html).table(table).dicts()


def components(html: str, type: str) -> list[dict[str, Any]]:
    """Return the components of a card that Metaflow rendered, which are in its page as Base64."""
    found = re.search(r'__MF_DATA__\["[^"]*"\] = "([^"]*)"', html)
    assert found
    shown = json.loads(base64.b64decode(found[1]))
    return [each for each in _flat(shown["components"]) if each["type"] == type]


def _flat(contents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in contents:
        yield each
        yield from _flat(each.get("contents", []))


@once
def ran(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    project.run()
    return {
        "cards": project.ask(ALL_CARDS),
        "listed": project.python("flow.py", "card", "list", "start", "--as-json").stdout,
        "got": project.python("flow.py", "card", "get", "start", "--id", "task_checkpoints").stdout,
    }


@pytest.fixture
def cards(ran: dict[str, Any]) -> Any:
    return ran["cards"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_step_has_one_card_for_both_decorators_beside_the_users_own(cards: Any) -> None:
    assert sorted(id for id, _ in cards["start"]) == ["mine", "task_checkpoints"]


def test_the_users_card_has_what_the_user_put_there(cards: Any) -> None:
    mine = dict(cards["start"])["mine"]
    assert [each["source"].strip() for each in components(mine, "markdown")] == ["my own"]


def test_a_step_with_models_only_has_the_card_of_models(cards: Any) -> None:
    assert [id for id, _ in cards["use"]] == ["model_card"]


def test_show_card_false_is_no_card(cards: Any) -> None:
    assert cards["silent"] == []


def test_saves_are_listed_with_new_and_deduplicated_bytes(cards: Any) -> None:
    model, checkpoint = rows(dict(cards["start"])["task_checkpoints"])
    assert (checkpoint["size"], checkpoint["metadata"]) == ("10.2 kB", "epoch=3")
    assert checkpoint["key"].startswith("checkpoint/Train/start/")
    assert (model["name"], model["new"], model["deduplicated"]) == ("net", "0 B", "10.2 kB")


def test_loads_say_which_task_saved_it(cards: Any) -> None:
    ((_, html),) = cards["use"]
    (load,) = rows(html, "Loaded")
    assert re.fullmatch(r"Train/\d+/start/\d+", load["saved by"])
    assert load["name"] == "net"


def test_the_top_says_whose_card_it_is_and_how_it_ended(cards: Any) -> None:
    top = Reader(dict(cards["start"])["task_checkpoints"]).facts
    assert top["task"].startswith("Train/")
    assert (top["attempt"], top["load policy"], top["state"]) == ("0", "fresh", "succeeded")


def test_it_asks_no_server_for_a_typeface_as_metaflows_own_cards_do(cards: Any) -> None:
    shown = dict(cards["start"])
    assert "fonts.googleapis" in shown["mine"]
    assert not re.search(r"@import|fonts\.googleapis", shown["task_checkpoints"])


def test_the_card_commands_find_it(ran: dict[str, Any]) -> None:
    assert '"id": "task_checkpoints"' in ran["listed"]
    assert "<!DOCTYPE html>" in ran["got"]


@pytest.mark.stress
def test_it_stands_beside_a_card_of_the_command_line(project: Project) -> None:
    project.write("flow.py", FLOW.replace('@card(id="mine", type="blank")', ""))
    project.edit("flow.py", "current.card.append", "current.card['x'].append")
    project.run("--with", "card:id=x,type=blank")
    cards: Any = project.ask(ALL_CARDS)
    assert sorted(id for id, _ in cards["start"]) == ["task_checkpoints", "x"]
    assert [id for id, _ in cards["silent"]] == ["x"]


def test_a_failed_task_has_a_card_and_its_retry_replaces_it(project: Project) -> None:
    project.write("flow.py", FLOW)
    project.run("--fail", "1", ok=False)
    cards: Any = project.ask(ALL_CARDS)
    (html,) = (html for id, html in cards["start"] if id == "task_checkpoints")
    facts = Reader(html).facts
    assert (facts["attempt"], facts["state"]) == ("1", "failed")
    loaded, saved = rows(html, "Loaded"), rows(html)
    assert (len(loaded), loaded[0]["how"], len(saved)) == (1, "load policy", 1)


def test_a_card_that_cannot_be_kept_costs_the_task_a_line(project: Project) -> None:
    project.write("flow.py", FLOW.replace('@card(id="mine", type="blank")', ""))
    project.edit("flow.py", 'current.card.append(Markdown("my own"))', "")
    project.write(".metaflow/mf.cards", "a file where Metaflow has its cards")
    ran = project.run()
    assert len(re.findall(r"no card: ", ran.text)) == 2
    assert "[@checkpoint] no card: FileExistsError" in ran.text


class Task:
    """The card of a task, written by scripts, and what Metaflow finds then."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def script(self, code: str, *, ends_with: int = 0) -> str:
        done = self.project.python("-c", textwrap.dedent(TASK) + textwrap.dedent(code))
        assert done.returncode == ends_with, done.stdout
        return done.stdout

    def cards(self) -> list[str]:
        code = """
            import json
            from metaflow.plugins.cards.card_datastore import CardDatastore
            root = os.path.join(os.getcwd(), ".metaflow", "mf.cards")
            datastore = FlowDataStore("Train", None, storage_impl=LocalStorage, ds_root=root)
            cards = CardDatastore(datastore, pathspec="Train/1/start/2")
            print(json.dumps([cards.get_card_html(path) for path in cards.extract_card_paths()]))
        """
        listed: list[str] = json.loads(self.script(code))
        return listed

    @property
    def card(self) -> str:
        (html,) = self.cards()
        return html

    def files(self) -> set[str]:
        root = Path(self.project.folder, ".metaflow", "mf.cards")
        return {path.name for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def task(project: Project) -> Task:
    return Task(project)


def test_hostile_names_and_metadata_are_text(task: Task) -> None:
    hostile = ["<script>alert(1)</script>", "a|b", "two\nlines", "**bold** [x](javascript:1)"]
    task.script(
        f"""
        card = of_task()
        for number, name in enumerate({hostile!r}):
            save(card, number, name=name, **{{name: name}})
        card.finish("succeeded")
        """
    )
    assert [row["name"] for row in reversed(rows(task.card))] == hostile
    (script,) = Reader(task.card).scripts
    assert "alert" not in script
    assert "<script>alert" not in task.card


@pytest.mark.parametrize(
    "key",
    [f"model/{name}/0f1e2d3c4b5a69788796" for name in ("My_Flow/step", "F/_step_", "F/<b>/*a*")],
)
def test_a_key_takes_several_lines_and_is_shown_as_it_is(key: str) -> None:
    html = page_of([Act("saved", "model", "", key, "", 0, 1, 1, 1)], {}, began=0.0, ended=1.0)
    assert rows(html)[0]["key"] == key
    assert html.count("/<wbr>") == key.count("/")


def test_sums_are_of_all_saves_where_only_some_are_shown(task: Task) -> None:
    task.script(
        """
        card = of_task()
        for number in range(3000):
            save(card, number)
        card.finish("succeeded")
        """
    )
    seen = Reader(task.card)
    assert seen.figures == {
        "Saved": "3000",
        "In all": "3.0 MB",
        "Stored": "300.0 kB",
        "Ratio": "10.0 : 1",
    }
    shown = rows(task.card)
    assert shown[0]["key"].endswith("00002999")
    assert f"and {3000 - len(shown):,} before; the sums are of all" in seen.notes
    drawn = len(seen.charts[0].heights("whole"))
    assert 50 < drawn <= 100
    assert f"{drawn} of the 3000 saves are drawn." in seen.notes


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_chart_of_sums_comes_with_the_second_save(task: Task, count: int) -> None:
    task.script(
        f"""
        card = of_task()
        for number in range({count}):
            save(card, number)
        card.finish("succeeded")
        """
    )
    assert len(Reader(task.card).charts) == {0: 0, 1: 1, 3: 2}[count]


def test_what_no_decorator_asked_for_is_not_written(task: Task) -> None:
    task.script(
        """
        card = of_task(asked=False)
        save(card, 1)
        card.finish("succeeded")
        """
    )
    assert task.files() == set()


def test_a_long_task_has_a_card_before_it_ends(task: Task) -> None:
    task.script(
        """
        card = of_task(refresh_every=timedelta(0))
        for number in range(3):
            save(card, number)
            card.refresh()
            background()
        """
    )
    seen = Reader(task.card)
    assert (seen.facts["state"], seen.figures["Saved"]) == ("running", "3")


def test_it_is_not_refreshed_at_each_save(task: Task) -> None:
    task.script(
        """
        card = of_task()
        save(card, 1)
        card.refresh()
        background()
        """
    )
    assert task.files() == set()


def test_attempts_and_refreshes_leave_one_file(task: Task) -> None:
    task.script(
        """
        for attempt in range(2):
            card = of_task(attempt=attempt, refresh_every=timedelta(0))
            for number in range(3):
                save(card, number)
                card.refresh()
                background()
            card.finish("succeeded")
        """
    )
    assert sum(name.endswith(".html") for name in task.files()) == 1
    facts = Reader(task.card).facts
    assert (facts["attempt"], facts["state"]) == ("1", "succeeded")


def test_the_card_server_is_told_of_a_newer_card(task: Task) -> None:
    task.script(
        """
        card = of_task(refresh_every=timedelta(0))
        save(card, 1)
        card.refresh()
        background()
        card.finish("succeeded")
        """
    )
    (news,) = Path(task.project.folder, ".metaflow", "mf.cards").rglob("*.data.json")
    assert json.loads(news.read_text())["reload_token"] == "final"
    assert 'METAFLOW_RELOAD_TOKEN = "final"' in task.card


def test_the_card_server_asks_for_news_until_the_last_card(task: Task) -> None:
    task.script(
        """
        card = of_task(refresh_every=timedelta(0))
        save(card, 1)
        card.refresh()
        background()
        """
    )
    (news,) = Path(task.project.folder, ".metaflow", "mf.cards").rglob("*.data.json")
    (script,) = Reader(task.card).scripts
    assert f'METAFLOW_RELOAD_TOKEN = "{json.loads(news.read_text())["reload_token"]}"' in script
    assert "metaflow_card_update" in script
    task.script("card = of_task(); card.finish('succeeded')")
    (script,) = Reader(task.card).scripts
    assert "metaflow_card_update" not in script


def test_a_refresh_that_is_slow_does_not_come_after_the_end(task: Task) -> None:
    task.script(
        """
        Slow.wait = 0.3
        card = of_task(Slow, refresh_every=timedelta(0))
        save(card, 1)
        card.refresh()
        while Slow.writes == 0:
            time.sleep(0.01)
        card.refresh()
        card.finish("succeeded")
        background()
        """
    )
    assert Reader(task.card).facts["state"] == "succeeded"


def test_a_refresh_that_hangs_does_not_hold_the_task(task: Task) -> None:
    said = task.script(
        """
        Slow.wait = 3600
        card = of_task(Slow, refresh_every=timedelta(0))
        save(card, 1)
        card.refresh()
        while Slow.writes == 0:
            time.sleep(0.01)
        card.finish("succeeded")
        """
    )
    assert said == "[@checkpoint] no card: the one before is still being written\n"


def test_a_process_that_dies_while_it_writes_leaves_the_card_before_it(task: Task) -> None:
    task.script(
        """
        Slow.die_at = 3
        card = of_task(Slow, refresh_every=timedelta(0))
        for number in range(2):
            save(card, number)
            card.refresh()
            background()
        """,
        ends_with=9,
    )
    assert Reader(task.card).figures["Saved"] == "1"


def test_storage_that_is_not_local_is_written_through_metaflow(task: Task) -> None:
    task.script(
        """
        from metaflow.datastore.datastore_storage import DataStoreStorage

        class Bucket(DataStoreStorage):
            TYPE = "local"  # As Metaflow knows where it keeps cards for a few types only.
            kept = {}

            def save_bytes(self, path_and_bytes_iter, overwrite=False, len_hint=0):
                for path, data in path_and_bytes_iter:
                    self.kept[self.datastore_root, path] = data.read()

        card = of_task(Bucket)
        save(card, 1)
        card.finish("succeeded")
        ((root, path),) = Bucket.kept
        assert root == os.path.join(os.getcwd(), ".metaflow", "mf.cards"), root
        assert path.startswith("Train/runs/1/steps/start/tasks/2/cards/blank-task_checkpoints-")
        """
    )


def test_a_key_with_quoted_parts_takes_several_lines_as_well():
    key = "hub/flow/Train/model/org%2Fname/0f1e"
    act = Act("saved", "huggingface_hub", "org/name", key, "Train/1/start/2", 0.0, 0.1, 10, 10)
    assert key.replace("/", "/<wbr>") in page_of([act], {}, began=0.0, ended=1.0)


def saves(count: int, name: str = "mfchckpt", **metadata: Any) -> list[Act]:
    key = "checkpoint/Train/start/user:alice/0f1e2d3c4b5a69788796a5b4c3d2e1f0/"
    return [
        Act(
            verb="saved",
            kind="checkpoint",
            name=name,
            key=f"{key}{number:08d}",
            origin="Train/1/start/2",
            began=10.0 + number,
            took_s=0.1,
            size_bytes=1_000_000 + number,
            new_bytes=1000 * number,
            metadata={"epoch": number} | metadata,
        )
        for number in range(count)
    ]


def loads(count: int) -> list[Act]:
    return [replace(act, verb="loaded", new_bytes=None, why="asked") for act in saves(count)]


HOSTILE = "'</script>" * 40
CROWDS = {
    "nothing": [],
    "as many as have a text each": [*saves(15, HOSTILE, loss=HOSTILE), *loads(15)],
    "saves": saves(1000),
    "saves and loads": [*saves(1000), *loads(1000)],
    "hostile": saves(1000, HOSTILE, loss=HOSTILE),
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_card_is_at_most_thirty_kilobytes(crowd: str) -> None:
    facts = {"task": "Train/1/start/2", "attempt": "0", "load policy": "fresh", "state": "failed"}
    html = page_of(CROWDS[crowd], facts, began=0.0, ended=2000.0, script="x" * 120)
    assert len(html.encode()) <= MOST_BYTES == 30_000


def test_loads_and_saves_that_are_not_shown_are_counted() -> None:
    seen = Reader(page_of(CROWDS["saves and loads"], {}, began=0.0, ended=2000.0))
    for table in ("Saved", "Loaded"):
        left = 1000 - len(seen.table(table).rows)
        assert f"and {left:,} before; the sums are of all" in seen.notes
    assert "100 of the 1000 loads are drawn." in seen.notes


def test_a_column_is_as_high_as_its_save_is_large() -> None:
    acts = [replace(act, size_bytes=100 * (n + 1), new_bytes=50) for n, act in enumerate(saves(2))]
    seen = Reader(page_of(acts, {}, began=0.0, ended=20.0))
    assert seen.charts[0].heights("whole") == [100, 200]
    assert seen.charts[0].heights("new") == [50, 50]
    assert seen.charts[0].tips[1].endswith("saved checkpoint mfchckpt, 200 B, 50 B new")


def test_the_sums_rise_with_each_save() -> None:
    acts = [replace(act, size_bytes=100, new_bytes=100 - 50 * n) for n, act in enumerate(saves(2))]
    sums = Reader(page_of(acts, {}, began=0.0, ended=20.0)).charts[1]
    assert sums.paths["whole"] == ["M0 200H500V100H550V0H1000V200z"]
    assert sums.paths["new"] == ["M0 200H500V100H550V50H1000V200z"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("crowd", ["nothing", "as many as have a text each", "saves and loads"])
def test_a_browser_shows_it_whole(crowd: str, width: int, dark: bool, tmp_path: Path) -> None:
    html = page_of(CROWDS[crowd], {"task": "Train/1/start/2"}, began=0.0, ended=2000.0)
    (tmp_path / "card.html").write_text(html)
    seen = look(tmp_path / "card.html", tmp_path / "profile", width=width, dark=dark)
    assert (seen.errors, seen.cut) == ([], [])
    assert (seen.width, seen.is_dark) == (width, dark)
    assert len(seen.charts) == (2 if CROWDS[crowd] else 0)
    assert all(wide > 200 and high > 100 for wide, high in seen.charts)
