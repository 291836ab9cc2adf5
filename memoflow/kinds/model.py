"""Models: each save has a fresh id.

model/<flow>/<step>/<id>
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.fields import Fields, loaded
from memoflow.names import Key, Ref
from memoflow.store import Payload, Store

KIND = "model"


@dataclass(frozen=True)
class About:
    """What is kept of a model beside its files; `task` is the pathspec of what saved it."""

    task: str
    attempt: int
    uuid: str
    label: str
    metadata: Mapping[str, Any] | None = None
    storage_format: str = "tar"

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "attempt": self.attempt,
            "uuid": self.uuid,
            "label": self.label,
            # As text, since JSON proper has no NaN.
            "metadata": json.dumps(dict(self.metadata or {})),
            "storage_format": self.storage_format,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> About:
        """Return what `to_json` described; IntegrityError for anything else."""
        try:
            typed = Fields(fields)
            metadata = Fields({"metadata": loaded(typed.text("metadata"))}).mapping("metadata")
            return cls(
                typed.text("task"),
                typed.whole("attempt"),
                typed.text("uuid"),
                typed.text("label", is_free=True),
                metadata,
                typed.text("storage_format", "tar"),
            )
        except ValueError as error:
            raise IntegrityError(f"this is no model's description: {error}") from None


@dataclass(frozen=True)
class Model:
    """One save."""

    ref: Ref
    about: About

    @property
    def created_on(self) -> str:
        """When it was saved, in ISO 8601 and UTC."""
        return datetime.fromtimestamp(self.ref.created, timezone.utc).isoformat()


def key(flow: str, step: str, uuid: str) -> Key:
    return Key.of(KIND, flow, step, uuid)


def save(
    store: Store, key: Key, tree: Path, about: About, *, ignore: tuple[str, ...] = ()
) -> Model:
    """Save a file or directory, each file of a megabyte or more as one blob to link to."""
    payload = Payload(tree=tree, whole=True, ignore=ignore)
    return Model(store.save(key, payload, meta=about.to_json()), about)


def find(store: Store, key: Key) -> Model | None:
    """Return the model of a key, or None."""
    ref = store.find(key)
    return None if ref is None else Model(ref, About.from_json(store.meta(ref)))
