"""Sparse matrices: the same ones have one digest, whatever of their memory is in use."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from memoflow.fingerprint import of_value

sparse = pytest.importorskip("scipy.sparse")
FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
DENSE = np.array([[1.0, 0, 2, 0], [0, 0, 3, 0], [4, 0, 0, 0]])


def matrix(form: str, dense: np.ndarray = DENSE, kind: str = "array") -> object:
    return getattr(sparse, f"{form}_{kind}")(dense)


def roomy(fill: float) -> object:
    value = matrix("csr")
    data = np.concatenate([value.data, [fill]])
    places = np.concatenate([value.indices, [int(fill)]]).astype(value.indices.dtype)
    roomy = sparse.csr_array(value.shape)
    roomy.data, roomy.indices, roomy.indptr = data, places, value.indptr
    return roomy


def unsorted() -> object:
    return sparse.csr_array(([2.0, 1, 3, 4], [2, 0, 2, 0], [0, 2, 3, 4]), shape=(3, 4))


def diagonal(outside: float) -> object:
    return sparse.dia_array(([[1.0, 2, outside, outside]], [-1]), shape=(3, 4))


def asked() -> object:
    value = matrix("csr")
    assert value.has_sorted_indices
    assert value.has_canonical_format
    return value


def far() -> object:
    value = matrix("csr")
    places = value.indices.astype("i8"), value.indptr.astype("i8")
    return sparse.csr_array((value.data, *places), shape=value.shape)


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_equal_matrices_have_one_digest_and_others_another(form: str, kind: str) -> None:
    value = matrix(form, kind=kind)
    assert of_value(value) == of_value(matrix(form, DENSE.copy(), kind))
    assert of_value(pickle.loads(pickle.dumps(value))) == of_value(value)
    for at in ((0, 0), (1, 2), (0, 1)):
        other = DENSE.copy()
        other[at] += 5
        assert of_value(matrix(form, other, kind)) != of_value(value)


def test_each_format_is_another_value() -> None:
    values = [matrix(form, kind=kind) for form in FORMATS for kind in ("array", "matrix")]
    assert len(set(map(of_value, values))) == len(values)


SAME = {
    "memory not in use": [roomy(0), roomy(3), matrix("csr")],
    "what was asked": [asked(), matrix("csr")],
    "order in a row": [unsorted(), matrix("csr")],
    "outside of the matrix": [diagonal(0), diagonal(9)],
    "size of places": [matrix("csr"), far()],
    "numbers in lists": [
        matrix("lil"), sparse.lil_array(matrix("csr")),
    ],
}  # fmt: skip
DIFFERENT = {
    "shapes": [sparse.csr_array(shape) for shape in ((0, 3), (3, 0), (3, 3), (3, 4))],
    "kinds": [matrix("csr", DENSE.astype(kind)) for kind in ("f8", "f4", "i8", "c16")],
    "zeros that are there": [
        matrix("csr"), sparse.csr_array(([1.0, 2, 0, 3, 4], [0, 2, 3, 2, 0], [0, 3, 4, 5]), (3, 4)),
    ],
    "two items in one place": [
        sparse.coo_array(([1.0, 2], ([0, 0], [0, 0])), (1, 1)),
        sparse.coo_array(([2.0, 1], ([0, 0], [0, 0])), (1, 1)),
        sparse.coo_array(([3.0], ([0], [0])), (1, 1)),
    ],
    "rows and columns": [
        sparse.coo_array(([1.0], ([0], [1])), (2, 2)), sparse.coo_array(([1.0], ([1], [0])), (2, 2))
    ],
    "blocks": [sparse.bsr_array(np.ones((4, 4)), blocksize=(n, n)) for n in (1, 2, 4)],
}  # fmt: skip


@pytest.mark.parametrize("claim", SAME)
def test_these_matrices_are_the_same(claim: str) -> None:
    assert len(set(map(of_value, SAME[claim]))) == 1


@pytest.mark.parametrize("claim", DIFFERENT)
def test_these_matrices_are_all_different(claim: str) -> None:
    for one, other in itertools.combinations(map(of_value, DIFFERENT[claim]), 2):
        assert one != other
