"""The lifecycle of step decorators: options, failure policy, and the order of the hooks."""

from __future__ import annotations

import inspect
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.cmd.develop.stub_generator import parse_params_from_doc
from metaflow.decorators import StepDecorator
from metaflow.exception import MetaflowException

from docs import options
from memoflow.errors import UsageError
from memoflow.flow.checkpoint.checkpoint import CheckpointDecorator
from memoflow.flow.checkpoint.current_checkpoint import fingerprint_of
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubDecorator
from memoflow.flow.lifecycle import Attempt, Lifecycle, Option, choice
from memoflow.flow.memo.memoize import MemoizeDecorator
from memoflow.flow.model.model import ModelDecorator
from memoflow.units import flag
from tests.said import kept_in

DECORATORS = [MemoizeDecorator, CheckpointDecorator, ModelDecorator, HuggingfaceHubDecorator]

# An option, a value as Python has it, and the text for it on a command line.
SPELLINGS = [
    (MemoizeDecorator, "inputs", ["a", "b"], "a,b"),
    (MemoizeDecorator, "ttl", "30d", "30d"),
    (MemoizeDecorator, "ttl", None, "None"),
    (MemoizeDecorator, "environment", False, "False"),
    (MemoizeDecorator, "refresh", True, "yes"),
    (MemoizeDecorator, "audit", 0.05, "5%"),
    (MemoizeDecorator, "mode", None, "None"),
    (CheckpointDecorator, "show_card", False, "off"),
    (CheckpointDecorator, "keep_last", 3, "3"),
    (CheckpointDecorator, "keep_last", None, "None"),
    (CheckpointDecorator, "load_policy", "eager", "eager"),
    (ModelDecorator, "best_effort_load", True, "true"),
    (ModelDecorator, "load", None, "None"),
    (HuggingfaceHubDecorator, "cache_scope", "flow", "flow"),
    (HuggingfaceHubDecorator, "revalidate", "7d", "7d"),
]

BAD = [
    (MemoizeDecorator, "inputs", 3),
    (MemoizeDecorator, "scope", "planet"),
    (MemoizeDecorator, "audit", 2),
    (CheckpointDecorator, "load_policy", "lazy"),
    (CheckpointDecorator, "keep_last", 0),
    (CheckpointDecorator, "ttl", "soon"),
    (CheckpointDecorator, "on_code_change", None),
    (ModelDecorator, "load", 3),
    (ModelDecorator, "best_effort_load", "perhaps"),
    (HuggingfaceHubDecorator, "cache_scope", "planet"),
    (HuggingfaceHubDecorator, "revalidate", "sometimes"),
]


def row(decorator: type[Lifecycle], name: str) -> Option:
    (found,) = [option for option in decorator.option_table if option.name == name]
    return found


@pytest.mark.parametrize("decorator", DECORATORS)
def test_the_table_makes_the_defaults(decorator):
    assert decorator.defaults == {option.name: option.default for option in decorator.option_table}


@pytest.mark.parametrize("decorator", DECORATORS)
def test_each_default_passes_its_own_check(decorator):
    for option in decorator.option_table:
        option.parse(option.name, option.default)


@pytest.mark.parametrize("decorator", options.PAGES)
def test_the_page_has_the_table(decorator):
    page = options.PAGES[decorator].read_text()
    assert options.table(decorator) in page, "run python docs/options.py"


def test_the_stub_has_the_tables():
    assert options.STUB.read_text() == options.stub(), "run python docs/options.py"


@pytest.mark.parametrize("decorator", options.PAGES)
def test_metaflow_makes_its_own_stubs_of_the_table(decorator):
    section = inspect.getdoc(decorator).partition("Parameters\n----------\n")[2]
    parameters, _ = parse_params_from_doc(section)
    assert {each.name: each.default for each in parameters} == decorator.defaults
    assert not [each.name for each in parameters if isinstance(each.annotation, str)]


@pytest.mark.parametrize(("decorator", "name", "value", "text"), SPELLINGS)
def test_a_text_of_the_command_line_parses_as_the_value(decorator, name, value, text):
    _, given = decorator.extract_args_kwargs_from_decorator_spec(f"{name}={text}")
    parse = row(decorator, name).parse
    assert parse(name, given[name]) == parse(name, value)


@pytest.mark.parametrize(("decorator", "name", "value"), BAD)
def test_a_bad_value_is_named(decorator, name, value):
    with pytest.raises(UsageError, match=f"(?s){name}.*{re.escape(repr(value))}"):
        row(decorator, name).parse(name, value)


class OwnError(MetaflowException):
    headline = "@probe"


