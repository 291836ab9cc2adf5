"""@checkpoint: save within a task, and go on from the last save when it runs again.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with
@checkpoint runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memoflow.display import printable
from memoflow.errors import UsageError
from memoflow.flow import artifact_store
from memoflow.flow.checkpoint import policy
from memoflow.flow.failures import CheckpointException, translated_errors
from memoflow.flow.host.current import add_to_current
from memoflow.flow.lifecycle import Attempt, Lifecycle, Option, as_given, choice, optional, read
from memoflow.masking import Mask, without_passwords
from memoflow.units import duration, flag

if TYPE_CHECKING:
    from memoflow.fingerprint import Fingerprint
    from memoflow.flow.checkpoint.checkpointer import Checkpointer
    from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{name} is a number from 1 on, not {value!r}")
    return value


class CheckpointDecorator(Lifecycle):
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
    options = (
        Option("load_policy", "fresh", optional(choice(*policy.POLICIES))),
        Option("temp_dir_root", None, optional(as_given)),
        Option("show_card", True, flag),
        Option("keep_last", None, optional(_count)),
        Option("ttl", None, optional(duration)),
        Option("on_code_change", "warn", choice("warn", "load", "skip")),
    )
    exception = CheckpointException
    # What metaflow-checkpoint set: runs of it that are resumed have them still.
    hidden_artifacts = frozenset({"_task_checkpoints", "_task_latest_checkpoint"})

    _code: Fingerprint | None = None
    _checkpointer: Checkpointer | None = None
    _current: CurrentCheckpoint | None = None

    def prepare(self, flow: Any, graph: Any) -> None:
        with translated_errors(CheckpointException):
            self._policy = policy.of_run(self.attributes["load_policy"])
            if self.system_ctx.is_launch:
                artifact_store.check_usable()
        if self.is_in_worker:
            # Now, while parameters are still what the class says.
            self._code = self._fingerprint(type(flow))

    def launch(self, cli_args: Any, attempt: int, *, has_unbounded_foreach: bool) -> None:
        given = policy.given()
        if given is not None:
            cli_args.env[policy.VARIABLE] = given

    def end_run(self) -> None:
        from memoflow.flow import maintenance
        from memoflow.flow.spool import spool

        def say(line: str) -> None:
            self.logger(printable(f"[@checkpoint] {line}"), system_msg=True)

        try:
            store = artifact_store.current_store().store
            maintenance.collect(store, say, [artifact_store.default().store])
            if store.backend.takes_round_trips:
                spool.collect(store, say)
        except Exception as error:  # Of whatever kind: the run is over, and went well.
            say(f"the store could not be tidied: {type(error).__name__}: {error}")

    def begin(self, attempt: Attempt) -> None:
        from memoflow.flow.checkpoint.checkpointer import Checkpointer, CheckpointOptions
        from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
        from memoflow.flow.ready import get_ready
        from memoflow.flow.task import identity
        from memoflow.flow.task.scratch import Scratch

        card = self.open_card(attempt)
        asked = read(self.options, self.attributes)
        with translated_errors(CheckpointException):
            mine, notes = identity.of_task(attempt.flow, parallel=attempt.is_parallel)
            for note in notes:
                self.say(note)
            self._checkpointer = Checkpointer(
                artifact_store.current_store(),
                mine,
                CheckpointOptions(
                    keep_last=asked["keep_last"],
                    ttl=asked["ttl"],
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
                    attempt.number,
                    asked["temp_dir_root"],
                ),
                code=self._code,
                say=self.say,
                noticed=_nothing if card is None else card.refresh,
            )
        add_to_current("checkpoint", self._current)
        self.show_card(
            {"load policy": self._policy, "scope": mine.scope, "identity": mine.identifier},
            gather=self._checkpointer.note_subprocesses,
        )
        self._current.bring_in()
        loaded = None
        if self._policy != "none":
            loaded = self._current.load_latest(self._policy, asked["on_code_change"])
        self.note_store(attempt)
        if loaded is not None:
            self.note_lineage(
                attempt,
                "checkpoint",
                {
                    "checkpoint-load-key": loaded.key,
                    "checkpoint-load-pathspec": loaded.pathspec,
                    "checkpoint-load-attempt": loaded.attempt,
                    "checkpoint-load-name": loaded.name,
                },
            )

    def settle(self) -> None:
        if self._current is not None:
            self._current.finish()

    def fail(self) -> None:
        if self._current is not None:
            try:
                self._current.finish()
            except CheckpointException as error:
                self.say(str(error))  # The task fails as it is.
        self.end(is_ok=False)

    def clean_up(self) -> None:
        if self._current is not None:
            self._current.clean_up()
            self._current = None

    def _fingerprint(self, flow: type) -> Fingerprint | None:
        """Return the fingerprint of the step's code, None if it has none: no change is seen then.

        It looks at all that the code holds, which may be changed by threads, and asks objects that
        may raise what they like. Whatever it is, the step runs.
        """
        from memoflow.errors import NoFingerprintError
        from memoflow.fingerprint import Fingerprint
        from memoflow.flow import code

        try:
            return Fingerprint.of(code.parts_of(flow, self.step_name, mask=Mask(key=_mask_key)))
        except NoFingerprintError:
            return None
        except Exception as error:
            text = without_passwords(f"{type(error).__name__}: {error}")
            self.say(f"its code cannot be followed ({text})")
            return None


def _nothing() -> None: ...


def _mask_key() -> bytes:
    return artifact_store.current_store().store.id.encode()
