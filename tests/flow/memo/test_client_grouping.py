"""One name for what was read of each of the first in a listing."""

from __future__ import annotations

from memoflow.flow.memo.client_digests import grouped, of_many
from memoflow.flow.memo.client_names import METAFLOW, Name, parse

RUNS = METAFLOW.item("Train")


def place(number: int) -> Name:
    return RUNS.index(number).attr("successful")


def seen(number: int) -> tuple[str, str]:
    return f"digest {number}", "value"


def test_reads_that_differ_in_their_place_alone_are_one() -> None:
    ((name, digest),) = grouped({place(i): seen(i) for i in range(3)})
    assert digest == of_many(seen(i) for i in range(3))
    assert parse(str(name)) == name
    assert ("first", 3) in name.segments


def test_one_alone_keeps_its_place() -> None:
    assert list(grouped({place(0): seen(0)})) == [(place(0), seen(0))]


def test_after_a_gap_each_keeps_its_place() -> None:
    found = dict(grouped({place(i): seen(i) for i in (0, 1, 5)}))
    assert found[place(5)] == seen(5)
    assert len(found) == 2


def test_what_has_no_place_stays() -> None:
    assert list(grouped({RUNS.attr("id"): seen(0)})) == [(RUNS.attr("id"), seen(0))]
