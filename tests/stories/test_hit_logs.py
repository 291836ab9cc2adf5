"""A hit has the log of the task that computed its result."""

from __future__ import annotations

from typing import Any

import pytest

from tests.s3 import serving as serving_s3
from tests.service import serving as serving_metadata
from tests.stories.conftest import Project
from tests.stories.test_worker_decides import ONLY_IN_WORKER
from tests.stories.world import once

FLOW = """
    import os, subprocess, sys
    from metaflow import FlowSpec, memoize, retry, step

    class Talk(FlowSpec):
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.say, foreach="items")

        @memoize(ignore=["first"])
        @retry(times=1, minutes_between_retries=0)
        @step
        def say(self):
            if not os.path.exists("first"):
                open("first", "w").close()
                print("of the first attempt")
                raise ValueError("again")
            print("hello", self.input, "grüße \\x1b[31mred\\x1b[0m")
            print("to stderr", file=sys.stderr)
            subprocess.run(["sh", "-c", "echo of a shell; echo its error >&2"])
            sys.stdout.write("10%\\r100%\\n")
            print("no end", end="")
            self.x = self.input
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.x = sum(each.x for each in inputs)
            self.next(self.much)

        @memoize
        @step
        def much(self):
            for number in range(100_000):
                print(f"{number:031}")
            self.next(self.end)

        @step
        def end(self):
            print("of a step that runs")

    if __name__ == "__main__":
        Talk()
"""

LOGS = """
    answer = [
        [task.stdout, task.stderr]
        for name in ("say", "join", "much")
        for task in sorted(Step(f"Talk/{run}/{{name}}"), key=lambda each: int(each.id))
    ]
"""


def logs(project: Project, run: str) -> list[list[str]]:
    found: Any = project.ask(LOGS.replace("{run}", run).replace("{{name}}", "{name}"))
    return found


def own(text: str) -> list[str]:
    """Return the lines that are not memoflow's."""
    return [line for line in text.split("\n") if line and not line.startswith("[memoize]")]


