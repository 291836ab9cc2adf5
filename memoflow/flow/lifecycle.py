"""Lifecycle: the hooks that Metaflow calls of a step decorator, for all of memoflow's.

A decorator is a name, a table of options, and `begin` and `end`. The table makes the defaults, the
checks, the values of texts in `--with`, and the docstring from which Metaflow makes stubs; by
docs/options.py also our own stub and the tables of the pages. A decorator fails a step for what the
step asked for, such as a save or a load (`translated_errors`); an extra, such as a card, is given
up with one line (`degrade`).

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step runs.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from metaflow.decorators import StepDecorator
from metaflow.exception import MetaflowException
from metaflow.flowspec import INTERNAL_ARTIFACTS_SET
from metaflow.metadata_provider.metadata import MetaDatum
from metaflow.metaflow_current import current

from memoflow import events
from memoflow.dataclass import dataclass
from memoflow.errors import MemoflowError, UsageError
from memoflow.flow.task import dependencies, launch_info
from memoflow.flow.task.process import arguments_of_step, tell
from memoflow.log import INFO, WARNING
from memoflow.masking import without_passwords

if TYPE_CHECKING:
    from memoflow.flow.cards.card import TaskCard

_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


def as_given(name: str, value: Any) -> Any:
    """Return the value of an option that takes any."""
    return value


@dataclass(frozen=True)
class Option:
    """An option of a decorator: its default, the check that also reads texts, type and use."""

    name: str
    default: Any
    parse: Callable[[str, Any], Any] = as_given
    type: str = "Any"
    doc: str = ""

    def parameter(self) -> str:
        """Return the option as a parameter of a docstring, with a type that Metaflow knows."""
        kind = self.type.partition(" | ")[0].replace("Collection", "List")
        kind = "str" if kind.startswith("Literal") else kind.replace("Sequence", "List")
        optional = ", optional" if self.default is None else ""
        plain = _LINK.sub(r"\1", self.doc)  # Links lead nowhere from here.
        return f"{self.name} : {kind}{optional}, default {self.default!r}\n    {plain}"


@dataclass(frozen=True)
class Attempt:
    """One attempt of a task, as Metaflow describes it to a decorator."""

    flow: Any
    run_id: str
    step: str
    task_id: str
    number: int
    is_parallel: bool
    has_unbounded_foreach: bool
    output: Any
    inputs: Any
    metadata: Any

    @property
    def pathspec(self) -> str:
        """The task's pathspec."""
        return str(current.pathspec)


def choice(*allowed: str) -> Callable[[str, Any], str]:
    """Return the check of an option that takes one of a few texts."""

    def parse(name: str, value: Any) -> str:
        text = str(value)
        if text not in allowed:
            raise UsageError(f"{name} is one of {', '.join(allowed)}, not {value!r}")
        return text

    return parse


def optional(parse: Callable[[str, Any], Any], absent: Any = None) -> Callable[[str, Any], Any]:
    """Return a check that takes None, too, and the text that a command line has for it."""
    return lambda name, value: absent if value in (None, "None") else parse(name, value)


