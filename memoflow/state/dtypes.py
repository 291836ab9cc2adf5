"""Dtypes: the names of safetensors for those of torch and numpy.

As of version 0.8 of the package, whose `safetensors.torch` and `safetensors.numpy` load no others:
https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs
"""

from __future__ import annotations

from typing import Any

BYTES = "U8"  # also of all that has no name
SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
_NAMES = {
    **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{f"float{n}": f"F{n}" for n in (16, 32, 64)},
    "bool": "BOOL",
    "bfloat16": "BF16",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}


def name_of(dtype: Any) -> str:
    """Return the name for a dtype; U8 where there is none, as for other orders of bytes."""
    return _NAMES.get(str(dtype).removeprefix("torch."), BYTES)
