"""Hub: snapshots of repositories by commit, and which commit a branch or tag stands for.

    hub/<scope...>/<repo type>/<repo>/<commit>/<patterns>     the files of one snapshot
    hub/revision/<repo type>/<repo>/<revision>/<flow>/<run>   the commit that a run goes by

`scope` is `checkpoint/<flow>/<step>/<scope>/<identifier>`, `flow/<flow>` or `global`, followed by
`user/<name>` where the repository is private or gated and the scope is not global. `patterns` is
the digest of what is allowed and ignored.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from memoflow.errors import IntegrityError, NotFoundError, RequestError
from memoflow.names import Digest, Key, Ref
from memoflow.objects import File
from memoflow.store import Payload, Store

KIND = "hub"
REPO_TYPES = ("model", "dataset", "space")
_SCOPES = {"checkpoint": 5, "flow": 2, "global": 1}  # and of how many parts each is
_REVISION = "revision"
_REPO_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# A run may go on that long after it asked for a commit, and still see the same one.
_RUNS_LAST = timedelta(days=60)

Patterns = tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is asked for: a repository, one of its revisions, and which of its files.

    None for patterns is no pattern; an empty tuple is one that nothing matches.
    """

    repo_id: str
    repo_type: str = "model"
    revision: str = "main"
    allow: Patterns | None = None
    ignore: Patterns | None = None

    @classmethod
    def of(
        cls,
        repo_id: object,
        *,
        repo_type: object = None,
        revision: object = None,
        allow_patterns: object = None,
        ignore_patterns: object = None,
    ) -> Wanted:
        """Return what arguments of `snapshot_download` ask for; RequestError if they cannot."""
        if not isinstance(repo_id, str) or not _REPO_ID.fullmatch(repo_id):
            raise RequestError(f"repo_id is the name of a repository, org/name, not {repo_id!r}")
        repo_type = "model" if repo_type is None else repo_type
        if repo_type not in REPO_TYPES:
            known = ", ".join(REPO_TYPES)
            raise RequestError(f"repo_type={repo_type!r} of {repo_id}: it is one of {known}")
        revision = "main" if revision is None else revision
        if not isinstance(revision, str) or not revision:
            raise RequestError(f"revision={revision!r} of {repo_id}: it is a branch, tag or commit")
        return cls(
            repo_id,
            str(repo_type),
            revision,
            _patterns("allow_patterns", allow_patterns),
            _patterns("ignore_patterns", ignore_patterns),
        )

    @property
    def repo(self) -> str:
        """The repository, as people are told of it."""
        return f"{self.repo_type} {self.repo_id}"

    @property
    def name(self) -> str:
        """What a revision of it is called where its commit is written down."""
        return f"{self.repo_type}/{self.repo_id}@{self.revision}"

    @property
    def commit(self) -> str | None:
        """The commit, if that is what was asked for."""
        return self.revision if is_commit(self.revision) else None

    @property
    def patterns_digest(self) -> str:
        lists = [None if each is None else sorted(set(each)) for each in (self.allow, self.ignore)]
        return Digest.of(json.dumps(lists).encode()).hex[:32]


def _patterns(option: str, value: object) -> Patterns | None:
    each = (value,) if isinstance(value, str) else value
    if each is None:
        return None
    if not isinstance(each, Iterable) or not all(isinstance(one, str) for one in (*each,)):
        raise RequestError(f"{option} is a pattern or a list of patterns, not {value!r}")
    return tuple(each)


def is_commit(revision: str) -> bool:
    """Tell whether a revision is a full commit, which never stands for other files."""
    return bool(_COMMIT.fullmatch(revision))


@dataclass(frozen=True)
class Scope:
    """Who shares snapshots: the parts of their keys that say so.

    What not everybody may see is kept for `user` alone, unless the scope is global.
    """

    parts: tuple[str, ...]
    user: str

    def of(self, *, restricted: bool) -> tuple[str, ...]:
        """Return the scope of what everybody may see, or of what is `restricted` to some."""
        own = restricted and self.parts != ("global",)
        return (*self.parts, "user", self.user) if own else self.parts

    def readable(self) -> tuple[tuple[str, ...], ...]:
        """Return the scopes to look in."""
        return tuple(dict.fromkeys(self.of(restricted=each) for each in (False, True)))


