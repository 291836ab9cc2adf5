"""Claims: any value comes back equal, with sharing kept, in the memory of its buffers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow.pickling import UnpicklableError, dump, load, mapped_to
from memoflow.pickling.pickled import IN_BAND
from memoflow.pickling.storages import untyped_storage
from tests.leaves import PLAIN, TORCH, described, make

LEAST = 64
needs_torch = pytest.mark.torch


def copies(buffers: Any) -> list[bytearray]:
    return [bytearray(each) for each in buffers]


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("codec", ["auto", "cloudpickle"])
def test_plain_values_come_back_equal(name: str, codec: str) -> None:
    value = make(name)
    pickled = dump(value, codec, least_bytes=LEAST)
    assert described(load(pickled.stream, copies(pickled.buffers))) == described(value)


@needs_torch
@pytest.mark.parametrize("name", [*TORCH, *PLAIN])
@pytest.mark.parametrize("codec", ["auto", "cloudpickle"])
@pytest.mark.parametrize("least", [LEAST, IN_BAND])
def test_values_with_torch_come_back_equal(torch: Any, name: str, codec: str, least: int) -> None:
    value = make(name)
    pickled = dump(value, codec, least_bytes=least)
    found = pickle.loads(pickled.stream, buffers=copies(pickled.buffers))
    assert described(found) == described(value)
    assert bool(pickled.buffers) <= (least == LEAST)


@needs_torch
def test_storages_are_neither_copied_nor_moved(torch: Any) -> None:
    tensor = torch.arange(100.0)
    pickled = dump({"a": tensor, "b": tensor[50:]}, least_bytes=LEAST)
    tensor[0] = 7
    (given,) = copies(pickled.buffers)
    found = load(pickled.stream, [memoryview(given)])
    given[: 4 * 60] = bytes(4 * 60)
    assert (found["a"][0], found["a"][59], found["b"][9], found["b"][10]) == (0, 0, 0, 60)
    found["b"][0] = 3
    assert memoryview(given).cast("f")[50] == 3
    assert tensor[0] == 7


@needs_torch
def test_a_pickle_outlives_its_tensors(torch: Any) -> None:
    pickled = dump([torch.full((100_000,), 3.0)], least_bytes=LEAST)
    kept = [torch.full((100_000,), 4.0) for _ in range(10)]  # In memory that would be free.
    assert set(pickled.buffers[0].cast("f")) == {3.0}
    assert kept


@needs_torch
def test_small_tensors_and_those_of_bytes_are_writable_and_can_grow(torch: Any) -> None:
    pickled = dump([torch.ones(4), torch.ones(0)], least_bytes=LEAST)
    first, second = load(pickled.stream), load(pickled.stream)
    first[0][0] = 5
    first[1].resize_(100)
    assert first[0].resize_(100)[0] == 5
    assert second[0].tolist() == [1] * 4
    tensor = torch.arange(100.0)
    (buffer,) = (pickled := dump(tensor, least_bytes=LEAST)).buffers
    found = load(pickled.stream, [bytes(buffer)])
    found[0] = 5
    assert (found[0], tensor[0]) == (5, 0)


@needs_torch
def test_another_process_loads_tensors_with_pickle_alone(torch: Any, tmp_path: Path) -> None:
    pickled = dump({"a": torch.ones(100).to(torch.float8_e5m2)}, least_bytes=LEAST)
    (tmp_path / "stream").write_bytes(pickled.stream)
    (tmp_path / "buffer").write_bytes(pickled.buffers[0])
    code = (
        "import pickle; read = lambda name: open(name, 'rb').read(); "
        "found = pickle.loads(read('stream'), buffers=[bytearray(read('buffer'))]); "
        "print(found['a'].float().sum().item())"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"100.0"]


@needs_torch
def test_storages_go_to_the_device_in_force(torch: Any, caplog: Any) -> None:
    asked: list[str] = []

    def to_meta(storage: Any, device: str) -> Any:
        asked.append(device)
        return storage if device == "cpu" else torch.UntypedStorage(storage.nbytes(), device="meta")

    def device(wanted: Any, was: str = "cuda:7") -> str:
        with mapped_to(wanted):
            return str(untyped_storage(memoryview(bytearray(8)), was).device)

    assert device("cpu") == device(torch.device("cpu")) == device({"cuda:7": "cpu"}) == "cpu"
    assert device("meta", "cpu") == "meta"
    assert device({"cuda:7": "meta"}, "cpu") == "cpu"
    assert (device(to_meta), device(to_meta, "cpu")) == ("meta", "cpu")
    assert asked == ["cuda:7", "cpu"]
    assert device(lambda storage, _: None, "cpu") == "cpu"
    assert caplog.messages == []
    if torch.cuda.device_count() < 8:
        assert device(None) == "cpu"
        assert "no device cuda:7 here" in caplog.text
        with pytest.raises(RuntimeError):
            device("cuda:7")


@needs_torch
def test_tensors_of_a_device_come_back_to_it(torch: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    tensor = torch.arange(1000.0, device="cuda:0")
    pickled = dump([tensor, tensor[3:]], least_bytes=LEAST)
    found = load(pickled.stream, copies(pickled.buffers))
    assert found[0].device == tensor.device
    assert torch.equal(found[1], tensor[3:])
    assert found[0].untyped_storage().data_ptr() == found[1].untyped_storage().data_ptr()


def test_buffers_stay_in_band_below_a_size() -> None:
    value = [np.zeros(7), np.zeros(8), np.zeros(16)[::2]]
    assert [each.nbytes for each in dump(value, least_bytes=64).buffers] == [64]
    assert dump(value, least_bytes=IN_BAND).buffers == ()


def test_a_value_without_a_pickle_is_told() -> None:
    with pytest.raises(UnpicklableError, match="lock"):
        dump([threading.Lock()], least_bytes=LEAST)
