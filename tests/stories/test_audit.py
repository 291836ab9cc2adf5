"""An audit runs some hits anew and keeps what is stored; a hint says what a key does not have."""

from __future__ import annotations

import math
import os
import random
import secrets
import time
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy
import numpy.random
import pytest

from memoflow.errors import UsageError
from memoflow.fingerprint.difference import difference
from memoflow.flow.memo.audit import is_due
from memoflow.flow.memo.hints import of_code
from memoflow.kinds.memo import MemoEntry
from memoflow.names import Digest, Key, Ref
from memoflow.units import share
from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    import os, tempfile, time
    from metaflow import FlowSpec, Parameter, card, current, environment, memoize, model, step

    def draw():
        import random
        return random.random()

    class Sweep(FlowSpec):
        fails = Parameter("fails", default=False)

        @step
        def start(self):
            self.grid = [1, 2, 3]
            self.next(self.steady, foreach="grid")

        @model
        @memoize(audit=1)
        @step
        def steady(self):
            self.twice = {"x": self.input * 2}
            with open(f"{self.input}.bin", "w") as file:
                file.write("weights")
            self.model = current.model.save(f"{self.input}.bin")
            self.common = 5
            self.next(self.join)

        @memoize(audit="100%", ignore=["os.environ"])
        @step
        def join(self, inputs):
            self.moved = draw() + time.time()
            self.merge_artifacts(inputs, include=["common"])
            self.same = 4
            self.scores = [1, draw()]
            if "EXTRA" in os.environ:
                self.extra = 1
            if "RAISES" in os.environ:
                raise ValueError("of two\\nlines")
            self.next(self.read)

        @memoize
        @environment(vars={"DECLARED": "1"})
        @step
        def read(self):
            self.text = open("data.csv").read() + os.environ["DECLARED"]
            self.next(self.end)

        @memoize
        @step
        def end(self):
            gone = tempfile.mkdtemp()
            os.chdir(gone)
            os.rmdir(gone)
            began = time.perf_counter()
            self.took = 0 * (time.perf_counter() - began)

    if __name__ == "__main__":
        Sweep()
"""

TOLD = """
    (task,) = Flow("Sweep").latest_run["join"]
    (one, *_) = Flow("Sweep").latest_run["steady"]
    from metaflow.cards import get_cards
    answer = {
        "moved": task.data.moved,
        "artifacts": sorted(artifact.id for artifact in task),
        "metadata": task.metadata_dict,
        "steady": one.metadata_dict,
        "card": next(card.get() for card in get_cards(task) if card.id == "memo"),
    }
