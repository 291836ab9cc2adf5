"""Arrays: numpy's, scipy's sparse and torch's, encoded independent of their memory layout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.fingerprint.encoding import (
    EncoderInterface,
    Handler,
    Library,
    Unstable,
    handler_among,
)
from memoflow.fingerprint.tables import TABLES

np: Any = Library("numpy")
torch: Any = Library("torch")
_CHUNK = 1 << 24  # bytes copied at a time from an array that is not contiguous
# Attributes that are encoded as the content, or are computed from it on demand.
_KNOWN = frozenset(
    {
        "_dict", "_has_canonical_format", "_has_sorted_indices", "_shape", "blocksize", "col",
        "coords", "data", "dtype", "has_canonical_format", "indices", "indptr", "maxprint",
        "offsets", "row", "rows",
    }
)  # fmt: skip
_COMPRESSED_BY_ROW = ("torch.sparse_csr", "torch.sparse_bsr")
_COMPRESSED_BY_COLUMN = ("torch.sparse_csc", "torch.sparse_bsc")


def _ndarray(encoder: EncoderInterface, value: Any) -> bytes:
    kind = type(value)
    plain = value.view(np.ndarray)
    pieces = [_ndarray_content(encoder, plain)]
    if kind is not np.ndarray:
        pieces.append(encoder.named(kind))
        # A memory map keeps a file handle; what it maps is already in the content.
        if not issubclass(kind, np.memmap):
            pieces.append(encoder.attributes(getattr(value, "__dict__", {})))
    return encoder.node(b"ndarray", pieces)


def _ndarray_content(encoder: EncoderInterface, plain: Any) -> bytes:
    dtype = plain.dtype
    header = encoder.encode((dtype.str, dtype.name, plain.shape))
    if dtype.names is not None:
        # Field by field, because the padding between them is not initialized.
        offsets = [dtype.fields[name][1] for name in dtype.names]
        pieces = [header, encoder.encode([list(dtype.names), offsets, dtype.itemsize])]
        pieces += [_ndarray_content(encoder, plain[name]) for name in dtype.names]
        return encoder.node(b"fields", pieces)
    if dtype.hasobject or dtype.kind not in "biufcmMSUV":
        return encoder.node(
            b"objects", (header, encoder.sequence(b"list", plain.ravel(order="C").tolist()))
        )
    return encoder.node(b"bytes", (header, *_raw(plain)))


def _raw(plain: Any) -> Iterator[Any]:
    """Yield the bytes of an array in C order, without a copy if they lie that way."""
    if not plain.size or not plain.dtype.itemsize:
        return
    if plain.dtype.kind in "fc" and plain.dtype.itemsize > 16 - 8 * (plain.dtype.kind == "f"):
        # An extended float is 10 bytes, with a padding that is not initialized.
        significant = 10 if np.finfo(np.longdouble).nmant == 63 else np.longdouble(0).itemsize
        parts = np.ascontiguousarray(plain).reshape(-1).view(np.longdouble).view(np.uint8)
        parts = parts.reshape(-1, np.longdouble(0).itemsize)
        yield np.ascontiguousarray(parts[:, :significant]).reshape(-1)
    elif plain.flags.c_contiguous:
        yield plain.reshape(-1).view(np.uint8)
    else:
        rows = max(1, _CHUNK * len(plain) // plain.nbytes)
        for start in range(0, len(plain), rows):
            chunk = np.ascontiguousarray(plain[start : start + rows])
            yield chunk.reshape(-1).view(np.uint8)


def _numpy_scalar(encoder: EncoderInterface, value: Any) -> bytes:
    return encoder.node(b"scalar", (_ndarray_content(encoder, np.asarray(value)),))


def _masked(encoder: EncoderInterface, value: Any) -> bytes:
    mask = np.ma.getmaskarray(value)
    data = np.array(value.data, copy=True)
    _clear(data, mask)
    pieces = encoder.encode(data), encoder.encode(mask), encoder.encode(value.fill_value)
    return encoder.node(b"masked", (encoder.named(type(value)), *pieces))


def _clear(data: Any, mask: Any) -> None:
    """Overwrite values under a mask, which have no meaning."""
    if data.dtype.names is None:
        data[mask] = np.zeros((), data.dtype)
    for name in data.dtype.names or ():
        _clear(data[name], mask[name])


def _matrix(encoder: EncoderInterface, value: Any) -> bytes:
    content = _FORMATS.get(value.format)
    if content is None:
        raise Unstable(f"a sparse matrix in {value.format} format has no known content")
    header = encoder.encode([value.format, list(value.shape), str(value.dtype)])
    held = {name: each for name, each in vars(value).items() if name not in _KNOWN}
    pieces = encoder.named(type(value)), header, *content(encoder, value)
    return encoder.node(b"matrix", [*pieces, encoder.attributes(held)])


def _compressed(encoder: EncoderInterface, value: Any) -> list[bytes]:
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
    axes = getattr(value, "coords", None) or (value.row, value.col)
    places = [np.asarray(axis, dtype=np.int64) for axis in axes]
    return [encoder.encode(each) for each in (*places, value.data)]


def _diagonals(encoder: EncoderInterface, value: Any) -> list[bytes]:
    rows, columns = value.shape
    offsets = np.asarray(value.offsets, dtype=np.int64)
    data = np.zeros((len(offsets), columns), dtype=value.dtype)
    width = min(columns, value.data.shape[1])
    data[:, :width] = value.data[:, :width]
    at = np.arange(columns)[None, :] - offsets[:, None]
    data[(at < 0) | (at >= rows)] = 0  # What lies outside of the matrix means nothing.
    return [encoder.encode(offsets), encoder.encode(data)]


def _keys(encoder: EncoderInterface, value: Any) -> list[bytes]:
    keys = np.array(list(value.keys()), dtype=np.int64)
    data = np.array(list(value.values()), dtype=value.dtype)
    return [encoder.encode(keys), encoder.encode(data)]


_FORMATS: dict[str, Callable[[EncoderInterface, Any], list[bytes]]] = {
    "bsr": _compressed,
    "coo": _coordinates,
    "csc": _compressed,
    "csr": _compressed,
    "dia": _diagonals,
    "dok": _keys,
    # Its lists hold numbers of Python or of numpy, as they were put in.
    "lil": lambda encoder, value: _compressed(encoder, value.tocsr()),
}


def _tensor(encoder: EncoderInterface, value: Any) -> bytes:
    kind = type(value)
    try:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            header = [str(value.dtype), value.device.type, bool(value.requires_grad)]
            content = _content(encoder, value)
            # What a tensor of a class of one's own holds besides, or all there is of it.
            held = dict(getattr(value, "__dict__", {})) if not value.is_nested else {}
    except (Unstable, RecursionError):
        raise
    except Exception as error:
        name = f"{kind.__module__}.{kind.__qualname__}"
        reason = str(error).partition("\n")[0]
        raise Unstable(f"the content of this {name} cannot be told ({reason})") from error
    pieces = [encoder.named(kind), encoder.encode(header), content]
    return encoder.node(b"tensor", [*pieces, encoder.attributes(held)])


def _content(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode the items of a tensor, in the form in which it has them."""
    layout = str(value.layout)
    if value.is_nested:
        parts = [_content(encoder, each) for each in value.detach().unbind()]
        return encoder.node(b"nested", [encoder.encode(layout), *parts])
    if _lazy(value):
        return encoder.node(b"no shape yet", ())
    shape = encoder.encode([layout, tuple(value.shape), list(getattr(value, "names", ()))])
    if value.device.type == "meta":
        return encoder.node(b"meta", (shape,))
    if _wraps(value):
        return encoder.node(b"wrapper", (shape,))
    plain = value.detach()
    if layout == "torch.sparse_coo":
        flags = encoder.encode(plain.is_coalesced())
        parts = [_content(encoder, each) for each in (plain._indices(), plain._values())]
        return encoder.node(b"coordinates", (shape, flags, *parts))
    if layout in _COMPRESSED_BY_ROW:
        held = plain.crow_indices(), plain.col_indices(), plain.values()
        return encoder.node(b"compressed", [shape, *(_content(encoder, each) for each in held)])
    if layout in _COMPRESSED_BY_COLUMN:
        held = plain.ccol_indices(), plain.row_indices(), plain.values()
        return encoder.node(b"compressed", [shape, *(_content(encoder, each) for each in held)])
    if layout != "torch.strided":
        return encoder.node(b"other layout", (shape, _content(encoder, plain.to_dense())))
    if plain.is_quantized:
        scale = _scale(encoder, plain)
        return encoder.node(b"quantized", (shape, scale, _content(encoder, plain.int_repr())))
    return encoder.node(b"strided", (shape, _items(plain)))


