"""The rows of Metaflow's metadata service, and its answers from them, in memory.

One lock around `answer` is the whole transaction: who shares it among threads, brings that.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

HEARTBEAT_S = 10
_SHORT = 255  # characters in most columns of the service; it refuses a row with longer text
_LONG = 10**9

Row = dict[str, Any]
Answer = tuple[int, Any]
T = TypeVar("T")


class _Refused(Exception):
    """A request that the service answers with an error."""

    def __init__(self, status: int, body: Any = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = {} if body is None else body


def _found(numbers: dict[int, T], names: dict[str, T], key: str) -> T:
    """Return what has a number or a name; the service answers 404 for others."""
    found = numbers.get(int(key)) if key.isnumeric() else names.get(key)
    if found is None:
        raise _Refused(404)
    return found


@dataclass
class Task:
    row: Row
    metadata: list[Row] = field(default_factory=list)
    artifacts: dict[tuple[int, str], Row] = field(default_factory=dict)


@dataclass
class Step:
    row: Row
    tasks: dict[int, Task] = field(default_factory=dict)
    names: dict[str, Task] = field(default_factory=dict)

    def task(self, key: str) -> Task:
        return _found(self.tasks, self.names, key)


@dataclass
class Run:
    row: Row
    steps: dict[str, Step] = field(default_factory=dict)

    def step(self, name: str) -> Step:
        if name not in self.steps:
            raise _Refused(404)
        return self.steps[name]


@dataclass
class Flow:
    row: Row
    runs: dict[int, Run] = field(default_factory=dict)
    names: dict[str, Run] = field(default_factory=dict)

    def run(self, key: str) -> Run:
        return _found(self.runs, self.names, key)


class Tables:
    """The rows of flows, runs, steps, tasks, metadata and artifacts, and the answers from them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.flows: dict[str, Flow] = {}
        self._clock = clock
        self._numbers: Counter[str] = Counter()

    def answer(self, method: str, path: str, body: Any = None) -> Answer:
        """Carry out a request, and return the service's status and body, as bytes if not JSON."""
        shape, ids, query = _parsed(path)
        act = _ROUTES.get(f"{method} {shape}")
        if act is None:
            is_known = any(route.endswith(f" {shape}") for route in _ROUTES)
            return (405, b"405: Method Not Allowed") if is_known else (404, b"404: Not Found")
        try:
            return act(self, query if method == "GET" else body, *ids)
        except _Refused as refused:
            return refused.status, refused.body
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            refused = _fault(str(error))
            return refused.status, refused.body

    def get_flows(self, body: Any) -> Answer:
        return 200, [flow.row for flow in self.flows.values()]

    def get_flow(self, body: Any, flow: str) -> Answer:
        return 200, self._flow(flow).row

    def create_flow(self, body: Any, flow: str) -> Answer:
        if flow in self.flows:
            raise _conflict("flows_v3_pkey")
        self.flows[flow] = Flow({"flow_id": flow} | self._said_of(body))
        return 200, self.flows[flow].row

    def get_runs(self, body: Any, flow: str) -> Answer:
        runs = self.flows[flow].runs.values() if flow in self.flows else ()
        return 200, [_exposed(run.row) for run in runs]

    def get_run(self, body: Any, flow: str, run: str) -> Answer:
        return 200, _exposed(self._run(flow, run).row)

    def create_run(self, body: Any, flow: str) -> Answer:
        name = body.get("run_number")
        if name and name.isnumeric():
            raise _fault("provided run_id may not be a numeric")
        number = self._next("run")
        if flow not in self.flows:
            raise _Refused(404, _database_error("violates foreign key constraint"))
        parent = self.flows[flow]
        if name in parent.names:
            raise _conflict("runs_v3_flow_id_run_id_key")
        row = {"flow_id": flow, "run_number": number, "run_id": name, **self._said_of(body)}
        run = parent.runs[number] = Run(row | self._first_heartbeat(body))
        if name:
            parent.names[name] = run
        return 200, _exposed(run.row)

    def change_tags(self, body: Any, flow: str, run: str) -> Answer:
        added, removed = body.get("tags_to_add", []), body.get("tags_to_remove", [])
        for name, tags in (("tags_to_add", added), ("tags_to_remove", removed)):
            if not isinstance(tags, list):
                raise _Refused(400, f"{name} must be a list")
        if not all(isinstance(tag, str) for tag in (*added, *removed)):
            raise _Refused(400, "All tag values must be strings")
        row = self._run(flow, run).row
        of_system = set(row["system_tags"])
        if of_system & set(removed):
            told = f"Cannot remove tags that are existing system tags {of_system & set(removed)}"
            raise _Refused(422, told)
        row["tags"] = list(set(row["tags"]) - set(removed) | set(added) - of_system)
        return 200, {"tags": row["tags"]}

    # Steps and tasks

    def get_steps(self, body: Any, flow: str, run: str) -> Answer:
        with suppress(_Refused):
            found = self._run(flow, run)
            return 200, [_tagged(step.row, found) for step in found.steps.values()]
        return 200, []

    def get_step(self, body: Any, flow: str, run: str, step: str) -> Answer:
        found = self._run(flow, run)
        return 200, _tagged(found.step(step).row, found)

    def create_step(self, body: Any, flow: str, run: str, step: str) -> Answer:
        parent = self._parent_run(flow, run)
        if step in parent.steps:
            raise _conflict("steps_v3_pkey")
        ids = {name: parent.row[name] for name in ("flow_id", "run_number", "run_id")}
        ids["run_id"] = ids["run_id"] or str(ids["run_number"])  # Of steps alone.
        row = {**ids, "step_name": step, "user_name": "", **self._said_of(body)}
        parent.steps[step] = Step(row)
        return 200, _tagged(row, parent)

    def get_tasks(self, body: Any, flow: str, run: str, step: str) -> Answer:
        with suppress(_Refused):
            found = self._run(flow, run)
            return 200, [_tagged(task.row, found) for task in found.step(step).tasks.values()]
        return 200, []

    def get_filtered_tasks(self, body: Any, flow: str, run: str, step: str) -> Answer:
        """Return the pathspecs of tasks with a metadata row of that name and value."""
        name, pattern = body.get("metadata_field_name"), body.get("pattern") or ""
        try:
            matches = re.compile(pattern).search
        except re.error as error:
            raise _fault("not enough values to unpack (expected 6, got 1)") from error
        with suppress(_Refused):
            tasks = self._run(flow, run).step(step).tasks.values()
            return 200, [
                f"{flow}/{_shown(task.row, 'run')}/{step}/{_shown(task.row, 'task')}"
                for task in tasks
                if any(
                    (not name or each["field_name"] == name) and matches(each["value"])
                    for each in task.metadata
                )
            ]
        return 200, []

    def get_task(self, body: Any, flow: str, run: str, step: str, task: str) -> Answer:
        found = self._run(flow, run)
        return 200, _tagged(found.step(step).task(task).row, found)

    def create_task(self, body: Any, flow: str, run: str, step: str) -> Answer:
        name = body.get("task_id")
        if name and name.isnumeric():
            raise _Refused(500, b"500 Internal Server Error")  # It means to say 400.
        grandparent = self._parent_run(flow, run)
        number = self._next("task")
        if step not in grandparent.steps:
            raise _Refused(404, _database_error("violates foreign key constraint"))
        parent = grandparent.steps[step]
        if name in parent.names:
            raise _conflict("tasks_v3_flow_id_run_number_step_name_task_name_key")
        ids = {name: grandparent.row[name] for name in ("flow_id", "run_number", "run_id")}
        ids |= {"step_name": step, "task_id": number, "task_name": name}
        task = Task({**ids, **self._said_of(body), **self._first_heartbeat(body)})
        parent.tasks[number] = task
        if name:
            parent.names[name] = task
        self._beat(grandparent.row)
        return 200, _tagged(task.row, grandparent)

    # Heartbeats

    def beat_run(self, body: Any, flow: str, run: str) -> Answer:
        is_new = False
        with suppress(_Refused):
            is_new = self._beat(self._run(flow, run).row)
        return self._beaten(is_new)

    def beat_task(self, body: Any, flow: str, run: str, step: str, task: str) -> Answer:
        is_new = False
        with suppress(_Refused):
            found = self._run(flow, run)
            self._beat(found.row)
            is_new = self._beat(found.step(step).task(task).row)
        return self._beaten(is_new)

    def _beat(self, row: Row) -> bool:
        now = int(self._clock())
        if (row["last_heartbeat_ts"] or 0) > now - HEARTBEAT_S:
            return False
        row["last_heartbeat_ts"] = now
        return True

    @staticmethod
    def _beaten(is_new: bool) -> Answer:
        # One that comes early finds no row to change, as one of no task: 404, and it comes again.
        return 200 if is_new else 404, json.dumps({"wait_time_in_seconds": HEARTBEAT_S})

    # Metadata and artifacts

    def get_metadata(self, body: Any, flow: str, run: str, step: str, task: str) -> Answer:
        with suppress(_Refused):
            rows = self._run(flow, run).step(step).task(task).metadata
            newest = sorted(rows, key=lambda row: (row["ts_epoch"], row["id"]), reverse=True)
            return 200, [_exposed(row) for row in newest]
        return 200, []

    def get_metadata_of_run(self, body: Any, flow: str, run: str) -> Answer:
        with suppress(_Refused):
            tasks = [task for step in self._run(flow, run).steps.values() for task in _tasks(step)]
            rows = sorted((row for task in tasks for row in task.metadata), key=lambda r: r["id"])
            return 200, [_exposed(row) for row in rows]
        return 200, []

    def create_metadata(self, body: Any, flow: str, run: str, step: str, task: str) -> Answer:
        ids, parent = self._ids_of(flow, run, step, task)
        created = 0
        for datum in body:
            texts = {name: _text(datum.get(name, " ")) for name in ("field_name", "value", "type")}
            if any(
                _is_refused(text, _LONG if n == "value" else _SHORT) for n, text in texts.items()
            ):
                continue
            about = {name: datum.get(name) for name in ("user_name", "tags", "system_tags")}
            row = {**ids, "id": self._next("metadata"), **texts, **about, "ts_epoch": self._now()}
            parent.metadata.append(row)
            created += 1
        return 200, {"metadata_created": created}

    def create_artifacts(self, body: Any, flow: str, run: str, step: str, task: str) -> Answer:
        ids, parent = self._ids_of(flow, run, step, task)
        created = 0
        for given in body:
            texts = {name: _text(given.get(name, " ")) for name in _ARTIFACT}
            key = int(given.get("attempt_id", 0)), texts["name"] or ""
            if any(
                _is_refused(texts[name], _SHORT, may_lack=name in _MAY_LACK) for name in _ARTIFACT
            ):
                continue
            if key in parent.artifacts:
                continue
            about = {"attempt_id": key[0], "tags": given.get("tags")}
            about |= {"system_tags": given.get("system_tags"), "ts_epoch": self._now()}
            parent.artifacts[key] = {**ids, **texts, **about}
            created += 1
        return 200, {"artifacts_created": created}

    def get_artifact(
        self, body: Any, flow: str, run: str, step: str, task: str, name: str, attempt: str = ""
    ) -> Answer:
        """Return an artifact of an attempt, or of the latest that has one called `name`."""
        found = self._run(flow, run)
        rows = found.step(step).task(task).artifacts
        latest = max((number for number, each in rows if each == "name"), default=0)
        row = rows.get((int(attempt) if attempt else latest, name))
        if row is None:
            raise _Refused(404)
        return 200, _tagged(row, found)

    def get_artifacts(
        self, body: Any, flow: str, run: str, step: str = "", task: str = "", attempt: str = ""
    ) -> Answer:
        """Return the artifacts of one attempt, or of each task's latest."""
        with suppress(_Refused):
            found = self._run(flow, run)
            steps = [found.step(step)] if step else found.steps.values()
            tasks = [steps[0].task(task)] if task else [t for s in steps for t in _tasks(s)]
            return 200, [
                _tagged(row, found)
                for each in tasks
                for row in _of_attempt(each.artifacts, attempt)
            ]
        return 200, []

    # What they share

    def _flow(self, flow: str) -> Flow:
        if flow not in self.flows:
            raise _Refused(404)
        return self.flows[flow]

    def _run(self, flow: str, run: str) -> Run:
        return self._flow(flow).run(run)

    def _parent_run(self, flow: str, run: str) -> Run:
        """Return the run for what is to be made in it; there, its absence is an exception."""
        try:
            return self._run(flow, run)
        except _Refused as error:
            raise _fault("'run_number'") from error

    def _ids_of(self, flow: str, run: str, step: str, task: str) -> tuple[Row, Task]:
        try:
            parent = self._run(flow, run).step(step).task(task)
        except _Refused as error:
            told = {"message": "need to register run_id and task_id first"}
            raise _Refused(400, told) from error
        names = ("flow_id", "run_number", "run_id", "step_name", "task_id", "task_name")
        return {name: parent.row[name] for name in names}, parent

    def _said_of(self, body: Any) -> Row:
        said = {name: body.get(name) for name in ("user_name", "tags", "system_tags")}
        return said | {"ts_epoch": self._now()}

    def _first_heartbeat(self, body: Any) -> Row:
        """Return the heartbeat of a new row, for clients that will send others."""
        tags = body.get("system_tags")
        match = re.search(r"metaflow_version:(\d+(?:\.\d+)*)", str(tags))
        version = tuple(map(int, match[1].split("."))) if match else ()
        is_able = tags is None or version >= (2, 2, 12)
        return {"last_heartbeat_ts": int(self._clock()) if is_able else None}

    def _now(self) -> int:
        return round(self._clock() * 1000)

    def _next(self, kind: str) -> int:
        self._numbers[kind] += 1
        return self._numbers[kind]


