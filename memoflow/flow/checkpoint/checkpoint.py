"""@checkpoint: save within a task, and go on from the last save when it runs again.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with
@checkpoint runs.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.display import printable
from memoflow.errors import UsageError
from memoflow.flow.checkpoint import policy
from memoflow.flow.lifecycle import (
    Attempt,
    Lifecycle,
    Option,
    as_given,
    choice,
    optional,
    translated_errors,
)
from memoflow.log import INFO, WARNING, report
from memoflow.units import duration, flag

if TYPE_CHECKING:
    from memoflow.fingerprint import Fingerprint
    from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint


_ORDERS = ("min", "max")


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{name} is a number from 1 on, not {value!r}")
    return value


def _best(name: str, value: Any) -> tuple[str, int, str]:
    try:
        field, count, order = value
    except (TypeError, ValueError):
        field = count = order = None
    if not isinstance(field, str) or type(count) is not int or count < 1 or order not in _ORDERS:
        raise UsageError(f'{name} is such as ("loss", 3, "min") or ("f1", 1, "max"), not {value!r}')
    return field, count, order


class CheckpointException(MetaflowException):
    headline = "@checkpoint"


class CheckpointTypeError(CheckpointException, TypeError):
    """An argument of a type that the call never takes."""


class CheckpointDecorator(Lifecycle):
    """Save and resume inside a task: a retry goes on from the last save.

    MF Add To Current
    -----------------
    checkpoint -> memoflow.flow.checkpoint.current_checkpoint.CurrentCheckpoint
        Saves, lists and loads checkpoints of the running task.
    """

    name = "checkpoint"
    # fmt: off
    option_table = (
        Option("load_policy", "fresh", optional(choice(*policy.POLICIES)),
               'Literal["fresh", "eager", "none"] | None',
               'what to load before the step starts: `"fresh"`, the latest save by an earlier '
               'attempt of this task; `"eager"`, that one, or else the latest by any run in the '
               'same scope; `"none"` or `None`, nothing'),
        Option("temp_dir_root", None, optional(as_given), "str | None",
               "where `current.checkpoint.directory` is made; `None` is where temporary files go"),
        Option("show_card", True, flag, "bool",
               "whether the task has a card of its loads and saves"),
        Option("keep_last", None, optional(_count), "int | None",
               "how many checkpoints of each name a task keeps; `None` keeps all"),
        Option("keep_best", None, optional(_best), "tuple[str, int, str] | None",
               'beside those the best of each name: `("loss", 3, "min")` keeps the three of the '
               'least loss in their metadata, `("f1", 1, "max")` the one of the highest f1; '
               "without `keep_last`, those and the last one; `None` keeps none for that"),
        Option("ttl", None, optional(duration), "str | timedelta | None",
               'the shortest time for which a checkpoint is kept: `"30d"`, `"12h"`, a '
               "`timedelta`; `None` is for ever; the newest is kept at any age"),
        Option("on_code_change", "warn", choice("warn", "load", "skip"),
               'Literal["warn", "load", "skip"]',
               'what `"eager"` does with a checkpoint saved by other code: `"warn"` and load it, '
               '`"load"` it, or `"skip"` it for one saved by the same code'),
    )
    # fmt: on
    exception = CheckpointException
    # What metaflow-checkpoint set: runs of it that are resumed have them still.
    hidden_artifacts = frozenset({"_task_checkpoints", "_task_latest_checkpoint"})

    _code: Fingerprint | None = None
    _current: CurrentCheckpoint | None = None

    def prepare(self, flow: Any, graph: Any) -> None:
        with translated_errors(CheckpointException):
            self._policy = policy.of_run(self.values["load_policy"])
        self.check_store()
        if self.is_in_worker:
            # Now, while parameters are still what the class says.
            self._code = _in_task().fingerprint_of(type(flow), self.step_name, self.say)

    def launch(self, cli_args: Any, attempt: int, *, has_unbounded_foreach: bool) -> None:
        given = policy.given()
        if given is not None:
            cli_args.env[policy.VARIABLE] = given

    def end_run(self) -> None:
        def say(line: str, level: int = INFO) -> None:
            line = printable(f"[@checkpoint] {line}")
            report(line, partial(self.logger, system_msg=True), level)

        _in_task().maintain(say)

    def begin(self, attempt: Attempt) -> None:
        card = self.open_card(attempt)
        with translated_errors(CheckpointException):
            self._current = current = _in_task().begin(
                attempt,
                self.values,
                code=self._code,
                say=self.say,
                noticed=(lambda: None) if card is None else card.refresh,
            )
        identity = current.identity
        self.show_card(
            {
                "load policy": self._policy,
                "scope": identity.scope,
                "identity": identity.identifier,
            },
            gather=current.note_subprocesses,
            best=_in_task().CheckpointOptions(keep_best=self.values["keep_best"]).best,
        )
        current.bring_in()
        loaded = None
        if self._policy != "none":
            loaded = current.load_latest(self._policy, self.values["on_code_change"])
        self.note_store(attempt)
        if loaded is not None:
            fields = ("key", "pathspec", "attempt", "name")
            facts = {f"checkpoint-load-{field}": getattr(loaded, field) for field in fields}
            self.note_lineage(attempt, "checkpoint", facts)

    def settle(self) -> None:
        if self._current is not None:
            self._current.finish()

    def fail(self) -> None:
        try:
            self.settle()
        except CheckpointException as error:
            self.say(str(error), WARNING)  # The task fails as it is.
        self.end(is_ok=False)

    def clean_up(self) -> None:
        if self._current is not None:
            self._current.clean_up()
            self._current = None


def _in_task() -> ModuleType:
    # Here, since Metaflow imports this module at each start.
    from memoflow.flow.checkpoint import current_checkpoint

    return current_checkpoint
