"""Ranks: files that several processes store, each by itself, for one checkpoint.

    checkpoint/<flow>/<step>/<scope>/<identity>/ranks/<token>

Such a part is a save of its own that lasts a day. Whoever has the keys of all parts writes the
checkpoint.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta

from memoflow.errors import NotFoundError
from memoflow.names import Key
from memoflow.objects import Content, File
from memoflow.store import Payload, Store

FORMAT = "dcp"  # of checkpoints of torch.distributed.checkpoint
_RANKS = "ranks"
_PARTS_LAST = timedelta(days=1)


def save_part(store: Store, series: Key, files: Mapping[str, Content]) -> Key:
    """Store the files of one process, and return the key of that part."""
    key = series / _RANKS / secrets.token_hex(16)
    expires = time.time() + _PARTS_LAST.total_seconds()
    return store.save(key, Payload(files=files), expires=expires).key


def files_of(store: Store, parts: Iterable[Key]) -> tuple[File, ...]:
    """Return the files of all parts; NotFoundError if one is gone."""
    files: list[File] = []
    for key in parts:
        ref = store.find(key)
        if ref is None:
            raise NotFoundError(f"{key}, a part of the checkpoint, is gone; save it again")
        files += store.manifest(ref).files
    return tuple(files)
