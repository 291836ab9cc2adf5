"""Detail: origin, parts and metadata of one entry, of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.fingerprint import Part
from memoflow.kinds import checkpoint, hub, memo, model
from memoflow.kinds.about import About
from memoflow.names import Ref
from memoflow.objects import Manifest
from memoflow.store import Store


@dataclass(frozen=True)
class Detail:
    """The details of an entry beside its reference.

    `origin` is the pathspec of its task, `parts` are the recorded parts of its fingerprint, `reads`
    the values that a memoized step read, `about` other metadata.
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
            f"the metadata of {ref.key} is damaged: {error!r}; remove it with `memoflow forget`"
        ) from None


def _read(store: Store, ref: Ref) -> Detail:
    manifest = store.manifest(ref)
    if ref.key.kind == "memo":
        entry = memo.read(store, ref)
        return Detail(
            manifest,
            entry.origin,
            parts=memo.code_parts(store, ref.key),
            reads=entry.outlined_inputs,
            run_time_s=entry.run_time_s,
            refers_to=entry.refers_to,
        )
    if ref.key.kind == checkpoint.KIND:
        saved = About.from_json(checkpoint.KIND, manifest.meta)
        flow, step = ref.key.parts[1:3]
        return Detail(
            manifest,
            saved.task,
            parts=checkpoint.code_parts(store, flow, step, saved.code) or () if saved.code else (),
            about={"name": saved.name, "attempt": saved.attempt, **(saved.metadata or {})},
        )
    if ref.key.kind == model.KIND:
        kept = About.from_json(model.KIND, manifest.meta)
        more = {"label": kept.label, "attempt": kept.attempt, **(kept.metadata or {})}
        return Detail(manifest, kept.task, about=more)
    of = About.from_json(hub.KIND, manifest.meta)
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
