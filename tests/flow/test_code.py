"""The parts of a step's code: the decorators and the environment that decide its result."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.fingerprint import Part
from memoflow.flow import code
from memoflow.flow.host import flow_class
from memoflow.flow.task import launch_info
from memoflow.masking import Mask

FACTOR = 2


def step(*decorators: Any, wrappers: tuple[Any, ...] = (), configured: tuple[Any, ...] = ()) -> Any:
    """Return a class of a flow as Metaflow leaves it, with one step of these decorators."""

    def fit(self: Any) -> None:
        self.x = FACTOR * 3

    fit.is_step = True
    fit.decorators = list(decorators)
    fit.wrappers = list(wrappers)
    fit.config_decorators = list(configured)
    state = {flow_class.FlowStateItems.FLOW_MUTATORS: []}
    return type("Flow", (), {"fit": fit, "_flow_state": state})


def deco(name: str, **attributes: Any) -> Any:
    return SimpleNamespace(name=name, attributes=attributes)


def parts(*decorators: Any, **options: Any) -> list[Part]:
    return code.parts_of(step(*decorators), "fit", **options)


def named(found: list[Part], kind: str) -> list[str]:
    return [part.name for part in found if part.kind == kind]


def digests(*decorators: Any) -> set[tuple[str, str, str]]:
    return {(part.kind, part.name, str(part.digest)) for part in parts(*decorators)}


def test_a_step_is_its_code_and_the_globals_that_it_reads() -> None:
    found = " ".join(part.name for part in parts())
    assert "fit" in found
    assert "FACTOR" in found


def test_an_ignored_global_is_no_part() -> None:
    found = parts(ignore=frozenset({f"{__name__}.FACTOR"}))
    assert not [part for part in found if "FACTOR" in part.name and part.kind != "ignored"]


@pytest.mark.parametrize("name", ["retry", "resources", "card", "checkpoint", "memoize", "timeout"])
def test_decorators_that_decide_when_and_where_are_no_part(name: str) -> None:
    assert digests(deco(name, times=3)) == digests()


def test_internal_decorators_of_metaflow_are_no_part() -> None:
    assert digests(deco("parallel_internal", x=1)) == digests()


def test_of_environment_its_variables_are_a_part() -> None:
    assert named(parts(deco("environment", vars={"A": "1"})), "decorator") == [
        "@environment(vars=)"
    ]


def test_the_order_of_variables_decides_nothing() -> None:
    one = digests(deco("environment", vars={"A": "1", "B": "2"}))
    assert one == digests(deco("environment", vars={"B": "2", "A": "1"}))


def test_another_value_is_another_part() -> None:
    one = digests(deco("environment", vars={"A": "1"}))
    assert one != digests(deco("environment", vars={"A": "2"}))


def test_of_kubernetes_the_image_counts_and_the_memory_does_not() -> None:
    found = parts(deco("kubernetes", image="python:3.12", memory=4096))
    assert named(found, "decorator") == ["@kubernetes(image=)"]


def test_a_step_in_an_image_has_nothing_of_this_machine() -> None:
    found = parts(deco("kubernetes", image="python:3.12"))
    assert not {part.kind for part in found} & {"package", "python"}


def test_a_step_on_this_machine_has_its_python() -> None:
    assert named(parts(), "python")


def test_a_disabled_environment_is_this_machine() -> None:
    found = parts(deco("pypi", packages={}, python=None, disabled="True"))
    assert named(found, "python")


def test_an_image_is_the_one_of_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = digests(deco("batch", image="python:3.12"))
    monkeypatch.setattr(launch_info, "_told", lambda: {"images": {"fit": "python:3.12"}})
    assert digests(deco("batch", image=None)) == launched


def test_a_decorator_of_ours_says_which_arguments_decide() -> None:
    ours = deco("huggingface_hub", load=["org/name"], cache_scope="flow")
    ours.deciding_attributes = lambda: {"load": [["model", "org/name"]]}
    assert named(parts(ours), "decorator") == ["@huggingface_hub(load=)"]


def test_an_unknown_decorator_counts_with_all_that_it_is_given() -> None:
    found = parts(deco("house_special", a=1, b=None, c="x"))
    assert named(found, "decorator") == ["@house_special(a=)", "@house_special(c=)"]


def test_a_password_is_masked() -> None:
    mask = Mask(key=lambda: b"key")
    found = parts(deco("environment", vars={"DB_PASSWORD": "hunter2"}), mask=mask)
    assert "hunter2" not in repr(found)


class Wrapper:
    """A step decorator of the user's, as Metaflow keeps it on a step."""

    decorator_name = "timed"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args, self._kwargs = args, kwargs

    def pre_step(self) -> None:
        print("begins")


def test_a_users_decorator_is_its_code_and_its_arguments() -> None:
    found = code.parts_of(step(wrappers=(Wrapper(1, unit="s"),)), "fit")
    assert named(found, "decorator") == ["@timed"]
    assert [part for part in found if "Wrapper" in part.name]


def test_other_arguments_of_a_users_decorator_are_another_part() -> None:
    one, two = (
        [part.digest for part in code.parts_of(step(wrappers=(Wrapper(n),)), "fit")] for n in (1, 2)
    )
    assert one != two
