"""Without its library a module is an ImportError, with the package to install."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("module", "library", "package"),
    [
        ("torch", "torch", "torch"),
        ("lightning", "lightning", "lightning"),
        ("transformers", "transformers", r"transformers\[torch\]"),
        ("xgboost", "xgboost", "xgboost"),
        ("sklearn", "sklearn", "scikit-learn"),
    ],
)
def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, package: str
) -> None:
    ours = f"memoflow.integrations.{module}"
    for name in [
        name for name in sys.modules if f"{name}.".startswith((f"{ours}.", f"{library}."))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    if module == "transformers":  # Which needs torch, and asks for it first.
        library = "(torch|transformers)"
    with pytest.raises(ImportError, match=f"there is no {library} here: pip install '{package}'"):
        import_module(ours)