"""


@once
def ran(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    project.write("data.csv", "1,2")
    first = project.run()
    before = project.ask(TOLD)
    second = project.run(EXTRA="1")
    after = project.ask(TOLD)
    third = project.run(RAISES="1")
    raised = project.ask(TOLD)
    (path,) = project.ask('answer = [task.pathspec for task in Flow("Sweep").latest_run["join"]]')
    why = project.python("flow.py", "memo", "why", path).stdout
    anew = project.run("--memo-refresh", "join+")
    return {
        "first": first,
        "before": before,
        "second": second,
        "after": after,
        "third": third,
        "raised": raised,
        "why": why,
        "anew": anew,
        "card_anew": project.ask(TOLD)["card"],
    }


def audits(ran: Any, *, step: str) -> list[str]:
    return [line for line in ran["second"]["text"].splitlines() if f"audit: {step} " in line]


def hints(ran: Any, step: str) -> list[str]:
    return [line for line in ran["first"]["text"].splitlines() if f"hint: {step} uses" in line]


def test_an_audited_hit_runs(ran):
    assert sorted(ran["second"]["workers"]) == ["join", "start", "steady", "steady", "steady"]


def test_a_result_that_comes_again_is_said_to_be_the_same(ran):
    assert len(audits(ran, step="steady")) == 3
    assert all("steady the same as Sweep/" in line for line in audits(ran, step="steady"))
    assert ran["after"]["steady"]["memo-audit"].startswith("the same as Sweep/")


def test_a_result_that_differs_is_reported_with_artifact_and_difference(ran):
    (line,) = audits(ran, step="join")
    assert f"moved: {ran['before']['moved']} -> " in line
    assert "scores: [1] 0." in line
    assert "extra: not stored" in line
    assert line.endswith("the stored result is kept")
    assert "same:" not in line
    assert "common" not in line


def test_what_was_stored_stands(ran):
    assert ran["after"]["moved"] == ran["before"]["moved"]
    assert "extra" not in ran["after"]["artifacts"]


def test_a_model_saved_again_is_the_same_by_its_files(ran):
    assert not any("model" in line for line in audits(ran, step="steady"))


def test_an_audit_that_raises_is_reported_and_what_was_stored_stands(ran):
    text = ran["third"]["text"]
    (line,) = [line for line in text.splitlines() if "audit: join raised" in line]
    assert "join raised ValueError: of two lines, unlike Sweep/" in line
    assert line.endswith("the stored result is kept")
    assert ran["raised"]["moved"] == ran["before"]["moved"]
    assert "ValueError" in ran["raised"]["metadata"]["memo-audit"]
    assert "ValueError" in ran["raised"]["card"]


def test_why_says_what_the_audit_came_to(ran):
    assert "was a hit: the result of Sweep/" in ran["why"]
    assert "its audit: raised ValueError: of two lines" in ran["why"]


def test_a_hint_is_given_once_and_stands_in_the_card(ran):
    assert "hint: join" not in ran["anew"]["text"]
    assert "time.time" in ran["card_anew"]


def test_metadata_and_card_say_what_an_audit_came_to(ran):
    assert "moved" in ran["after"]["metadata"]["memo-audit"]
    assert ran["after"]["metadata"]["memo-origin"].startswith("Sweep/")
    assert "moved" in ran["after"]["card"]
    assert 'class="badge audit"' in ran["after"]["card"]


def test_a_step_that_uses_clock_and_chance_gets_a_hint_that_says_where(ran):
    (line,) = hints(ran, "join")
    assert "random.random (flow.py:7)" in line
    assert "time.time (flow.py:31)" in line
    assert "os.environ[" not in line
    assert '@memoize(ignore=["os.environ", "time.time", "random.random"])' in line


def test_files_and_variables_are_in_the_key_and_no_hint_is_due(ran):
    assert hints(ran, "read") == []


def test_a_step_that_uses_none_of_these_gets_no_hint(ran):
    assert hints(ran, "steady") == hints(ran, "end") == []


def entry(name: str) -> MemoEntry:
    ref = Ref(Key.of("memo", name), Digest("sha256:" + "0" * 64), 1, 1.0)
    return MemoEntry(ref, "F/1/s/2", 1.0, {}, {}, (), (), ())


def test_about_the_share_that_was_asked_for_is_audited():
    drawn = sum(is_due(0.05, entry(str(i)), "17") for i in range(4000))
    assert 150 < drawn < 250


def test_all_who_ask_in_a_run_agree_and_each_run_draws_anew():
    many = [entry(str(i)) for i in range(100)]
    chosen = {
        run: [one.ref.key for one in many if is_due(0.5, one, run)] for run in ("17", "17", "18")
    }
    again = [one.ref.key for one in map(replace, many) if is_due(0.5, one, "17")]
    assert chosen["17"] == again != chosen["18"]


@pytest.mark.parametrize("never", [0, 0.0, "0", "0%"])
def test_no_share_audits_nothing(never):
    assert not any(is_due(share("audit", never), entry(str(i)), "17") for i in range(100))


@pytest.mark.parametrize(
    ("value", "found"), [(0.05, 0.05), ("0.05", 0.05), ("5%", 0.05), (1, 1.0), (".5", 0.5)]
)
def test_a_share_is_a_number_or_a_text(value, found):
    assert share("audit", value) == found


@pytest.mark.parametrize("value", [2, -1, "no", "200%", None, True])
def test_another_share_is_refused(value):
    with pytest.raises(UsageError, match=r"audit is a share from 0 to 1"):
        share("audit", value)


class Point:
    def __init__(self, x: int, y: list[int]) -> None:
        self.x = x
        self.y = y


@pytest.mark.parametrize(
    ("stored", "now", "told"),
    [
        (1.0, 1.5, "1.0 -> 1.5"),
        (1, 1.0, "1 -> 1.0"),
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}, "['b'] [1] 2 -> 3"),
        ([1, 2], [1], "2 items -> 1"),
        ({"a": 1, "c": 3}, {"a": 1, "b": 2}, "'c' is gone, 'b' is new"),
        ({1, 2}, {1, 3}, "2 is gone, 3 is new"),
        (set(range(9)), {0}, "1 is gone, 2 is gone, 3 is gone, 5 more are gone"),
        ("a" * 90 + "b", "a" * 90 + "c", "at 90: 'b' -> 'c'"),
        (Point(1, [2]), Point(1, [3]), ".y [0] 2 -> 3"),
        (float("nan"), float("nan"), ""),
        ({1, 2}, {2, 1}, ""),
    ],
)
def test_a_difference_is_told_where_it_is(stored, now, told):
    assert difference(stored, now) == told


def test_what_holds_itself_is_told_apart():
    stored: dict[str, Any] = {}
    now: dict[str, Any] = {"b": 1}
    stored["itself"], now["itself"] = stored, now
    assert difference(stored, now) == "'b' is new"


@pytest.mark.parametrize(
    ("stored", "now", "dtype", "told"),
    [
        ([1, math.nan], [1.5, math.nan], "float64", "1 of 2 items differ, by up to 0.5"),
        ([0], [1], "uint8", "1 of 1 items differ, by up to 1"),
        ([1], [0], "uint8", "1 of 1 items differ, by up to 1"),
        ([True, False], [True, True], "bool", "1 of 2 items differ"),
        (["a"], ["b"], "U1", "1 of 1 items differ"),
        (1, 2, "int64", "1 -> 2"),
    ],
)
def test_arrays_of_any_kind_are_told_apart(stored, now, dtype, told):
    assert difference(numpy.array(stored, dtype), numpy.array(now, dtype)) == told


def test_frames_differ_in_a_column():
    pd = pytest.importorskip("pandas")
    stored = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    now = stored.assign(b=[3, 5])
    assert difference(stored, now) == "['b'] 1 of 2 items differ, by up to 1"
    assert difference(stored, stored.rename(columns={"b": "c"})) == "columns [1] 'b' -> 'c'"
    assert difference(stored, stored.set_axis([7, 8])) == "index [0] 0 -> 7"


def test_arrays_differ_in_so_many_items_by_so_much():
    np = pytest.importorskip("numpy")
    stored = np.array([[1.0, 2.0], [3.0, 4.0]])
    now = stored + np.array([[0, 1e-3], [0, 0]])
    assert difference(stored, now) == "1 of 4 items differ, by up to 0.001"
    assert difference(stored, stored[0]) == "ndarray(2, 2) float64 -> ndarray(2,) float64"


class Moment(datetime):
    """As pandas has one."""


class Used:
    """Steps as hints read them."""

    def clock(self):
        return datetime.now(), time.time_ns()

    def through_a_method(self):
        return self.helper()

    def helper(self):
        return time.time(), os.getenv("HOME")

    def seeded(self):
        random.seed(1)
        return random.random()

    def generators(self):
        from random import Random

        return Random(), Random(4)

    def sets(self):
        os.environ["A"] = "1"
        return time.perf_counter()

    def hidden(self):
        time = SimpleNamespace(time=lambda: 1)
        return time.time()

    def given_a_time(self):
        return time.strftime("%Y", time.gmtime(0)), time.localtime(5)

    def strftime(self):
        return time.strftime("%Y")

    def tells_a_library(self):
        os.environ.setdefault("A", "1")
        os.environ.pop("A", None)

    def seeded_with_nothing(self):
        random.seed(None)
        return random.random(), random.Random(None)

    def seeded_elsewhere(self):
        numpy.random.seed(0)
        return random.random(), numpy.random.exponential()

    def of_a_timestamp(self):
        return Moment.now()

    def of_the_machine(self):
        return random.SystemRandom().random(), secrets.token_urlsafe()

    def of_a_library(self):
        return pytest.importorskip("numpy").array([1])


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("clock", {"datetime.now", "time.time_ns"}),
        ("through_a_method", {"time.time"}),
        ("seeded", set()),
        ("generators", {"random.Random"}),
        ("sets", set()),
        ("hidden", set()),
        ("given_a_time", set()),
        ("strftime", {"time.strftime"}),
        ("tells_a_library", set()),
        ("seeded_with_nothing", {"random.random", "random.Random"}),
        ("seeded_elsewhere", {"random.random"}),
        ("of_a_timestamp", {"Moment.now"}),
        ("of_the_machine", {"random.SystemRandom", "secrets.token_urlsafe"}),
        ("of_a_library", set()),
    ],
)
def test_code_is_read_for_what_a_key_does_not_have(step, found):
    assert set(of_code(Used, step)) == found
