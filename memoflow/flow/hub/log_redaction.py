"""Redaction of signed addresses in the logs of the libraries that download.

Whoever has the signed address of a file has the file, and the log of a task is kept.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator

_LIBRARIES = (
    *("hf_xet", "huggingface_hub", "httpcore", "httpcore2"),
    *("httpx", "httpx2", "requests", "urllib3"),
)
_QUERY = re.compile(r"\?[^\s'\"]*=[^\s'\"]*")


class _Redaction(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = _QUERY.sub("?...", text), ()
        return True


_filter = _Redaction()
_lock = threading.Lock()
_inside = 0


@contextlib.contextmanager
def redacted_logs() -> Iterator[None]:
    """Keep signatures out of the logs of all threads within such blocks."""
    from huggingface_hub import file_download  # noqa: F401  So that its loggers are there.

    global _inside
    with _lock:
        _inside += 1
        for logger in _loggers():
            logger.addFilter(_filter)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for logger in _loggers():
                    logger.removeFilter(_filter)


def _loggers() -> list[logging.Logger]:
    known = dict(logging.root.manager.loggerDict)
    return [
        logger
        for name, logger in known.items()
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in _LIBRARIES
    ]
