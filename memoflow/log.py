"""Log: the one logger, its level by one setting, and the lines that flows print besides.

As a library memoflow logs and configures nothing: warnings are on the error stream by Python's last
resort until the program has handlers, and then in these alone. The lines of flows, such as hit or
miss, are printed at the level INFO, as nobody configures logging for them; they are log records as
well. Both go by METAFLOW_MEMOFLOW_LOG_LEVEL.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from memoflow import events
from memoflow.display import shown

INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR
LEVEL_VARIABLE = "METAFLOW_MEMOFLOW_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# So that processes which this one starts do not say it again.
_SAID = "MEMOFLOW_SAID_LOG_LEVEL"


class Say(Protocol):
    """A way to say a line to people, such as by a task's log, at a level."""

    def __call__(self, line: str, level: int = INFO) -> None: ...


class _Shown(logging.Filter):
    """Spells out control characters: names in a store may be of anybody's making."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = shown(record.getMessage()), ()
        _note(record.msg, record.levelno)
        return True


class _Fallback(logging.Handler):
    """Prints the records of a log without handlers, as Python's last resort does."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _handlers():
            try:
                sys.stderr.write(f"{self.format(record)}\n")
            except Exception:
                self.handleError(record)


log = logging.getLogger("memoflow")
log.addFilter(_Shown())
_fallback = _Fallback()


def set_level(name: str | None) -> None:
    """Log from this level on; a wrong name is ignored with a warning."""
    level = (name or "").strip().upper()
    if level in LEVELS:
        log.setLevel(level)
        log.addHandler(_fallback)
    elif level and os.environ.get(_SAID) != name:
        os.environ[_SAID] = name or ""
        log.warning(
            "%s is %.100r, which is ignored; set it to one of %s",
            LEVEL_VARIABLE, name, ", ".join(LEVELS),
        )  # fmt: skip


def report(line: str, show: Callable[[str], object], level: int = INFO) -> None:
    """Log a line of a flow, and show it unless a handler prints it already.

    Nothing happens to one of a level below that of the log.
    """
    if not is_shown(level):
        return
    handlers = _handlers()
    if log.level == logging.NOTSET and any(each in handlers for each in log.handlers):
        log.setLevel(INFO)  # Who listens to this logger alone wants its lines.
    is_logged = bool(handlers) and log.isEnabledFor(level)
    if is_logged:
        log.log(level, "%s", line, stacklevel=3)
    else:
        _note(line, level)
    if not (is_logged and any(_prints(each) and level >= each.level for each in handlers)):
        show(shown(line))


def _note(line: str, level: int) -> None:
    if level >= WARNING:
        events.emit("error" if level >= ERROR else "warning", line=line)


def is_shown(level: int) -> bool:
    """Return whether lines of flows are shown at a level."""
    return level >= (log.level or INFO)


@contextmanager
def logged_to_stderr(level: int) -> Iterator[None]:
    """Print the log on the error stream alone, from a level on, while the block runs."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def _handlers() -> list[logging.Handler]:
    """Return the handlers that get the records of the logger, without our own."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = log
    while logger is not None:
        found += (each for each in logger.handlers if each is not _fallback)
        logger = logger.parent if logger.propagate else None
    return found


def _prints(handler: logging.Handler) -> bool:
    """Return whether a handler prints to an output or error stream, on a rich console too."""
    stream = getattr(handler, "stream", None) or getattr(
        getattr(handler, "console", None), "file", None
    )
    return stream is not None and stream in (
        *(sys.stdout, sys.stderr),
        *(sys.__stdout__, sys.__stderr__),
    )


set_level(os.environ.get(LEVEL_VARIABLE))