def _items(plain: Any) -> Any:
    # A view may be marked as conjugate or negative without its memory being so.
    flat = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def _scale(encoder: EncoderInterface, value: Any) -> bytes:
    scheme = str(value.qscheme())
    if "per_channel" not in scheme:
        return encoder.encode([scheme, value.q_scale(), value.q_zero_point()])
    per_channel = value.q_per_channel_scales(), value.q_per_channel_zero_points()
    axis = encoder.encode([scheme, value.q_per_channel_axis()])
    return encoder.node(b"scales", [axis, *(_content(encoder, each) for each in per_channel)])


def _lazy(value: Any) -> bool:
    """Return whether this is a parameter without a shape before its first use."""
    parameters: Any = sys.modules.get("torch.nn.parameter")
    return parameters is not None and bool(parameters.is_lazy(value))


def _wraps(value: Any) -> bool:
    """Return whether a tensor has no items of its own, but attributes that stand for them."""
    kind = type(value)
    if kind.__module__.startswith("torch._subclasses"):
        raise Unstable(f"a {kind.__qualname__} has no content")
    if kind.__torch_dispatch__ is torch.Tensor.__torch_dispatch__ or not value.numel():
        return False
    try:
        return bool(value.data_ptr() == 0)
    except RuntimeError:
        return True


def _storage(encoder: EncoderInterface, value: Any) -> bytes:
    kind = type(value)
    items = torch.tensor([], dtype=torch.uint8).set_(getattr(value, "_untyped_storage", value))
    header = encoder.encode([str(getattr(value, "dtype", "")), items.device.type])
    return encoder.node(b"storage", (encoder.named(kind), header, _items(items)))


_HANDLERS: list[tuple[str, str, Handler]] = [
    ("numpy.ma", "MaskedArray", _masked),
    ("numpy", "ndarray", _ndarray),
    ("numpy", "generic", _numpy_scalar),
    ("torch", "Tensor", _tensor),
    ("scipy.sparse", "sparray", _matrix),
    ("scipy.sparse", "spmatrix", _matrix),
    *TABLES,
]


def array_handler(kind: type) -> Handler | None:
    """Return the encoder for instances of `kind`, or None if it is no array or table."""
    if kind.__module__ == "torch.storage" and kind.__name__ in ("TypedStorage", "UntypedStorage"):
        return _storage
    return handler_among(_HANDLERS, kind)
