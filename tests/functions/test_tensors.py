"""Claims: results with tensors of torch come back equal, and large ones are mapped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from memoflow.store import Store
from tests.functions.conftest import Load
from tests.leaves import TORCH, described

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
MAKE = """
    import tests.leaves as leaves
    @memo
    def make(name):
        note(name)
        return leaves.make(name)
"""
LARGE = """
    import torch
    @memo
    def make(n):
        note(n)
        return {"w": torch.ones(n, dtype=torch.bfloat16), "half": torch.arange(n)[n // 2 :]}
"""
N = 13_000_000  # of 2 and 8 bytes


@pytest.mark.parametrize("name", [*TORCH, "array", "objects", "dataclass"])
def test_a_result_comes_back_equal(load: Load, name: str) -> None:
    module = load(MAKE)
    ran = module.make(name)
    assert module.ran == [name]
    again = load(MAKE, module.__name__)
    assert described(again.make(name)) == described(ran)
    assert again.ran == []


def mapping(address: int) -> tuple[str, int]:
    """Return the file mapped at an address, and the kilobytes of it that were touched."""
    found = False
    name = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()
        if "-" in head[0] and not head[0].endswith(":"):
            begin, end = (int(each, 16) for each in head[0].split("-"))
            found, name = begin <= address < end, " ".join(head[5:])
        elif found and head[0] == "Rss:":
            return name, int(head[1])
    raise AssertionError("nothing is mapped there")


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_large_tensors_are_mapped_and_private(load: Load, store: Store, tmp_path: Path) -> None:
    module = load(LARGE)
    module.make(N)
    module.make(N)  # The first hit of a process proves the blobs.
    found = module.make(N)
    for tensor in found.values():
        name, touched = mapping(tensor.untyped_storage().data_ptr())
        assert Path(name).is_relative_to(tmp_path)
        assert touched == 0
    found["w"].zero_()
    found["half"].add_(1)
    assert module.ran == [N]
    other = load(LARGE, module.__name__).make(N)
    assert other["w"].min() == 1
    assert other["half"][0] == N // 2
    assert found["half"][0] == N // 2 + 1
    assert module.ran == []
    assert store.verify() == []


def test_a_generator_yields_tensors_again(load: Load) -> None:
    module = load("""
        import torch
        @memo
        def batches(n):
            note(n)
            for i in range(n):
                yield torch.full((1000,), float(i))
            return torch.ones(2)
    """)
    ran = list(module.batches(3))
    assert described(list(module.batches(3))) == described(ran)
    assert module.ran == [3]


def test_a_module_of_the_script_comes_back(load: Load) -> None:
    """What has no name to import it by is pickled by cloudpickle."""
    module = load("""
        import torch
        @memo
        def make():
            note(1)
            class Net(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.w = torch.nn.Parameter(torch.full((500_000,), 2.0))
                def forward(self, x):
                    return x * self.w[0]
            return Net()
    """)
    module.make()
    assert module.make()(3.0).item() == 6
    assert module.ran == [1]
