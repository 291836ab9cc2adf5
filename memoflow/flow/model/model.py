"""@model: save models, and load them by reference.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with @model
runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from memoflow.flow import artifact_store
from memoflow.flow.failures import ModelException, translated_errors
from memoflow.flow.host.current import add_to_current
from memoflow.flow.lifecycle import Attempt, Lifecycle, Option, as_given, optional
from memoflow.flow.model.wanted import parse
from memoflow.units import flag

if TYPE_CHECKING:
    from memoflow.flow.cards.journal import Journal
    from memoflow.flow.task.scratch import Scratch

# Its keys in a task's metadata: the last so many, as a line of metadata should stay one.
_MOST_KEYS = 20


def _load(name: str, value: Any) -> Any:
    parse(value)
    return value


class ModelDecorator(Lifecycle):
    """Save models and load them by reference, across steps, flows and users.

    MF Add To Current
    -----------------
    model -> memoflow.flow.model.current_model.CurrentModel
        Saves and loads models in the running task.

    Parameters
    ----------
    load : str or List[str] or List[Tuple[str, Optional[str]]], optional, default None
        Artifacts or Parameters that hold references to models, checkpoints or snapshots, loaded
        before the step starts; with a path each, or to a temporary directory.
    temp_dir_root : str, optional, default None
        Where temporary directories are made. None: where temporary files go.
    best_effort_load : bool, default False
        Go on without what cannot be found; `current.model.loaded` has None for it.
    """

    name = "model"
    options = (
        Option("load", None, optional(_load)),
        Option("best_effort_load", False, flag),
        Option("temp_dir_root", None, optional(as_given)),
    )
    exception = ModelException
    # What metaflow-checkpoint set: runs of it that are resumed have it still.
    hidden_artifacts = frozenset({"_task_stored_models"})

    _attempt: Attempt | None = None
    _journal: Journal | None = None
    _scratch: Scratch | None = None

    def prepare(self, flow: Any, graph: Any) -> None:
        if self.system_ctx.is_launch:
            with translated_errors(ModelException):
                artifact_store.check_usable()

    def artifacts_read(self) -> list[str]:
        """Return the artifacts that name the loaded models, for a key of the step's result."""
        return [name for name, _ in parse(self.attributes["load"])]

    def begin(self, attempt: Attempt) -> None:
        from memoflow.flow.cards.journal import of_this_process
        from memoflow.flow.model.current_model import CurrentModel
        from memoflow.flow.ready import get_ready
        from memoflow.flow.task.scratch import Scratch

        self._attempt = attempt
        self._journal = of_this_process()
        with translated_errors(ModelException):
            where = artifact_store.current_store()
            get_ready(where)
            artifact_store.tell_subprocesses()
            self._scratch = Scratch(
                "models",
                f"{where.folder} {attempt.pathspec}",
                attempt.number,
                self.attributes["temp_dir_root"],
            )
            model = CurrentModel(
                where,
                task=attempt.pathspec,
                attempt=attempt.number,
                scratch=self._scratch,
                say=self.say,
                journal=self._journal,
            )
        add_to_current("model", model)
        self.open_card(attempt)
        self.show_card({})
        model.load_artifacts(
            attempt.flow, self.attributes["load"], best_effort=self.attributes["best_effort_load"]
        )
        self.note_store(attempt)

    def settle(self) -> None:
        if self._attempt is None or self._journal is None:
            return
        facts = {}
        for field, verb in (("loaded-models", "loaded"), ("saved-models", "saved")):
            acts = [act for act in self._journal.acts if act.verb == verb and act.by == "model"]
            keys = [act.key for act in acts][-_MOST_KEYS:]
            if keys:
                facts[field] = json.dumps({"keys": keys})
        self.note_lineage(self._attempt, "model-registry", facts)

    def clean_up(self) -> None:
        if self._scratch is not None:
            self._scratch.clean_up()