@once
def story(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    first = project.run()
    second = project.run()
    # From the same results: not from the task that hit.
    third = project.run("--memo-replay")
    shown = project.python("flow.py", "--no-pylint", "logs", "show", f"{second.run_id}/say/2")
    errors = project.python(
        "flow.py", "--no-pylint", "logs", "show", "--stderr", f"{second.run_id}/say/2"
    )
    off = project.run(METAFLOW_MEMOFLOW_LOGS="0")
    resumed = project.run("resume", "end", "--origin-run-id", third.run_id)
    return {
        "runs": {
            name: vars(ran) | {"hits": ran.hits, "logs": logs(project, ran.run_id)}
            for name, ran in [
                ("first", first),
                ("second", second),
                ("third", third),
                ("off", off),
            ]
        },
        "shown": shown.stdout,
        "errors": errors.stdout,
        "resumed": resumed.text,
    }


def test_its_own_lines_follow_the_one_that_says_hit(story: Any) -> None:
    first, second = story["runs"]["first"], story["runs"]["second"]
    assert len(second["hits"]) == 4
    for (ran, _), (hit, errors) in zip(first["logs"][:2], second["logs"][:2], strict=True):
        head, *rest = hit.split("\n")
        assert head.startswith(f"[memoize] hit: Talk/{story_id(first)}/say/")
        assert own("\n".join(rest)) == own(ran)[-len(own(hit)) :]
        assert "hello" in hit
        assert errors == "to stderr\nits error\n"
    assert "of the first attempt" not in str(second["logs"])


def story_id(ran: dict[str, Any]) -> str:
    return str(ran["text"].partition("run-id ")[2].partition(")")[0])


def test_it_has_all_that_was_printed_by_whatever(story: Any) -> None:
    (hit, _) = story["runs"]["second"]["logs"][0]
    assert own(hit) == [
        *("hello 1 grüße \x1b[31mred\x1b[0m", "of a shell", "10%\r100%", "no end"),
    ]


def test_of_a_silent_task_there_is_the_line_alone(story: Any) -> None:
    out, errors = story["runs"]["second"]["logs"][2]
    assert out.startswith("[memoize] hit: ")
    assert (out.count("\n"), errors) == (1, "")


def test_of_much_the_beginning_and_the_end_are_there(story: Any) -> None:
    lines = story["runs"]["second"]["logs"][3][0].splitlines()
    assert lines[1] == f"{0:031}"
    assert lines[-1] == f"{99_999:031}"
    assert "[memoize] 2.2 MB of the log left out here" in lines


def test_a_hit_of_a_later_run_has_the_same(story: Any) -> None:
    second, third = (story["runs"][name]["logs"] for name in ("second", "third"))
    assert [own(out) for out, _ in second] == [own(out) for out, _ in third]


def test_metaflows_command_shows_them(story: Any) -> None:
    assert "[memoize] hit" in story["shown"]
    assert "of a shell" in story["shown"]
    assert "its error" in story["shown"]
    assert "its error" in story["errors"]
    assert "of a shell" not in story["errors"]


def test_they_are_printed_if_that_is_asked_for(story: Any) -> None:
    second, third = (story["runs"][name]["text"] for name in ("second", "third"))
    assert "of a shell" not in second
    assert third.count("of a shell") == third.count("its error") == 2
    lines = third.splitlines()
    (line,) = (line for line in lines if "hello 1" in line)
    assert "/say/2 (pid " in line
    at = lines.index(line)
    assert "[memoize] hit" in "".join(lines[:at])
    assert "/say/2" in next(each for each in lines[at:] if "finished successfully" in each)


def test_they_can_be_switched_off(story: Any) -> None:
    assert [len(own(out)) for out, _ in story["runs"]["off"]["logs"]] == [0, 0, 0, 0]


def test_logs_are_not_kept_where_that_is_off(project: Project) -> None:
    project.write("flow.py", FLOW.replace("100_000", "3"))
    project.run(METAFLOW_MEMOFLOW_LOGS="0")
    second = project.run()
    assert len(second.hits) == 4
    assert [len(own(out)) for out, _ in logs(project, second.run_id)] == [0, 0, 0, 0]
    assert not list(project.store.glob("refs/memo/*/*/*/logs"))


WORKER = """
    import sys
    from metaflow import FlowSpec, memoize, step

    class Talk(FlowSpec):
        @step
        def start(self):
            import only_in_worker
            self.thing = only_in_worker.Thing(1)
            self.next(self.say)

        @memoize
        @step
        def say(self):
            print("hello", self.thing.n)
            print("to stderr", file=sys.stderr)
            self.x = 1
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Talk()
"""


def test_a_hit_that_a_worker_finds_has_it_as_well(project: Project) -> None:
    project.write("flow.py", WORKER)
    project.write("only_in_worker.py", ONLY_IN_WORKER)
    project.run()
    forget_index(project)
    second = project.run()
    assert "say" in second.workers
    assert "hello 1" not in second.text
    forget_index(project)
    third = project.run("--memo-replay")
    assert "say" in third.workers
    assert third.text.count("hello 1") == third.text.count("to stderr") == 1
    for run in (second.run_id, third.run_id):
        found: Any = project.ask(f"t = Step('Talk/{run}/say').task; answer = [t.stdout, t.stderr]")
        assert found[0].startswith("[memoize] hit: ")
        assert found[0].endswith("\nhello 1\n")
        assert found[1] == "to stderr\n"


def forget_index(project: Project) -> None:
    """Else the scheduler remembers what the workers found out."""
    (index,) = (project.folder / ".cache").rglob("*.sqlite")
    for path in index.parent.glob(index.name + "*"):
        path.unlink()


TWINS = """
    import time
    from metaflow import FlowSpec, memoize, step

    class Twins(FlowSpec):
        @step
        def start(self):
            self.items = [7, 7]
            self.next(self.say, foreach="items")

        @memoize
        @step
        def say(self):
            time.sleep(1)
            print("hello", self.input)
            self.x = self.input
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Twins()
"""


def test_a_task_that_waited_for_its_twin_has_the_log_of_that(project: Project) -> None:
    project.write("flow.py", TWINS)
    ran = project.run()
    assert len(ran.hits) == 1
    found: Any = project.ask(f"answer = [t.stdout for t in Step('Twins/{ran.run_id}/say')]")
    assert [text.count("hello 7") for text in found] == [1, 1]


def test_runner_takes_the_flag(project: Project) -> None:
    project.write("flow.py", FLOW.replace("100_000", "3"))
    project.run()
    done = project.python("-c", RUNNER)
    assert done.stdout.count("hello 1") == 1, done.stdout


RUNNER = """
from metaflow import Runner
runner = Runner("flow.py", pylint=False, show_output=False)
with runner.run(memo_replay=True) as running:
    print(running.stdout)
"""


@pytest.fixture
def elsewhere(project: Project) -> Any:
    with serving_s3() as bucket, serving_metadata() as service:
        yield {**bucket.environment(bucket.bucket()), **service.environment()}


def test_logs_in_a_bucket_with_a_metadata_service(
    project: Project, elsewhere: dict[str, str]
) -> None:
    project.write("flow.py", FLOW.replace("100_000", "30"))
    project.env |= elsewhere
    first = project.run()
    second = project.run()
    assert len(second.hits) == 4
    ran, hit = logs(project, first.run_id), logs(project, second.run_id)
    assert [own(out)[-3:] for out, _ in hit] == [own(out)[-3:] for out, _ in ran]
    assert [errors for _, errors in hit[:2]] == ["to stderr\nits error\n"] * 2
