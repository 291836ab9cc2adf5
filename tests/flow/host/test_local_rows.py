"""Rows of the local metadata provider, as Metaflow and as a hit writes them."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from metaflow.metadata_provider import DataArtifact, MetaDatum
from metaflow.metaflow_environment import MetaflowEnvironment
from metaflow.plugins.metadata_providers.local import LocalMetadataProvider

from memoflow.flow.host import local_rows

ROWS = [MetaDatum("memo-key", "ü\n", "memo-key", ["attempt_id:0"])]
ARTIFACTS = [DataArtifact("x", "local", "/r", None, "a" * 40, "pickle-v4")]


@pytest.fixture
def provider(tmp_path, monkeypatch):
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_LOCAL", str(tmp_path))
    monkeypatch.setenv("USERNAME", "tester")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: 1.0)
    flow = SimpleNamespace(name="Flow")
    return LocalMetadataProvider(MetaflowEnvironment(flow), flow, None, None)


def written(provider, task) -> dict[str, tuple[int, bytes]]:
    provider.register_data_artifacts("1", "step", task, 0, ARTIFACTS)
    provider.register_metadata("1", "step", task, ROWS)
    folder = Path(provider._get_metadir("Flow", "1", "step", task))
    return {
        path.name: (stat.S_IMODE(path.stat().st_mode), path.read_bytes().replace(b'"9"', b'"7"'))
        for path in folder.iterdir()
    }


def test_the_files_are_those_of_metaflow(provider):
    theirs = written(provider, "7")
    local_rows.write_fast(provider)
    assert written(provider, "9") == theirs
    assert len(theirs) == 2


def test_a_row_that_is_there_is_left_unless_it_may_be_replaced(tmp_path, provider):
    local_rows.write_fast(provider)
    provider._save_meta(str(tmp_path), {"row": 1})
    provider._save_meta(str(tmp_path), {"row": 2})
    assert (tmp_path / "row.json").read_text() == "1"
    provider._save_meta(str(tmp_path), {"row": 2}, allow_overwrite=True)
    assert (tmp_path / "row.json").read_text() == "2"


def test_nothing_is_left_of_a_row_that_could_not_be_written(tmp_path, provider):
    local_rows.write_fast(provider)
    with pytest.raises(TypeError):
        provider._save_meta(str(tmp_path), {"row": object()})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(IsADirectoryError):
        provider._save_meta(str(tmp_path), {"folder": 1}, allow_overwrite=True)
    assert os.listdir(tmp_path) == ["folder.json"]


def test_other_providers_are_left_alone():
    class Service:
        TYPE = "service"

    provider = Service()
    local_rows.write_fast(provider)
    assert not vars(provider)
