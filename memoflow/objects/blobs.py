"""Blobs: immutable bytes named by their digest, and the verification of that name."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import xxhash

from memoflow.backends import Backend, chunks
from memoflow.backends.failures import reread
from memoflow.errors import NotFoundError
from memoflow.names import Digest

T = TypeVar("T")

FOLDER = "blobs"
_HEX_LENGTHS = {"sha256": 64, "sha1": 40}


def blob_name(digest: Digest) -> str:
    """Return the name of a blob in a backend.

    One named by SHA-1 was adopted from Metaflow: a gzip file whose unpacked content has that
    SHA-1, or, where Metaflow stored it raw, that content itself.
    """
    algorithm, _, hex = digest.partition(":")
    if _HEX_LENGTHS.get(algorithm) != len(hex):
        raise ValueError(f"{digest} cannot name a blob")
    folder = f"{FOLDER}/sha1" if algorithm == "sha1" else FOLDER
    return f"{folder}/{hex[:2]}/{hex}"


def blob_of(name: str) -> Digest | None:
    """Return the digest that a backend's name stands for; None if it names no blob."""
    parts = name.split("/")
    try:
        digest = Digest.parse(f"{'sha1' if parts[1:2] == ['sha1'] else 'sha256'}:{parts[-1]}")
        return digest if blob_name(digest) == name else None
    except ValueError:
        return None


# The XXH3-128 of bytes, in hex; as it is, for it is called for each piece of each save.
xxh3_of: Callable[[bytes | memoryview], str] = xxhash.xxh3_128_hexdigest


def measure(file: BinaryIO) -> tuple[int, str]:
    """Return the number of remaining bytes in an open file, and their XXH3-128."""
    size, xxh3 = 0, xxhash.xxh3_128()
    for chunk in chunks(file):
        size += len(chunk)
        xxh3.update(chunk)
    return size, xxh3.hexdigest()


def prove(path: Path, *, digest: Digest, xxh3: str, size_bytes: int) -> bool:
    """Tell whether a file is the blob: the same bytes, or else the same content packed anew.

    Packing twice gives other bytes for the same content, since gzip writes the time down.
    """

    def proven() -> bool:
        try:
            with open(path, "rb", buffering=0) as file:
                if measure(file) == (size_bytes, xxh3):
                    return True
                file.seek(0)
                return _has_content(file, digest)
        except FileNotFoundError:
            return False

    return reread(path, proven)


def is_whole(backend: Backend, digest: Digest) -> bool:
    """Tell whether a stored blob matches the digest in its name; NotFoundError if absent.

    BackendError if it cannot be read, also not when that is tried again: that is no damage.
    """
    found = _read(backend, digest, lambda file: _has_content(file, digest))
    if found is None:
        raise NotFoundError(f"blob {digest} is not in the store")
    return found


def measured(backend: Backend, digest: Digest) -> tuple[int, str] | None:
    """Return the size of a stored blob, and the XXH3-128 of its bytes; None if it is absent."""
    return _read(backend, digest, measure)


def _read(backend: Backend, digest: Digest, read: Callable[[BinaryIO], T]) -> T | None:
    name = blob_name(digest)

    def opened() -> T | None:
        file = backend.open(name)
        if file is None:
            return None
        with file:
            return read(file)

    return reread(backend.path(name) or name, opened)


def _has_content(file: BinaryIO, digest: Digest) -> bool:
    if digest.algorithm == "sha256":
        return _hash(file, hashlib.sha256()) == digest.hex
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            if _hash(unpacked, hashlib.sha1(usedforsecurity=False)) == digest.hex:
                return True
    except (gzip.BadGzipFile, EOFError, zlib.error):
        pass  # Not packed, or damaged: as raw bytes it has that SHA-1 or it does not.
    file.seek(0)
    return _hash(file, hashlib.sha1(usedforsecurity=False)) == digest.hex


def _hash(file: BinaryIO | gzip.GzipFile, algorithm: Any) -> str:
    for chunk in chunks(file):
        algorithm.update(chunk)
    return str(algorithm.hexdigest())
