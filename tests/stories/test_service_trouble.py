"""A metadata service that fails or goes away does to a run of hits what it does to any run."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.s3 import Proxy, Server
from tests.service import LOST, Request, Service, every, serving
from tests.stories import ui_status
from tests.stories.conftest import Project, Ran

SWEEP = """
    from metaflow import FlowSpec, memoize, step

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.items = [1, 2, 3]
            self.next(self.fit, foreach="items")

        @memoize
        @step
        def fit(self):
            self.square = self.input ** 2
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.total = sum(each.square for each in inputs)
            self.next(self.end)

        @step
        def end(self):
            assert self.total == 14

    if __name__ == "__main__":
        Sweep()
"""
HITS = ["end", "start"]  # the workers of a run whose memoized steps are all hits
IMPATIENT = {"METAFLOW_SERVICE_RETRY_COUNT": "2"}  # 3 s of waiting for a service in place of 31

Fails = Callable[[Request], int]


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Service]]:
    """A flow that has run, and its service: hits leave the store as it was."""
    project = Project(tmp_path_factory.mktemp("warm"))
    project.write("flow.py", SWEEP)
    with serving() as service:
        project.env |= service.environment()
        assert len(project.run().workers) == 6
        yield project, service


@pytest.fixture
def project(warm: tuple[Project, Service]) -> Project:
    return warm[0]


@pytest.fixture
def service(warm: tuple[Project, Service]) -> Iterator[Service]:
    """The service without faults, which is there again after each test."""
    service = warm[1]
    service.failed.clear()
    yield service
    service.fails = lambda request: 0
    service.come_back()


def once_at(matches: Callable[[Request], bool], do: Callable[[], int | None]) -> Fails:
    """Return a `fails` that acts at the first request that matches, and at no other."""
    lock, met = threading.Lock(), threading.Event()

    def fails(request: Request) -> int:
        with lock:
            if met.is_set() or not matches(request):
                return 0
            met.set()
        return do() or 0

    return fails


def fields(request: Request) -> set[str]:
    """Return the names of the metadata that a request adds to a task of `fit`."""
    if request.method != "POST" or not re.search(r"/fit/tasks/\d+/metadata$", request.path):
        return set()
    return {each["field_name"] for each in request.body}


def of_the_end(request: Request) -> bool:
    """Tell the request that notes the result of a task of `fit`."""
    return "attempt_ok" in fields(request)


def of_the_attempt(request: Request) -> bool:
    return "attempt-done" in fields(request)


def of_the_artifacts(request: Request) -> bool:
    return re.search(r"/fit/tasks/\d+/artifact$", request.path) is not None


def of_the_task(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("/fit/task")


def of_its_system(request: Request) -> bool:
    return "runtime" in fields(request)


def error(ran: Ran) -> str:
    """Return Metaflow's message of an error, without what differs from run to run."""
    found = re.search(r"^ +Metaflow service error:\n(.*)", ran.text, re.MULTILINE)
    assert found, ran.text
    return re.sub(r"/runs/\d+|/tasks/\d+", "", found[1])


def states(project: Project, service: Service, ran: Ran, step: str = "fit") -> list[str]:
    """Return the status of each task of a step in the UI."""
    path = f"/flows/Sweep/runs/{ran.run_id}/steps/{step}"
    rows = service.ask("GET", f"{path}/tasks")[1]
    tasks = [f"Sweep/{ran.run_id}/{step}/{row['task_id']}" for row in rows]
    return [status.status for task in tasks for status in ui_status.of_task(service, task)]


def halves(project: Project, ran: Ran) -> object:
    """Return the tasks that look finished to the Client and lack what they computed."""
    return project.ask(
        f"""
        made = {{"fit": "square", "join": "total"}}
        steps = [step for step in Run("Sweep/{ran.run_id}") if step.id in made]
        answer = [
            task.pathspec
            for step in steps
            for task in step
            if task.finished and not hasattr(task.data, made[step.id])
        ]
        """
    )


def results(project: Project, ran: Ran) -> object:
    """Return what the Client tells of the tasks of a run."""
    return project.ask(
        f"""
        run = Run("Sweep/{ran.run_id}")
        fits = sorted((task.successful, task.data.square) for task in run["fit"])
        answer = [run.successful, run.data.total, fits]
        """
    )


RIGHT = [True, 14, [[True, 1], [True, 4], [True, 9]]]


def test_500_at_every_third_request_fails_a_run_as_it_does_without_memoize(
    project: Project, service: Service
) -> None:
    service.fails = every(3, 500)
    ran = project.run(ok=False)
    service.fails = every(3, 500)
    plain = project.run("--memo=off", ok=False)
    assert service.failed[500] == 2
    assert ran.code == plain.code != 0
    assert error(ran) == error(plain)
    assert "Traceback" not in ran.text


@pytest.mark.parametrize(
    "status", [pytest.param(503, id="503"), pytest.param(LOST, id="lost", marks=pytest.mark.stress)]
)
def test_answers_that_metaflow_asks_for_again_cost_no_hit(
    project: Project, service: Service, status: int
) -> None:
    service.fails = every(7, status)
    ran = project.run()
    assert service.failed[status] > 5
    assert sorted(ran.workers) == HITS, ran.text
    service.fails = lambda request: 0
    assert results(project, ran) == RIGHT


