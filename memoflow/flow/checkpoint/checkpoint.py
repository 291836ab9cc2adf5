"""@checkpoint: save within a task, and go on from the last save when it runs again.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with
@checkpoint runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from metaflow.decorators import StepDecorator
from metaflow.flowspec import INTERNAL_ARTIFACTS_SET
from metaflow.metadata_provider.metadata import MetaDatum
from metaflow.metaflow_current import current

from memoflow.display import printable
from memoflow.errors import UsageError
from memoflow.flow import artifact_store
from memoflow.flow.checkpoint import policy
from memoflow.flow.failures import CheckpointException, translated_errors
from memoflow.flow.host.current import add_to_current
from memoflow.flow.task import dependencies, launch_info
from memoflow.flow.task.process import arguments_of_step, tell
from memoflow.masking import Mask, without_passwords
from memoflow.units import duration, flag

if TYPE_CHECKING:
    from memoflow.fingerprint import Fingerprint
    from memoflow.flow.cards.card import TaskCard
    from memoflow.flow.checkpoint.checkpointer import Checkpointer
    from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint

_ON_CODE_CHANGE = ("warn", "load", "skip")

# Artifacts that metaflow-checkpoint set: runs of it that are resumed have them still.
_HIDDEN = ("_task_checkpoints", "_task_latest_checkpoint")


class CheckpointDecorator(StepDecorator):
    """Save and resume inside a task: a retry goes on from the last save.

    MF Add To Current
    -----------------
    checkpoint -> memoflow.flow.checkpoint.current_checkpoint.CurrentCheckpoint
        Saves, lists and loads checkpoints of the running task.

    Parameters
    ----------
    load_policy : str, optional, default "fresh"
        What to load before the step starts: "fresh", the latest that this very task saved, so
        only on a retry; "eager", that or else the latest of any run in the same scope; "none" or
        None, nothing.
    temp_dir_root : str, optional, default None
        Where `current.checkpoint.directory` is made. None: where temporary files go.
    show_card : bool, default True
        Whether the task gets a card of what it loaded and saved.
    keep_last : int, optional, default None
        How many checkpoints of each name to keep. None: all.
    ttl : str or timedelta, optional, default None
        How long a checkpoint is kept at least: "30d", "12h". The newest is kept whatever its age.
    on_code_change : str, default "warn"
        What "eager" does where other code made the checkpoint: "warn" and load it, "load" it, or
        "skip" it for one that the same code made.
    """

    name = "checkpoint"
    defaults = {
        "load_policy": "fresh",
        "temp_dir_root": None,
        "show_card": True,
        "keep_last": None,
        "ttl": None,
        "on_code_change": "warn",
    }

    _code: Fingerprint | None = None
    _checkpointer: Checkpointer | None = None
    _current: CurrentCheckpoint | None = None
    _card: TaskCard | None = None

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
        INTERNAL_ARTIFACTS_SET.update(_HIDDEN)
        self._check(step_name)
        if self.system_ctx.is_launch:
            with translated_errors(CheckpointException):
                artifact_store.check_usable()
        self._graph = graph
        self._flow_datastore = flow_datastore
        self._logger = logger
        if step_name in arguments_of_step():
            with translated_errors(CheckpointException):
                dependencies.provide(dependencies.TASK, install=True)
            # Now, while parameters are still what the class says.
            self._code = _fingerprint(type(flow), step_name)

    def _check(self, step_name: str) -> None:
        asked = self.attributes
        where = f"on step {step_name}"
        for option, value in asked.items():
            if value == "None":  # As `--with checkpoint:ttl=None` has it.
                asked[option] = None
        for option, allowed, also in (
            ("load_policy", policy.POLICIES, (None,)),
            ("on_code_change", _ON_CODE_CHANGE, ()),
        ):
            if asked[option] not in allowed + also:
                raise CheckpointException(
                    f"@checkpoint({option}={asked[option]!r}) {where}: it is one of "
                    f"{', '.join(map(repr, allowed))}"
                )
        count = asked["keep_last"]
        if count is not None and (type(count) is not int or count < 1):
            raise CheckpointException(
                f"@checkpoint(keep_last={count!r}) {where}: it is a number from 1 on"
            )
        try:
            asked["show_card"] = flag("show_card", asked["show_card"])
            self._ttl = None if asked["ttl"] is None else duration("ttl", asked["ttl"])
            self._policy = policy.of_run(asked["load_policy"])
        except UsageError as error:
            raise CheckpointException(f"@checkpoint {where}: {error}") from error

    def package_init(self, flow: Any, step_name: str, environment: Any) -> None:
        launch_info.note_image(step_name, getattr(flow, step_name).decorators)

    def add_to_package(self) -> list[tuple[str, str]]:
        return dependencies.package_files()

    def runtime_step_cli(
        self, cli_args: Any, retry_count: int, max_user_code_retries: int, ubf_context: Any
    ) -> None:
        given = policy.given()
        if given is not None:
            cli_args.env[policy.VARIABLE] = given

    def runtime_finished(self, exception: Any) -> None:
        from memoflow.flow import maintenance
        from memoflow.flow.spool import spool

        def say(line: str) -> None:
            self._logger(printable(f"[@checkpoint] {line}"), system_msg=True)

        try:
            store = artifact_store.current_store().store
            maintenance.collect(store, say, [artifact_store.default().store])
            if not store.backend.is_local:
                spool.collect(store, say)
        except Exception as error:  # Of whatever kind: the run is over, and went well.
            say(f"the store could not be tidied: {type(error).__name__}: {error}")

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
        from memoflow.flow.checkpoint.checkpointer import Checkpointer, CheckpointOptions
        from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
        from memoflow.flow.ready import get_ready
        from memoflow.flow.task import identity
        from memoflow.flow.task.scratch import Scratch

        noticed: Callable[[], None] = _nothing
        if self.attributes["show_card"]:
            self._card = self._new_card(retry_count)
            noticed = self._card.refresh
        parallel = bool(graph[step_name].parallel_step)
        with translated_errors(CheckpointException):
            mine, notes = identity.of_task(flow, parallel=parallel)
            for note in notes:
                self._say(note)
            self._checkpointer = Checkpointer(
                artifact_store.current_store(),
                mine,
                CheckpointOptions(
                    keep_last=self.attributes["keep_last"],
                    ttl=self._ttl,
                    code="" if self._code is None else self._code.hex,
                ),
            )
            get_ready(self._checkpointer.where)
            self._checkpointer.tell_subprocesses()
            self._current = CurrentCheckpoint(
                self._checkpointer,
                scratch=Scratch(
                    self.name,
                    f"{self._checkpointer.where.folder} {mine.own}",
                    retry_count,
                    self.attributes["temp_dir_root"],
                ),
                code=self._code,
                say=self._say,
                noticed=noticed,
            )
        add_to_current("checkpoint", self._current)
        if self._card is not None:
            self._card.show(
                self.name,
                {
                    "load policy": self._policy,
                    "scope": mine.scope,
                    "identity": mine.identifier,
                },
                gather=self._checkpointer.note_subprocesses,
            )
        self._current.bring_in()
        loaded = None
        if self._policy != "none":
            loaded = self._current.load_latest(self._policy, self.attributes["on_code_change"])
        lineage = artifact_store.metadata_of_flow(retry_count)
        if loaded is not None:
            lineage += [
                MetaDatum(f"checkpoint-load-{field}", value, "checkpoint", [_attempt(retry_count)])
                for field, value in (
                    ("key", loaded.key),
                    ("pathspec", loaded.pathspec),
                    ("attempt", loaded.attempt),
                    ("name", loaded.name),
                )
            ]
        if lineage:
            metadata.register_metadata(run_id, step_name, task_id, lineage)

    def task_post_step(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        # Here, where raising still fails the task.
        if self._current is not None:
            self._current.finish()

    def task_exception(
        self,
        exception: Exception,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        if self._current is not None:
            try:
                self._current.finish()
            except CheckpointException as error:
                self._say(str(error))  # The task fails as it is.
        self._finish("failed")

    def task_finished(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        is_task_ok: bool,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        self._finish("succeeded" if is_task_ok else "failed")

    def _new_card(self, attempt: int) -> TaskCard:
        from memoflow.flow.cards import card

        return card.of_task(self._flow_datastore, str(current.pathspec), attempt)

    def _finish(self, state: str) -> None:
        if self._current is not None:
            self._current.clean_up()
            self._current = None
        if self._card is not None:
            self._card.finish(state)

    def _say(self, line: str) -> None:
        tell(f"[@checkpoint] {line}")


def _nothing() -> None: ...


def _fingerprint(flow: type, step_name: str) -> Fingerprint | None:
    """Return the fingerprint of a step's code, None if it has none: then none can tell a change.

    It looks at all that the code holds, which may be changed by threads, and asks objects that may
    raise what they like. Whatever it is, the step runs.
    """
    from memoflow.errors import NoFingerprintError
    from memoflow.fingerprint import Fingerprint
    from memoflow.flow import code

    try:
        return Fingerprint.of(code.parts_of(flow, step_name, mask=Mask(key=_mask_key)))
    except NoFingerprintError:
        return None
    except Exception as error:
        text = without_passwords(f"{type(error).__name__}: {error}")
        tell(f"[@checkpoint] its code cannot be followed ({text})")
        return None


def _mask_key() -> bytes:
    return artifact_store.current_store().store.id.encode()


def _attempt(number: int) -> str:
    return f"attempt_id:{number}"
