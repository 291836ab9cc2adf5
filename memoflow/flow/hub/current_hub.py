"""`current.huggingface_hub`: downloads and loads of repositories in a task."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain, count
from pathlib import Path
from typing import Any

from metaflow.metaflow_current import current

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError, UsageError, WrongTypeError, condition
from memoflow.flow import references
from memoflow.flow.artifact_store import ArtifactStore, current_store
from memoflow.flow.cards.journal import Journal, Watch, of_this_process
from memoflow.flow.host.client import add_to_current
from memoflow.flow.hub import revisions
from memoflow.flow.hub.client import HubClient, Transfer
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubException, hide, reveal
from memoflow.flow.hub.snapshots import Resolver, Revalidate, Run, Snapshots
from memoflow.flow.lifecycle import Attempt, translated_errors
from memoflow.flow.task import identity
from memoflow.flow.task.scratch import Loaded, Scratch
from memoflow.kinds import hub
from memoflow.kinds.hub import Scope, Snapshot, Wanted
from memoflow.log import WARNING, Say
from memoflow.units import readable, span

_WANTED = ("repo_type", "revision", "allow_patterns", "ignore_patterns")
_TRANSFER = tuple(field.name for field in fields(Transfer))
# Older versions of huggingface_hub had them, and came to ignore them.
_IDLE = ("local_dir_use_symlinks", "resume_download")


@dataclass(frozen=True)
class HubRequest:
    """A snapshot, where its files go, and how to reach the Hub for it.

    None for `path` is a directory of memoflow's choice. Files are `writable` where they are the
    caller's own, as in a `local_dir`.
    """

    wanted: Wanted
    transfer: Transfer
    path: str | None = None
    writable: bool = False
    force: bool = False

    @classmethod
    def of(
        cls,
        repo_id: Any,
        options: Mapping[str, Any],
        *,
        path: str | os.PathLike[str] | None = None,
    ) -> HubRequest:
        """Return the request for these arguments of `snapshot_download`; UsageError if unknown."""
        rest = dict(options)
        wanted = Wanted.of(
            repo_id,
            endpoint=reveal(rest.get("endpoint")),
            **{name: rest.pop(name, None) for name in _WANTED},
        )
        local_dir, force = rest.pop("local_dir", None), bool(rest.pop("force_download", False))
        if local_dir is not None and path is not None:
            raise UsageError(f"{wanted.repo}: give it either a path or a local_dir")
        given = {name: reveal(rest.pop(name)) for name in _TRANSFER if name in rest}
        given = {name: value for name, value in given.items() if value is not None}
        unknown = sorted(rest.keys() - set(_IDLE))
        if unknown:
            raise UsageError(
                f"{wanted.repo}: {', '.join(unknown)} cannot be asked for; what can be is "
                f"{', '.join((*_WANTED, 'local_dir', 'force_download', *_TRANSFER))}"
            )
        _check(wanted, given)
        return cls(
            wanted,
            Transfer(**given),
            path=_path(wanted, path if local_dir is None else local_dir),
            writable=local_dir is not None,
            force=force,
        )

    @property
    def deciding(self) -> list[Any]:
        """The parts that decide the result of a step, as plain data."""
        one = self.wanted
        patterns = [None if each is None else list(each) for each in (one.allow, one.ignore)]
        return [one.repo_type, one.repo_id, one.revision, *patterns, self.path]


def _path(wanted: Wanted, path: Any) -> str | None:
    if path is None:
        return None
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise WrongTypeError(f"{wanted.repo}: a directory to load to is a path, not {path!r}")
    return os.path.expanduser(text)


def _check(wanted: Wanted, given: Mapping[str, Any]) -> None:
    workers, timeout_s = given.get("max_workers", 1), given.get("etag_timeout", 1)
    if not isinstance(workers, int) or workers < 1:
        raise UsageError(f"{wanted.repo}: max_workers={workers!r} is no number of files at a time")
    if not isinstance(timeout_s, (int, float)) or timeout_s <= 0:
        raise UsageError(f"{wanted.repo}: etag_timeout={timeout_s!r} is no number of seconds")
    bars = given.get("tqdm_class")
    if not isinstance(bars, (type, type(None))):
        raise UsageError(f"{wanted.repo}: tqdm_class={bars!r} is no class")


class LoadedSnapshots(Loaded[str]):
    """The directories of the repositories that `@huggingface_hub(load=...)` loaded, by id.

    Of several with one id the first has that; the next are `type/id@revision`, with `#2` and so on
    behind it where that is taken as well.
    """

    def add(self, wanted: Wanted, path: str, info: dict[str, Any]) -> None:
        numbered = (f"{wanted.name}#{number}" for number in count(2))
        names = chain((wanted.repo_id, wanted.name), numbered)
        name = next(name for name in names if name not in self._paths)
        self._paths[name] = path
        self._info[name] = info


class CurrentHub:
    """Downloads repositories once, keeps them in the store and loads them from there."""

    def __init__(
        self,
        where: ArtifactStore,
        snapshots: Snapshots,
        *,
        scratch: Scratch,
        say: Say,
        noticed: Callable[[Wanted, str], None],
        journal: Journal,
    ) -> None:
        self._where = where
        self._snapshots = snapshots
        self._scratch = scratch
        self._say = say
        self._noticed = noticed
        self._journal = journal
        self._loaded = LoadedSnapshots()

    @property
    def loaded(self) -> LoadedSnapshots:
        """The paths that `load=` of the decorator has loaded, by repository id."""
        return self._loaded

    def snapshot_download(self, repo_id: str | None = None, **options: Any) -> dict[str, Any]:
        """Keep a snapshot in the store, downloading missing files, and return its reference.

        `options` are those of `huggingface_hub.snapshot_download`. With `local_dir` the files are
        written there as well, to keep and to change. Raises HuggingfaceHubException if it cannot
        be had whole.
        """
        with translated_errors(HuggingfaceHubException):
            asked = HubRequest.of(_needed(repo_id), options)
            snapshot = self._get(asked)
            if asked.path is not None:
                snapshot = self._load(asked, snapshot, asked.path)
        return references.of_snapshot(self._where, snapshot)

    def load(
        self,
        repo_id: str | None = None,
        path: str | os.PathLike[str] | None = None,
        repo_type: str | None = "model",
        **options: Any,
    ) -> contextlib.AbstractContextManager[str]:
        """Load a repository for the length of a `with` block, which is given the directory.

        Without a path that is a temporary directory, which is removed again. The files are
        read-only, and links into the store where the file system can.
        """
        with translated_errors(HuggingfaceHubException):
            options = {"repo_type": repo_type, **options}
            return self._loading(HubRequest.of(_needed(repo_id), options, path=path))

    @contextlib.contextmanager
    def _loading(self, asked: HubRequest) -> Iterator[str]:
        into = self._scratch.new() if asked.path is None else asked.path
        try:
            with translated_errors(HuggingfaceHubException):
                self._load(asked, self._get(asked), into)
            yield into
        finally:
            if asked.path is None:
                self._scratch.remove(into)

    def load_all(self, wanted: Sequence[HubRequest]) -> None:
        """Load the repositories of the decorator's `load=`."""
        with translated_errors(HuggingfaceHubException):
            for asked in wanted:
                into = self._scratch.new() if asked.path is None else asked.path
                snapshot = self._load(asked, self._get(asked), into, why="load=")
                reference = references.of_snapshot(self._where, snapshot)
                self._loaded.add(asked.wanted, into, reference)

    def clean_up(self) -> None:
        """Remove temporary directories."""
        self._scratch.clean_up()

    def _get(self, asked: HubRequest) -> Snapshot:
        watch = Watch()
        client = HubClient(asked.transfer, self._say)
        snapshot, is_new = self._snapshots.get(asked.wanted, client, force=asked.force)
        if asked.wanted.commit is None:
            self._noticed(asked.wanted, snapshot.about.commit)
        if is_new:
            took_s = self._note("saved", snapshot, watch, new_bytes=snapshot.ref.new_bytes)
            new = readable(snapshot.ref.new_bytes)
            self._say(f"Saved {asked.wanted.repo} in {span(took_s)}, {new} of it new")
        return snapshot

    def _load(self, asked: HubRequest, snapshot: Snapshot, into: str, *, why: str = "") -> Snapshot:
        watch = Watch()
        store = self._where.store
        try:
            store.load(snapshot.ref, Path(into), linked=not asked.writable)
        except (IntegrityError, NotFoundError) as error:
            # The store has forgotten it by now, and the Hub has it still.
            what = f"{asked.wanted.repo} {condition(error)} in the store"
            self._say(f"{what} ({error}); getting it again", WARNING)
            snapshot = self._get(asked)
            store.load(snapshot.ref, Path(into), linked=not asked.writable)
        took_s = self._note("loaded", snapshot, watch, why=why)
        self._say(f"Loaded {asked.wanted.repo} at {snapshot.about.commit} in {span(took_s)}")
        return snapshot

    def _note(self, verb: str, snapshot: Snapshot, watch: Watch, **more: Any) -> float:
        reference = references.of_snapshot(self._where, snapshot)
        more |= {"by": "huggingface_hub", "kind": hub.KIND}  # Its reference calls it a checkpoint.
        return self._journal.note(reference, verb, watch, **more).took_s


