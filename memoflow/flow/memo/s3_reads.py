"""Reads through metaflow.S3: the watch on its class while a step runs, and lookups by HEAD.

    s3://bucket/key                    one object, by its ETag
    last_modified of s3://bucket/key   and what else the object says of itself, where it was read
    list of s3://bucket/prefix/        one level below a prefix: names and sizes
    tree of s3://bucket/prefix/        all below it
    contents of s3://bucket/prefix/    all below it, by their ETags

The ETag is asked for before the object is: of one that changes in between the older is noted, which
is a miss the next time, and never a wrong hit.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial, wraps
from typing import Any
from urllib.parse import urlparse
from weakref import WeakSet

from metaflow import FlowSpec
from metaflow.plugins.datatools.s3.s3 import S3, S3Object
from metaflow.plugins.datatools.s3.s3util import get_s3_client

from memoflow.flow.host.patches import replaced
from memoflow.flow.host.s3 import (
    has_own_client,
    is_datastore,
    is_of_own_run,
    other_endpoint,
    url_of,
    usual_endpoint,
)
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.flow.memo.reads import GONE, Around, Never, Note, Seen, hushed, is_hushed, sha1

OWN_PREFIX = "uses S3(run=self), whose prefix differs in each run"

_THREADS = 16
_LIST, _TREE, _CONTENTS = "list of ", "tree of ", "contents of "
# Fields of an S3Object beside its bytes, by what HEAD calls them.
_FIELDS = {
    "content_type": "ContentType",
    "metadata": "Metadata",
    "encryption": "ServerSideEncryption",
    "last_modified": "LastModified",
}


@contextlib.contextmanager
def watching(
    note: Note, never: Never, *, around: Around = contextlib.nullcontext
) -> Iterator[None]:
    """Note the reads of this process through `metaflow.S3`, before each is done.

    `never` is told "S3" and a reason for those that cannot be asked for again. `around` is entered
    for what the class does by itself: its temporary files and processes are none of the step's.
    """
    with replaced(_Watch(note, never, around).hooks()):
        yield


class _Watch:
    """The reads and writes of one step in S3."""

    def __init__(self, note: Note, never: Never, around: Around) -> None:
        self._note = note
        self._never = never
        self._around = around
        self._read: set[str] = set()
        self._written: set[str] = set()
        # An artifact is an input, by the name that the step reads, and counts as such.
        self._of_datastore: WeakSet[Any] = WeakSet()
        self._artifacts: set[str] = set()  # loaded by these

    def hooks(self) -> dict[type, dict[str, Any]]:
        methods: dict[str, Callable[..., Iterable[str]]] = {
            "get": lambda s3, key=None, *_, **__: [url_of(s3, key)],
            "info": lambda s3, key=None, *_, **__: [url_of(s3, key)],
            "get_many": lambda s3, keys, *_, **__: [url_of(s3, key) for key in keys],
            "info_many": lambda s3, keys, *_, **__: [url_of(s3, key) for key in keys],
            "get_recursive": partial(_below, _CONTENTS),
            "get_all": lambda s3, *_, **__: _below(_CONTENTS, s3, [None]),
            "list_paths": partial(_below, _LIST),
            "list_recursive": partial(_below, _TREE),
        }
        of_s3 = {name: self._reader(getattr(S3, name), of) for name, of in methods.items()}
        for name in ("put", "put_many", "put_files"):
            of_s3[name] = self._writer(getattr(S3, name))
        of_s3["__init__"] = self._maker(S3.__init__)
        fields = {name: self._field(name, getattr(S3Object, name)) for name in _FIELDS}
        return {S3: of_s3, S3Object: fields}

    def _maker(self, make: Any) -> Any:
        @wraps(make)
        def hook(s3: Any, *arguments: Any, **named: Any) -> None:
            run = named.get("run") or (arguments[3] if len(arguments) > 3 else None)
            if is_datastore(sys._getframe(1)):
                self._of_datastore.add(s3)
            is_own = isinstance(run, FlowSpec) and not is_hushed()
            if is_own:
                self._never("S3", OWN_PREFIX)
            # Given a Run of the Client, reads of that Run are the step's.
            with hushed(self._around) if is_own else contextlib.nullcontext():
                make(s3, *arguments, **named)

        return hook

    def _reader(self, function: Any, urls: Callable[..., Iterable[str]]) -> Any:
        @wraps(function)
        def hook(s3: Any, *arguments: Any, **named: Any) -> Any:
            if is_hushed():
                return function(s3, *arguments, **named)
            with hushed(self._around):
                arguments, named = _kept(arguments, named)
                try:
                    wanted = list(urls(s3, *arguments, **named))
                except Exception:  # The call below raises it, in its own words.
                    wanted = []
                self._see(s3, wanted)
                return function(s3, *arguments, **named)

        return hook

    def _see(self, s3: Any, wanted: list[str]) -> None:
        if is_of_own_run(s3):
            return  # Told when it was made; who ignores that ignores its objects, too.
        if s3 in self._of_datastore:
            self._artifacts.update(wanted)
            return
        new = [name for name in wanted if name not in self._read and name not in self._written]
        if not new:
            return
        self._read.update(new)
        endpoint = other_endpoint(s3)
        # A process with the usual settings would see other objects.
        if has_own_client(s3):
            self._never("S3", "reads with an S3 client of its own")
        elif endpoint is not None:
            self._never("S3", f"reads from S3 at {endpoint}")
        else:
            self._evaluated(new)

    def _evaluated(self, new: list[str]) -> None:
        try:
            for name, seen in evaluate(new).items():
                self._note(name, *seen)
        except UndecidedError as error:
            self._never("S3", f"reads from S3, and {error}")

    def _writer(self, function: Any) -> Any:
        @wraps(function)
        def hook(s3: Any, *arguments: Any, **named: Any) -> Any:
            if is_hushed():
                return function(s3, *arguments, **named)
            with hushed(self._around):
                result = function(s3, *arguments, **named)
            written = {result} if isinstance(result, str) else {url for _, url in result}
            for url in sorted(written & self._read):
                self._never("S3", f"reads {url} and then changes it")
            self._written |= written
            self._written |= {f"{field} of {url}" for field in _FIELDS for url in written}
            return result

        return hook

    def _field(self, field: str, was: Any) -> property:
        def hook(one: Any) -> Any:
            with hushed(self._around):
                value = was.fget(one)
            name = f"{field} of {one.url}"
            known = name in self._read | self._written or one.url in self._artifacts
            if not is_hushed() and one.exists and not known:
                self._read.add(name)
                with hushed(self._around):
                    self._evaluated([name])
            return value

        return property(hook, doc=was.__doc__)


def _kept(arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return arguments that can be walked over twice: keys may come from a generator."""

    def kept(value: Any) -> Any:
        return list(value) if isinstance(value, Iterator) else value

    return tuple(map(kept, arguments)), {name: kept(value) for name, value in named.items()}


