"""Reads besides inputs: files, folders, variables, the Client and S3, as one process sees them.

The worker tracks them while the step runs, and records them with the result. Whoever looks a result
up asks for each again: the scheduler where it sees what the step would see, else the worker.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow import metaflow_config

from memoflow.fingerprint import Part
from memoflow.flow.memo import s3_reads
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.tracking import ABSENT, UnreadableError, World, is_match

if TYPE_CHECKING:
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.store_context import StoreContext

_KEEP_SECONDS = 1.0  # that what the Client says is believed
_ELSEWHERE = ("batch", "kubernetes")


class ExternalReads:
    """The reads besides inputs, as this process finds them.

    `environment` is that of the step's process. Where the step runs elsewhere, what only that
    machine has raises UndecidedError.
    """

    def __init__(
        self,
        memoized: MemoizedStep,
        context: StoreContext,
        *,
        environment: Mapping[str, str],
        is_here: bool,
    ) -> None:
        self.context = context
        self._memoized = memoized
        self._is_here = is_here
        self._environment = environment

    @cached_property
    def world(self) -> World:
        store = self.context.store
        assert store is not None
        return World(self.context.paths, self.context.digests, store.id.encode(), self._environment)

    def now(self, entry: MemoEntry) -> tuple[Part, ...]:
        """Return the reads of a result as they are now; UndecidedError if that cannot be told."""
        if not entry.reads:
            return ()
        if not self._is_here:
            self._check(entry.reads)
        clients = [part for part in entry.reads if part.kind == "client"]
        objects = [part for part in entry.reads if part.kind == "s3"]
        others = [part for part in entry.reads if part.kind not in ("client", "s3")]
        found = {(part.kind, part.name): part for part in self.world.now(others, entry.written)}
        for part in clients:
            found["client", part.name] = self._of_client(part.name)
        if objects:
            seen = s3_reads.evaluate(part.name for part in objects)
            for name, (digest, summary) in seen.items():
                found["s3", name] = Part("s3", name, digest, summary=summary)
        return tuple(found[part.kind, part.name] for part in entry.reads)

    def _of_client(self, name: str) -> Part:
        from memoflow.flow.memo.client_lookup import Evaluator  # Here, as few steps use the Client.

        evaluator: Evaluator | None = self.context.evaluators.get(self._memoized.step)
        if evaluator is None:
            # One for each step: what the Client finds may be what the step before has changed.
            evaluator = self.context.evaluators[self._memoized.step] = Evaluator(
                metadata=self.context.metadata, keep_s=_KEEP_SECONDS
            )
        digest, summary = evaluator.evaluate(name)
        return Part("client", name, digest, summary=summary)

    def _check(self, reads: Sequence[Part]) -> None:
        """Raise UndecidedError for reads of the machine on which the step is to run."""
        suffixes = str(metaflow_config.DEFAULT_PACKAGE_SUFFIXES).split(",")
        known = tuple(filter(None, map(str.strip, suffixes)))
        for part in reads:
            inside = not part.name.startswith((os.sep, ".."))
            packed = part.name.endswith(known)
            if part.kind in ("file", "code") and inside and packed and part.digest != ABSENT:
                continue
            if part.kind in ("file", "code", "directory", "environment", "package"):
                raise UndecidedError(f"{part.kind} {part.name} is on the machine of the task only")

    def lost_file(self, entry: MemoEntry) -> tuple[str, bool] | None:
        """Return a file that the outputs name and is not as the step wrote it; None if none.

        With it, whether it is there at all. Those that are kept with the result can be put back.
        """
        for name, digest in entry.named.items() if self._is_here else ():
            if name not in entry.files and self._digest(name) != digest:
                return name, os.path.exists(self.context.paths.path(name))
        return None

    def _digest(self, name: str) -> str:
        """Return the digest of a file's content, "" for one that is not there or unreadable."""
        with contextlib.suppress(UnreadableError):
            return self.context.digests.of_file(self.context.paths.path(name)) or ""
        return ""

    def restore(self, entry: MemoEntry) -> None:
        """Put back the files that are kept with a result, where they are missing or different.

        Raises NotFoundError or IntegrityError if their bytes are gone or damaged.
        """
        store = self.context.store
        if not self._is_here or store is None:
            return
        for name, digest in entry.files.items():
            # What anybody may have written into a store names no other file.
            is_asked = any(is_match(name, each) for each in self._memoized.options.files)
            if is_asked and self._digest(name) != digest:
                memo.restore_file(store, entry, name, Path(self.context.paths.path(name)))


def is_elsewhere(memoized: MemoizedStep) -> bool:
    """Return whether a step runs on another machine than the one that launches it."""
    return any(deco.name in _ELSEWHERE for deco in memoized.decorators)


def declared_variables(memoized: MemoizedStep) -> set[str]:
    """Return the environment variables that @environment sets, which are in the key as such."""
    return {
        str(name)
        for deco in memoized.decorators
        if deco.name == "environment"
        for name in deco.attributes.get("vars") or ()
    }