def read(options: Iterable[Option], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of options by name; UsageError for one that cannot be."""
    return {option.name: option.parse(option.name, attributes[option.name]) for option in options}


class WithOptions:
    """A decorator with a table of options and an exception for values that cannot be."""

    name: ClassVar[str]
    attributes: dict[str, Any]
    defaults: ClassVar[dict[str, Any]]
    option_table: ClassVar[tuple[Option, ...]] = ()
    exception: ClassVar[type[MetaflowException]] = MetaflowException
    place = ""  # before a message about an option

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.defaults = {option.name: option.default for option in cls.option_table}
        parameters = [option.parameter() for option in cls.option_table]
        about = inspect.cleandoc(cls.__doc__ or "")
        cls.__doc__ = "\n".join((about, "", "Parameters", "----------", *parameters))

    @cached_property
    def values(self) -> dict[str, Any]:
        """The values of the options by name; `exception` for one that cannot be."""
        try:
            return read(self.option_table, self.attributes)
        except UsageError as error:
            raise self.exception(f"{self.place}{error}") from error


class Lifecycle(WithOptions, StepDecorator):
    """A step decorator of memoflow's: all hooks of Metaflow's, and the failure policy."""

    label: ClassVar[str] = ""
    packages: ClassVar[Any] = dependencies.TASK
    hidden_artifacts: ClassVar[frozenset[str]] = frozenset()

    step_name = ""
    run_id = ""
    off = ""
    flow_datastore: Any = None
    logger: Any = None
    shows_card = False
    card: TaskCard | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.label = cls.label or f"@{cls.name}"

    # The decorator's own part.

    def prepare(self, flow: Any, graph: Any) -> None:
        """Get ready in the process that launches a run, or that runs the step."""

    def without_packages(self, error: UsageError) -> bool:
        """Tell whether to go on though a package is missing; the task needs all of them."""
        if self.is_in_worker:
            raise self.exception(str(error)) from error
        return True

    def begin_run(self) -> None:
        """Begin a run, in the process that launches it."""

    def launch(self, cli_args: Any, attempt: int, *, has_unbounded_foreach: bool) -> None:
        """Change the command line of a task that is about to start."""

    def begin(self, attempt: Attempt) -> None:
        """Begin an attempt, before the step's code."""

    def settle(self) -> None:
        """Complete a step that succeeded; raising still fails the task."""

    def fail(self) -> None:
        """Note that the step raised."""
        self.end(is_ok=False)

    def end(self, *, is_ok: bool) -> None:
        """End an attempt: remove its files and complete its card."""
        self.clean_up()
        if self.card is not None:
            with self.degrade("its card"):
                self.card.finish("succeeded" if is_ok else "failed")

    def clean_up(self) -> None:
        """Remove temporary files."""

    def end_run(self) -> None:
        """End a run, in the process that launched it."""

    # Shared by decorators.

    @property
    def is_in_worker(self) -> bool:
        """True in the worker of a step."""
        return bool(arguments_of_step())

    def say(self, line: str, level: int = INFO) -> None:
        """Print a line to the log, after the decorator's name."""
        tell(f"[{self.label}] {line}", level)

    @contextlib.contextmanager
    def degrade(
        self, extra: str, but: type[Exception] | tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Give up an extra that raises, with one line; exceptions of `but` pass."""
        try:
            yield
        except but:
            raise
        except Exception as error:
            line = without_passwords(f"{extra} failed: {type(error).__name__}: {error}")
            self.say(line, WARNING)

    def open_card(self, attempt: Attempt) -> TaskCard | None:
        """Return the card of the attempt, None where the step wants none."""
        if self.shows_card:
            # Here, since Metaflow imports this module at each start.
            from memoflow.flow.cards import card

            with self.degrade("its card"):
                self.card = card.of_task(self.flow_datastore, attempt.pathspec, attempt.number)
        return self.card

    def show_card(self, rows: dict[str, Any], **gather: Any) -> None:
        """Show the open card with these rows in the decorator's part."""
        if self.card is not None:
            with self.degrade("its card"):
                self.card.show(self.name, rows, **gather)

    def note_lineage(self, attempt: Attempt, type: str, facts: Mapping[str, Any]) -> None:
        """Add facts of this type to the task's metadata."""
        tags = [f"attempt_id:{attempt.number}"]
        with self.degrade("its lineage"):
            lineage = [MetaDatum(field, value, type, tags) for field, value in facts.items()]
            if lineage:
                attempt.metadata.register_metadata(
                    attempt.run_id, attempt.step, attempt.task_id, lineage
                )

    def note_store(self, attempt: Attempt) -> None:
        """Add a store of the flow's own to the task's metadata."""
        notes = artifact_store().notes_of_flow()
        self.note_lineage(attempt, "mf-checkpoint-artifact-store", notes)

    def check_store(self) -> None:
        """Raise `exception` if there can be no store, in the process that launches a run."""
        if self.system_ctx.is_launch:
            with translated_errors(self.exception):
                artifact_store().check_usable()

    # The hooks that Metaflow calls.

    def step_init(
        self,
        flow: Any,
        graph: Any,
        step_name: str,
        decorators: Any,
        environment: Any,
        flow_datastore: Any,
        logger: Any,
    ) -> None:
        INTERNAL_ARTIFACTS_SET.update(self.hidden_artifacts)
        self.step_name, self.flow_datastore, self.logger = step_name, flow_datastore, logger
        running = arguments_of_step()
        if running and step_name not in running:
            return  # The worker of another step, which may have next to no packages.
        try:
            dependencies.provide(self.packages, install=bool(running))
        except UsageError as error:
            if not self.without_packages(error):
                return
        self.place = f"step {step_name}: "
        self.values  # noqa: B018  (it checks them)
        # One card for all, so that a step which wants none gets none.
        self.shows_card = not any(
            deco.name == "checkpoint" and str(deco.attributes["show_card"]).lower() == "false"
            for deco in decorators
        )
        self.prepare(flow, graph)

    def package_init(self, flow: Any, step_name: str, environment: Any) -> None:
        launch_info.note_image(step_name, getattr(flow, step_name).decorators)

    def add_to_package(self) -> list[tuple[str, str]]:
        return dependencies.package_files()

    def runtime_init(self, flow: Any, graph: Any, package: Any, run_id: str) -> None:
        self.run_id = run_id
        events.check()
        self._say_if_off()
        self.begin_run()

    def runtime_step_cli(
        self, cli_args: Any, retry_count: int, max_user_code_retries: int, ubf_context: Any
    ) -> None:
        self.launch(cli_args, retry_count, has_unbounded_foreach=ubf_context is not None)

    def runtime_finished(self, exception: Any) -> None:
        self.end_run()

    def task_pre_step(
        self,
        step_name: str,
        task_datastore: Any,
        metadata: Any,
        run_id: str,
        task_id: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
        ubf_context: Any,
        inputs: Any,
    ) -> None:
        events.in_task(flow=current.flow_name, run=run_id, step=step_name, task=task_id)
        self._say_if_off()
        self.begin(
            Attempt(
                flow=flow,
                run_id=run_id,
                step=step_name,
                task_id=task_id,
                number=retry_count,
                is_parallel=bool(graph[step_name].parallel_step),
                has_unbounded_foreach=ubf_context is not None,
                output=task_datastore,
                inputs=inputs,
                metadata=metadata,
            )
        )

    def task_post_step(
        self, step_name: str, flow: Any, graph: Any, retry_count: int, max_user_code_retries: int
    ) -> None:
        self.settle()

    def task_exception(
        self,
        exception: Exception,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        self.fail()

    def task_finished(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        is_task_ok: bool,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        self.end(is_ok=is_task_ok)

    def _say_if_off(self) -> None:
        if self.off:
            self.say(f"off: {self.off}", WARNING)


@contextlib.contextmanager
def translated_errors(exception: type[MetaflowException]) -> Iterator[None]:
    """Raise errors of memoflow's in the block as this exception, with the same message.

    A TypeError is raised as its subclass that is one, too, where it has one.
    """
    try:
        yield
    except MemoflowError as error:
        kinds = exception.__subclasses__() if isinstance(error, TypeError) else ()
        kind = next((each for each in kinds if issubclass(each, TypeError)), exception)
        raise kind(str(error)) from error


def artifact_store() -> ModuleType:
    """Return the module of that name, which imports the store."""
    # Here, since Metaflow imports this module at each start.
    from memoflow.flow import artifact_store

    return artifact_store
