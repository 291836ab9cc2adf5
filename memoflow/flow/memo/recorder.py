"""The recorder: keeps the result of a task that ran, or the reason why it cannot be found again."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint import Part
from memoflow.flow.host.artifacts import INTERNAL, TaskArtifacts
from memoflow.flow.memo import uncached
from memoflow.flow.memo.attributes import AttributeTracker
from memoflow.flow.memo.code_key import edited_since
from memoflow.flow.memo.inputs import InputDigests, UndecidedError, collapse
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.step_reads import Left, StepReads
from memoflow.flow.memo.store_context import StoreContext
from memoflow.flow.memo.uncached import Seen, Uncached
from memoflow.kinds import memo
from memoflow.log import WARNING, Say
from memoflow.names import Ref
from memoflow.tracking import UnreadableError, state_of


@dataclass
class Recorder:
    """Records one task; `inputs` are those that it read, once that is known."""

    memoized: MemoizedStep
    context: StoreContext
    parents: InputDigests
    output: Any
    datastores: list[Any]
    seen: Seen | None
    say: Say
    inputs: tuple[Part, ...] | None = None

    def record(
        self, watch: AttributeTracker, besides: StepReads, left: Left, origin: str
    ) -> Ref | Uncached:
        """Record the result of the task `origin`; return the reason if it cannot be found again.

        `besides` is what it read besides inputs.
        """
        memoized, store = self.memoized, self.context.store
        assert store is not None
        try:
            inputs = self._read(watch)
        except UndecidedError as error:
            return Uncached("undecided", f"{error}")
        if isinstance(inputs, Uncached):
            return inputs
        self.inputs = inputs
        trouble = uncached.of_following(besides, memoized) or self._trouble(left, inputs)
        if trouble is not None:
            return trouble
        memoized.matched |= memoized.code.ignored & memoized.options.ignore
        try:
            files, named = self._files(besides), self._named(besides, left)
        except UnreadableError as error:
            return Uncached("files", f"a file that it wrote cannot be read: {error}", lasts=False)
        self.inputs = (*inputs, *besides.reads)
        ttl = memoized.options.ttl
        return memo.record(
            store,
            memoized.code_key,
            memoized.code.parts,
            memo.Result(
                origin=origin,
                run_time_s=round(left.run_time_s, 3),
                artifacts=self.outputs(watch),
                next_step=left.next_step or {},
                inputs=inputs,
                refs=tuple(sorted(watch.refs)),
                refers_to=tuple(sorted(left.refers_to)),
                reads=besides.reads,
                written=besides.listed,
                named=named,
                files=files,
            ),
            expires=None if ttl is None else time.time() + ttl.total_seconds(),
            mask=memoized.mask,
        )

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Return the sizes of those of the names that the task has left."""
        left = TaskArtifacts(self.output)
        return {name: left.size_bytes(name) for name in names if name in left}

    def _named(self, besides: StepReads, left: Left) -> dict[str, str]:
        """Return the files that the step wrote and its outputs name, by digest."""
        names = {self.context.paths.name(path) for path in left.named}
        found = {}
        for name in besides.written:
            if name in names:
                digest = self.context.digests.of_file(self.context.paths.path(name))
                if digest is not None:
                    found[name] = digest
        return found

    def _files(self, besides: StepReads) -> dict[str, tuple[str, Path]]:
        """Return the files to be kept with the result, each with the digest of its content.

        Only those that the step wrote: a hit would put others back as they were then.
        """
        context, found = self.context, dict[str, tuple[str, Path]]()
        for pattern in self.memoized.options.files:
            is_matched = False
            for path in glob.glob(os.path.join(context.paths.base, pattern), recursive=True):
                path = os.path.abspath(path)
                state = state_of(path)
                if state is None or state.kind != "file" or not besides.has_made(path, state):
                    continue
                is_matched = True
                digest = context.digests.of_content(path, state)
                found[context.paths.name(path)] = digest, Path(path)
            if not is_matched:
                step = self.memoized.step
                self.say(f'files="{pattern}" matched no file that {step} wrote', WARNING)
        return dict(sorted(found.items()))

    def _read(self, watch: AttributeTracker) -> tuple[Part, ...] | Uncached:
        """Return the inputs that decide the result, as they are now."""
        memoized, parents = self.memoized, self.parents
        reads = collapse(watch.reads, parents)
        names = memoized.listed()
        if names is not None:
            self._warn_unlisted_reads(reads, names)
        else:
            # All of them, so that it is known which names in `ignore=` match something.
            names = tuple(name for name in reads if not memoized.ignores(name))
            trouble = uncached.of_reads(names, watch.blind, memoized)
            if trouble is not None:
                return trouble
        return parents.outlined(parents.digest(name) for name in names)

    def _trouble(self, left: Left, inputs: tuple[Part, ...]) -> Uncached | None:
        if not left.all_looked_at:
            return Uncached("outputs", "its outputs are too many to look through for references")
        edited = edited_since(self.memoized.looked_at)
        if edited:
            return Uncached("edited", f"{edited} was edited while the task ran", lasts=False)
        if self.seen is not None:
            unlike = uncached.of_class_data(self.seen, self.memoized, inputs)
            if unlike is not None:
                return unlike
        return uncached.of_run_time(self.memoized, left.run_time_s)

    def outputs(self, watch: AttributeTracker) -> dict[str, Any]:
        """Return the artifacts that the step set or changed, and that `outputs=` lists."""
        left, memoized = TaskArtifacts(self.output), self.memoized
        before: Mapping[str, str | None]
        if memoized.join_type is None:
            before = TaskArtifacts(self.datastores[0]).sha1s()
        else:
            before = {name: left.sha1(name) for name in memoized.shape.parameters}
        changed = watch.writes & left.names() - (INTERNAL - {"name"})
        changed |= {
            name
            for name, sha1 in left.sha1s().items()
            if before.get(name) != sha1
            and name not in INTERNAL
            and name not in memoized.shape.constants
        }
        wanted = memoized.options.outputs
        if wanted is not None:
            unlisted = sorted(changed - set(wanted))
            if unlisted:
                self.say(
                    f"{memoized.step} also sets {', '.join(unlisted)}, which "
                    "outputs=[...] does not list: a hit will not have it",
                    WARNING,
                )
            unset = sorted(set(wanted) - changed)
            if unset:
                self.say(
                    f"{memoized.step} did not set {', '.join(unset)}, which outputs=[...] lists",
                    WARNING,
                )
            changed &= set(wanted)
        return {
            name: self.context.artifacts.packed(left.sha1s()[name], left.info(name))
            for name in sorted(changed)
        }

    def _warn_unlisted_reads(self, reads: dict[str, None], listed: tuple[str, ...]) -> None:
        known = {name.rpartition(".")[2] for name in listed} | set(listed) | {"inputs"}
        also = [
            name
            for name in reads
            if name not in known
            and not self.memoized.ignores(name)
            and not (name.startswith("inputs") and name.rpartition(".")[2] in known)
        ]
        if also:
            self.say(
                f"{self.memoized.step} also reads {', '.join(also)}, which "
                "inputs=[...] does not list: a change in it will not be noticed",
                WARNING,
            )
