"""Tables of pyarrow and polars, and columns of pandas on pyarrow: chunks do not count."""

from __future__ import annotations

import datetime
import decimal
import itertools
import pickle

import pandas as pd
import pytest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import of_value
from tests.fingerprint.conftest import World

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")

STRUCT = pa.struct([("x", pa.int64()), ("y", pa.string())])
# Items of each type; the last but one is missing.
TYPES = {
    "bool": (pa.bool_(), [True, False, True, None, False]),
    "int": (pa.int16(), [1, -2, 3, None, 5]),
    "float": (pa.float64(), [1.0, float("nan"), -0.0, None, 2.0]),
    "half": (pa.float16(), [1.0, 2.0, 3.0, None, 0.0]),
    "text": (pa.string(), ["a", "", "ccc", None, "é"]),
    "large text": (pa.large_string(), ["a", "", "ccc", None, "é"]),
    "viewed text": (pa.string_view(), ["a", "", "c" * 30, None, "é"]),
    "bytes": (pa.binary(), [b"a", b"", b"ccc", None, b"e"]),
    "bytes of one size": (pa.binary(2), [b"aa", b"bb", b"cc", None, b"ee"]),
    "decimal": (pa.decimal128(9, 2), [*map(decimal.Decimal, ("1.5", "2", "3")), None, None]),
    "date": (pa.date32(), [datetime.date(2020, 1, n) for n in (1, 2, 3)] + [None, None]),
    "time": (pa.timestamp("us", "UTC"), [1, 2, 3, None, 5]),
    "list": (pa.list_(pa.int64()), [[1], [], [2, None], None, [3, 4]]),
    "large list": (pa.large_list(pa.string()), [["a"], [], ["b", None], None, ["c", "d"]]),
    "pairs": (pa.list_(pa.int8(), 2), [[1, 2], [3, 4], [5, None], None, [7, 8]]),
    "struct": (STRUCT, [{"x": 1, "y": "a"}, {"x": None, "y": "b"}, {"x": 3}, None, {"x": 4}]),
    "lists of structs": (pa.list_(STRUCT), [[{"x": 1}], [], [{"y": "b"}], None, [{"x": 2}]]),
    "map": (pa.map_(pa.string(), pa.int8()), [[("a", 1)], [], [("b", None)], None, [("c", 3)]]),
    "category": (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "a", None, "c"]),
    "nothing": (pa.null(), [None] * 5),
}


def array(name: str) -> pa.Array:
    kind, items = TYPES[name]
    return pa.array(items, kind)


def chunked(one: pa.Array, *ends: int) -> pa.ChunkedArray:
    starts = [0, *ends]
    parts = [one[a:b] for a, b in zip(starts, [*ends, len(one)], strict=True)]
    return pa.chunked_array(parts, one.type)


@pytest.mark.parametrize("name", TYPES)
def test_chunks_of_an_array_do_not_count(name: str) -> None:
    one = array(name)
    values = [chunked(one), chunked(one, 2), chunked(one, 0, 1, 4), chunked(one, 3, 3)]
    assert len(set(map(of_value, values))) == 1
    assert len({of_value(pa.table({"a": value})) for value in values}) == 1


@pytest.mark.parametrize("name", TYPES)
def test_where_a_slice_comes_from_does_not_count(name: str) -> None:
    kind, items = TYPES[name]
    longer = pa.array([*items[1:], *items, *items[:2]], kind)
    if name == "category":  # Its levels count, and here they come in another order.
        longer = pa.DictionaryArray.from_arrays(
            pa.array([1, 0, None, 2, 0, 1, 0, None, 2, 0, 1], pa.int8()), ["a", "b", "c"]
        )
    assert of_value(longer[4:9]) == of_value(array(name))
    assert of_value(pickle.loads(pickle.dumps(array(name)))) == of_value(array(name))


