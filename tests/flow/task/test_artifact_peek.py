"""Peeking at a flow's artifacts leaves no trace on it."""

from __future__ import annotations

import pytest

from memoflow.flow.host.artifacts import untouched


class Flow:
    """As FlowSpec does it, the first read of an artifact binds it."""

    def __init__(self) -> None:
        self.set_before = 1

    def __getattr__(self, name: str) -> str:
        vars(self)[name] = f"loaded {name}"
        return f"loaded {name}"


def test_what_was_read_is_unbound_and_what_was_set_before_stays() -> None:
    flow = Flow()
    with untouched(flow):
        assert flow.rates == "loaded rates"
    assert vars(flow) == {"set_before": 1}


def test_so_it_is_after_an_error() -> None:
    flow = Flow()
    with pytest.raises(TypeError), untouched(flow):
        flow.rates + 1
    assert vars(flow) == {"set_before": 1}
