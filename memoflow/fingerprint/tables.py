"""Tables of pandas, pyarrow and polars, encoded independent of their chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memoflow.fingerprint.encoding import EncoderInterface, Handler, Library, Unstable

np: Any = Library("numpy")
pd: Any = Library("pandas")
pl: Any = Library("polars")
arrow: Any = Library("pyarrow")
_LARGE = {"string_view": "large_string", "binary_view": "large_binary"}


def _as_instance(content: Handler) -> Handler:
    """Return an encoder that lets an object count by its class where it has no content."""
    return lambda encoder, value: encoder.instance(value, content)


def _arrow_table(encoder: EncoderInterface, value: Any) -> bytes:
    pieces = [encoder.named(type(value)), encoder.encode(value.num_rows)]
    pieces.append(_metadata(encoder, value.schema.metadata))
    for field, column in zip(value.schema, value.columns, strict=True):
        pieces += [_field(encoder, field), arrow_content(encoder, column)]
    return encoder.node(b"table", pieces)


def _arrow_column(encoder: EncoderInterface, value: Any) -> bytes:
    # Arrays have a class for each type; a chunked one has none.
    name = "chunks" if isinstance(value, arrow.ChunkedArray) else "array"
    pieces = encoder.encode(name), _type(encoder, value.type), arrow_content(encoder, value)
    return encoder.node(b"arrow", pieces)


def _arrow_scalar(encoder: EncoderInterface, value: Any) -> bytes:
    return encoder.node(b"arrow scalar", (_arrow_column(encoder, arrow.repeat(value, 1)),))


def _arrow_buffer(encoder: EncoderInterface, value: Any) -> bytes:
    return encoder.node(b"arrow buffer", (encoder.encode(memoryview(value).cast("B")),))


def _metadata(encoder: EncoderInterface, metadata: Any) -> bytes:
    return encoder.encode(dict(metadata) if metadata else None)


def _field(encoder: EncoderInterface, field: Any) -> bytes:
    header = encoder.encode([field.name, field.nullable])
    pieces = header, _type(encoder, field.type), _metadata(encoder, field.metadata)
    return encoder.node(b"field", pieces)


def _type(encoder: EncoderInterface, kind: Any) -> bytes:
    """Encode a type with the metadata of its fields."""
    fields = [_field(encoder, kind.field(i)) for i in range(kind.num_fields)]
    own = b""
    if isinstance(kind, arrow.BaseExtensionType):
        own = kind.__arrow_ext_serialize__() if hasattr(kind, "__arrow_ext_serialize__") else b""
    return encoder.node(b"type", [encoder.encode([str(kind), own]), *fields])


def arrow_content(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode the items of an array or chunked array; those of no chunks are none."""
    chunks = list(value.chunks) if hasattr(value, "chunks") else [value]
    return _chunks(encoder, value.type, chunks)


def _chunks(encoder: EncoderInterface, kind: Any, chunks: list[Any]) -> bytes:
    """Encode arrays of one type as one array, without the bytes of missing items."""
    count = sum(map(len, chunks))
    if sum(each.null_count for each in chunks):
        missing = encoder.node(b"missing", (_bools(each.is_valid()) for each in chunks))
    else:
        missing = encoder.node(b"all present", ())
    try:
        present = [each.drop_null() if each.null_count else each for each in chunks]
        items = _items(encoder, kind, present)
    except (NotImplementedError, ValueError, arrow.ArrowException):
        items = encoder.encode([item for each in chunks for item in each.to_pylist()])
        if arrow.types.is_union(kind):
            # Two of its types may have the same values.
            items += encoder.encode([i for each in chunks for i in each.type_codes.to_pylist()])
    return encoder.node(b"items", (encoder.encode(count), missing, items))


