"""About: the description kept beside the files of a checkpoint, a model or a Hub snapshot."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

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
