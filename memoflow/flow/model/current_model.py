"""`current.model`: saves and loads of models in a task."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from memoflow.errors import NotFoundError, UsageError
from memoflow.flow import references
from memoflow.flow.artifact_store import ArtifactStore, current_store, tell_subprocesses
from memoflow.flow.cards.journal import Act, Journal, of_this_process
from memoflow.flow.host.current import add_to_current
from memoflow.flow.lifecycle import Attempt, translated_errors
from memoflow.flow.model.model import ModelException
from memoflow.flow.references import get_ready
from memoflow.flow.task.artifact_peek import untouched
from memoflow.flow.task.metadata import plain
from memoflow.flow.task.patterns import ignored
from memoflow.flow.task.scratch import Scratch
from memoflow.kinds import model
from memoflow.kinds.about import About
from memoflow.names import Key
from memoflow.threads import apart
from memoflow.units import span

STORAGE_FORMATS = ("tar", "files")


class LoadedModels(Mapping[str, "str | None"]):
    """The directories of loaded models, by the name of their artifact.

    None for one that `best_effort_load` did without. What `current.model.load` loaded is there
    by its key.
    """

    def __init__(self) -> None:
        self._paths: dict[str, str | None] = {}
        self._info: dict[str, dict[str, Any]] = {}
        self._remove: dict[str, Callable[[], None]] = {}

    @property
    def info(self) -> dict[str, dict[str, Any]]:
        """The reference dicts of the loaded models, by the same names."""
        return self._info

    def __getitem__(self, name: str) -> str | None:
        if name not in self._paths:
            known = ", ".join(self._paths) or "none"
            raise KeyError(f"no model was loaded as {name!r}; loaded: {known}")
        return self._paths[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

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
        say: Callable[[str], None],
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
        began, clock = time.time(), time.monotonic()
        one = model.save(self._where.store, key, path, about, ignore=ignore)
        reference = references.of_model(self._where, one)
        self._note("saved", reference, began, clock, new_bytes=one.ref.new_bytes)
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
                    self._say(f"Going on without `{name}`: {error}")
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
        began, clock = time.time(), time.monotonic()
        found = references.describe(self._where, reference)
        self._say(f"Loading Artifact with name `{name}` [type:{found['type']}] key: {found['key']}")
        into = self._scratch.new() if path is None else os.fspath(path)
        references.load(self._where, reference, Path(into), writable=writable)
        remove = partial(self._scratch.remove, into)
        if path is not None:
            paths = list(references.contents(self._where, reference) or ())
            remove = partial(_remove_files, Path(into), paths)
        self._loaded.add(name, into, found, remove)
        took = self._note("loaded", found, began, clock)
        self._say(f"Loaded artifact `{name}[type:{found['type']}]` in {span(took)}")
        return into

    def _note(
        self,
        verb: str,
        reference: dict[str, Any],
        began: float,
        clock: float,
        *,
        new_bytes: int | None = None,
    ) -> float:
        took_s = time.monotonic() - clock
        self._journal.add(
            Act.of(reference, verb, by=model.KIND, began=began, took_s=took_s, new_bytes=new_bytes)
        )
        return took_s


def begin(attempt: Attempt, temp_dir_root: str | None, say: Callable[[str], None]) -> CurrentModel:
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
