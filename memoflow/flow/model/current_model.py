"""`current.model`: saves and loads of models in a task."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from memoflow.errors import NotFoundError, UsageError
from memoflow.flow import references
from memoflow.flow.artifact_store import ArtifactStore, current_store, tell_subprocesses
from memoflow.flow.cards.journal import Journal, Watch, of_this_process
from memoflow.flow.host.artifacts import untouched
from memoflow.flow.host.client import add_to_current
from memoflow.flow.lifecycle import Attempt, translated_errors
from memoflow.flow.model.model import ModelException
from memoflow.flow.references import get_ready
from memoflow.flow.task.save_arguments import ignored, plain
from memoflow.flow.task.scratch import Loaded, Scratch
from memoflow.kinds import model
from memoflow.kinds.about import About
from memoflow.log import WARNING, Say
from memoflow.names import Key
from memoflow.threads import apart
from memoflow.units import span

STORAGE_FORMATS = ("tar", "files")


class LoadedModels(Loaded["str | None"]):
    """The directories of loaded models, by the name of their artifact.

    None for one that `best_effort_load` did without. What `current.model.load` loaded is there
    by its key.
    """

    absent = "no model was loaded as {!r}"

    def __init__(self) -> None:
        super().__init__()
        self._remove: dict[str, Callable[[], None]] = {}

    def add(
        self,
        name: str,
        path: str | None,
        info: dict[str, Any],
        remove: Callable[[], None] = lambda: None,
    ) -> None:
        """Record a loaded model and the function that removes its files."""
        self._remove[name] = remove
        self._paths[name] = path
        self._info[name] = info

    def cleanup(self, name: str) -> None:
        """Delete the files of a loaded model, and no others; KeyError if none has that name."""
        self[name]
        self._remove.pop(name)()
        del self._paths[name]
        self._info.pop(name, None)


class CurrentModel:
    """Saves and loads models in the running task."""

    def __init__(
        self,
        where: ArtifactStore,
        *,
        task: str,
        attempt: int,
        scratch: Scratch,
        say: Say,
        journal: Journal,
    ) -> None:
        self._where = where
        self._task = task
        self._attempt = attempt
        self._scratch = scratch
        self._say = say
        self._journal = journal
        self._loaded = LoadedModels()

    @property
    def loaded(self) -> LoadedModels:
        """The paths of the models that `@model(load=...)` and `load` have loaded, by name."""
        return self._loaded

    def save(
        self,
        path: str | os.PathLike[str],
        label: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        storage_format: str = "tar",
        *,
        ignore_patterns: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Save a file or directory as a model, and return a reference to it.

        `label` None names it after flow and step. `storage_format` "tar" or "files" is what the
        reference says; files are stored as they are in either case. Nothing is saved of a directory
        whose name, or path in it, matches one of the shell patterns of `ignore_patterns`. Raises
        ModelException if it cannot be saved whole.
        """
        if storage_format not in STORAGE_FORMATS:
            raise ValueError(f"storage_format is 'tar' or 'files', not {storage_format!r}")
        flow, _, step, _ = self._task.split("/")
        with translated_errors(ModelException):
            if path is None:
                raise UsageError("a model needs a path to save")
            label = f"{flow}_{step}" if label is None else str(label)
            about = About(
                kind=model.KIND,
                task=self._task,
                attempt=self._attempt,
                uuid=f"{label}_{uuid.uuid4().hex}",
                label=label,
                metadata=plain(metadata),
                storage_format=storage_format,
            )
            key = model.key(flow, step, uuid.uuid4().hex)
            return self._save(key, Path(path), about, ignored(ignore_patterns))

    @apart
    def _save(self, key: Key, path: Path, about: About, ignore: tuple[str, ...]) -> dict[str, Any]:
        watch = Watch()
        one = model.save(self._where.store, key, path, about, ignore=ignore)
        reference = references.of_model(self._where, one)
        new_bytes = one.ref.new_bytes
        self._journal.note(reference, "saved", watch, by=model.KIND, new_bytes=new_bytes)
        return reference

    def load(
        self, reference: Any, path: str | os.PathLike[str] | None = None, writable: bool = False
    ) -> str:
        """Load the files of a reference: dict, key or object of any of the three decorators.

        Returns the directory: `path`, or a temporary one. Its files are read-only, and links into
        the store where the file system can; `writable` makes copies. Raises ModelException if it
        cannot be loaded whole.
        """
        if reference is None:
            raise ValueError("current.model.load needs a reference, not None")
        with translated_errors(ModelException):
            key = references.key_of(reference)
            return self._load(key, reference, path, writable=writable)

    def load_artifacts(
        self, flow: Any, wanted: Sequence[tuple[str, str | None]], *, best_effort: bool
    ) -> None:
        """Load the models of the decorator's `load=`."""
        with translated_errors(ModelException):
            for name, path in wanted:
                with untouched(flow):
                    reference = getattr(flow, name, None)
                if reference is None and not best_effort:
                    raise UsageError(
                        f"@model(load={name!r}): self.{name} is not set; set it in an earlier step "
                        "to what `save` returned"
                    )
                try:
                    if reference is None:
                        raise UsageError(f"self.{name} is not set")
                    self._load(name, reference, path, writable=False)
                except (UsageError, NotFoundError) as error:
                    if not best_effort:
                        raise type(error)(f"@model(load={name!r}): {error}") from error
                    self._say(f"Going on without `{name}`: {error}", WARNING)
                    self._loaded.add(name, None, {})

    def keys(self, verb: str) -> list[str]:
        """Return the keys that `@model` has "loaded" or "saved", in order."""
        acts = self._journal.acts
        return [act.key for act in acts if act.verb == verb and act.by == model.KIND]

    def clean_up(self) -> None:
        """Remove temporary directories."""
        self._scratch.clean_up()

    @apart
    def _load(
        self, name: str, reference: Any, path: str | os.PathLike[str] | None, *, writable: bool
    ) -> str:
        watch = Watch()
        found = references.describe(self._where, reference)
        self._say(f"Loading Artifact with name `{name}` [type:{found['type']}] key: {found['key']}")
        into = self._scratch.new() if path is None else os.fspath(path)
        references.load(self._where, reference, Path(into), writable=writable)
        remove = partial(self._scratch.remove, into)
        if path is not None:
            paths = list(references.contents(self._where, reference) or ())
            remove = partial(_remove_files, Path(into), paths)
        self._loaded.add(name, into, found, remove)
        act = self._journal.note(found, "loaded", watch, by=model.KIND)
        self._say(f"Loaded artifact `{name}[type:{found['type']}]` in {span(act.took_s)}")
        return into


def begin(attempt: Attempt, temp_dir_root: str | None, say: Say) -> CurrentModel:
    """Set `current.model` for an attempt, and return it."""
    where = current_store()
    get_ready(where)
    tell_subprocesses()
    owner = f"{where.folder} {attempt.pathspec}"
    current = CurrentModel(
        where,
        task=attempt.pathspec,
        attempt=attempt.number,
        scratch=Scratch("models", owner, attempt.number, temp_dir_root),
        say=say,
        journal=of_this_process(),
    )
    add_to_current("model", current)
    return current


def _remove_files(folder: Path, paths: list[str]) -> None:
    for path in paths:
        (folder / path).unlink(missing_ok=True)
        for parent in (folder / path).parents:
            try:
                parent.rmdir()  # Only what is empty now, up to the folder itself.
            except OSError:
                break
            if parent == folder:
                break
