"""Sparse matrices of scipy, encoded independent of their memory layout."""

from __future__ import annotations

import sys
from typing import Any

from memoflow.fingerprint.encoding import EncoderInterface, Handler, Unstable

# What these hold is encoded as such, or was worked out from it when it was asked for.
_KNOWN = frozenset(
    {
        "_dict", "_has_canonical_format", "_has_sorted_indices", "_shape", "blocksize", "col",
        "coords", "data", "dtype", "has_canonical_format", "indices", "indptr", "maxprint",
        "offsets", "row", "rows",
    }
)  # fmt: skip


def sparse_handler(kind: type) -> Handler | None:
    """Return the encoder for instances of `kind`, or None if it is no sparse matrix of scipy's."""
    sparse: Any = sys.modules.get("scipy.sparse")
    bases = tuple(getattr(sparse, name, None) for name in ("sparray", "spmatrix"))
    known = tuple(base for base in bases if isinstance(base, type))
    return _matrix if issubclass(kind, known) else None


def _matrix(encoder: EncoderInterface, value: Any) -> bytes:
    content = _FORMATS.get(value.format)
    if content is None:
        raise Unstable(f"a sparse matrix in {value.format} format has no known content")
    header = encoder.encode([value.format, list(value.shape), str(value.dtype)])
    held = {name: each for name, each in vars(value).items() if name not in _KNOWN}
    pieces = encoder.named(type(value)), header, *content(encoder, value)
    return encoder.node(b"matrix", [*pieces, encoder.attributes(held)])


def _compressed(encoder: EncoderInterface, value: Any) -> list[bytes]:
    np: Any = sys.modules["numpy"]

    used = int(value.indptr[-1])
    places = np.asarray(value.indices[:used], dtype=np.int64)
    starts = np.asarray(value.indptr, dtype=np.int64)
    data = value.data[:used]
    # Many operations sort the places of each row as they go, which changes nothing.
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if np.any((np.diff(places) < 0) & (np.diff(rows) == 0)):
        order = np.lexsort((places, rows))  # stable, for two items may have one place
        places, data = places[order], data[order]
    return [encoder.encode(each) for each in (starts, places, data)]


def _coordinates(encoder: EncoderInterface, value: Any) -> list[bytes]:
    np: Any = sys.modules["numpy"]

    axes = getattr(value, "coords", None) or (value.row, value.col)
    places = [np.asarray(axis, dtype=np.int64) for axis in axes]
    return [encoder.encode(each) for each in (*places, value.data)]


def _diagonals(encoder: EncoderInterface, value: Any) -> list[bytes]:
    np: Any = sys.modules["numpy"]

    rows, columns = value.shape
    offsets = np.asarray(value.offsets, dtype=np.int64)
    data = np.zeros((len(offsets), columns), dtype=value.dtype)
    width = min(columns, value.data.shape[1])
    data[:, :width] = value.data[:, :width]
    at = np.arange(columns)[None, :] - offsets[:, None]
    data[(at < 0) | (at >= rows)] = 0  # What lies outside of the matrix means nothing.
    return [encoder.encode(offsets), encoder.encode(data)]


def _lists(encoder: EncoderInterface, value: Any) -> list[bytes]:
    # Its lists hold numbers of Python or of numpy, as they were put in.
    return _compressed(encoder, value.tocsr())


def _keys(encoder: EncoderInterface, value: Any) -> list[bytes]:
    np: Any = sys.modules["numpy"]

    keys = np.array(list(value.keys()), dtype=np.int64)
    data = np.array(list(value.values()), dtype=value.dtype)
    return [encoder.encode(keys), encoder.encode(data)]


_FORMATS = {
    "bsr": _compressed,
    "coo": _coordinates,
    "csc": _compressed,
    "csr": _compressed,
    "dia": _diagonals,
    "dok": _keys,
    "lil": _lists,
}