class Probe(Lifecycle):
    name = "probe"
    option_table = (Option("size", "small", choice("small", "big")), Option("loud", False, flag))
    exception = OwnError

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.called: list[str] = []

    def prepare(self, flow: Any, graph: Any) -> None:
        self.called.append("prepare")

    def launch(self, cli_args: Any, attempt: int, *, has_unbounded_foreach: bool) -> None:
        self.called.append("launch")

    def begin(self, attempt: Attempt) -> None:
        self.called.append(f"begin {attempt.step} {attempt.number}")

    def settle(self) -> None:
        self.called.append("settle")

    def clean_up(self) -> None:
        self.called.append("clean_up")

    def end_run(self) -> None:
        self.called.append("end_run")


GRAPH = {"fit": SimpleNamespace(parallel_step=False)}


def step_init(deco: Lifecycle, *beside: Any) -> None:
    deco.step_init(None, GRAPH, "fit", [deco, *beside], None, None, None)


def pre_step(deco: Lifecycle) -> None:
    deco.task_pre_step("fit", None, None, "1", "2", None, GRAPH, 0, 0, None, [])


def test_the_step_is_named_with_a_bad_option():
    with pytest.raises(OwnError, match="step fit: size is one of small, big, not 'huge'"):
        step_init(Probe({"size": "huge"}))


def test_a_flag_that_is_a_text_becomes_a_bool():
    deco = Probe({"loud": "yes"})
    step_init(deco)
    assert deco.values["loud"] is True


def test_hooks_of_a_task_that_succeeds_come_in_order():
    deco = Probe()
    step_init(deco)
    deco.runtime_step_cli(None, 0, 0, None)
    pre_step(deco)
    deco.task_post_step("fit", None, GRAPH, 0, 0)
    deco.task_finished("fit", None, GRAPH, True, 0, 0)
    deco.runtime_finished(None)
    expected = ["prepare", "launch", "begin fit 0", "settle", "clean_up", "end_run"]
    assert deco.called == expected


def test_a_task_that_fails_is_cleaned_up():
    deco = Probe()
    step_init(deco)
    pre_step(deco)
    deco.task_exception(ValueError(), "fit", None, GRAPH, 0, 0)
    assert deco.called[-1] == "clean_up"


def test_a_begin_that_raises_fails_the_task():
    class Failing(Probe):
        def begin(self, attempt: Attempt) -> None:
            raise OwnError("cannot be loaded")

    with pytest.raises(OwnError, match="cannot be loaded"):
        pre_step(Failing())


def test_an_extra_that_raises_is_one_line(capsys):
    with Probe().degrade("its card"):
        raise ValueError("no room")
    assert capsys.readouterr().out == "[@probe] its card failed: ValueError: no room\n"


def test_what_was_asked_for_passes_the_extra_that_holds_it():
    with pytest.raises(OwnError), Probe().degrade("lookup", but=OwnError):
        raise OwnError("only hits are allowed")


def test_a_card_that_cannot_finish_fails_no_task(capsys):
    class Card:
        def finish(self, state: str) -> None:
            raise OSError("disk full")

    deco = Probe()
    deco.card = Card()
    deco.task_finished("fit", None, GRAPH, True, 0, 0)
    assert "its card failed: OSError: disk full" in capsys.readouterr().out


def test_lineage_that_cannot_be_noted_fails_no_task(capsys):
    class Metadata:
        def register_metadata(self, *given: Any) -> None:
            raise ConnectionError("no service")

    attempt = Attempt(None, "1", "fit", "2", 0, False, False, None, [], Metadata())
    Probe().note_lineage(attempt, "model-registry", {"saved-models": json.dumps({})})
    assert "its lineage failed: ConnectionError: no service" in capsys.readouterr().out


def test_a_step_whose_checkpoint_wants_no_card_gets_none():
    deco = Probe()
    step_init(deco, SimpleNamespace(name="checkpoint", attributes={"show_card": "False"}))
    assert not deco.shows_card


def test_a_decorator_that_is_off_says_so(capsys):
    deco = Probe()
    deco.off = "xxhash is missing"
    deco.runtime_init(None, GRAPH, None, "1")
    assert capsys.readouterr().out == "[@probe] off: xxhash is missing\n"


def test_code_that_cannot_be_fingerprinted_fails_no_checkpoint():
    said: list[str] = []
    assert fingerprint_of(object, "a step that this flow does not have", kept_in(said)) is None
    assert said[0].startswith("its code cannot be followed (AttributeError")


@pytest.mark.parametrize(
    "hook",
    [
        name
        for name, member in vars(Lifecycle).items()
        if inspect.isfunction(member) and name in vars(StepDecorator)
    ],
)
def test_a_hook_takes_what_metaflow_passes(hook):
    ours = list(inspect.signature(getattr(Lifecycle, hook)).parameters)
    assert ours == list(inspect.signature(getattr(StepDecorator, hook)).parameters)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_no_decorator_has_a_hook_of_metaflows_itself(decorator):
    hooks = {name for name, member in vars(StepDecorator).items() if inspect.isfunction(member)}
    assert not hooks & set(vars(decorator)) - {"init", "__init__"}
