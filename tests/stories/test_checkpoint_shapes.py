"""Flows as the documentation of checkpoints shows them: counters that fail, and go on."""

from __future__ import annotations

import re
from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import once

UNTIL_15 = """
    import os
    from metaflow import FlowSpec, checkpoint, current, retry, step

    class UntilFifteen(FlowSpec):
        @checkpoint
        @retry(times=4, minutes_between_retries=0)
        @step
        def start(self):
            path = os.path.join(current.checkpoint.directory, "counter.txt")
            counter = 0
            if current.checkpoint.is_loaded:
                with open(path) as file:
                    counter = int(file.read())
                print("counter was", counter)
            for _ in range(3):
                counter += 1
                with open(path, "w") as file:
                    file.write(str(counter))
                self.reference = current.checkpoint.save(name="counter")
            if counter < 15:
                raise RuntimeError(f"only {counter} so far")
            self.counter = counter
            self.attempts = current.retry_count + 1
            self.saves = current.checkpoint.list()
            self.next(self.end)

        @step
        def end(self):
            print("counted to", self.counter)

    if __name__ == "__main__":
        UntilFifteen()
"""

CRASHING = """
    import os
    import random
    from metaflow import FlowSpec, Parameter, checkpoint, current, retry, step

    class Crashing(FlowSpec):
        seed = Parameter("seed", default=0)

        @retry(times=4, minutes_between_retries=0)
        @checkpoint
        @step
        def start(self):
            luck = random.Random(f"{self.seed} {current.retry_count}")
            path = os.path.join(current.checkpoint.directory, "counter.txt")
            counter = 0
            if current.checkpoint.is_loaded:
                with open(path) as file:
                    counter = int(file.read())
            print("beginning at", counter)
            while counter < 12:
                counter += 1
                if counter % 2 == 0:
                    with open(path, "w") as file:
                        file.write(str(counter))
                    current.checkpoint.save(path, metadata={"counter": counter})
                if luck.random() < 0.2:
                    print("crashing at", counter)
                    os._exit(1)
            self.counter = counter
            self.attempts = current.retry_count + 1
            self.saved = [each["metadata"]["counter"] for each in current.checkpoint.list()]
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Crashing()
"""


@once
def until_15(project: Project) -> dict[str, Any]:
    project.write("flow.py", UNTIL_15)
    ran = project.run()
    question = """
        task = Flow("UntilFifteen").latest_run["start"].task
        answer = {name: task[name].data for name in ("counter", "attempts", "reference", "saves")}
    """
    return {"text": ran.text, "workers": ran.workers, "start": project.ask(question)}


@once
def crashing(project: Project) -> dict[str, Any]:
    project.write("flow.py", CRASHING)
    ran = project.run("--with", "card", "--seed", "58")  # Unlucky at 5, and again at 10.
    question = """
        from metaflow.cards import get_cards
        task = Flow("Crashing").latest_run["start"].task
        answer = {name: task[name].data for name in ("counter", "attempts", "saved")}
        answer["cards"] = [[card.type, card.id] for card in get_cards(task)]
    """
    return {"text": ran.text, "start": project.ask(question)}


def test_a_counter_reaches_15_in_five_attempts(until_15: dict[str, Any]) -> None:
    assert (until_15["start"]["counter"], until_15["start"]["attempts"]) == (15, 5)
    assert until_15["workers"].count("start") == 5


def test_each_attempt_begins_where_the_one_before_ended(until_15: dict[str, Any]) -> None:
    began = [f"counter was {count}" in until_15["text"] for count in (3, 6, 9, 12)]
    assert began == [True] * 4


def test_every_save_of_every_attempt_is_listed_newest_first(until_15: dict[str, Any]) -> None:
    saves = until_15["start"]["saves"]
    assert [each["attempt"] for each in saves] == [4] * 3 + [3] * 3 + [2] * 3 + [1] * 3 + [0] * 3
    assert saves[0]["key"] == until_15["start"]["reference"]["key"]


def test_a_counter_that_crashes_goes_on_from_its_last_save(crashing: dict[str, Any]) -> None:
    crashes = re.findall(r"crashing at (\d+)", crashing["text"])
    begins = re.findall(r"beginning at (\d+)", crashing["text"])
    assert (crashes, begins) == (["5", "10"], ["0", "4", "10"])
    assert (crashing["start"]["counter"], crashing["start"]["attempts"]) == (12, 3)


def test_nothing_is_counted_twice_but_what_was_not_saved(crashing: dict[str, Any]) -> None:
    assert crashing["start"]["saved"] == [12, 10, 8, 6, 4, 2]


def test_a_card_of_the_users_stands_beside_that_of_the_checkpoints(
    crashing: dict[str, Any],
) -> None:
    cards = crashing["start"]["cards"]
    assert sorted(map(str, cards)) == ["['blank', 'task_checkpoints']", "['default', None]"]
