"""A scheduler that is killed while it writes hits leaves no task that only looks finished."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests import service
from tests.s3 import Proxy, serving
from tests.stories.conftest import Project, Ran
from tests.stories.world import copied, once

SPLITS = 100
FAR_SPLITS = 16  # where each takes dozens of requests

FLOW = """
    from metaflow import FlowSpec, memoize, step

    class F(FlowSpec):
        @memoize
        @step
        def start(self):
            self.items = [number % 2 for number in range(SPLITS)]
            self.next(self.work, foreach="items")

        @memoize
        @step
        def work(self):
            self.value = self.input * 7
            self.text = "x" * self.input
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.values = [one.value for one in inputs]
            self.next(self.end)

        @step
        def end(self):
            print("values", self.values)

    if __name__ == "__main__":
        F()
"""

# A moment is a write of a file of a foreach or join task. The scheduler dies some moments and
# seconds after the nth moment at a file whose name has a word in it. All moments are noted.
_KILLER = """
def _watch_writes(word, number, more, delay_s, log):
    import atexit, signal, threading, time

    marks = tuple(f"{os.sep}{step}{os.sep}" for step in ("work", "join"))
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    moments = []
    left, after = number, more

    def die():
        time.sleep(delay_s)
        os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):
        nonlocal left, after
        if event == "open" and (arguments[2] or 0) & writes and isinstance(arguments[0], str):
            path = arguments[0]
        elif event in ("os.rename", "os.link"):
            path = os.fspath(arguments[1])
        elif event == "os.mkdir":
            path = os.fspath(arguments[0])
        else:
            return
        if not any(mark in path for mark in marks):
            return
        moments.append(os.path.basename(path))
        if number <= 0:
            return
        if left > 0:
            left -= word in moments[-1]
        else:
            after -= 1
        if left > 0 or after > 0:
            return
        if delay_s:
            threading.Thread(target=die).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def note():
        with open(log, "w") as file:
            file.write("\\n".join(moments))

    atexit.register(note)
    sys.addaudithook(hook)

if "step" not in sys.orig_argv and "MOMENTS" in os.environ:
    import json
    _watch_writes(*json.loads(os.environ.get("KILLED_AT", '["", 0, 0, 0]')), os.environ["MOMENTS"])
"""

# For the far away, where the test sees each request of the scheduler, and kills it.
_PID = """
if "run" in sys.orig_argv and "SCHEDULER_PID" in os.environ:
    with open(os.environ["SCHEDULER_PID"], "w") as file:
        file.write(str(os.getpid()))
"""

# Each task of a run with its signs of being finished, and what it holds.
_LOOK = """
    def signs(task):
        notes = [note for note in task.metadata if note.name == "attempt_ok"]
        return {{
            "finished": task.finished,
            "successful": task.successful,
            "attempt_ok": any(note.value == "True" for note in notes),
        }}

    def held(task):
        names = ["_current_step", "_foreach_stack", "_graph_info", "_success", "_task_ok"]
        names += [artifact.id for artifact in task]
        try:
            return {{name: repr(task[name].data) for name in names + ["_transition"]}}
        except Exception as error:
            return {{"error": repr(error)}}

    answer = [
        [step.id, task.id, signs(task), held(task)] for step in Run("F/{run}") for task in step
    ]
