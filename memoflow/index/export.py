"""Export: results, their inputs and reads as tables of a new SQLite file, for SQL and datasette."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from memoflow.backends.failures import translated
from memoflow.errors import BackendError, UsageError

_ROWS_A_BATCH = 1000
_RESULTS = {
    "id": int,
    "key": str,
    "kind": str,
    "name": str,
    "module": str,
    "flow": str,
    "code": str,
    "origin": str,
    "run_time_s": float,
    "size_bytes": int,
    "created": str,
    "expires": str,
}
_INPUTS = {"result": int, "name": str, "digest": str, "summary": str}
_READS = {"result": int, "kind": str, "name": str, "digest": str}
_NULLABLE = {"module", "flow", "expires"}


class ExportedResult(NamedTuple):
    """One row of `results`, with its rows of `inputs` and `reads`.

    Of a step `module` is None, of a function `flow`. Times are ISO 8601 in UTC.
    """

    key: str
    kind: str
    name: str
    module: str | None
    flow: str | None
    code: str
    origin: str
    run_time_s: float
    size_bytes: int
    created: str | None
    expires: str | None
    inputs: tuple[tuple[str, str, str], ...]  # name, digest, summary
    reads: tuple[tuple[str, str, str], ...]  # kind, name, digest


def export(path: Path, results: Iterable[ExportedResult], *, replace: bool = False) -> int:
    """Write results to an SQLite file, whole or not at all; return the number of results.

    UsageError if the file exists, unless `replace`; BackendError if it cannot be written.
    """
    if os.path.lexists(path) and not replace:
        raise UsageError(f"{path} exists already; replace it with --replace, or name another file")
    with translated("write", path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(handle)
        try:
            number = _write(Path(name), path, results)
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    return number


def _write(file: Path, path: Path, results: Iterable[ExportedResult]) -> int:
    # Here, since importing it takes longer than most commands do.
    import sqlite_utils

    connection = sqlite3.connect(file)
    try:
        # Nobody reads the file before it is whole, and it is gone if it does not become that.
        connection.execute("PRAGMA journal_mode = OFF")
        db = sqlite_utils.Database(connection)
        _create(db)
        number, remaining = 0, iter(results)
        while batch := list(islice(remaining, _ROWS_A_BATCH)):
            _insert(db, batch, number)
            number += len(batch)
        _add_indexes(db)
        connection.commit()
    except sqlite3.Error as error:
        if "full" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise BackendError(
            f"cannot write {path}: {error}; see whether its disk or your quota is full"
        ) from error
    finally:
        connection.close()
    return number


def _create(db: Any) -> None:
    for name, columns in (("results", _RESULTS), ("inputs", _INPUTS), ("reads", _READS)):
        is_main = name == "results"
        db[name].create(
            columns,
            pk="id" if is_main else None,
            not_null=columns.keys() - _NULLABLE - {"id"},
            foreign_keys=() if is_main else [("result", "results", "id")],
        )


def _insert(db: Any, batch: list[ExportedResult], before: int) -> None:
    numbered = list(enumerate(batch, before + 1))
    names = [name for name in _RESULTS if name != "id"]
    db["results"].insert_all(
        {"id": id, **{name: getattr(each, name) for name in names}} for id, each in numbered
    )
    for table, columns in (("inputs", _INPUTS), ("reads", _READS)):
        db[table].insert_all(
            dict(zip(columns, (id, *row), strict=True))
            for id, each in numbered
            for row in getattr(each, table)
        )


def _add_indexes(db: Any) -> None:
    db["results"].create_index(["key"], unique=True)
    db["results"].create_index(["name"])
    db["inputs"].create_index(["result"])
    db["inputs"].create_index(["name", "digest"])
    db["reads"].create_index(["result"])
    db["reads"].create_index(["name", "digest"])


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