@pytest.mark.parametrize("name", [name for name in TYPES if name != "nothing"])
def test_each_item_of_an_array_counts(name: str) -> None:
    kind, items = TYPES[name]
    assert items[0] != items[1]
    others = [[*items[:i], items[1 if i == 0 else 0], *items[i + 1 :]] for i in range(5)]
    digests = {of_value(pa.array(each, kind)) for each in others if each != items}
    assert of_value(array(name)) not in digests


def test_each_type_is_another_value() -> None:
    digests = [of_value(array(name)) for name in TYPES]
    assert len(set(digests)) == len(digests)


def test_what_lies_under_a_missing_item_does_not_count() -> None:
    bits = pa.py_buffer(bytes([0b1101]))
    values = []
    for rubbish in (0, 7):
        data = pa.array([1, rubbish, 3, 4], pa.int32()).buffers()[1]
        values.append(pa.Array.from_buffers(pa.int32(), 4, [bits, data]))
    assert (
        of_value(values[0]) == of_value(values[1]) == of_value(pa.array([1, None, 3, 4], "int32"))
    )


def metadata(**pairs: str) -> pa.Table:
    return pa.table({"a": [1]}).replace_schema_metadata(pairs)


DIFFERENT = {
    "tables": [
        pa.table({"a": [1, 2]}), pa.table({"b": [1, 2]}), pa.table({"a": [1, 2], "b": [1, 2]}),
        pa.table({"b": [1, 2], "a": [1, 2]}), pa.table({"a": [2, 1]}), pa.table({"a": [1.0, 2.0]}),
        pa.table({"a": [1, 2]}).to_batches()[0], pa.chunked_array([[1, 2]]), pa.array([1, 2]),
        pa.table({"a": [1, 2]}, pa.schema([pa.field("a", pa.int64(), nullable=False)])),
    ],
    "metadata": [metadata(), metadata(k="1"), metadata(k="2")],
    "rows without columns": [pa.table({}), pa.table({"a": [1]}).select([])],
    "boundaries": [pa.array(["ab", "c"]), pa.array(["a", "bc"]), pa.array(["abc", ""])],
    "lists": [pa.array([[1], [2]]), pa.array([[1, 2], []]), pa.array([[], [1, 2]])],
    "missing": [pa.array([None, 1]), pa.array([1, None]), pa.array([1]), pa.array([0, 1])],
    "scalars": [pa.scalar(1), pa.scalar(2), pa.scalar(1.0), pa.scalar(None), pa.array([1])],
    "levels": [
        pa.DictionaryArray.from_arrays([0], levels) for levels in (["a"], ["a", "b"], ["b", "a"])
    ],
    "unions": [
        pa.UnionArray.from_sparse(pa.array(codes, pa.int8()), [pa.array([1, 2])] * 2)
        for codes in ([0, 0], [0, 1], [1, 0])
    ],
    "runs": [pa.RunEndEncodedArray.from_arrays([n, 5], [1, 2]) for n in (1, 2)],
    "columns of pandas": [
        pd.Series(["a", None], dtype=kind)
        for kind in ("string[pyarrow]", "string[python]", "large_string[pyarrow]", object)
    ] + [pd.Series([1, None], dtype="int64[pyarrow]"), pd.Series([1, None], dtype="Int64")],
    "series of polars": [
        pl.Series([1, 2]), pl.Series([2, 1]), pl.Series("a", [1, 2]), pl.Series([1.0, 2.0]),
        pl.Series([1, None]), pl.Series([None, 1]), pl.Series(["1", "2"]), pl.Series([[1], [2]]),
        pl.Series([[1, 2], []]), pl.Series([[1, 2], None]), pl.Series([{"a": 1}, {"a": 2}]),
        pl.Series([{"b": 1}, {"b": 2}]), pl.Series([1, 2]).to_frame(), pl.Series([True, False]),
        pl.Series([1, 2], dtype=pl.Int8), pl.Series([[1], [2]], dtype=pl.Array(pl.Int64, 1)),
    ],
    "categories of polars": [
        pl.Series(["a", "b"], dtype=kind)
        for kind in (pl.Categorical, pl.Enum(["a", "b"]), pl.Enum(["b", "a"]), pl.String)
    ],
    "frames of polars": [
        pl.DataFrame({"a": [1], "b": [2]}), pl.DataFrame({"b": [2], "a": [1]}),
        pl.DataFrame({"a": [1]}), pl.DataFrame(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("claim", DIFFERENT)
def test_these_tables_are_all_different(claim: str) -> None:
    values = DIFFERENT[claim]
    for (i, one), (j, other) in itertools.combinations(enumerate(map(of_value, values)), 2):
        assert one != other, (values[i], values[j])


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "int": [1, None, 3, 4],
            "text": ["a", None, "", "d" * 30],
            "bool": [True, None, False, True],
            "list": [[1, 2], [], None, [3]],
            "lists": [[["a"], []], [], None, [["b"]]],
            "struct": [{"x": 1, "y": None}, None, {"x": None, "y": "b"}, {"x": 3, "y": "c"}],
            "category": pl.Series(["a", "b", None, "a"], dtype=pl.Categorical),
            "levels": pl.Series(["a", "b", None, "a"], dtype=pl.Enum(["b", "a"])),
            "pair": pl.Series([[1, 2], None, [3, 4], [5, 6]], dtype=pl.Array(pl.Int8, 2)),
            "time": [datetime.datetime(2020, 1, n) for n in (1, 2, 3)] + [None],
            "decimal": [decimal.Decimal("1.5"), None, decimal.Decimal("2.5"), None],
            "bytes": [b"a", None, b"", b"d"],
            "nothing": [None] * 4,
        }
    )


@pytest.mark.parametrize("column", frame().columns)
def test_chunks_of_a_column_of_polars_do_not_count(column: str) -> None:
    one = frame()[column]
    parts = pl.concat([one[:1], one[1:3], one[3:]], rechunk=False)
    assert parts.n_chunks() == 3
    longer = pl.concat([one, one, one])
    assert of_value(one) == of_value(parts) == of_value(longer[4:8])
    assert of_value(pickle.loads(pickle.dumps(parts))) == of_value(one)
    assert of_value(one[:2]) != of_value(one)


def test_what_categories_a_process_has_seen_before_does_not_count() -> None:
    before = of_value(pl.Series(["x", "y"], dtype=pl.Categorical))
    pl.Series(["z", "y", "x", "w"], dtype=pl.Categorical)
    assert of_value(pl.Series(["w", "x", "y"], dtype=pl.Categorical)[1:]) == before


def test_columns_of_pandas_on_pyarrow_do_not_count_their_chunks() -> None:
    for kind in ("string[pyarrow]", "int64[pyarrow]", "large_string[pyarrow]"):
        one = pd.Series(["1", None, "3"] if "string" in kind else [1, None, 3], dtype=kind)
        parts = pd.concat([one[:1], one[1:]])
        assert of_value(parts) == of_value(one)
        assert of_value(pickle.loads(pickle.dumps(parts))) == of_value(one)


def test_a_plan_has_no_fingerprint() -> None:
    with pytest.raises(NoFingerprintError, match="collect"):
        of_value([frame().lazy()])


def test_an_expression_counts_by_what_it_does_unless_it_calls_python() -> None:
    assert of_value(pl.col("a") + 1) == of_value(pl.col("a") + 1) != of_value(pl.col("a") + 2)
    with pytest.raises(NoFingerprintError, match="Python"):
        of_value(pl.col("a").map_batches(lambda each: each))


def test_tables_have_one_digest_in_all_processes(world: World) -> None:
    run = "from tests.fingerprint import test_tables as t; import pandas as pd, polars as pl"
    show = "of_value([t.array(n) for n in t.TYPES] + [t.frame(), "
    show += "pd.Series(['a', None], dtype='string[pyarrow]')])"
    answers = [world.look(show, run) for _ in range(2)]
    assert answers[0].value == answers[1].value
    assert answers[0].error is None
