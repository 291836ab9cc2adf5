"""Fingerprints: digests of everything that determines a result, known before it exists."""

from memoflow.fingerprint.closure import (
    of_argument,
    of_constant,
    of_function,
    of_references,
    of_step,
    of_value,
    watched,
)
from memoflow.fingerprint.explain import ABSENT, Difference, differences, explain
from memoflow.fingerprint.outline import outline, summary
from memoflow.fingerprint.parts import Fingerprint, Outline, Part

__all__ = [
    "ABSENT",
    "Difference",
    "Fingerprint",
    "Outline",
    "Part",
    "differences",
    "explain",
    "of_argument",
    "of_constant",
    "of_function",
    "of_references",
    "of_step",
    "of_value",
    "outline",
    "summary",
    "watched",
]