def _items(encoder: EncoderInterface, kind: Any, chunks: list[Any]) -> bytes:
    """Encode the items of arrays in which none is missing."""
    types = arrow.types
    if types.is_null(kind):
        return encoder.node(b"nothing", ())
    if types.is_boolean(kind):
        return encoder.node(b"bools", map(_bools, chunks))
    if types.is_dictionary(kind):
        return _dictionary(encoder, kind, chunks)
    if hasattr(kind, "storage_type"):
        return _chunks(encoder, kind.storage_type, [each.storage for each in chunks])
    if str(kind) in _LARGE:
        kind = getattr(arrow, _LARGE[str(kind)])()
        chunks = [each.cast(kind) for each in chunks]
    for is_kind, width in (
        (types.is_string, 4), (types.is_binary, 4),
        (types.is_large_string, 8), (types.is_large_binary, 8),
    ):  # fmt: skip
        if is_kind(kind):
            return _texts(encoder, chunks, width)
    if types.is_struct(kind):
        fields = [
            _chunks(encoder, kind.field(i).type, [each.flatten()[i] for each in chunks])
            for i in range(kind.num_fields)
        ]
        return encoder.node(b"struct", fields)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = encoder.node(b"lengths", (_lengths(each) for each in chunks))
        inner = _chunks(encoder, kind.value_type, [each.flatten() for each in chunks])
        return encoder.node(b"lists", (lengths, inner))
    if types.is_nested(kind) or types.is_run_end_encoded(kind):
        raise NotImplementedError(str(kind))
    return encoder.node(b"numbers", (_fixed(each, kind.bit_width // 8) for each in chunks))


def _bools(array: Any) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _lengths(array: Any) -> Any:
    return arrow.compute.list_value_length(array).cast("int64").to_numpy()


def _fixed(array: Any, width: int) -> Any:
    """Return the bytes of the items of an array, each of `width` bytes."""
    if not len(array):
        return b""
    start = array.offset * width
    return memoryview(array.buffers()[1]).cast("B")[start : start + len(array) * width]


def _texts(encoder: EncoderInterface, chunks: list[Any], width: int) -> bytes:
    lengths: list[Any] = []
    data: list[Any] = []
    for array in chunks:
        if not len(array):
            continue
        _, offsets, content = array.buffers()
        ends = np.frombuffer(offsets, f"i{width}")[array.offset : array.offset + len(array) + 1]
        lengths.append(np.diff(ends).astype("i8"))
        data.append(memoryview(content).cast("B")[ends[0] : ends[-1]] if content else b"")
    pieces = encoder.node(b"lengths", lengths), encoder.node(b"data", data)
    return encoder.node(b"texts", pieces)


def _dictionary(encoder: EncoderInterface, kind: Any, chunks: list[Any]) -> bytes:
    """Encode a dictionary's values, also unused ones, and the items by their indices."""
    one = arrow.chunked_array(chunks, type=kind).unify_dictionaries().chunks
    if not one:
        return encoder.node(b"no dictionary", ())
    listed = _chunks(encoder, kind.value_type, [one[0].dictionary])
    places = _chunks(encoder, kind.index_type, [each.indices for each in one])
    return encoder.node(b"dictionary", (listed, places))


def _polars_frame(encoder: EncoderInterface, value: Any) -> bytes:
    pieces = [encoder.named(type(value)), encoder.encode(value.height)]
    pieces += [_polars_series(encoder, column) for column in value.get_columns()]
    return encoder.node(b"polars frame", pieces)


def _polars_series(encoder: EncoderInterface, value: Any) -> bytes:
    pieces = encoder.named(type(value)), encoder.encode(value.name), _polars_items(encoder, value)
    return encoder.node(b"polars series", pieces)


def _polars_plan(encoder: EncoderInterface, value: Any) -> bytes:
    # It may call functions, of which it keeps no more than their names.
    raise Unstable("a LazyFrame is a plan and not a value: collect() it")


def _polars_expression(encoder: EncoderInterface, value: Any) -> bytes:
    data = value.__getstate__()
    if b"PLPY" in data:
        raise Unstable("an expression that calls Python keeps no more of it than a name")
    return encoder.node(b"polars expression", (encoder.named(type(value)), encoder.encode(data)))


def _polars_items(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode the items of a series, without the bytes of missing ones."""
    missing = value.is_null().to_numpy()
    header = encoder.encode([str(value.dtype), len(value)])
    present = value.drop_nulls() if missing.any() else value
    pieces = [header, encoder.encode(missing), *_polars_present(encoder, present)]
    return encoder.node(b"polars items", pieces)


def _polars_present(encoder: EncoderInterface, value: Any) -> Iterator[bytes]:
    kind = value.dtype
    if isinstance(kind, pl.Struct):
        yield from (_polars_items(encoder, value.struct.field(n)) for n in value.struct.fields)
    elif isinstance(kind, pl.Array):
        yield _polars_items(encoder, value.arr.to_list())
    elif isinstance(kind, pl.List):
        lengths = value.list.len()
        yield _polars_items(encoder, lengths)
        yield _polars_items(encoder, value.filter(lengths > 0).explode())
    elif isinstance(kind, (pl.Categorical, pl.Enum)):
        # The number of a category depends on which the process has seen before.
        if isinstance(kind, pl.Enum):
            yield encoder.encode(kind.categories.to_list())
        elif getattr(kind, "ordering", "lexical") == "physical":
            yield encoder.encode(value.to_physical().rank("dense").to_numpy())
        yield encoder.encode(value.cast(pl.String).to_list())
    elif kind.is_float() or kind.is_temporal() or kind == pl.Boolean or _fits(kind):
        yield encoder.encode(value.to_physical().rechunk().to_numpy())
    else:
        yield encoder.encode(value.to_list())


def _fits(kind: Any) -> bool:
    return bool(kind.is_integer()) and str(kind) not in ("Int128", "UInt128")


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
    header = encoder.named(type(value)), encoder.encode(value.name)
    return encoder.node(b"series", (*header, *pieces))


def _labels(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode the labels and attributes of a frame or series."""
    labels = {"attrs": dict(value.attrs), "unique": value.flags.allows_duplicate_labels}
    labels |= {name: getattr(value, name, None) for name in value._metadata if name != "_name"}
    return encoder.attributes(labels)


def _index(encoder: EncoderInterface, value: Any) -> bytes:
    names = encoder.encode([*value.names, getattr(value, "freqstr", None)])
    pieces = encoder.named(type(value)), names, _column(encoder, value.array)
    return encoder.node(b"index", pieces)


def _multi_index(encoder: EncoderInterface, value: Any) -> bytes:
    levels = (encoder.encode(value.get_level_values(i)) for i in range(value.nlevels))
    return encoder.node(b"multiindex", (encoder.named(type(value)), *levels))


def _column(encoder: EncoderInterface, value: Any) -> bytes:
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


# Of a class before those that it derives from.
TABLES: list[tuple[str, str, Handler]] = [
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("pandas", "MultiIndex", _multi_index),
    ("pandas", "Index", _index),
    ("pandas.api.extensions", "ExtensionArray", _column),
    ("pyarrow", "Table", _arrow_table),
    ("pyarrow", "RecordBatch", _arrow_table),
    ("pyarrow", "ChunkedArray", _arrow_column),
    ("pyarrow", "Array", _arrow_column),
    ("pyarrow", "Scalar", _arrow_scalar),
    ("pyarrow", "Buffer", _arrow_buffer),
    ("polars", "DataFrame", _polars_frame),
    ("polars", "Series", _polars_series),
    ("polars", "LazyFrame", _as_instance(_polars_plan)),
    ("polars", "Expr", _as_instance(_polars_expression)),
]
