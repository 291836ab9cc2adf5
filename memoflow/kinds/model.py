"""Models: each save has a fresh id.

model/<flow>/<step>/<id>
"""

from __future__ import annotations

from pathlib import Path

from memoflow.kinds import details
from memoflow.kinds.about import About, SavedEntry
from memoflow.names import Key
from memoflow.store import Payload, Store

KIND = "model"


class Model(SavedEntry):
    """One save of a model."""


def key(flow: str, step: str, uuid: str) -> Key:
    return Key.of(KIND, flow, step, uuid)


def save(
    store: Store, key: Key, tree: Path, about: About, *, ignore: tuple[str, ...] = ()
) -> Model:
    """Save a file or directory, each file of a megabyte or more as one blob to link to."""
    payload = Payload(tree=tree, whole=True, ignore=ignore)
    meta = about.to_json()
    ref = store.save(key, payload, meta=meta)
    details.record(store, ref, meta)
    return Model(ref, about)


def find(store: Store, key: Key) -> Model | None:
    """Return the model of a key, or None."""
    ref = store.find(key)
    return None if ref is None else Model(ref, About.from_json(KIND, store.meta(ref)))
