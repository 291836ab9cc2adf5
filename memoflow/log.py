"""Log: the logger for warnings, which spells control characters out."""

from __future__ import annotations

import logging

from memoflow.display import shown


class _Shown(logging.Filter):
    """Spells out control characters: names in a store may be of anybody's making."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = shown(record.getMessage()), ()
        return True


log = logging.getLogger("memoflow")
log.addFilter(_Shown())