def _below(what: str, s3: Any, keys: Any = None, *_: Any, **__: Any) -> Iterator[str]:
    for key in [None] if keys is None else keys:
        url = url_of(s3, key)
        yield what + (url.rstrip("/") + "/" if what != _CONTENTS else url)


def evaluate(names: Iterable[str]) -> dict[str, Seen]:
    """Return digest and summary of each as they are now; "absent" for an object that is gone.

    Raises UndecidedError if S3 cannot tell.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    with hushed():
        try:
            client = _client(os.getpid(), usual_endpoint())
            if len(wanted) == 1:
                return {wanted[0]: _seen(client, wanted[0])}
            with ThreadPoolExecutor(min(_THREADS, len(wanted))) as pool:
                return dict(zip(wanted, pool.map(partial(_seen, client), wanted), strict=True))
        except Exception as error:  # Of boto3, the network, or what stands between.
            raise UndecidedError(f"S3 cannot tell: {error}") from error


@lru_cache(maxsize=1)
def _client(process: int, endpoint: str | None) -> Any:
    """Return a client that threads share: to make one takes longer than to ask one."""
    return get_s3_client()[0]


def _seen(client: Any, name: str) -> Seen:
    for what in (_LIST, _TREE, _CONTENTS):
        if name.startswith(what):
            return _listing(client, what, name.removeprefix(what))
    field = ""
    if not name.startswith("s3://"):
        field, _, name = name.partition(" of ")
    bucket, key = _split(name)
    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket"):
            return GONE
        raise
    if field:
        value = head.get(_FIELDS[field])
        return _digest(value), str(value)
    etag = str(head["ETag"]).strip('"')
    return etag, etag[:12]


def _listing(client: Any, what: str, url: str) -> Seen:
    """Return the digest of all below a prefix, in the order in which S3 lists it."""
    bucket, prefix = _split(url)
    delimiter = {"Delimiter": "/"} if what == _LIST else {}
    found: list[Any] = []
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, **delimiter
    )
    try:
        for page in pages:
            for each in page.get("Contents", []):
                found.append([each["Key"], each["ETag" if what == _CONTENTS else "Size"]])
            found += [[each["Prefix"], None] for each in page.get("CommonPrefixes", [])]
    except client.exceptions.NoSuchBucket:
        return GONE
    return _digest(found), f"{len(found)} names"


def _split(url: str) -> tuple[str, str]:
    # As metaflow.S3 does it: a key may have a "#" in it.
    parsed = urlparse(url, allow_fragments=False)
    return parsed.netloc, parsed.path.lstrip("/")


def _digest(value: Any) -> str:
    return sha1(json.dumps(value, default=str, sort_keys=True))