def _needed(repo_id: str | None) -> str:
    if repo_id is None:
        raise ValueError("repo_id is needed: the name of a repository such as 'org/name'")
    return repo_id


def begin(attempt: Attempt, options: Mapping[str, Any], say: Say) -> CurrentHub:
    """Set `current.huggingface_hub` for an attempt, and return it."""
    where = current_store()
    mine = CurrentHub(
        where,
        Snapshots(
            where.store,
            _scope(attempt, options["cache_scope"], say),
            Run(str(current.flow_name), attempt.run_id, current.origin_run_id),
            options["revalidate"],
            task=attempt.pathspec,
            attempt=attempt.number,
            say=say,
        ),
        scratch=Scratch(
            "hf", f"{where.folder} {attempt.pathspec}", attempt.number, options["temp_dir_root"]
        ),
        say=say,
        noticed=revisions.note,
        journal=of_this_process(),
    )
    add_to_current("huggingface_hub", mine)
    return mine


def _scope(attempt: Attempt, kind: str, say: Say) -> Scope:
    user = str(current.username)
    if kind == "global":
        return Scope((kind,), user)
    if kind == "flow":
        return Scope((kind, str(current.flow_name)), user)
    mine, notes = identity.of_task(attempt.flow, parallel=attempt.is_parallel)
    for note in notes:
        say(note)
    return Scope((kind, mine.flow, mine.step, mine.scope, mine.identifier), user)


