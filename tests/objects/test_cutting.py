"""Files are cut where their format says, and whatever they hold, no byte is lost or doubled."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memoflow.backends import Memory
from memoflow.objects import Manifest, Tree, read_file
from memoflow.objects.cutting import (
    LONGEST_TEXT_BYTES,
    PIECE_BYTES,
    Read,
    Region,
    cut_text,
    piece_bytes,
    regions,
)
from memoflow.objects.packing import pack
from memoflow.objects.planning import ReusablePieces

KIB, MIB = 1 << 10, 1 << 20


def reader(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


def regions_of(data: bytes) -> list[Region]:
    found = regions(reader(data), len(data))
    ends = [0, *(region.end for region in found)]
    assert [region.start for region in found] == ends[:-1]
    assert ends[-1] == len(data)
    assert all(region.start < region.end for region in found)
    return found


def safetensors(tensors: dict[str, bytes], *, metadata: dict[str, str] | None = None) -> bytes:
    header, at = {}, 0
    for name, data in tensors.items():
        offsets = [at, at + len(data)]
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": offsets}
        at += len(data)
    if metadata is not None:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def archive(members: dict[str, bytes], *, packed: bool = False, zip64: bool = False) -> bytes:
    file = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", how) as zipped:
        for name, data in members.items():
            with zipped.open(name, "w", force_zip64=zip64) as member:
                member.write(data)
    return file.getvalue()


def csv(rows: int, seed: int = 0) -> bytes:
    chance = random.Random(seed)
    return b"".join(b"%d,%.6f,%.3f\n" % (n, chance.random(), chance.random()) for n in range(rows))


def new_bytes(first: bytes, second: bytes) -> int:
    """How much a save of the second adds to one of the first."""
    backend = Memory()
    packed = pack(backend, Tree.survey(None, {"file": first}))
    earlier = ReusablePieces(backend, previous=Manifest(packed.files))
    return pack(backend, Tree.survey(None, {"file": second}), earlier=earlier).new_bytes


WEIGHTS = {str(n): os.urandom(n * 100 * KIB) for n in range(1, 8)}


def test_large_tensors_are_regions() -> None:
    found = regions_of(safetensors(WEIGHTS))
    sizes = [region.end - region.start for region in found]
    assert sizes[1:] == [len(data) for data in WEIGHTS.values()]


@pytest.mark.parametrize("zip64", [False, True])
def test_large_members_are_regions(zip64: bool) -> None:
    sizes = [region.end - region.start for region in regions_of(archive(WEIGHTS, zip64=zip64))]
    assert [size for size in sizes if size > KIB] == [len(data) for data in WEIGHTS.values()]


def test_packed_members_are_ranges() -> None:
    members = {name: data + bytes(MIB) for name, data in WEIGHTS.items()}
    assert len(regions_of(archive(members, packed=True))) > len(WEIGHTS)


@pytest.mark.parametrize("make", [safetensors, archive])
def test_an_unchanged_tensor_is_found_again_wherever_it_moved(make) -> None:
    adapter = {"0": os.urandom(70 * KIB)}
    longer = {"0": os.urandom(90 * KIB + 13), "00": os.urandom(100)}
    assert new_bytes(make(adapter | WEIGHTS), make(longer | WEIGHTS)) < 100 * KIB


@pytest.mark.parametrize("make", [safetensors, archive])
def test_many_small_tensors_share_pieces(make) -> None:
    data = make({str(n): os.urandom(100) for n in range(10_000)})
    assert len(regions_of(data)) < 2 * len(data) // PIECE_BYTES


def test_rows_put_in_front_of_a_table_cost_no_more_than_a_few_pieces() -> None:
    table = csv(300_000)
    assert new_bytes(table, csv(1000, seed=1) + table) < len(table) / 8


def test_rows_put_in_the_middle_of_a_log_cost_no_more_than_a_few_pieces() -> None:
    lines = csv(300_000).splitlines(keepends=True)
    longer = b"".join([*lines[:150_000], b"something else\n" * 10, *lines[150_000:]])
    assert new_bytes(b"".join(lines), longer) < len(longer) / 8


def test_bytes_put_in_front_of_binary_data_shift_it() -> None:
    data = os.urandom(2 * MIB)
    assert regions_of(data) == [Region(0, len(data))]
    assert new_bytes(data, data + b"more") == len(b"more")


def test_text_without_ends_of_lines_is_cut_all_the_same() -> None:
    data = b"x" * 3 * MIB
    assert sum(cut_text(memoryview(data), is_end=True)) == len(data)
    assert not any(region.text for region in regions_of(data))


@pytest.mark.parametrize(
    ("total_bytes", "length"),
    [(0, 256 * KIB), (64 << 30, 256 * KIB), (65 << 30, 512 * KIB), (1 << 50, 8 * MIB)],
)
def test_larger_saves_have_larger_pieces(total_bytes: int, length: int) -> None:
    assert piece_bytes(total_bytes) == length


GOOD = safetensors({"a": os.urandom(300 * KIB), "b": os.urandom(300 * KIB)})
ZIP = archive({"a": os.urandom(300 * KIB), "b": os.urandom(300 * KIB)})


def header(data: object) -> bytes:
    text = json.dumps(data).encode()
    return struct.pack("<Q", len(text)) + text + os.urandom(600 * KIB)


def tensor(*offsets: object) -> dict[str, object]:
    return {"data_offsets": list(offsets)}


BROKEN = {
    "a header longer than the file": struct.pack("<Q", 1 << 40) + GOOD[8:],
    "a header of 2**63 bytes": struct.pack("<Q", 1 << 63) + GOOD[8:],
    "no JSON": GOOD[:9] + b"}" + GOOD[10:],
    "deep JSON": struct.pack("<Q", 200_000) + b'{"a":' * 40_000 + os.urandom(600 * KIB),
    "a list": header([1, 2]),
    "a tensor without offsets": header({"a": {}}),
    "a tensor that is no mapping": header({"a": 5}),
    "offsets as text": header({"a": tensor("0", "5")}),
    "offsets as fractions": header({"a": tensor(0.5, 5.5)}),
    "three offsets": header({"a": tensor(0, 5, 9)}),
    "offsets that are no list": header({"a": {"data_offsets": 5}}),
    "negative offsets": header({"a": tensor(-100, 5)}),
    "offsets that run backwards": header({"a": tensor(9, 5)}),
    "tensors that overlap": header({"a": tensor(0, 9), "b": tensor(5, 12)}),
    "a tensor beyond the end": header({"a": tensor(0, 1 << 40)}),
    "a huge number": header({"a": tensor(0, 10**400)}),
    "an archive cut short": ZIP[: 500 * KIB],
    "an archive without its beginning": b"PK\3\4" + ZIP[400 * KIB :],
    "an archive with a long directory": ZIP[:-10] + b"\xff" * 4 + ZIP[-6:],
    "an archive that claims more members": ZIP[:-12] + b"\xfe\xff" + ZIP[-10:],
    "an archive of 64 bits without its end": ZIP[:-12] + b"\xff" * 10 + b"\0\0",
    "the beginning of an archive": b"PK\3\4" + os.urandom(600 * KIB),
    "only the end of an archive": b"PK\3\4" + os.urandom(600 * KIB) + b"PK\5\6" + b"\xff" * 18,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_not_as_its_format_says_is_cut_like_anything(data: bytes) -> None:
    assert regions_of(data) == [Region(0, len(data))]


def test_a_tensor_file_as_a_whole_comes_back_equal() -> None:
    for data in (GOOD, ZIP, csv(30_000), *BROKEN.values()):
        backend = Memory()
        (file,) = pack(backend, Tree.survey(None, {"file": data})).files
        assert read_file(backend, file) == data


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_byte_anywhere_never_changes_what_comes_back(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([GOOD, ZIP, archive(WEIGHTS, zip64=True)])))
    for _ in range(data.draw(st.integers(1, 3))):
        # Near the ends, where the directories are.
        at = data.draw(st.integers(-400, 400).filter(lambda n: -len(whole) <= n < len(whole)))
        whole[at] = data.draw(st.integers(0, 255))
    regions_of(bytes(whole))


LINES = st.lists(st.binary(max_size=400).map(lambda line: line.replace(b"\n", b"")), max_size=60)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(1, 400), st.integers(1, 3 * MIB))
def test_text_in_any_portions_is_cut_the_same(lines: list[bytes], times: int, step: int) -> None:
    data = memoryview(b"\n".join(lines * times)[: 2 * MIB])
    whole = cut_text(data, is_end=True)
    assert sum(whole) == len(data)
    assert all(0 < length <= LONGEST_TEXT_BYTES for length in whole)
    step = max(step, LONGEST_TEXT_BYTES + 1)
    portions: list[int] = []
    while sum(portions) < len(data):
        at = sum(portions)
        portions += cut_text(data[at : at + step], is_end=at + step >= len(data))
    assert portions == whole


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 700), st.binary(max_size=50))
def test_any_bytes_come_back_equal(start: bytes, times: int, end: bytes) -> None:
    data = start * times + end
    regions_of(data)
    backend = Memory()
    (file,) = pack(backend, Tree.survey(None, {"file": data})).files
    assert read_file(backend, file) == data
    assert file.size_bytes == len(data)
