"""Kept code: the parts of a fingerprint and their sources, kept once for all results of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from memoflow.errors import IntegrityError
from memoflow.fields import Fields, check_extent
from memoflow.fingerprint import Part
from memoflow.kinds.memo_fields import leaves_of, parts_of
from memoflow.names import Key, Ref
from memoflow.objects import parsed
from memoflow.store import Payload, Store

PARTS, _SOURCES = "parts.json", "sources.json"
# What is larger, and what comes after so much, is explained without its text.
_LARGEST_SOURCE_BYTES = 64 << 10
_LARGEST_SOURCES_BYTES = 1 << 20


def read(store: Store, ref: Ref) -> tuple[Part, ...]:
    """Return the parts that `keep` kept; NotFoundError or IntegrityError if they are lost."""
    manifest = store.manifest(ref)
    return parsed_parts(store.read_file(manifest, PARTS), store.read_file(manifest, _SOURCES))


def parsed_parts(content: bytes, sources: bytes = b"{}") -> tuple[Part, ...]:
    """Return parts with their sources; IntegrityError for anything that `keep` did not write."""
    try:
        by_name = Fields(parsed(check_extent(sources)))
        parts = parts_of(parsed(check_extent(content)))
        return tuple(
            replace(
                part,
                source=by_name.text(_source_name(part), "", is_free=True),
                outline=leaves_of(parsed(by_name.text(_outline_name(part), "[]").encode())),
            )
            for part in parts
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"these are no parts of a fingerprint: {error}") from None


def keep(store: Store, key: Key, parts: Iterable[Part]) -> None:
    """Keep parts and their sources, once for all results that have them."""
    if store.find(key) is not None:
        return
    parts = tuple(parts)
    sources: dict[str, str] = {}
    left = _LARGEST_SOURCES_BYTES
    for part in parts:
        size = len(part.source.encode("utf-8", "surrogatepass"))
        if size and size <= min(left, _LARGEST_SOURCE_BYTES):
            sources[_source_name(part)] = part.source
            left -= size
        if part.outline:
            sources[_outline_name(part)] = json.dumps(part.outline)
    files = {
        PARTS: json.dumps([part.to_json() for part in parts]).encode(),
        _SOURCES: json.dumps(sources).encode(),
    }
    store.save(key, Payload(files=files), durable=False)


def _source_name(part: Part) -> str:
    return f"{part.kind} {part.name} {part.digest}"


def _outline_name(part: Part) -> str:
    return f"outline of {_source_name(part)}"
