"""@model: save models, and load them by reference.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with @model
runs.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.errors import UsageError
from memoflow.flow.lifecycle import (
    Attempt,
    Lifecycle,
    Option,
    as_given,
    optional,
    translated_errors,
)
from memoflow.units import flag

if TYPE_CHECKING:
    from memoflow.flow.model.current_model import CurrentModel

# Its keys in a task's metadata: the last so many, as a line of metadata should stay one.
_MOST_KEYS = 20


def parse(name: str, wanted: Any) -> list[tuple[str, str | None]]:
    """Return the names and paths of the option `load`; UsageError for any other shape."""
    if wanted is None:
        return []
    each = [wanted] if isinstance(wanted, str) else wanted
    found: list[tuple[str, str | None]] = []
    for one in each if isinstance(each, (list, tuple)) else [None]:
        if isinstance(one, str) and one:
            found.append((one, None))
        elif (
            isinstance(one, (list, tuple))
            and len(one) == 2
            and isinstance(one[0], str)
            and (one[1] is None or isinstance(one[1], (str, os.PathLike)))
        ):
            found.append((one[0], None if one[1] is None else os.fspath(one[1])))
        else:
            raise UsageError(
                f"@model(load={wanted!r}): it takes a name, a list of names, or a list of "
                "(name, path)"
            )
    return found


class ModelException(MetaflowException):
    headline = "@model"


class ModelTypeError(ModelException, TypeError):
    """An argument of a type that the call never takes."""


class ModelDecorator(Lifecycle):
    """Save models and load them by reference, across steps, flows and users.

    MF Add To Current
    -----------------
    model -> memoflow.flow.model.current_model.CurrentModel
        Saves and loads models in the running task.
    """

    name = "model"
    # fmt: off
    option_table = (
        Option("load", None, optional(parse, ()),
               "str | Sequence[str | tuple[str, str | None]] | None",
               "artifacts or Parameters that hold references, loaded before the step starts: "
               '`"model"`, `["model", "tokenizer"]`, or with paths `[("model", "./model"), '
               '("tokenizer", None)]`. References of checkpoints and snapshots work as well'),
        Option("best_effort_load", False, flag, "bool",
               "continue without models that are not found; `current.model.loaded` has `None` "
               "for them"),
        Option("temp_dir_root", None, optional(as_given), "str | None",
               "where temporary directories are made; `None` is where temporary files go"),
    )
    # fmt: on
    exception = ModelException
    # What metaflow-checkpoint set: runs of it that are resumed have it still.
    hidden_artifacts = frozenset({"_task_stored_models"})

    _attempt: Attempt | None = None
    _current: CurrentModel | None = None

    def prepare(self, flow: Any, graph: Any) -> None:
        self.check_store()

    def artifacts_read(self) -> list[str]:
        """Return the artifacts that name the loaded models, for a key of the step's result."""
        return [name for name, _ in self.values["load"]]

    def begin(self, attempt: Attempt) -> None:
        # Here, since Metaflow imports this module at each start.
        from memoflow.flow.model import current_model

        self._attempt = attempt
        with translated_errors(ModelException):
            self._current = current_model.begin(attempt, self.values["temp_dir_root"], self.say)
        self.open_card(attempt)
        self.show_card({})
        self._current.load_artifacts(
            attempt.flow, self.values["load"], best_effort=self.values["best_effort_load"]
        )
        self.note_store(attempt)

    def settle(self) -> None:
        if self._attempt is None or self._current is None:
            return
        facts = {}
        for verb in ("loaded", "saved"):
            keys = self._current.keys(verb)[-_MOST_KEYS:]
            if keys:
                facts[f"{verb}-models"] = json.dumps({"keys": keys})
        self.note_lineage(self._attempt, "model-registry", facts)

    def clean_up(self) -> None:
        if self._current is not None:
            self._current.clean_up()