def commit_of(
    wanted: Wanted,
    run: tuple[str, str, str | None],
    options: Mapping[str, Any],
    say: Say,
) -> str:
    """Return the commit that a run goes by for a branch or tag; MemoflowError if none."""
    requests = [one for one in options["load"] if one.wanted.name == wanted.name]
    if wanted.at and not requests:
        raise UsageError(f"how to reach {wanted.at} is known to the step alone")
    transfer = requests[0].transfer if requests else Transfer()
    scope, revalidate = options["cache_scope"], options["revalidate"]
    resolver = Resolver(current_store().store, Run(*run), revalidate, scope, say)
    return resolver.commit_of(wanted, HubClient(transfer, say))


def parse(load: Any) -> list[HubRequest]:
    """Return the requests of a `load=`, in any of its shapes; UsageError for any other value."""
    if load is None:
        return []
    found = []
    for one in load if isinstance(load, list) else [load]:
        what, path = one if isinstance(one, (tuple, list)) and len(one) == 2 else (one, None)
        if isinstance(what, str):
            what = {"repo_id": what}
        if not isinstance(what, Mapping) or not isinstance(path, (str, os.PathLike, type(None))):
            raise UsageError(
                f"@huggingface_hub(load={hide(load)!r}): it takes a list of 'repo', "
                "('repo', path), {'repo_id': 'repo', ...} or ({'repo_id': 'repo', ...}, path)"
            )
        options = dict(what)
        found.append(HubRequest.of(options.pop("repo_id", None), options, path=path))
    return found


# Of the options of `@huggingface_hub` that take more than Metaflow to check.
CHECKS: dict[str, Callable[[Any], Any]] = {"load": parse, "revalidate": Revalidate.parse}