@dataclass(frozen=True)
class Resolved:
    """The commit that a revision stood for at a time, and whether not everybody may see it."""

    commit: str
    restricted: bool
    asked: float  # Unix seconds


@dataclass(frozen=True)
class About:
    """What is kept of a snapshot beside its files; `task` is the pathspec of what saved it."""

    task: str
    attempt: int
    repo_id: str
    repo_type: str
    revision: str
    commit: str
    allow: Patterns | None = None
    ignore: Patterns | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> About:
        """Return what `to_json` described; IntegrityError for anything else."""
        try:
            lists = {
                name: None if fields[name] is None else tuple(fields[name])
                for name in ("allow", "ignore")
            }
            return cls(**{**fields, **lists})
        except (TypeError, KeyError) as error:
            raise IntegrityError(f"this is no snapshot's description: {error}") from None


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository at one commit, as far as they were wanted."""

    ref: Ref
    about: About

    @property
    def created_on(self) -> str:
        """When it was saved, in ISO 8601 and UTC."""
        return datetime.fromtimestamp(self.ref.created, timezone.utc).isoformat()


def key(scope: tuple[str, ...], wanted: Wanted, commit: str) -> Key:
    digest = wanted.patterns_digest
    return Key.of(KIND, *scope, wanted.repo_type, wanted.repo_id, commit, digest)


def is_snapshot(key: Key) -> bool:
    """Tell whether a key is that of a snapshot; others say what a revision stands for."""
    if key.kind != KIND or len(key.parts) < 6 or key.parts[1] not in _SCOPES:
        return False
    scope = key.parts[1:-4]
    length = _SCOPES[scope[0]]
    own = scope[length:]
    return len(scope) >= length and (not own or (len(own) == 2 and own[0] == "user"))


def find(store: Store, key: Key) -> Snapshot | None:
    """Return the snapshot of a key, or None."""
    ref = store.find(key)
    return None if ref is None else Snapshot(ref, About.from_json(store.meta(ref)))


def save(
    store: Store,
    key: Key,
    files: Mapping[str, bytes | Path],
    about: About,
    *,
    kept: Iterable[File] = (),
) -> Snapshot:
    """Save files, by hard link where that can be, and others that the store has.

    Nobody may write to the files afterwards.
    """
    payload = Payload(files=files, whole=True, linked=True, kept=tuple(kept))
    return Snapshot(store.save(key, payload, meta=about.to_json()), about)


def there(store: Store, scope: Scope, wanted: Wanted) -> Iterator[Snapshot]:
    """Yield the snapshots of a repository in a scope."""
    for parts in scope.readable():
        for key in store.keys(Key.of(KIND, *parts, wanted.repo_type, wanted.repo_id)):
            try:
                found = find(store, key)
            except (NotFoundError, IntegrityError):
                continue  # Forgotten meanwhile, or damaged, which the store has said.
            if found is not None:
                yield found


def revision_key(wanted: Wanted, flow: str, run: str) -> Key:
    return _revisions(wanted) / flow / run


def resolved(store: Store, key: Key) -> Resolved | None:
    """Return what a run goes by, or None."""
    ref = store.find(key)
    return None if ref is None else _read(store, ref)


def last_resolved(store: Store, wanted: Wanted) -> Resolved | None:
    """Return what the revision stood for when any run last asked, or None."""
    ref = store.newest(_revisions(wanted))
    return None if ref is None else _read(store, ref)


def record_resolved(store: Store, key: Key, found: Resolved, *, for_ever: bool) -> Resolved:
    """Write down what a run goes by, and return that: what another task wrote before stands."""
    expires = None if for_ever else time.time() + _RUNS_LAST.total_seconds()
    ref = store.save(key, Payload(), meta=asdict(found), expires=expires, durable=False)
    return _read(store, ref) or found


def _revisions(wanted: Wanted) -> Key:
    return Key.of(KIND, _REVISION, wanted.repo_type, wanted.repo_id, wanted.revision)


def _read(store: Store, ref: Ref) -> Resolved | None:
    try:
        return Resolved(**store.meta(ref))
    except (NotFoundError, IntegrityError, TypeError):
        return None  # Gone or damaged: it will be asked for again.