@pytest.mark.parametrize(
    "matches",
    [of_the_end, of_the_artifacts, pytest.param(of_the_attempt, marks=pytest.mark.stress)],
)
def test_a_hit_that_the_service_refuses_runs_in_its_worker(
    project: Project, service: Service, matches: Callable[[Request], bool]
) -> None:
    service.fails = once_at(matches, lambda: 500)
    ran = project.run()
    assert service.failed[500] == 1
    assert sorted(ran.workers) == sorted([*HITS, "fit"])
    assert any("code 500" in line for line in ran.memo_lines), ran.text
    assert set(states(project, service, ran)) == {"completed"}
    assert results(project, ran) == RIGHT


@pytest.mark.parametrize(
    "matches", [of_the_task, pytest.param(of_its_system, marks=pytest.mark.stress)]
)
def test_a_task_that_cannot_be_made_fails_a_run_as_it_does_without_memoize(
    project: Project, service: Service, matches: Callable[[Request], bool]
) -> None:
    service.fails = once_at(matches, lambda: 500)
    ran = project.run(ok=False)
    service.fails = once_at(matches, lambda: 500)
    plain = project.run("--memo=off", ok=False)
    assert service.failed[500] == 2
    assert ran.code == plain.code != 0
    assert error(ran) == error(plain)
    assert "completed" not in states(project, service, ran)


@pytest.mark.parametrize(
    "silent",
    [pytest.param(False, id="refused"), pytest.param(True, id="silent", marks=pytest.mark.stress)],
)
def test_a_service_that_comes_back_costs_no_hit(
    project: Project, service: Service, silent: bool
) -> None:
    back = threading.Timer(1, service.come_back)

    def leave() -> None:
        service.go_away(silent=silent)
        back.start()

    service.fails = once_at(of_the_end, leave)
    ran = project.run()
    back.join()
    assert sorted(ran.workers) == HITS, ran.text
    assert set(states(project, service, ran)) == {"completed"}
    assert results(project, ran) == RIGHT


@pytest.mark.parametrize(
    "matches", [of_the_end, pytest.param(of_the_artifacts, marks=pytest.mark.stress)]
)
def test_a_run_that_lost_its_service_is_resumed_with_hits(
    project: Project, service: Service, matches: Callable[[Request], bool]
) -> None:
    service.fails = once_at(matches, service.go_away)
    ran = project.run(ok=False, **IMPATIENT)
    service.come_back()
    assert ran.code != 0
    service.fails = once_at(matches, service.go_away)
    assert project.run("--memo=off", ok=False, **IMPATIENT).code == ran.code
    service.come_back()
    assert halves(project, ran) == []
    resumed = project.run("resume", "--origin-run-id", ran.run_id)
    assert resumed.workers == ["end"], resumed.text
    assert results(project, resumed) == RIGHT


def test_without_a_service_nothing_runs_and_metaflow_says_so(
    project: Project, service: Service
) -> None:
    service.go_away()
    ran, plain = (project.run(*memo, ok=False, **IMPATIENT) for memo in ([], ["--memo=off"]))
    assert ran.code == plain.code != 0
    assert ran.workers == []
    assert "Connection refused" in ran.text
    texts = [re.sub(r"0x[0-9a-f]+", "", each.text) for each in (ran, plain)]
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def in_s3(
    tmp_path_factory: pytest.TempPathFactory, s3_server: Server
) -> Iterator[tuple[Project, Service]]:
    """The same with its data in a bucket."""
    project = Project(tmp_path_factory.mktemp("in-s3"))
    project.write("flow.py", SWEEP)
    with serving() as service:
        project.env |= service.environment() | s3_server.environment(s3_server.bucket())
        project.env["METAFLOW_S3_RETRY_COUNT"] = "1"
        assert len(project.run().workers) == 6
        yield project, service


@pytest.mark.stress
def test_a_bucket_that_refuses_a_hit_leaves_no_task_that_looks_finished(
    in_s3: tuple[Project, Service], s3_server: Server
) -> None:
    project, service = in_s3
    proxy = Proxy(s3_server.url)
    proxy.refuses = lambda method, path: method == "PUT" and "/fit/" in path
    with proxy.running() as url:
        ran = project.run(ok=False, METAFLOW_S3_ENDPOINT_URL=url)
        plain = project.run("--memo=off", ok=False, METAFLOW_S3_ENDPOINT_URL=url)
    assert ran.code == plain.code != 0
    for each in (ran, plain):
        assert "completed" not in states(project, service, each)
    assert halves(project, ran) == []
    resumed = project.run("resume", "--origin-run-id", ran.run_id)
    assert resumed.workers == ["end"], resumed.text
    assert results(project, resumed) == RIGHT


@pytest.mark.stress
def test_a_service_that_leaves_a_run_in_a_bucket_fails_it_as_it_does_without_memoize(
    in_s3: tuple[Project, Service],
) -> None:
    project, service = in_s3
    for memo in ([], ["--memo=off"]):
        service.fails = once_at(of_the_end, service.go_away)
        assert project.run(*memo, ok=False, **IMPATIENT).code != 0
        service.come_back()
    service.fails = lambda request: 0
    ran = project.run()
    assert sorted(ran.workers) == HITS
    assert results(project, ran) == RIGHT
