"""Our dataclasses do as the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any

import pytest

from memoflow.dataclass import dataclass


@dataclass(frozen=True)
class Plain:
    name: str
    size: int = 3
    inner: list[int] = field(default_factory=list)
    note: str = field(default="", compare=False, repr=False)

    @cached_property
    def twice(self) -> int:
        return 2 * self.size


@dataclass(frozen=True, slots=True)
class Slotted:
    name: str
    size: int = 3
    inner: tuple[int, ...] = ()
    note: str = field(default="", compare=False, repr=False)

    def __hash__(self) -> int:
        return 7


@dataclass
class Open:
    name: str
    size: int = 3


@dataclass(eq=False)
class Single:
    name: str


@dataclass(frozen=True)
class Empty:
    pass


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


EITHER = pytest.mark.parametrize("cls", [Plain, Slotted])


@EITHER
def test_fields_are_given_by_place_or_name_or_default(cls: Callable[..., Any]) -> None:
    one = cls("a", note="b", inner=(1,))
    assert (one.name, one.size, one.inner, one.note) == ("a", 3, (1,), "b")


def test_each_instance_has_a_default_of_its_own() -> None:
    one, other = Plain("a"), Plain("a")
    one.inner.append(1)
    assert other.inner == []


@EITHER
@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), (("a", 1, (), "", 5), {}), (("a",), {"name": "b"}), (("a",), {"other": 1})],
)
def test_arguments_that_do_not_fit_are_refused(
    cls: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        cls(*given, **named)


@EITHER
def test_instances_are_equal_by_the_fields_that_are_compared(cls: Callable[..., Any]) -> None:
    assert cls("a", note="b") == cls("a", note="c")
    assert cls("a") != cls("a", 4)


def test_an_instance_is_not_equal_to_one_of_another_class() -> None:
    assert Plain("a", 3) != Open("a", 3)


def test_equal_instances_have_equal_hashes() -> None:
    assert hash(Plain("a", inner=())) == hash(Plain("a", inner=(), note="b"))  # type: ignore[arg-type]


def test_methods_of_the_class_stay() -> None:
    assert hash(Slotted("a")) == 7


def test_what_can_be_changed_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Open("a"))


def test_without_eq_each_instance_is_equal_to_itself_only() -> None:
    one = Single("a")
    assert one != Single("a")
    assert len({one, Single("a")}) == 2


@EITHER
def test_what_is_frozen_cannot_be_changed(cls: Callable[..., Any]) -> None:
    one = cls("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.name


def test_what_is_not_frozen_can_be_changed() -> None:
    one = Open("a")
    one.size = 5
    assert one == Open("a", 5)


@EITHER
def test_an_instance_shows_its_fields(cls: Callable[..., Any]) -> None:
    assert repr(cls("a", inner=())) == f"{cls.__name__}(name='a', size=3, inner=())"


@EITHER
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_is_equal(cls: Callable[..., Any], copied: Callable[[Any], Any]) -> None:
    one = cls("a", 5, note="b")
    assert copied(one) == one
    assert copied(one).note == "b"


@EITHER
def test_functions_of_the_standard_library_work(cls: Callable[..., Any]) -> None:
    one = dataclasses.replace(cls("a", inner=()), size=4)
    assert dataclasses.asdict(one) == {"name": "a", "size": 4, "inner": (), "note": ""}
    assert [each.name for each in dataclasses.fields(one)] == ["name", "size", "inner", "note"]


def test_a_cached_property_is_kept_in_what_is_frozen() -> None:
    one = Plain("a")
    assert (one.twice, one == Plain("a")) == (6, True)


def test_a_class_may_have_no_fields() -> None:
    assert (Empty() == Empty(), repr(Empty())) == (True, "Empty()")
