"""Arrays: encoding of numpy and pandas values, and of other libraries' that are loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from memoflow.fingerprint.encoding import EncoderInterface, Handler
from memoflow.fingerprint.sparse import sparse_handler
from memoflow.fingerprint.tables import arrow_content, table_handler
from memoflow.fingerprint.tensors import tensor_handler

_CHUNK = 1 << 24  # bytes copied at a time from an array that is not contiguous


def array_handler(kind: type) -> Handler | None:
    """Return the encoder for instances of `kind`, or None if it is not an array of any sort."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ma"):
        if issubclass(kind, numpy.ma.MaskedArray):
            return _masked
        if issubclass(kind, numpy.ndarray):
            return _ndarray
        if issubclass(kind, numpy.generic):
            return _numpy_scalar
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and hasattr(pandas, "DataFrame"):
        for base, handler in (
            (pandas.DataFrame, _frame),
            (pandas.Series, _series),
            (pandas.MultiIndex, _multi_index),
            (pandas.Index, _index),
            (pandas.api.extensions.ExtensionArray, _column),
        ):
            if issubclass(kind, base):
                return handler
    return tensor_handler(kind) or sparse_handler(kind) or table_handler(kind)


def _ndarray(encoder: EncoderInterface, value: Any) -> bytes:
    np: Any = sys.modules["numpy"]

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
        # Field by field, because the padding between them holds whatever was in memory.
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
    np: Any = sys.modules["numpy"]

    if not plain.size or not plain.dtype.itemsize:
        return
    if plain.dtype.kind in "fc" and plain.dtype.itemsize > 16 - 8 * (plain.dtype.kind == "f"):
        # An extended float is 10 bytes, padded with whatever was in memory.
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
    np: Any = sys.modules["numpy"]

    return encoder.node(b"scalar", (_ndarray_content(encoder, np.asarray(value)),))


def _masked(encoder: EncoderInterface, value: Any) -> bytes:
    np: Any = sys.modules["numpy"]

    mask = np.ma.getmaskarray(value)
    data = np.array(value.data, copy=True)
    _clear(data, mask)
    pieces = encoder.encode(data), encoder.encode(mask), encoder.encode(value.fill_value)
    return encoder.node(b"masked", (encoder.named(type(value)), *pieces))


def _clear(data: Any, mask: Any) -> None:
    """Overwrite values under a mask, which have no meaning."""
    np: Any = sys.modules["numpy"]

    if data.dtype.names is None:
        data[mask] = np.zeros((), data.dtype)
    for name in data.dtype.names or ():
        _clear(data[name], mask[name])


def _frame(encoder: EncoderInterface, value: Any) -> bytes:
    pieces = [
        encoder.named(type(value)),
        encoder.encode(value.index),
        encoder.encode(value.columns),
        _labels(encoder, value),
    ]
    for i in range(value.shape[1]):
        try:
            pieces.append(_column(encoder, value.iloc[:, i].array))
        except Exception as error:
            if hasattr(error, "steps"):
                error.steps.append(f"[{value.columns[i]!r}]")
            raise
    return encoder.node(b"frame", pieces)


def _series(encoder: EncoderInterface, value: Any) -> bytes:
    pieces = encoder.encode(value.index), _labels(encoder, value), _column(encoder, value.array)
    return encoder.node(
        b"series", (encoder.named(type(value)), encoder.encode(value.name), *pieces)
    )


def _labels(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode the labels and attributes of a frame or series."""
    labels = {"attrs": dict(value.attrs), "unique": value.flags.allows_duplicate_labels}
    labels |= {name: getattr(value, name, None) for name in value._metadata if name != "_name"}
    return encoder.attributes(labels)


def _index(encoder: EncoderInterface, value: Any) -> bytes:
    names = encoder.encode([*value.names, getattr(value, "freqstr", None)])
    return encoder.node(
        b"index", (encoder.named(type(value)), names, _column(encoder, value.array))
    )


def _multi_index(encoder: EncoderInterface, value: Any) -> bytes:
    levels = (encoder.encode(value.get_level_values(i)) for i in range(value.nlevels))
    return encoder.node(b"multiindex", (encoder.named(type(value)), *levels))


def _column(encoder: EncoderInterface, value: Any) -> bytes:
    pd: Any = sys.modules["pandas"]

    arrays = pd.arrays
    dtype = encoder.encode(str(value.dtype))
    if type(value) is arrays.NumpyExtensionArray:
        return encoder.node(b"column", (encoder.encode(value.to_numpy()),))
    if isinstance(value, pd.Categorical):
        pieces = encoder.encode(value.categories), encoder.encode(bool(value.ordered))
        return encoder.node(b"categorical", (*pieces, encoder.encode(value.codes)))
    if isinstance(value, (arrays.DatetimeArray, arrays.TimedeltaArray, arrays.PeriodArray)):
        zone = encoder.encode(getattr(value, "tz", None))
        return encoder.node(b"times", (dtype, zone, encoder.encode(value.asi8)))
    if isinstance(value, arrays.IntervalArray):
        pieces = encoder.encode(value.left), encoder.encode(value.right)
        return encoder.node(b"intervals", (dtype, *pieces))
    if isinstance(value, arrays.SparseArray):
        return encoder.node(b"sparse", (dtype, encoder.encode(value.to_dense())))
    if "pyarrow" in getattr(value.dtype, "storage", "") or hasattr(value.dtype, "pyarrow_dtype"):
        return _on_arrow(encoder, value)
    missing = value.isna()
    header = encoder.named(type(value.dtype)), dtype, encoder.encode(missing)
    if isinstance(value, (arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray)):
        data = value.to_numpy(dtype=value.dtype.numpy_dtype, na_value=0)
    else:
        data = value.astype(object)
        data = data[~missing] if missing.ndim == 1 else data
        data = data.tolist() if hasattr(data, "tolist") else list(data)
    return encoder.node(b"extension", (*header, encoder.encode(data)))


def _on_arrow(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode a column that pandas keeps as a pyarrow array, independent of its chunks."""
    dtype = value.dtype
    array = value.__arrow_array__()
    if not hasattr(dtype, "pyarrow_dtype"):
        # Texts come as either of two types, by the version of pandas and where they are from.
        array = array.cast("large_string")
    header = encoder.encode([str(dtype), repr(dtype.na_value)])
    pieces = encoder.named(type(dtype)), header, arrow_content(encoder, array)
    return encoder.node(b"on arrow", pieces)
