"""The status that Metaflow's UI shows for a task, from its rows in the metadata service."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.service import Service

MAX_ATTEMPTS = 6  # Metaflow's
HEARTBEAT_THRESHOLD_MS = 60_000
CUTOFF_MS = 86_400_000  # A task without heartbeats that began longer ago has failed.


@dataclass
class Attempt:
    """What the rows say of one attempt; times are in milliseconds of the epoch, 0 for none."""

    started_at: int = 0
    done_at: int = 0  # by its metadata
    stored_at: int = 0  # by its artifact `_task_ok`
    is_ok: bool | None = None


@dataclass
class Status:
    attempt: int
    status: str
    finished_at: int | None
    duration_ms: int | None


def of_task(service: Service, pathspec: str) -> list[Status]:
    """Return the status of each attempt of a task, as the UI's query derives it.

    The query is `joins` and `join_columns` in `ui_backend_service/data/db/tables/task.py` of
    Netflix/metaflow-service 2.5.0; in PostgreSQL 15 it gives the same for tasks that ran, failed
    and were tried again, hits, clones and parameters.
    """
    path = "/flows/{}/runs/{}/steps/{}/tasks/{}".format(*pathspec.split("/"))
    _, task = service.ask("GET", path)
    attempts: dict[int, Attempt] = defaultdict(Attempt)
    for row in service.ask("GET", f"{path}/metadata")[1]:
        name, value, at = row["field_name"], row["value"], row["ts_epoch"]
        if name == "attempt":
            attempts[int(value)].started_at = max(at, attempts[int(value)].started_at)
        elif name == "attempt-done":
            attempts[int(value)].done_at = max(at, attempts[int(value)].done_at)
        elif name == "attempt_ok" and (tag := re.search(r"attempt_id:(\d+)", str(row["tags"]))):
            attempt = attempts[int(tag[1])]
            attempt.done_at = max(at, attempt.done_at)
            attempt.is_ok = attempt.is_ok or value.lower() == "true"
    for number in range(MAX_ATTEMPTS):
        for row in service.ask("GET", f"{path}/attempt/{number}/artifacts")[1]:
            if row["name"] == "_task_ok":
                attempts[number].stored_at = row["ts_epoch"]
    if not attempts:
        return [_status(task, 0, None, 0)]
    starts = {number: attempt.started_at for number, attempt in attempts.items()}
    return [
        _status(task, number, attempt, starts.get(number + 1, 0))
        for number, attempt in sorted(attempts.items())
    ]


def _status(task: dict[str, Any], number: int, found: Attempt | None, next_start: int) -> Status:
    attempt, now = found or Attempt(), round(time.time() * 1000)
    beaten_at = (task["last_heartbeat_ts"] or 0) * 1000
    finished = max(attempt.done_at, attempt.stored_at)
    began = attempt.started_at or task["ts_epoch"]
    is_silent = bool(beaten_at) and abs(now - beaten_at) > HEARTBEAT_THRESHOLD_MS and not finished
    is_old = not beaten_at and abs(now - began) > CUTOFF_MS and not finished
    if attempt.is_ok is not None:
        status = "completed" if attempt.is_ok else "failed"
    elif finished:
        status = "unknown"  # The UI reads the artifact `_task_ok` then.
    elif next_start or is_silent or is_old:
        status = "failed"
    else:
        status = "pending" if not beaten_at and found is None else "running"
    finished_at = finished or next_start or (beaten_at if is_silent else None)
    if is_old or (not beaten_at and found is None):
        duration = None
    else:
        duration = (finished or next_start or beaten_at or now) - began
    return Status(number, status, finished_at, duration)
