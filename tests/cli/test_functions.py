"""The verbs on results of functions: they are known as those of steps are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow import memoize
from memoflow.functions.place import PLACES
from tests.cli.conftest import Shelf

HOME = "tests.cli.test_functions"


def embed(text, model="small"):
    return [text, model]


def grid(n, order="C"):
    return np.arange(n * 2, dtype="float32").reshape(n, 2, order=order)


def table(n):
    return {"rows": np.arange(n), "more": [np.arange(n).T, b"\x97" * 5], "of": Path("a")}


def count(n):
    yield from ({"n": i} for i in range(n))


def words():
    return np.array(["a", None], dtype=object)


@pytest.fixture
def filled(empty: Shelf, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A store with two hits and two misses of `embed`."""
    memoized = memoize(embed, store=empty.store)
    for text in "abab":
        memoized(text)
    PLACES.__init__()  # type: ignore[misc] # As at exit.
    monkeypatch.chdir(empty.folder)
    return empty


@pytest.mark.parametrize("name", [f"{HOME}/embed", f"{HOME}.embed", "embed"])
def test_a_function_is_listed_by_its_names(filled: Shelf, name: str) -> None:
    found = filled.json("ls", name)["entries"]
    assert [(each["kind"], each["flow"], each["step"]) for each in found] == [
        ("memo", HOME, "embed"),
        ("memo", HOME, "embed"),
    ]


def test_a_result_is_shown_with_arguments_time_size_and_origin(filled: Shelf) -> None:
    for each in filled.json("ls")["entries"]:
        shown = filled.json("show", each["id"])
        names = [(part["name"], part["summary"]) for part in shown["reads"]]
        assert names in ([("text", f"'{text}'"), ("model", "'small'")] for text in "ab")
        assert shown["origin"].startswith(f"{HOME}/")
        assert "/embed/" in shown["origin"]
        assert 0 <= shown["run_time_s"] < 60
        assert shown["size_bytes"] > 0
        text = filled.run("show", each["id"]).output
        assert "ARGUMENT\tVALUE\tDIGEST" in text
        assert "code embed()" in text


def test_stats_and_report_count_hits_and_misses(filled: Shelf) -> None:
    stats = filled.json("stats")
    assert (stats["hits"], stats["misses"]) == (2, 2)
    assert [(each["flow"], each["step"], each["hits"]) for each in stats["steps"]] == [
        (HOME, "embed", 2)
    ]
    assert f"{HOME}/embed\t2\t2\t" in filled.run("stats").output
    assert filled.run("report", "--html", "report.html").exit_code == 0
    assert "of 4 memoized tasks and calls" in Path("report.html").read_text()


def test_why_refers_to_the_function_s_own(filled: Shelf) -> None:
    done = filled.run("why", f"{HOME}/embed")
    assert done.exit_code == 1
    assert "is a function, whose calls are no tasks" in done.output
    assert "embed.why(...)" in done.output


def test_a_function_is_verified_forgotten_and_collected(filled: Shelf) -> None:
    assert filled.json("verify", "--read-data")["problems"] == []
    assert filled.json("gc", "--older-than", "1d", "--yes")["entries"] == 0
    done = filled.json("forget", f"{HOME}.embed", "--all", "--yes")
    assert len(done["forgotten"]) == 2
    filled.json("gc", "--now", "--yes")
    assert filled.json("ls")["entries"] == []
    assert filled.json("stats")["stored_bytes"] < 5000


def got(shelf: Shelf, function: Any, *given: Any, **named: Any) -> Path:
    """Call a function, memoized, and return the file that `get` makes of its value."""
    memoized = memoize(function, store=shelf.store)
    kept = memoized(*given, **named)
    list(kept) if function is count else None
    into = shelf.folder / "got"
    key = shelf.json("ls", function.__name__)["entries"][0]["key"]
    data = shelf.json("get", key, "--into", str(into))
    (name,) = data["files"]
    assert data["size_bytes"] == (into / name).stat().st_size
    return into / name


@pytest.mark.parametrize("n", [3, 400_000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_got_as_such(empty: Shelf, n: int, order: str) -> None:
    path = got(empty, grid, n, order)
    assert path.name == "value.npy"
    found = np.load(path, allow_pickle=False)
    assert np.array_equal(found, grid(n, order))
    assert found.dtype == "float32"


@pytest.mark.parametrize("n", [3, 400_000])
def test_another_value_is_got_as_a_pickle(empty: Shelf, n: int) -> None:
    path = got(empty, table, n)
    assert path.name == "value.pickle"
    found, made = pickle.loads(path.read_bytes()), table(n)
    assert np.array_equal(found["rows"], made["rows"])
    assert np.array_equal(found["more"][0], made["more"][0])
    assert (found["more"][1], found["of"]) == (made["more"][1], made["of"])


def test_an_array_of_objects_is_got_as_a_pickle(empty: Shelf) -> None:
    path = got(empty, words)
    assert path.name == "value.pickle"
    assert pickle.loads(path.read_bytes()).tolist() == ["a", None]


def test_the_items_of_a_generator_are_got_one_after_the_other(empty: Shelf) -> None:
    path = got(empty, count, 3)
    assert path.name == "items.pickle"
    with path.open("rb") as file:
        assert [pickle.load(file) for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert file.read() == b""


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "ran")


def trap(path):
    return [Trap(Path(path)), np.zeros(400_000)]


def test_nothing_is_unpickled(empty: Shelf) -> None:
    mark = empty.folder / "mark"
    path = got(empty, trap, str(mark))
    assert not mark.exists()
    assert pickle.loads(path.read_bytes())[1].shape == (400_000,)
    assert mark.read_text() == "ran"


def test_an_existing_value_is_replaced_only_by_force(filled: Shelf) -> None:
    id = filled.json("ls")["entries"][0]["id"]
    filled.json("get", id, "--into", "out")
    Path("out/value.pickle").write_text("mine")
    done = filled.run("get", id, "--into", "out")
    assert done.exit_code == 1
    assert "exists already" in done.output
    assert Path("out/value.pickle").read_text() == "mine"
    filled.json("get", id, "--into", "out", "--force")
    assert pickle.loads(Path("out/value.pickle").read_bytes())[1] == "small"
