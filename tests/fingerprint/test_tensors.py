"""Tensors: one digest for what is the same, another for what is not."""

from __future__ import annotations

import itertools
import pickle

import pytest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import of_value

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def dense(scale: float = 1.0) -> torch.Tensor:
    return torch.arange(16.0).reshape(4, 4) * scale


def nested(*lengths: int, layout: object = torch.strided) -> torch.Tensor:
    parts = [torch.arange(2.0 * length).reshape(length, 2) for length in lengths]
    return torch.nested.nested_tensor(parts, layout=layout)


def quantized(scale: float, zero: int = 0) -> torch.Tensor:
    return torch.quantize_per_tensor(dense(), scale, zero, torch.quint8)


def complex_(sign: float = 1.0) -> torch.Tensor:
    return torch.complex(torch.arange(3.0), sign * torch.arange(1.0, 4.0))


class Tagged(torch.Tensor):
    pass


def tagged(tag: str) -> Tagged:
    value = dense().as_subclass(Tagged)
    value.tag = tag
    return value


LAYOUTS = {
    "dense": dense,
    "coordinates": lambda scale=1.0: dense(scale).to_sparse(),
    "rows": lambda scale=1.0: dense(scale).to_sparse_csr(),
    "columns": lambda scale=1.0: dense(scale).to_sparse_csc(),
    "blocks by row": lambda scale=1.0: dense(scale).to_sparse_bsr((2, 2)),
    "blocks by column": lambda scale=1.0: dense(scale).to_sparse_bsc((2, 2)),
    "nested": lambda scale=1.0: nested(2, 3) * scale,
    "jagged": lambda scale=1.0: nested(2, 3, layout=torch.jagged) * scale,
    "quantized": lambda scale=1.0: quantized(0.1 * scale),
    "a parameter": lambda scale=1.0: torch.nn.Parameter(dense(scale)),
    "half": lambda scale=1.0: dense(scale).to(torch.bfloat16),
    "a quarter": lambda scale=1.0: dense(scale).to(torch.float8_e5m2),
    "complex": complex_,
    "storage": lambda scale=1.0: dense(scale).untyped_storage(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_tensors_have_one_digest_and_others_another(layout: str) -> None:
    make = LAYOUTS[layout]
    assert of_value(make()) == of_value(make())
    assert of_value(make(2.0)) != of_value(make())


@pytest.mark.parametrize(
    "layout", [name for name in LAYOUTS if name not in ("storage", "a quarter")]
)
# Torch itself cannot load storages, nor floats of a byte, from a plain pickle.
def test_a_pickled_tensor_is_the_same(layout: str) -> None:
    value = LAYOUTS[layout]()
    assert of_value(pickle.loads(pickle.dumps(value))) == of_value(value)


def test_each_layout_of_the_same_items_is_another_value() -> None:
    digests = [of_value(make()) for make in LAYOUTS.values()]
    assert len(set(digests)) == len(digests)


DIFFERENT = {
    "shapes without items": [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(0)],
    "kinds without items": [torch.zeros(0), torch.zeros(0, dtype=torch.int32)],
    "no content": [
        torch.empty(3, device="meta"), torch.empty(4, device="meta"), torch.zeros(3),
        torch.empty(3, device="meta", dtype=torch.int32),
    ],
    "lengths": [nested(2, 3), nested(3, 2), nested(5), nested(2, 3, 0)],
    "zero points": [quantized(0.1), quantized(0.1, 1), quantized(0.1).int_repr()],
    "scales of channels": [
        torch.quantize_per_channel(dense(), torch.tensor(s), torch.zeros(4), 0, torch.quint8)
        for s in ([1.0, 1, 1, 1], [1.0, 1, 1, 2])
    ],
    "conjugates": [complex_(), complex_().conj(), complex_().conj().imag, complex_().imag],
    "gradients": [dense(), dense().requires_grad_(), torch.nn.Parameter(dense())],
    "tags": [tagged("a"), tagged("b"), dense()],
    "masks": [torch.masked.masked_tensor(dense(), dense() > n) for n in (1, 2)],
    "coalesced": [dense().to_sparse(), torch.cat([dense().to_sparse()] * 2)],
    "views": [dense(), dense().T, dense()[:2], dense().view(16)],
    "not used yet": [
        torch.nn.parameter.UninitializedParameter(),
        torch.nn.parameter.UninitializedParameter(dtype=torch.float64),
    ],
}  # fmt: skip


@pytest.mark.parametrize("claim", DIFFERENT)
def test_these_tensors_are_all_different(claim: str) -> None:
    for one, other in itertools.combinations(map(of_value, DIFFERENT[claim]), 2):
        assert one != other


SAME = {
    "conjugates": [complex_().conj(), complex_(-1.0), complex_().conj().resolve_conj()],
    "negatives": [complex_().conj().imag, -complex_().imag],
    "strides": [dense().T, dense().T.contiguous(), torch.stack(list(dense().unbind(1)))],
    "expanded": [torch.ones(1).expand(5), torch.ones(5)],
    "parts": [dense()[1:3], dense()[1:3].clone()],
    "jagged": [nested(2, 3, layout=torch.jagged) for _ in range(3)],
    "masks": [torch.masked.masked_tensor(dense(), dense() > 1) for _ in range(2)],
}


@pytest.mark.parametrize("claim", SAME)
def test_these_tensors_are_the_same(claim: str) -> None:
    assert len(set(map(of_value, SAME[claim]))) == 1


def test_a_tensor_that_only_pretends_has_no_fingerprint() -> None:
    with torch._subclasses.FakeTensorMode():
        value = torch.zeros(3)
    with pytest.raises(NoFingerprintError, match="FakeTensor") as error:
        of_value({"a": value})
    assert error.value.path == "value['a']"


def test_a_module_is_what_its_weights_are() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.1))
    before = of_value(module)
    assert of_value(pickle.loads(pickle.dumps(module))) == before
    with torch.no_grad():
        module[0].weight[1, 2] += 1
    assert of_value(module) != before
