"""Notebooks: opening a store, and how what it holds looks there."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

import memoflow
from memoflow.errors import NotFoundError
from memoflow.names import Digest, Key, Ref
from memoflow.store.entries import entries
from tests.cli.conftest import Shelf


def test_a_store_is_opened_by_its_directory(shelf: Shelf):
    store = memoflow.open_store(shelf.root)
    assert len(store.keys()) == len(shelf.store.keys())


def test_a_store_is_opened_where_the_settings_say(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("METAFLOW_MEMOFLOW_ROOT", str(shelf.root))
    assert memoflow.open_store().id == shelf.store.id


def test_looking_for_a_store_does_not_make_one(tmp_path):
    with pytest.raises(NotFoundError, match="@memoize"):
        memoflow.open_store(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_store_refs_and_entries_are_readable(shelf: Shelf):
    entry = entries(shelf.store)["model/Train/fit/9f2c"]
    assert str(shelf.root) in repr(shelf.store)
    assert "model/Train/fit/9f2c, 2.0 kB, created " in repr(entry.ref)
    assert "model/Train/fit/9f2c, 2.0 kB, used " in repr(entry)


def test_store_refs_and_entries_have_html(shelf: Shelf):
    entry = entries(shelf.store)["model/Train/fit/9f2c"]
    for each in (shelf.store, entry.ref, entry):
        assert each._repr_html_().startswith("<table")
    assert "model/Train/fit/9f2c" in entry._repr_html_()


def test_html_shows_names_and_never_executes_them():
    key = Key(("model", "<script>alert(1)</script>", "s", '"&'))
    ref = Ref(key, Digest("sha256:" + "0" * 64), 1, 1.0)
    assert "<script" not in ref._repr_html_()


def test_a_time_that_no_calendar_has_is_shown_all_the_same():
    ref = Ref(Key.of("model", "F"), Digest("sha256:" + "0" * 64), 1, 1e17, expires=9e17)
    assert "out of range" in repr(ref)
    assert "out of range" in ref._repr_html_()


def test_the_example_of_the_docs_runs(
    shelf: Shelf, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("METAFLOW_MEMOFLOW_ROOT", str(shelf.root))
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    example = page.partition("it is given:\n\n")[2].partition("\n**")[0]
    exec(textwrap.dedent(example), {})
    assert capsys.readouterr().out.count("<Ref checkpoint/Train/fit/") == 2
    assert (tmp_path / "restored" / "weights.txt").read_text() == "two"
