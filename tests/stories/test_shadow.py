"""In shadow mode all tasks run, none is served, and each is compared with its stored result."""

from __future__ import annotations

from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import once

# A value that comes over a socket is in no key.
FLOW = """
    import socket
    from metaflow import FlowSpec, Parameter, memoize, step

    def asked(port):
        with socket.create_connection(("127.0.0.1", int(port))) as line:
            return float(line.recv(100))

    class Sweep(FlowSpec):
        port = Parameter("port", default="0")
        fails = Parameter("fails", default=False)

        @step
        def start(self):
            self.grid = [1, 2, 3]
            self.next(self.fit, foreach="grid")

        @memoize(ignore=["port", "fails"], files=["out/*.txt"])
        @step
        def fit(self):
            print("body of", self.input)
            self.score = self.input * (asked(self.port) if self.input == 2 else 1.0)
            self.kept = "as it is"
            if self.fails and self.input == 3:
                raise ValueError("of two\\nlines")
            with open(f"out/{self.input}.txt", "w") as file:
                file.write(str(self.score))
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.total = sum(one.score for one in inputs)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""

ASK = """
    run = Flow("Sweep").latest_run
    answer = {
        "total": run["join"].task.data.total,
        "fit": {task.index: task.metadata_dict
                for task in run["fit"]},
        "join": run["join"].task.metadata_dict,
        "id": run.id,
    }
"""


class Service:
    """A server that tells a number to whoever connects."""

    def __init__(self) -> None:
        import socket
        import threading

        self.number = 1.0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = str(self.socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self.socket.accept()
            except OSError:
                return
            with line:
                line.sendall(str(self.number).encode())


@once
def ran(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    project.write("out/.keep", "")
    service = Service()
    given = ("--port", service.port)
    cold = project.run(*given, "--memo", "shadow")
    same = project.run(*given, "--memo", "shadow")
    service.number = 5.0
    stale = project.run(*given)
    told_stale = project.ask(ASK)
    shadow = project.run(*given, METAFLOW_MEMOFLOW_MODE="shadow")
    told = project.ask(ASK)
    path = f"Sweep/{told['id']}/fit"
    first = min(project.ask('answer = [task.id for task in Flow("Sweep").latest_run["fit"]]'))
    why_task = project.python("flow.py", "memo", "why", f"{path}/{first}").stdout
    why_run = project.python("flow.py", "memo", "why", f"Sweep/{told['id']}").stdout
    stats = project.python("flow.py", "memo", "stats").stdout
    failed = project.run(*given, "--fails", "True", "--memo", "shadow", ok=False)
    service.number = 1.0
    after = project.run(*given)
    return {
        "cold": cold, "same": same, "stale": stale, "told_stale": told_stale, "shadow": shadow,
        "told": told, "why_task": why_task, "why_run": why_run, "stats": stats, "failed": failed,
        "after": after, "told_after": project.ask(ASK),
    }  # fmt: skip


def lines(ran: Any, of: str) -> list[str]:
    return [line for line in ran[of]["text"].splitlines() if "[memoize] shadow: " in line]


def test_a_run_in_shadow_mode_fills_an_empty_store(ran):
    assert len(lines(ran, "cold")) == 3  # all in all, and by step
    assert "0 of 3 tasks would hit" in "\n".join(lines(ran, "cold"))
    assert sorted(ran["stale"]["workers"]) == ["end", "start"]


def test_everything_runs(ran):
    for run in ("same", "shadow"):
        assert sorted(ran[run]["workers"]) == ["end", "fit", "fit", "fit", "join", "start"]
        assert ran[run]["text"].count("body of") == 3


def test_equal_results_are_said_to_be_the_same(ran):
    text = "\n".join(lines(ran, "same"))
    assert text.count("would be saved: the same") == 4
    assert "in all 4 of 4 tasks would hit" in text
    assert "all the same" in text


def test_the_stale_result_is_named_in_its_task_and_at_the_end(ran):
    text = "\n".join(lines(ran, "shadow"))
    assert text.count("but differs in score: 2.0 -> 10.0") == 1
    assert text.count("differs in score: 2.0 -> 10.0") == 2  # in its own log, and at the end
    assert "file out/2.txt: other content" in text
    assert "fit: 3 of 3 tasks would hit" in text
    assert "1 differs" in text


def test_nothing_is_served_and_the_flow_goes_on_with_its_own(ran):
    assert ran["told_stale"]["total"] == 6.0
    assert ran["told"]["total"] == 14.0
    assert all("memo-origin" not in each for each in ran["told"]["fit"].values())


def test_the_stored_result_stays_and_new_ones_are_recorded(ran):
    assert ran["told_after"]["total"] == 6.0
    assert sorted(ran["after"]["workers"]) == ["end", "start"]


def test_why_and_stats_count_no_hit(ran):
    assert "ran in shadow mode: would hit Sweep/" in ran["why_task"]
    assert "hits" in ran["why_run"]
    assert "shadow" in ran["why_run"]


def test_a_step_that_raises_fails_as_ever_and_is_named(ran):
    assert ran["failed"]["code"] != 0
    text = "\n".join(lines(ran, "failed"))
    assert "but raised ValueError: of two lines" in text