"""


def values(splits: int) -> list[int]:
    return [number % 2 * 7 for number in range(splits)]


def write_flow(project: Project, splits: int, spy: str) -> None:
    project.write("flow.py", FLOW.replace("SPLITS", str(splits)))
    with open(project.folder / ".spy" / "sitecustomize.py", "a") as file:
        file.write(textwrap.dedent(spy))


# Returns the bytes of a file of the flow in the datastore, None if it is not there.
Read = Callable[[str], "bytes | None"]


def kept(read: Read, task: str) -> dict[str, str] | None:
    """Return what the datastore holds of a task, by name and SHA-1; None if it has no DONE.lock."""
    if read(f"{task}/0.DONE.lock") is None:
        return None
    data = read(f"{task}/0.data.json")
    return {} if data is None else json.loads(data)["objects"]


def names_of(project: Project, run: str, read: Read) -> dict[str, tuple[list[str], list[str]]]:
    """Return the artifacts of a task of each step, as the Client and the datastore have them."""
    found = {}
    for step, task, _, held in project.ask(_LOOK.format(run=run)):
        objects = kept(read, f"{run}/{step}/{task}")
        found[step] = sorted(held), sorted(objects or ())
    return found


def torn(project: Project, killed: Ran, names: dict, read: Read) -> list[object]:
    """Return the tasks that look finished to a reader and do not hold all that others do there."""
    found: list[object] = []
    for step, task, signs, held in project.ask(_LOOK.format(run=killed.run_id)):
        for_client, in_datastore = names[step]
        right = sorted(held) == for_client
        if right and step == "work":
            index = int(held["_foreach_stack"].partition("index=")[2].partition(",")[0])
            right = held["value"] == repr(index % 2 * 7)
        if any(signs.values()) and not right:
            found.append((step, task, signs, held.get("error", set(for_client) - set(held))))
        objects = kept(read, f"{killed.run_id}/{step}/{task}")
        if objects is None:
            continue
        lost = [name for name, sha1 in objects.items() if read(f"data/{sha1[:2]}/{sha1}") is None]
        lost += set(in_datastore) - set(objects)
        if lost:
            found.append((step, task, "DONE.lock", lost))
    return found


def goes_on(project: Project, killed: Ran, splits: int) -> None:
    """Run again, and resume the run that was killed; both end with the right values."""
    again = project.run()
    resumed = project.run("resume", "--origin-run-id", killed.run_id)
    for ran in (again, resumed):
        assert f"values {values(splits)}" in ran.text
        assert ran.workers == ["end"]


def on_disk(project: Project) -> Read:
    def read(name: str) -> bytes | None:
        path = project.folder / ".metaflow" / "F" / name
        return path.read_bytes() if path.exists() else None

    return read


@once
def near(project: Project) -> object:
    """A project whose tasks all hit; the moments and artifacts of a run that was not killed."""
    write_flow(project, SPLITS, _KILLER)
    project.run()
    moments = project.folder / "moments"
    ran = project.run(MOMENTS=str(moments))
    assert ran.workers == ["end"]
    return {
        "folder": str(project.folder),
        "moments": moments.read_text().splitlines(),
        "names": names_of(project, ran.run_id, on_disk(project)),
    }


# By which a task looks finished to one reader or another, or holds something.
TELLING = ("attempt_ok", "DONE.lock", "data.json", "_task_ok", "")


def kill_point(moments: list[str], seed: int) -> str:
    """Return where the scheduler dies: within or soon after a write, or up to two hits later."""
    chance = random.Random(seed)
    word = TELLING[seed % len(TELLING)]
    number = chance.randint(1, sum(word in name for name in moments) - 10)
    delay_s = chance.choice([0, chance.uniform(0.0001, 0.02)])
    return json.dumps([word, number, (seed + 2) // len(TELLING) % 5, delay_s])


def kill_near(near: dict, project: Project, seed: int) -> None:
    killed = project.run(
        ok=False,
        MOMENTS=str(project.folder / "moments"),
        KILLED_AT=kill_point(near["moments"], seed),
    )
    assert killed.code == -signal.SIGKILL, killed.text
    found = torn(project, killed, near["names"], on_disk(project))
    goes_on(project, killed, SPLITS)
    assert found == []


@pytest.mark.parametrize("seed", range(3))
def test_what_a_killed_scheduler_leaves_is_whole_or_looks_unfinished(near, tmp_path, seed):
    kill_near(near, copied(near["folder"], tmp_path), seed)


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(3, 50))
def test_so_it_is_at_fifty_moments(near, tmp_path, seed):
    kill_near(near, copied(near["folder"], tmp_path), seed)


class Far:
    """A bucket and a metadata service, which see each request of a scheduler and may end it."""

    def __init__(self, project: Project, read: Read) -> None:
        self.project = project
        self.read = read
        self.usual = 0  # requests for tasks that hit, of a run that is not killed
        self.requests: list[str] = []
        self.names: dict[str, tuple[list[str], list[str]]] = {}
        self._lock = threading.Lock()
        self._at = 0
        self._is_lost = False  # The request at which it dies, and those under way.
        self._pid = project.folder / ".pid"

    def learn(self) -> None:
        """Run once without a kill."""
        self.project.run()
        self.requests.clear()
        ran = self.run()
        assert ran.workers == ["end"], ran.text
        self.usual = len(self.requests)
        self.names = names_of(self.project, ran.run_id, self.read)

    def kill_at(self, number: int, *, is_lost: bool) -> None:
        self.requests.clear()
        self._at, self._is_lost = number, is_lost

    def comes(self, method: str, path: str) -> bool:
        """Note a request; tell whether it is lost with its sender."""
        if "/memoflow/" in path or not re.search(r"/(work|join)/", path):
            return False
        with self._lock:
            self.requests.append(f"{method} {path}")
            if not self._at or len(self.requests) < self._at:
                return False
            if len(self.requests) == self._at:
                os.kill(int(self._pid.read_text()), signal.SIGKILL)
            return self._is_lost

    def run(self) -> Ran:
        return self.project.run(ok=False, SCHEDULER_PID=str(self._pid))


@contextmanager
def service_at(made: Far) -> Iterator[None]:
    """Let the project keep its metadata in a service, which sees each request."""
    with service.serving() as far:
        far.fails = lambda request: 500 * made.comes(request.method, request.path)
        made.project.env |= far.environment()
        yield


@pytest.fixture(scope="module")
def with_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    project = Project(tmp_path_factory.mktemp("service"))
    write_flow(project, FAR_SPLITS, _PID)
    made = Far(project, on_disk(project))
    with service_at(made):
        made.learn()
        yield made


@pytest.fixture(scope="module")
def with_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    project = Project(tmp_path_factory.mktemp("bucket"))
    write_flow(project, FAR_SPLITS, _PID)
    with serving() as server:
        client, bucket = server.client(), server.bucket()

        def read(name: str) -> bytes | None:
            with suppress(client.exceptions.NoSuchKey):
                found = client.get_object(Bucket=bucket, Key=f"metaflow/F/{name}")
                return bytes(found["Body"].read())
            return None

        made, proxy = Far(project, read), Proxy(server.url)
        proxy.refuses = made.comes
        with service_at(made), proxy.running() as url:
            project.env |= server.environment(bucket) | {"METAFLOW_S3_ENDPOINT_URL": url}
            made.learn()
            yield made


def kill_far(made: Far, seed: int) -> None:
    chance = random.Random(seed)
    made.kill_at(chance.randint(1, made.usual * 9 // 10), is_lost=chance.random() < 0.5)
    killed = made.run()
    made.kill_at(0, is_lost=False)
    assert killed.code == -signal.SIGKILL, killed.text
    found = torn(made.project, killed, made.names, made.read)
    goes_on(made.project, killed, FAR_SPLITS)
    assert found == []


@pytest.mark.parametrize("seed", range(1))
def test_so_it_is_with_a_metadata_service(with_service, seed):
    kill_far(with_service, seed)


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(1, 12))
def test_so_it_is_with_a_metadata_service_at_a_dozen_moments(with_service, seed):
    kill_far(with_service, seed)


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(12))
def test_so_it_is_with_a_bucket_as_well(with_bucket, seed):
    kill_far(with_bucket, seed)
