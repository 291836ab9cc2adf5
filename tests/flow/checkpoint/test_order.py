"""Concurrent saves of a process are numbered in the order of their beginnings."""

from __future__ import annotations

from memoflow.flow.checkpoint.order import Order


def test_one_after_the_other_get_the_next_number() -> None:
    order = Order()
    with order.turn() as first:
        assert first(4) == 4
    with order.turn() as second:
        assert second(5) == 5


def test_one_that_overtakes_another_has_the_higher_number() -> None:
    order = Order()
    with order.turn() as first:
        with order.turn() as handler:  # A signal's, in the middle of the first.
            assert handler(4) == 5
        assert first(4) == 4


def test_one_that_ended_without_a_number_takes_none_away() -> None:
    order = Order()
    with order.turn() as first:
        with order.turn():
            pass
        with order.turn() as third:
            assert third(4) == 5
        assert first(4) == 4


def test_a_number_that_nobody_lists_yet_is_not_given_twice() -> None:
    order = Order()
    with order.turn() as first, order.turn() as second:
        assert first(4) == 4
        assert second(4) == 5


def test_no_number_is_below_one() -> None:
    order = Order()
    with order.turn() as first, order.turn() as second:
        assert second(0) == 1
        assert first(0) == 1
