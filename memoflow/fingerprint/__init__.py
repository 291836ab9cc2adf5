"""Fingerprints: what determines a result, known before the result exists."""

from memoflow.fingerprint.explain import Difference, differences, explain, summary
from memoflow.fingerprint.parts import Fingerprint, Part
from memoflow.fingerprint.reach import (
    difference_path,
    of_constant,
    of_function,
    of_references,
    of_step,
    of_value,
)

__all__ = [
    "Difference",
    "Fingerprint",
    "Part",
    "difference_path",
    "differences",
    "explain",
    "of_constant",
    "of_function",
    "of_references",
    "of_step",
    "of_value",
    "summary",
]
