"""@model: save models, and load them by reference.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with @model
runs.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from metaflow.decorators import StepDecorator
from metaflow.flowspec import INTERNAL_ARTIFACTS_SET
from metaflow.metadata_provider.metadata import MetaDatum
from metaflow.metaflow_current import current

from memoflow.flow import artifact_store
from memoflow.flow.failures import ModelException, translated_errors
from memoflow.flow.host.current import add_to_current
from memoflow.flow.model.wanted import parse
from memoflow.flow.task import dependencies, launch_info
from memoflow.flow.task.process import arguments_of_step, tell
from memoflow.units import flag

if TYPE_CHECKING:
    from memoflow.flow.cards.card import TaskCard
    from memoflow.flow.cards.journal import Journal
    from memoflow.flow.model.current_model import CurrentModel
    from memoflow.flow.task.scratch import Scratch

# Its keys in a task's metadata: the last so many, as a line of metadata should stay one.
_MOST_KEYS = 20


class ModelDecorator(StepDecorator):
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
    defaults = {"load": None, "best_effort_load": False, "temp_dir_root": None}

    _current: CurrentModel | None = None
    _journal: Journal | None = None
    _card: TaskCard | None = None
    _scratch: Scratch | None = None

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
        # metaflow-checkpoint set it: runs of it that are resumed have it still.
        INTERNAL_ARTIFACTS_SET.add("_task_stored_models")
        self._flow_datastore = flow_datastore
        # One card for both, so that a step which wants none gets none.
        self._show_card = not any(
            deco.name == "checkpoint" and str(deco.attributes["show_card"]).lower() == "false"
            for deco in decorators
        )
        asked = self.attributes
        for option, value in asked.items():
            if value == "None":  # As `--with model:load=None` has it.
                asked[option] = None
        with translated_errors(ModelException):
            parse(asked["load"])
            asked["best_effort_load"] = flag("best_effort_load", asked["best_effort_load"])
            if self.system_ctx.is_launch:
                artifact_store.check_usable()

        if step_name in arguments_of_step():
            with translated_errors(ModelException):
                dependencies.provide(dependencies.TASK, install=True)

    def package_init(self, flow: Any, step_name: str, environment: Any) -> None:
        launch_info.note_image(step_name, getattr(flow, step_name).decorators)

    def add_to_package(self) -> list[tuple[str, str]]:
        return dependencies.package_files()

    def artifacts_read(self) -> list[str]:
        """Return the artifacts that decide what is loaded, for a key of the step's result."""
        return [name for name, _ in parse(self.attributes["load"])]

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
        from memoflow.flow.cards.journal import of_this_process
        from memoflow.flow.model.current_model import CurrentModel
        from memoflow.flow.ready import get_ready
        from memoflow.flow.task.scratch import Scratch

        self._register = partial(metadata.register_metadata, run_id, step_name, task_id)
        self._attempt = retry_count
        self._journal = of_this_process()
        with translated_errors(ModelException):
            where = artifact_store.current_store()
            get_ready(where)
            artifact_store.tell_subprocesses()
            self._scratch = Scratch(
                "models",
                f"{where.folder} {current.pathspec}",
                retry_count,
                self.attributes["temp_dir_root"],
            )
            self._current = CurrentModel(
                where,
                task=str(current.pathspec),
                attempt=retry_count,
                scratch=self._scratch,
                say=self._say,
                journal=self._journal,
            )
        add_to_current("model", self._current)
        if self._show_card:
            from memoflow.flow.cards import card

            self._card = card.of_task(self._flow_datastore, str(current.pathspec), retry_count)
            self._card.show(self.name, {})
        self._current.load_artifacts(
            flow, self.attributes["load"], best_effort=self.attributes["best_effort_load"]
        )
        lineage = artifact_store.metadata_of_flow(retry_count)
        if lineage:
            self._register(lineage)

    def task_exception(
        self,
        exception: Exception,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
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

    def _finish(self, state: str) -> None:
        if self._scratch is not None:
            self._scratch.clean_up()
        if self._card is not None:
            self._card.finish(state)

    def task_post_step(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        journal = self._journal
        if journal is None:
            return
        lineage = []
        for field, verb in (("loaded-models", "loaded"), ("saved-models", "saved")):
            acts = [act for act in journal.acts if act.verb == verb and act.by == "model"]
            keys = [act.key for act in acts][-_MOST_KEYS:]
            if keys:
                tags = [f"attempt_id:{self._attempt}"]
                value = json.dumps({"keys": keys})
                lineage.append(MetaDatum(field, value, "model-registry", tags))
        if lineage:
            self._register(lineage)

    def _say(self, line: str) -> None:
        tell(f"[@model] {line}")
