"""About: the descriptions of checkpoints, models and Hub snapshots, and the interface to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.fields import Fields, loaded
from memoflow.names import Ref

REPO_TYPES = ("model", "dataset", "space")
REPO_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class About:
    """The description of an entry of one kind; its JSON has the fields of that kind alone.

    `task` is the pathspec of the task that it was saved for, and `own` of the one that did: in a
    gang the first is that of its control task. Of checkpoints with `latest` false none is ever
    loaded unasked. `code` is the fingerprint of the code that made it, empty if it has none.
    `nodes` is how many nodes of a gang have a part of it; 0 of what one task saved.
    None for `allow` and `ignore` is no pattern.
    """

    kind: str
    task: str
    attempt: int
    name: str = ""
    latest: bool = True
    metadata: Mapping[str, Any] | None = None
    storage_format: str = "files"
    code: str = ""
    own: str = ""
    nodes: int = 0
    uuid: str = ""
    label: str = ""
    repo_id: str = ""
    repo_type: str = ""
    revision: str = ""
    commit: str = ""
    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in _FIELDS[self.kind]}
        if "metadata" in found:
            # As text, since JSON proper has no NaN, which is what a loss can become.
            found["metadata"] = json.dumps(dict(self.metadata or {}))
        return found

    @classmethod
    def from_json(cls, kind: str, fields: Mapping[str, Any]) -> About:
        """Return the description that `to_json` wrote; IntegrityError if it is damaged."""
        try:
            typed = Fields(fields)
            return cls(kind, **{name: read(typed, name) for name, read in _FIELDS[kind].items()})
        except ValueError as error:
            what = "snapshot" if kind == "hub" else kind
            raise IntegrityError(f"this is no {what}'s description: {error}") from None


@dataclass(frozen=True)
class SavedEntry:
    """One save: its ref, and the description kept with it."""

    ref: Ref
    about: About

    @property
    def created_on(self) -> str:
        """The time of the save, in ISO 8601 and UTC."""
        return datetime.fromtimestamp(self.ref.created, timezone.utc).isoformat()


Reference = dict[str, Any]


class Saves(Protocol):
    """The saves of one datastore in one format.

    `flow.references.StoreSaves` has those of a store, `legacy.Legacy` those of metaflow-checkpoint.
    A reference is a dict with the fields that metaflow-checkpoint gave it; lists are newest first.
    Raises IntegrityError for damage.
    """

    def reference(self, key: str) -> Reference | None:
        """Return the reference of a key, or None."""
        ...

    def load(self, reference: Reference | str, into: Path, *, writable: bool = True) -> Path:
        """Write a save into a directory, whole or not at all, and return the directory.

        Files of the same path are replaced, others stay. Unless `writable`, files may be read-only
        and links into the store. NotFoundError if any of it is gone.
        """
        ...

    def contents(self, key: str) -> dict[str, Hashable] | None:
        """Return a value for the bytes of each file, by path; None if they are not known."""
        ...

    def delete(self, key: str) -> bool:
        """Forget a save; False if it was gone already. UsageError where nothing is written."""
        ...

    def of_scope(
        self, flow: str, step: str, scope: str, identifier: str, *, task: str | None = None
    ) -> list[Reference]:
        """Return the checkpoints of a task identity: of all runs, or of one task (a pathspec)."""
        ...

    def of_task(self, task: str) -> list[Reference]:
        """Return the checkpoints of a task (Flow/run/step/task) in all attempts."""
        ...


def _text_of(noun: str, fits: Callable[[str], object]) -> Callable[[Fields, str], str]:
    """Return the reader of a text that fits; ValueError for any other."""

    def read(fields: Fields, name: str) -> str:
        text = fields.text(name)
        if not fits(text):
            raise ValueError(f"{text!r:.60} is no {noun}")
        return text

    return read


read_commit = _text_of("commit", COMMIT.fullmatch)


def _free(fields: Fields, name: str) -> str:
    return fields.text(name, is_free=True)


def _or(default: str) -> Callable[[Fields, str], str]:
    return lambda fields, name: fields.text(name, default)


def _metadata(fields: Fields, name: str) -> Mapping[str, Any]:
    return Fields({name: loaded(fields.text(name))}).mapping(name)


def _patterns(fields: Fields, name: str) -> tuple[str, ...] | None:
    return fields.texts(name) if fields.has(name) else None


# The fields of each kind in the order of its JSON, with the reader of each.
_FIELDS: dict[str, dict[str, Callable[[Fields, str], Any]]] = {
    "checkpoint": {
        "task": Fields.text,
        "attempt": Fields.whole,
        "name": _free,
        "latest": lambda fields, name: fields.flag(name, True),
        "metadata": _metadata,
        "storage_format": _or("files"),
        "code": _or(""),
        "own": _or(""),
        "nodes": lambda fields, name: fields.whole(name, 0),
    },
    "model": {
        "task": Fields.text,
        "attempt": Fields.whole,
        "uuid": Fields.text,
        "label": _free,
        "metadata": _metadata,
        "storage_format": _or("tar"),
    },
    "hub": {
        "task": Fields.text,
        "attempt": Fields.whole,
        "repo_id": _text_of("repository", REPO_ID.fullmatch),
        "repo_type": _text_of("type of repository", REPO_TYPES.__contains__),
        "revision": _free,
        "commit": read_commit,
        "allow": _patterns,
        "ignore": _patterns,
    },
}