_DATUM = {"field_name": _SHORT, "value": _LONG, "type": _SHORT}
_ARTIFACT = ("name", "location", "ds_type", "sha", "type", "content_type", "user_name")
_MAY_LACK = ("sha", "type", "content_type", "user_name")
_IDS = "/flows/*/runs/*/steps/*/tasks/*"
_ROUTES = {
    "GET /ping": lambda tables, query: (200, b"pong"),
    "GET /healthcheck": lambda tables, query: (200, {"status": "UP"}),
    "GET /flows": Tables.get_flows,
    "GET /flows/*": Tables.get_flow,
    "POST /flows/*": Tables.create_flow,
    "GET /flows/*/runs": Tables.get_runs,
    "POST /flows/*/run": Tables.create_run,
    "GET /flows/*/runs/*": Tables.get_run,
    "POST /flows/*/runs/*/heartbeat": Tables.beat_run,
    "PATCH /flows/*/runs/*/tag/mutate": Tables.change_tags,
    "GET /flows/*/runs/*/metadata": Tables.get_metadata_of_run,
    "GET /flows/*/runs/*/artifacts": Tables.get_artifacts,
    "GET /flows/*/runs/*/steps": Tables.get_steps,
    "GET /flows/*/runs/*/steps/*": Tables.get_step,
    "POST /flows/*/runs/*/steps/*/step": Tables.create_step,
    "GET /flows/*/runs/*/steps/*/artifacts": Tables.get_artifacts,
    "GET /flows/*/runs/*/steps/*/tasks": Tables.get_tasks,
    "GET /flows/*/runs/*/steps/*/filtered_tasks": Tables.get_filtered_tasks,
    "POST /flows/*/runs/*/steps/*/task": Tables.create_task,
    f"GET {_IDS}": Tables.get_task,
    f"POST {_IDS}/heartbeat": Tables.beat_task,
    f"GET {_IDS}/metadata": Tables.get_metadata,
    f"POST {_IDS}/metadata": Tables.create_metadata,
    f"POST {_IDS}/artifact": Tables.create_artifacts,
    f"GET {_IDS}/artifacts": Tables.get_artifacts,
    f"GET {_IDS}/artifacts/*": Tables.get_artifact,
    f"GET {_IDS}/artifacts/*/attempt/*": Tables.get_artifact,
    f"GET {_IDS}/attempt/*/artifacts": Tables.get_artifacts,
}


