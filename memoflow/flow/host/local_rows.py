"""Local rows: the files of Metaflow's local metadata provider, each written by one call."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def write_fast(provider: Any) -> None:
    """Have a provider write new rows with a third of the work; others than the local are left.

    Metaflow's own way encodes JSON in Python, and makes and asks about a temporary file by
    `tempfile`. A task that hits has some 30 rows, and they would take most of its time.
    """
    if provider.TYPE == "local":
        provider._save_meta = _save_meta


def _save_meta(root_dir: str, metadict: Mapping[str, Any], allow_overwrite: bool = False) -> None:
    for name, row in metadict.items():
        path = os.path.join(root_dir, f"{name}.json")
        if not allow_overwrite and os.path.exists(path):
            continue
        draft = os.path.join(root_dir, f".{name}.{os.urandom(8).hex()}")
        try:
            with open(draft, "xb", opener=_open) as file:
                file.write(json.dumps(row).encode())
            os.rename(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.remove(draft)
            raise


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # as those of Metaflow
