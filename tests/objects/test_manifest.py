"""A manifest says what it was made of, and accepts nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoflow.errors import IntegrityError
from memoflow.names import Digest
from memoflow.objects import Adopted, File, Manifest, Piece

BLOB = Digest.of(b"blob")
XXH3 = "0" * 32
WHOLE = Manifest(
    files=(
        File("a", 9, True, (Piece(BLOB, 0, 5, XXH3), Piece(Digest.of(b"2"), 7, 4, XXH3))),
        File("b/c", 2, False, inline=b"\x00\xff"),
        File("b/empty", 0, inline=b""),
        File("b/link", 0, target="../a"),
    ),
    folders=("b/d", "e"),
    adopted=(Adopted("x", Digest("sha1:" + "a" * 40), 10, XXH3),),
    meta={"n": [1, None, "ü"]},
)


def test_a_manifest_comes_back_equal() -> None:
    assert Manifest.from_bytes(WHOLE.to_bytes()) == WHOLE


def test_pieces_that_follow_each_other_are_one_run() -> None:
    xxh3s = [f"{n:032x}" for n in range(1000)]
    pieces = [Piece(BLOB, 5 + 7 * n, 7, xxh3) for n, xxh3 in enumerate(xxh3s)]
    manifest = Manifest((File("a", 7000, pieces=tuple(pieces)),))
    (row,) = manifest.to_json()["files"]
    assert row["runs"] == [[0, 5, 7, 1000]]
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


PIECES = st.builds(
    Piece,
    st.sampled_from([BLOB, Digest.of(b"2")]),
    st.integers(0, 30),
    st.integers(1, 10),
    st.integers(0, 1 << 100).map(lambda n: f"{n:032x}"),
)


@given(st.lists(PIECES, max_size=30))
def test_any_pieces_come_back_equal(pieces: list[Piece]) -> None:
    file = File("a", sum(piece.length for piece in pieces), pieces=tuple(pieces))
    manifest = Manifest((file,))
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_pieces_as_the_first_manifests_had_them_are_read() -> None:
    (file,) = Manifest.from_json(with_piece(0, 3, 5, XXH3)).files
    assert file.pieces == (Piece(BLOB, 3, 5, XXH3),)


def test_its_size_is_what_a_load_writes() -> None:
    assert WHOLE.size_bytes == 9 + 2 + 10


def test_its_blobs_are_all_that_it_needs() -> None:
    assert WHOLE.blobs == {BLOB, Digest.of(b"2"), Digest("sha1:" + "a" * 40)}


def with_file(**fields: Any) -> dict[str, Any]:
    data = {"blobs": [BLOB], "files": [], "folders": [], "adopted": [], "meta": {}}
    data["files"] = [{"path": "a", "inline": ""} | fields]
    return {**data, "files": [{k: v for k, v in data["files"][0].items() if v is not None}]}


def with_paths(*paths: str) -> dict[str, Any]:
    return with_file() | {"files": [{"path": path, "inline": ""} for path in paths]}


def with_links(**links: str) -> dict[str, Any]:
    files = [{"path": path.replace("_", "/"), "target": to} for path, to in links.items()]
    return with_file() | {"files": files}


def with_piece(*piece: Any) -> dict[str, Any]:
    return with_file(inline=None, pieces=[list(piece)])


def with_run(*run: Any, xxh3: Any = XXH3) -> dict[str, Any]:
    return with_file(inline=None, runs=[list(run)], xxh3=xxh3)


BAD_PATHS = ["", "/etc/passwd", "..", "../a", "a/../../b", "a/..", ".", "./a", "a//b", "a/", "a\0b",
             "x" * 256, "a/" * 300 + "b", "/".join(["x" * 200] * 30), "\ud800"]  # fmt: skip

HOSTILE: dict[str, Any] = {
    **{f"path {path[:20]!a}": with_paths(path) for path in BAD_PATHS},
    **{f"folder {path[:20]!a}": with_file() | {"folders": [path]} for path in BAD_PATHS},
    "twice": with_paths("a", "a"),
    "below a file": with_paths("a", "a/b"),
    "deep below a file": with_paths("a", "a/b/c/d"),
    "folder and file": with_file() | {"folders": ["a"]},
    "folder below a file": with_file() | {"folders": ["a/b"]},
    "folder twice": with_file() | {"folders": ["d", "d"]},
    "link out": with_links(a=".."),
    "link far out": with_links(a="../../etc/passwd"),
    "absolute link": with_links(a="/etc/passwd"),
    "link to nothing": with_links(a=""),
    "link with NUL": with_links(a="x\0"),
    "chain of links out": with_links(d1_d2_l="../..", e="d1/d2/l/../.."),
    "link through a link out": with_links(a="b/..", b="c/d", c_e="../.."),
    "links in a circle": with_links(a="b", b="a"),
    "file below a link": with_file()
    | {"files": [{"path": "a", "target": "b"}, {"path": "a/x", "inline": ""}]},
    "file and link": with_file()
    | {"files": [{"path": "a", "target": "b"}, {"path": "a", "inline": ""}]},
    "no content": with_file(inline=None),
    "two contents": with_file(target="b"),
    "odd base64": with_file(inline="###"),
    "executable as number": with_file(executable=1),
    "unknown field": with_file(owner="root"),
    "path as number": with_file(path=7),
    "no blob of that number": with_piece(1, 0, 5, XXH3),
    "negative blob": with_piece(-1, 0, 5, XXH3),
    "negative offset": with_piece(0, -1, 5, XXH3),
    "empty piece": with_piece(0, 0, 0, XXH3),
    "huge piece": with_piece(0, 0, 1 << 40, XXH3),
    "length as text": with_piece(0, 0, "5", XXH3),
    "length as truth": with_piece(0, 0, True, XXH3),
    "length as fraction": with_piece(0, 0, 5.0, XXH3),
    "short xxh3": with_piece(0, 0, 5, "00"),
    "capital xxh3": with_piece(0, 0, 5, "A" * 32),
    "three fields": with_piece(0, 0, 5),
    "run of no blob of that number": with_run(1, 0, 5, 1),
    "run of a negative offset": with_run(0, -1, 5, 1),
    "run of empty pieces": with_run(0, 0, 0, 1),
    "run of huge pieces": with_run(0, 0, 1 << 40, 1),
    "run of no pieces": with_run(0, 0, 5, 0, xxh3=""),
    "run of more pieces than hashes": with_run(0, 0, 5, 1 << 59),
    "run of fewer pieces than hashes": with_run(0, 0, 5, 1, xxh3=XXH3 * 2),
    "run of five fields": with_run(0, 0, 5, 1, 1),
    "run without hashes": with_run(0, 0, 5, 1, xxh3=None),
    "run with half a hash": with_run(0, 0, 5, 1, xxh3=XXH3 + "00"),
    "run with capital hashes": with_run(0, 0, 5, 1, xxh3="A" * 32),
    "hashes without a run": with_file(xxh3=""),
    "runs and pieces": with_file(inline=None, runs=[[0, 0, 5, 1]], xxh3=XXH3, pieces=[]),
    "blob that leads out": with_file() | {"blobs": ["sha256:../../etc/passwd"]},
    "blob of another hash": with_file() | {"blobs": ["xxh3:" + XXH3]},
    "short blob": with_file() | {"blobs": ["sha256:" + "a" * 40]},
    "adopted under SHA-256": with_file() | {"adopted": [["x", BLOB, 1, XXH3]]},
    "adopted twice": with_file() | {"adopted": [["x", "sha1:" + "a" * 40, 1, XXH3]] * 2},
    "meta as list": with_file() | {"meta": []},
    "files as mapping": with_file() | {"files": {}},
    "nothing": None,
    "text": "manifest",
    "empty": {},
    "more": with_file() | {"more": 1},
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_is_rejected(data: Any) -> None:
    with pytest.raises(IntegrityError, match="this is no manifest: "):
        Manifest.from_json(data)


def test_a_million_entries_and_one_are_rejected() -> None:
    with pytest.raises(IntegrityError):
        Manifest.from_json(with_file() | {"folders": ["a"] * 1_000_001})


def test_deep_json_is_rejected() -> None:
    with pytest.raises(IntegrityError):
        Manifest.from_bytes(b"[" * 100_000)


def test_links_that_stay_inside_are_accepted() -> None:
    data = with_links(a="b/c", b="d", d_c="../e/./f", gone="nowhere")
    assert len(Manifest.from_json(data).files) == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data())
def test_one_changed_value_is_rejected_or_harmless(data: st.DataObject) -> None:
    """Whatever stands anywhere: a manifest with plain paths, or an IntegrityError."""
    parsed = copy.deepcopy(json.loads(WHOLE.to_bytes()))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for place in node if isinstance(node, dict) else range(len(node)):
            places.append((node, place))
            if isinstance(node[place], (dict, list)):
                walk(node[place])

    walk(parsed)
    node, place = data.draw(st.sampled_from(places))
    node[place] = data.draw(JSON)
    try:
        manifest = Manifest.from_json(parsed)
    except IntegrityError:
        return
    assert not any(".." in file.path.split("/") or file.path[:1] == "/" for file in manifest.files)
