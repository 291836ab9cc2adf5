"""Hub: snapshots of repositories by commit, and which commit a branch or tag stands for.

    hub/<scope...>/<repo type>/<repo>/<commit>/<patterns>            the files of one snapshot
    hub/revision/<repo type>/<repo>/<revision>/<host>/<flow>/<run>   the commit a run goes by
    hub/first/<repo type>/<repo>/<revision>/<host>/<flow>/<scope>    the first answer, kept to
    hub/stood/<repo type>/<repo>/<revision>/<host>/<time>-<commit>   what the Hub last said when

`scope` is `checkpoint/<flow>/<step>/<scope>/<identifier>`, `flow/<flow>` or `global`, followed by
`user/<name>` where the repository is private or gated and the scope is not global. `patterns` is
the digest of what is allowed and ignored. `host` is which Hub: a branch of one is not that of
another, while a commit is what it is wherever it came from.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError, UsageError, WrongTypeError, usage_error
from memoflow.fields import Fields
from memoflow.kinds import details
from memoflow.kinds.about import COMMIT, REPO_ID, REPO_TYPES, About, SavedEntry, read_commit
from memoflow.names import Digest, Key, Ref
from memoflow.objects import File
from memoflow.store import Payload, Store

KIND = "hub"
_SCOPES = {"checkpoint": 5, "flow": 2, "global": 1}  # and of how many parts each is
_REVISION, _FIRST, _STOOD = "revision", "first", "stood"
_STOOD_AT = re.compile(r"(?P<asked_ms>[0-9]{15})-(?P<commit>[0-9a-f]{40})")
# A run may go on that long after it asked for a commit, and still see the same one. What a
# revision stood for is known for longer, as long as there is a snapshot of that.
_RUNS_LAST = timedelta(days=60)

Patterns = tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """The request: a repository, one of its revisions, and patterns of its files.

    None for patterns is no pattern; an empty tuple is one that nothing matches. `at` is the host
    of the Hub, where one was named.
    """

    repo_id: str
    repo_type: str = "model"
    revision: str = "main"
    allow: Patterns | None = None
    ignore: Patterns | None = None
    at: str = ""

    @classmethod
    def of(
        cls,
        repo_id: object,
        *,
        endpoint: object = None,
        repo_type: object = None,
        revision: object = None,
        allow_patterns: object = None,
        ignore_patterns: object = None,
    ) -> Wanted:
        """Return the request in arguments of `snapshot_download`; UsageError for bad arguments."""
        if not isinstance(repo_id, str) or not REPO_ID.fullmatch(repo_id):
            # Not shown if it is no text: a dict may hold a token.
            what = repr(repo_id) if isinstance(repo_id, str) else f"a {type(repo_id).__name__}"
            raise usage_error(repo_id, str)(
                f"repo_id is the name of a repository, org/name, not {what}"
            )
        repo_type = "model" if repo_type is None else repo_type
        if repo_type not in REPO_TYPES:
            known = ", ".join(REPO_TYPES)
            raise UsageError(f"repo_type={repo_type!r} of {repo_id}: it is one of {known}")
        revision = "main" if revision is None else revision
        if not isinstance(revision, str) or not revision:
            raise UsageError(f"revision={revision!r} of {repo_id}: it is a branch, tag or commit")
        if endpoint is not None and not isinstance(endpoint, str):
            raise UsageError(f"endpoint of {repo_id} is an address, https://..., or None")
        return cls(
            repo_id,
            str(repo_type),
            revision,
            _patterns("allow_patterns", allow_patterns),
            _patterns("ignore_patterns", ignore_patterns),
            host_of(endpoint) if endpoint else "",
        )

    @property
    def repo(self) -> str:
        """The repository, as people are told of it."""
        return f"{self.repo_type} {self.repo_id}"

    @property
    def name(self) -> str:
        """The name of a revision of it, under which its commit is recorded."""
        at = f" at {self.at}" if self.at else ""
        return f"{self.repo_type}/{self.repo_id}@{self.revision}{at}"

    @property
    def commit(self) -> str | None:
        """The commit, if the request names one."""
        return self.revision if is_commit(self.revision) else None


def _patterns(option: str, value: object) -> Patterns | None:
    if value is None:
        return None
    # Once: a generator has nothing left after that.
    each: tuple[object, ...] = (value,)
    if isinstance(value, Iterable) and not isinstance(value, str):
        each = tuple(value)
    texts = tuple(one for one in each if isinstance(one, str))
    if len(texts) < len(each):
        raise WrongTypeError(f"{option} is a pattern or a list of patterns, not {value!r}")
    return texts


def host_of(endpoint: str) -> str:
    """Return the Hub of an address: host and path, without a login."""
    found = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    return f"{found.netloc.rpartition('@')[2]}{found.path.rstrip('/')}"


def is_commit(revision: str) -> bool:
    """Tell whether a revision is a full commit, which never stands for other files."""
    return bool(COMMIT.fullmatch(revision))


@dataclass(frozen=True)
class Scope:
    """The flows, steps and users that share snapshots, as parts of their keys.

    What not everybody may see is kept for `user` alone, unless the scope is global.
    """

    parts: tuple[str, ...]
    user: str

    @property
    def kind(self) -> str:
        """The `cache_scope` that it is."""
        return self.parts[0]

    def of(self, *, restricted: bool) -> tuple[str, ...]:
        """Return the scope of public snapshots, or of those `restricted` to some users."""
        own = restricted and self.parts != ("global",)
        return (*self.parts, "user", self.user) if own else self.parts

    def readable(self) -> tuple[tuple[str, ...], ...]:
        """Return the scopes to look in."""
        return tuple(dict.fromkeys(self.of(restricted=each) for each in (False, True)))


@dataclass(frozen=True)
class Resolved:
    """The commit that a revision stood for at a time."""

    commit: str
    asked: float  # Unix seconds


class Snapshot(SavedEntry):
    """The wanted files of a repository at one commit."""


def key(scope: tuple[str, ...], wanted: Wanted, commit: str) -> Key:
    patterns = (wanted.allow, wanted.ignore)
    lists = [None if each is None else sorted(set(each)) for each in patterns]
    digest = Digest.of(json.dumps(lists).encode()).hex[:32]
    return Key.of(KIND, *scope, wanted.repo_type, wanted.repo_id, commit, digest)


def is_snapshot(key: Key) -> bool:
    """Return whether a key is that of a snapshot, not of the commit of a revision."""
    if key.kind != KIND or len(key.parts) < 6 or key.parts[1] not in _SCOPES:
        return False
    scope = key.parts[1:-4]
    length = _SCOPES[scope[0]]
    own = scope[length:]
    return len(scope) >= length and (not own or (len(own) == 2 and own[0] == "user"))


def find(store: Store, key: Key) -> Snapshot | None:
    """Return the snapshot of a key, or None."""
    ref = store.find(key)
    return None if ref is None else Snapshot(ref, About.from_json(KIND, store.meta(ref)))


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
    meta = about.to_json()
    ref = store.save(key, payload, meta=meta)
    details.record(store, ref, meta)
    return Snapshot(ref, about)


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


def revision_key(wanted: Wanted, host: str, flow: str, run: str) -> Key:
    """Return the key of the commit that a run goes by."""
    return _of_revision(_REVISION, wanted, host) / flow / run


def first_key(wanted: Wanted, host: str, flow: str, scope: str) -> Key:
    """Return the key of the answer that a flow keeps to, in each of its scopes."""
    return _of_revision(_FIRST, wanted, host) / flow / scope


def resolved(store: Store, key: Key) -> Resolved | None:
    """Return the recorded commit, or None."""
    ref = store.find(key)
    return None if ref is None else _read(store, ref)


def record_resolved(store: Store, key: Key, found: Resolved, *, for_ever: bool = False) -> Resolved:
    """Record the commit to go by, and return it: an earlier record of another task stands."""
    expires = None if for_ever else time.time() + _RUNS_LAST.total_seconds()
    ref = store.save(key, Payload(), meta=asdict(found), expires=expires, durable=False)
    return _read(store, ref) or found


def stood(store: Store, wanted: Wanted, host: str) -> list[Resolved]:
    """Return the commits of a revision by the answers of the Hub, the last answer first.

    Of the same answers the last one.
    """
    found: dict[str, Resolved] = {}
    for key in reversed(store.keys(_of_revision(_STOOD, wanted, host))):
        match = _STOOD_AT.fullmatch(key.parts[-1])
        if match is not None:
            answer = Resolved(match["commit"], int(match["asked_ms"]) / 1000)
            found.setdefault(answer.commit, answer)
    return list(found.values())


def note_stood(store: Store, wanted: Wanted, host: str, answer: Resolved) -> None:
    """Record an answer of the Hub, in place of equal answers before."""
    series, asked_ms = _of_revision(_STOOD, wanted, host), int(answer.asked * 1000)
    key = series / f"{asked_ms:015d}-{answer.commit}"
    expires = time.time() + _RUNS_LAST.total_seconds()
    store.save(key, Payload(), expires=expires, durable=False)
    for other in store.keys(series):
        if other.parts[-1].endswith(f"-{answer.commit}") and other.parts[-1] < key.parts[-1]:
            store.forget(other)


def standing(store: Store) -> set[Key]:
    """Return the keys of answers on revisions to keep: of snapshots, and first answers."""
    held, kept, notes = set(), set(), []
    for key in store.keys(Key.of(KIND)):
        if is_snapshot(key):
            held.add(key.parts[-4:-1])
        elif key.parts[1] == _FIRST:
            kept.add(key)
        elif key.parts[1] == _STOOD and len(key.parts) == 7:
            notes.append(key)
    commits = ((key, key.parts[-1].partition("-")[2]) for key in notes)
    return kept | {key for key, commit in commits if (*key.parts[2:4], commit) in held}


def _of_revision(what: str, wanted: Wanted, host: str) -> Key:
    return Key.of(KIND, what, wanted.repo_type, wanted.repo_id, wanted.revision, host)


def _read(store: Store, ref: Ref) -> Resolved | None:
    try:
        typed = Fields(store.meta(ref))
        return Resolved(read_commit(typed, "commit"), typed.number("asked"))
    except (NotFoundError, IntegrityError, ValueError):
        return None  # Gone or damaged: it will be asked for again.
