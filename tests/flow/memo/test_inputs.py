"""The inputs of tasks in a foreach and of joins: which values they see, and by which names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from metaflow import FlowSpec, step
from metaflow.task import ForeachFrame

from memoflow.flow.memo.inputs import FlowShape, InputDigests, UndecidedError, collapse


class Sweep(FlowSpec):
    """A foreach and its join; `scale` is a constant."""

    scale = 3

    @step
    def start(self):
        self.next(self.work, foreach="rates")

    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


SHAPE = FlowShape.of(Sweep(use_cli=False))


def frame(index: int, splits: int = 3) -> Any:
    return ForeachFrame("start", "rates", splits, index, None)


@pytest.fixture
def inputs(host) -> Any:
    def inputs(*datastores: Any, join: str | None = None, frames: Any = (), most: int = 1 << 20):
        return InputDigests(
            list(datastores),
            shape=SHAPE,
            join_type=join,
            frames=list(frames),
            current=lambda name: name,
            facts=host.store.index,
            lists={},
            load_limit_bytes=most,
        )

    return inputs


@pytest.fixture
def joined(host, inputs) -> Any:
    """Return the inputs of a join of splits that left these values of `x`, by index."""

    def joined(*values: Any, order: int = 1, first: int = 10) -> InputDigests:
        left = [
            host.left("work", str(first + i), x=x, rates=[5, 6, 7], _foreach_stack=[frame(i)])
            for i, x in enumerate(values)
        ]
        found: InputDigests = inputs(*left[::order], join="foreach")
        return found

    return joined


def digest(found: InputDigests, name: str) -> str:
    return found.digest(name).digest


def test_the_item_of_a_foreach_is_its_value(host, inputs):
    one, other = host.left(rates=[5, 6, 7]), host.left(task="2", rates=[7, 5, 6])
    assert digest(inputs(one, frames=[frame(0)]), "input") == digest(
        inputs(other, frames=[frame(1)]), "input"
    )
    assert digest(inputs(one, frames=[frame(0)]), "input") != digest(
        inputs(one, frames=[frame(1)]), "input"
    )


def test_the_index_is_an_input_of_its_own(host, inputs):
    started = host.left(rates=[5, 5, 5])
    zero, one = inputs(started, frames=[frame(0)]), inputs(started, frames=[frame(1)])
    assert digest(zero, "input") == digest(one, "input")
    assert digest(zero, "index") != digest(one, "index")


def test_the_stack_counts_the_splits(host, inputs):
    started = host.left(rates=[5, 6, 7])
    three, two = inputs(started, frames=[frame(0)]), inputs(started, frames=[frame(0, 2)])
    assert digest(three, "foreach_stack") != digest(two, "foreach_stack")


def test_outside_of_a_foreach_there_is_no_item(host, inputs):
    assert digest(inputs(host.left()), "input") == digest(inputs(host.left(task="2")), "absent")


def test_a_list_too_large_for_the_scheduler_is_for_the_worker(host, inputs):
    with pytest.raises(UndecidedError, match="too large"):
        inputs(host.left(rates=[5, 6, 7]), frames=[frame(0)], most=1).digest("input")


def test_the_order_of_a_set_is_for_the_worker(host, inputs):
    with pytest.raises(UndecidedError, match="is a set"):
        inputs(host.left(rates={5, 6, 7}), frames=[frame(0)]).digest("input")


def test_an_item_beyond_the_list_is_for_the_worker(host, inputs):
    with pytest.raises(UndecidedError, match="no item 9"):
        inputs(host.left(rates=[5]), frames=[frame(9)]).digest("input")


def test_an_item_is_found_among_all_items(host, inputs):
    found = inputs(host.left(rates=[5, 6, 7]), frames=[frame(0)])
    wanted = digest(inputs(host.left(task="2", rates=[1, 7, 2]), frames=[frame(1)]), "input")
    assert found.has_item(wanted, most=10) is True
    assert found.has_item("xxh3:0", most=10) is False
    assert found.has_item(wanted, most=2) is None


def test_a_constant_is_what_the_class_says(host, inputs):
    found = inputs(host.left(scale=99))
    assert found.digest("scale").summary == "3"


def test_a_value_that_has_no_meaning_is_known_by_its_bytes(host, inputs):
    found = inputs(host.left(x="y" * (2 << 20)))
    assert digest(found, "x").startswith("sha1:")


def test_the_inputs_of_a_join_come_in_no_order(joined):
    one, other = joined(1, 2, 3), joined(1, 2, 3, order=-1, first=20)
    for name in ("inputs", "inputs[*].x", "inputs[1].x", "merge_artifacts()"):
        assert digest(one, name) == digest(other, name)


def test_one_input_of_a_join_is_read_by_its_index(joined):
    found = joined(1, 2, 3)
    assert found.digest("inputs[1].x").summary == "2"
    assert digest(found, "inputs[7].x") == digest(found, "inputs[1].absent")


def test_an_input_of_a_join_has_its_own_item_and_index(joined):
    found = joined(1, 2, 3)
    assert found.digest("inputs[2].input").summary == "7"
    assert found.digest("inputs[2].index").summary == "2"


def test_another_value_in_one_input_changes_what_was_read_of_all(joined):
    one, other = joined(1, 2, 3), joined(1, 2, 4, first=20)
    assert digest(one, "inputs[*].x") != digest(other, "inputs[*].x")
    assert digest(one, "merge_artifacts()") != digest(other, "merge_artifacts()")
    assert digest(one, "merge_artifacts(x)") == digest(other, "merge_artifacts(x)")
    assert digest(one, "inputs") == digest(other, "inputs")


def test_the_parts_of_what_a_join_read_are_named_for_the_log(joined):
    [part] = (found := joined(1, 2)).outlined([found.digest("inputs[*].x")])
    assert [(path, text) for path, text, _ in part.outline] == [
        ("", ""),
        ("[0]", "1"),
        ("[1]", "2"),
    ]


def test_branches_of_a_join_are_told_by_their_steps(host, inputs):
    found = inputs(host.left("a", "3", x=1), host.left("b", "4", x=2), join="split")
    assert list(found.by_label) == ["inputs.a", "inputs.b"]
    assert found.digest("inputs.b.x").summary == "2"


def test_inputs_that_cannot_be_told_apart_are_for_the_worker(host, inputs):
    found = inputs(host.left("a", "3", x=1), host.left("a", "4", x=2), join="split")
    with pytest.raises(UndecidedError, match="cannot be told apart"):
        found.digest("inputs")


def test_a_name_read_of_every_input_is_read_of_all(joined):
    reads = dict.fromkeys(["inputs", "inputs[0].x", "inputs[1].x", "inputs[0].y", "z"])
    assert list(collapse(reads, joined(1, 2))) == ["inputs", "inputs[*].x", "inputs[0].y", "z"]


def test_without_a_join_reads_stay_as_they_are(host, inputs):
    reads = dict.fromkeys(["inputs[0].x", "inputs[1].x"])
    assert collapse(reads, inputs(host.left())) == reads


def test_the_data_of_a_class_and_what_its_init_sets_are_constants():
    flow = Sweep(use_cli=False)
    vars(flow)["rate"] = SimpleNamespace(x=1)
    shape = FlowShape.of(flow)
    assert shape.constants.keys() >= {"scale", "rate"}
    assert "scale" in shape.parameters
    assert "start" not in shape.constants
