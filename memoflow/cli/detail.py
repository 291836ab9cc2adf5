"""Detail: what was noted about one entry, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.fingerprint import Part
from memoflow.kinds import checkpoint, hub, memo, model
from memoflow.names import Ref
from memoflow.objects import Manifest
from memoflow.store import Store


@dataclass(frozen=True)
class Detail:
    """What is known of an entry beside its ref.

    `origin` is the pathspec of the task that it came from, `parts` what determined it, as far as
    that was noted, `reads` the values that a memoized step read, `about` what else there is.
    """

    manifest: Manifest
    origin: str
    parts: tuple[Part, ...] = ()
    reads: tuple[Part, ...] = ()
    run_time_s: float | None = None
    refers_to: tuple[str, ...] = ()
    about: Mapping[str, Any] | None = None


def read(store: Store, ref: Ref) -> Detail:
    """Return the detail of an entry; NotFoundError or IntegrityError if it is gone or damaged."""
    try:
        return _read(store, ref)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(
            f"what is noted of {ref.key} is nothing that memoflow notes: {error!r}; forget it"
        ) from None


def _read(store: Store, ref: Ref) -> Detail:
    manifest = store.manifest(ref)
    if ref.key.kind == "memo":
        entry = memo.read(store, ref)
        return Detail(
            manifest,
            entry.origin,
            parts=memo.code_parts(store, ref.key),
            reads=entry.inputs,
            run_time_s=entry.run_time_s,
            refers_to=entry.refers_to,
        )
    if ref.key.kind == checkpoint.KIND:
        saved = checkpoint.About.from_json(manifest.meta)
        flow, step = ref.key.parts[1:3]
        return Detail(
            manifest,
            saved.task,
            parts=checkpoint.code_parts(store, flow, step, saved.code) or () if saved.code else (),
            about={"name": saved.name, "attempt": saved.attempt, **(saved.metadata or {})},
        )
    if ref.key.kind == model.KIND:
        kept = model.About.from_json(manifest.meta)
        more = {"label": kept.label, "attempt": kept.attempt, **(kept.metadata or {})}
        return Detail(manifest, kept.task, about=more)
    of = hub.About.from_json(manifest.meta)
    return Detail(
        manifest,
        of.task,
        about={
            "repo": f"{of.repo_type} {of.repo_id}",
            "revision": of.revision,
            "commit": of.commit,
            "allow": None if of.allow is None else list(of.allow),
            "ignore": None if of.ignore is None else list(of.ignore),
        },
    )
