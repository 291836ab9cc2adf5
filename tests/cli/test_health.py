"""verify and doctor: what they find, and the codes that they end with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shelf


def spoil(shelf: Shelf) -> Path:
    """Change a byte of the largest blob, which is of the model."""
    blobs = [each for each in (shelf.root / "blobs").rglob("*") if each.is_file()]
    path = max(blobs, key=lambda each: each.stat().st_size)
    path.chmod(0o600)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    return path


def test_a_store_that_is_whole_is_said_to_be(shelf: Shelf):
    data = shelf.json("verify", "--read-data")
    assert data == {"problems": [], "read_data": True, "repaired": False}


def test_a_flipped_byte_is_found_by_reading_all_and_ends_with_3(shelf: Shelf):
    name = spoil(shelf).name
    assert shelf.run("verify").exit_code == 0
    done = shelf.run("verify", "--read-data")
    assert done.exit_code == 3
    assert name in done.stdout


def test_a_lost_blob_is_found_without_reading_and_its_entry_named(shelf: Shelf):
    spoil(shelf).unlink()
    done = shelf.run("verify")
    assert done.exit_code == 3
    assert "model/Train/fit/9f2c" in done.stdout


def test_a_repair_ends_with_3_and_the_next_look_with_0(shelf: Shelf):
    spoil(shelf)
    assert shelf.run("verify", "--read-data", "--repair").exit_code == 3
    assert shelf.run("verify", "--read-data").exit_code == 0
    assert shelf.keys("model") == []


def test_an_index_that_is_out_of_date_is_harmless(shelf: Shelf):
    (shelf.root / "refs" / "model" / "Train" / "fit" / "9f2c").unlink()
    assert shelf.run("verify").exit_code == 0


@pytest.mark.parametrize("left", [None, b"", b"{}", b'{"format": 1, "id": "0"}'])
def test_a_lost_or_damaged_format_is_found_and_mended_and_the_rest_is_checked(
    shelf: Shelf, left: bytes | None
):
    path = shelf.root / "format.json"
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    blob = spoil(shelf).name
    done = shelf.run("verify", "--read-data")
    assert done.exit_code == 3
    assert "format.json" in done.stdout
    assert blob in done.stdout
    assert path.exists() == (left is not None), "without --repair nothing is changed"
    assert shelf.run("verify", "--read-data", "--repair").exit_code == 3
    assert shelf.run("verify", "--read-data").exit_code == 0


def test_where_there_is_no_store_there_is_nothing_to_verify(shelf: Shelf, tmp_path: Path):
    assert shelf.run("--root", str(tmp_path / "none"), "verify").exit_code in (1, 2)
    assert not (tmp_path / "none").exists()


def test_the_doctor_finds_nothing_wrong_with_a_store_that_is_well(shelf: Shelf):
    data = shelf.json("doctor")
    assert data["worst"] in ("ok", "warn")
    assert {"settings", "versions", "store", "permissions", "clock"} <= {
        check["name"] for check in data["checks"]
    }


def test_trouble_ends_with_1_and_comes_with_advice(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("METAFLOW_MEMOFLOW_MODE", "sometimes")
    done = shelf.run("doctor")
    assert done.exit_code == 1
    assert "METAFLOW_MEMOFLOW_MODE" in done.stdout


def test_the_doctor_makes_no_store_where_there_is_none(shelf: Shelf, tmp_path: Path):
    elsewhere = Shelf(tmp_path / "none", shelf.folder, shelf.store)
    assert elsewhere.run("doctor").exit_code in (0, 1)
    assert not (tmp_path / "none").exists()