def _tasks(step: Step) -> list[Task]:
    return list(step.tasks.values())


def _shown(row: Row, kind: str) -> Any:
    name, number = ("run_id", "run_number") if kind == "run" else ("task_name", "task_id")
    return row[number] if row[name] is None else row[name]


def _exposed(row: Row) -> Row:
    """Return a row as clients see it: one id, a name if it has one and else its number."""
    shown = row | {"run_number": _shown(row, "run")}
    if "task_id" in row:
        shown["task_id"] = _shown(row, "task")
        shown.pop("task_name")
    shown.pop("run_id")
    return shown


def _tagged(row: Row, run: Run) -> Row:
    """Return a row with the tags that its run has now, whatever it was made with."""
    return _exposed(row) | {"tags": run.row["tags"], "system_tags": run.row["system_tags"]}


def _of_attempt(rows: dict[tuple[int, str], Row], attempt: str) -> list[Row]:
    wanted = int(attempt) if attempt else max((number for number, _ in rows), default=0)
    return [row for (number, _), row in rows.items() if number == wanted]


def _text(value: Any) -> str | None:
    """Return a value as a text column holds it; None for none."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "{" + ",".join(_array_element(each) for each in value) + "}"
    raise _fault(f"no text: {value!r}")


def _array_element(text: str) -> str:
    """Return an element as PostgreSQL prints an array of texts."""
    if text and text.upper() != "NULL" and not re.search(r'[{},"\\\s]', text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _is_refused(text: str | None, limit: int, may_lack: bool = False) -> bool:
    if text is None:
        return not may_lack
    return len(text) > limit or "\0" in text


def _conflict(constraint: str) -> _Refused:
    told = f'duplicate key value violates unique constraint "{constraint}"'
    return _Refused(409, _database_error(told))


def _database_error(told: str) -> str:
    return json.dumps({"err_msg": {"pgerror": f"ERROR:  {told}"}})


def _fault(told: str) -> _Refused:
    about = {"traceback": "", "title": "Internal Server Error", "type": "about:blank"}
    return _Refused(500, {"detail": told, "status": 500, **about})


def shape_of(path: str) -> str:
    """Return a path with `*` for each id in it."""
    return _parsed(path)[0]


def _parsed(path: str) -> tuple[str, list[str], Row]:
    """Return the shape of a path, the ids in it and its query."""
    path, _, query = path.partition("?")
    if path.endswith("/tag/mutate"):
        shape, ids, _ = _parsed(path.removesuffix("/tag/mutate"))
        return f"{shape}/tag/mutate", ids, {}
    parts = path.split("/")[1:]
    ids = [unquote(part) for part in parts[1::2]]
    parts[1::2] = ["*"] * len(ids)
    return "/" + "/".join(parts), ids, dict(parse_qsl(query))
