"""Events: a line of JSON for each hit, save or removal, in the file of one setting.

METAFLOW_MEMOFLOW_EVENTS names the file. Each line is one write of at most 4,096 bytes to its end,
so that lines of many processes stay whole; nothing is open in between, so that forks and killed
processes leave nothing behind. The file is opened without waiting, and no folder is made for it.
One that cannot be written is a warning, once in a run; no work fails or waits for it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from memoflow.display import printable
from memoflow.masking import without_passwords

VARIABLE = "METAFLOW_MEMOFLOW_EVENTS"
MOST_BYTES = 4096  # what a pipe takes in one piece
# So that processes which this one starts do not say it again.
_SAID = "MEMOFLOW_SAID_EVENTS"
_USERS = ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER")  # as Metaflow looks for them
_LEAST_TEXT = 64

_configured = ""
_task: dict[str, str] = {}
# Where this process began: a relative name means the same file after a change of directory.
try:
    _base = os.getcwd()
except OSError:  # It is removed by now.
    _base = os.sep


def use(name: str | None) -> None:
    """Write to this file unless the environment names another one."""
    global _configured
    _configured = name or ""


def in_task(**names: str) -> None:
    """Add flow, run, step and task to the events of this process, which runs that task."""
    _task.update(names)


def path() -> str:
    """Return the file for events, "" for none."""
    name = os.environ.get(VARIABLE) or _configured
    return os.path.join(_base, os.path.expanduser(name)) if name else ""


def emit(event: str, **fields: Any) -> None:
    """Append one event with its fields; those that are None or "" are left out."""
    target = path()
    if not target:
        return
    try:
        _append(target, _line(event, {**_task, **fields}))
    except Exception as error:  # Whatever is wrong with it: nothing depends on events.
        _complain(target, error)


def check() -> None:
    """Warn of a file that cannot be written, before the processes of a run each do."""
    target = path()
    if not target:
        return
    try:
        _append(target, b"")
    except OSError as error:
        _complain(target, error)


def _line(event: str, fields: Mapping[str, Any]) -> bytes:
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    known = {
        "time": now.replace("+00:00", "Z"),
        "event": event,
        **{name: _plain(value) for name, value in fields.items() if value not in (None, "")},
        "user": next(filter(None, map(os.environ.get, _USERS)), None),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    line = _encoded(known)
    while len(line) > MOST_BYTES:
        # The longest text is cut, until all of it fits.
        longest = max(known, key=lambda name: len(str(known[name])))
        text = str(known[longest])
        over = len(line) - MOST_BYTES
        known[longest] = f"{text[: max(_LEAST_TEXT, len(text) - over - 8) - 1]}…"
        if len(text) <= _LEAST_TEXT:
            known = {name: known[name] for name in ("time", "event", "host", "pid")}
        line = _encoded(known)
    return line


def _encoded(known: Mapping[str, Any]) -> bytes:
    return json.dumps(known).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Return a value of JSON's, with passwords in texts masked."""
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6) if abs(value) < float("inf") else None
    return without_passwords(str(value))


def _append(target: str, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    opened = os.open(target, flags, 0o666)
    try:
        if line and os.write(opened, line) < len(line):
            if stat.S_ISREG(os.fstat(opened).st_mode):
                os.write(opened, b"\n")  # So that the next event has a line of its own.
            raise OSError("only a part of the event could be written")
    finally:
        os.close(opened)


def _complain(target: str, error: Exception) -> None:
    if os.environ.get(_SAID) == target:
        return
    os.environ[_SAID] = target
    why = getattr(error, "strerror", None) or str(error)
    with suppress(Exception):
        logging.getLogger("memoflow").warning(
            "%s: events are not written to %s: %s; name a file in a folder that exists",
            VARIABLE, printable(without_passwords(target)), why,
        )  # fmt: skip
