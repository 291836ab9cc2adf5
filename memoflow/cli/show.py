"""show: the details of an entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import click

from memoflow.catalog.listed import Listed, shown_value
from memoflow.catalog.naming import one
from memoflow.cli.completion import complete
from memoflow.cli.listing import FIELDS
from memoflow.cli.table import show_facts, show_table
from memoflow.cli.verb import Answer, CommandContext, Verb
from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.fingerprint import Part
from memoflow.kinds import checkpoint, gang, hub, memo, state
from memoflow.kinds.about import About
from memoflow.kinds.acceptance import Acceptance
from memoflow.names import Ref
from memoflow.objects import File, Manifest
from memoflow.state import StoredLeaf
from memoflow.store import Store
from memoflow.units import moment, readable, span

_MOST_FILES = 50
_MOST_LEAVES = 20


@dataclass(frozen=True)
class Detail:
    """The details of an entry beside its reference.

    `origin` is the pathspec of its task or the name of the call, `parts` are the recorded parts of
    its fingerprint, `reads` the values that a memoized step read or the arguments of a function,
    `about` other metadata, `leaves` those of a checkpoint's state.
    """

    manifest: Manifest
    origin: str
    parts: tuple[Part, ...] = ()
    reads: tuple[Part, ...] = ()
    run_time_s: float | None = None
    refers_to: tuple[str, ...] = ()
    about: Mapping[str, Any] | None = None
    is_function: bool = False
    accepted: Acceptance | None = None
    leaves: tuple[StoredLeaf, ...] = ()


def _detail(store: Store, ref: Ref) -> Detail:
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
            is_function=bool(entry.value),
            accepted=Acceptance.parse(manifest.meta),
        )
    about = About.from_json(ref.key.kind, manifest.meta)
    if ref.key.kind == hub.KIND:
        more: dict[str, Any] = {
            "repo": f"{about.repo_type} {about.repo_id}",
            "revision": about.revision,
            "commit": about.commit,
            "allow": None if about.allow is None else list(about.allow),
            "ignore": None if about.ignore is None else list(about.ignore),
        }
        return Detail(manifest, about.task, about=more)
    parts = None
    if about.code:
        parts = checkpoint.code_parts(store, ref.key.parts[1], ref.key.parts[2], about.code)
    name = {"name": about.name} if ref.key.kind == checkpoint.KIND else {"label": about.label}
    is_state = about.storage_format == state.FORMAT
    form = {"storage_format": about.storage_format} if is_state else {}
    nodes = {"nodes": about.nodes} if about.nodes else {}
    more = {**form, **nodes, **name, "attempt": about.attempt, **(about.metadata or {})}
    leaves = _leaves(store, manifest, about.nodes) if is_state else ()
    return Detail(manifest, about.task, parts=parts or (), about=more, leaves=leaves)


def _leaves(store: Store, manifest: Manifest, nodes: int) -> tuple[StoredLeaf, ...]:
    """Return the leaves of a state; of a gang's those of each node, by its folder."""
    return tuple(
        replace(leaf, name=folder + leaf.name)
        for folder in (map(gang.folder_of, range(nodes)) if nodes else [""])
        for leaf in state.stored_leaves(store, manifest, folder=folder)
    )


@click.command(
    cls=Verb,
    fields={
        **FIELDS,
        "origin": "pathspec of the task that saved it; for a function, the name of the call",
        "run_time_s": "run time of the memoized task or call in seconds; null for other kinds",
        "parts": "parts of its fingerprint: objects of kind, name, digest, where and summary",
        "reads": "the values that a step read, or the arguments of a function, in the same form",
        "artifacts": "objects of name, sha1 (Metaflow's) and size_bytes (as packed)",
        "refers_to": "keys of checkpoints and models that its outputs name",
        "accepted": "of a result bound by `accept`: object of id, by, host, when, why, code, "
        "verified; else null",
        "about": "metadata of the save, such as that of a checkpoint",
        "leaves": f"the first {_MOST_LEAVES} of a state: objects of name, dtype, shape, size_bytes",
        "leaves_total": "number of its tensors, arrays and bytes, as far as they are not small",
        "files": f"the first {_MOST_FILES}: objects of path, size_bytes and target (of a link)",
        "files_total": "number of files",
    },
    examples=("memoflow show 3f9a1c2e", "memoflow show checkpoint/Train/fit --json"),
)
@click.argument("name", shell_complete=complete)
@click.pass_obj
def show(asked: CommandContext, *, name: str) -> Answer:
    """Show an entry's origin, fingerprint, inputs, files, and the leaves of a state.

    NAME is as for ls, and must match one entry.
    """
    found = one(asked.store, name)
    known = _detail(asked.store, found.ref)
    files, about = known.manifest.files, dict(known.about or {})

    def data() -> dict[str, Any]:
        return {
            **found.to_json(),
            "origin": known.origin,
            "run_time_s": known.run_time_s,
            "parts": [_part(part) for part in known.parts],
            "reads": [_part(part) for part in known.reads],
            "artifacts": [
                {"name": each.name, "sha1": each.blob.hex, "size_bytes": each.size_bytes}
                for each in known.manifest.adopted
            ],
            "refers_to": list(known.refers_to),
            "accepted": None if known.accepted is None else known.accepted.to_json(),
            # Through text: metadata of users may hold a NaN, which JSON has not.
            "about": json.loads(json.dumps(about, default=str), parse_constant=str),
            "leaves": [asdict(leaf) for leaf in known.leaves[:_MOST_LEAVES]],
            "leaves_total": len(known.leaves),
            "files": [
                {"path": file.path, "size_bytes": file.size_bytes, "target": file.target}
                for file in files[:_MOST_FILES]
            ],
            "files_total": len(files),
        }

    return Answer(data, lambda: _show(found, known))


def _show(found: Listed, known: Detail) -> None:
    ref, manifest = found.ref, known.manifest
    show_facts(
        [
            ("key", found.key),
            ("id", found.id),
            ("origin", known.origin),
            ("created", moment(ref.created)),
            ("used", moment(found.entry.used)),
            ("expires", "never" if ref.expires is None else moment(ref.expires)),
            ("size", f"{readable(ref.size_bytes)}, new when saved: {readable(ref.new_bytes)}"),
            ("ran", "" if known.run_time_s is None else span(known.run_time_s)),
            ("accepted", "" if known.accepted is None else known.accepted.details),
            *((f"about {name}", str(value)) for name, value in (known.about or {}).items()),
            *(("refers to", key) for key in known.refers_to),
        ]
    )
    if known.reads:
        rows = [(part.name, shown_value(part), part.digest) for part in known.reads]
        show_table(("argument" if known.is_function else "reads", "value", "digest"), rows)
    if known.parts:
        rows = [(f"{part.kind} {part.name}", part.where, part.digest) for part in known.parts]
        show_table(("part", "where", "digest"), rows)
    if manifest.adopted:
        rows = [(each.name, readable(each.size_bytes), each.blob) for each in manifest.adopted]
        show_table(("artifact", "size", "digest"), rows, right="size")
    if known.leaves:
        first = known.leaves[:_MOST_LEAVES]
        show_table(("leaf", "dtype", "shape", "size"), map(_leaf, first), right="size")
        if len(known.leaves) > len(first):
            click.echo(f"and {len(known.leaves) - len(first)} more")
    if manifest.files:
        shown = manifest.files[:_MOST_FILES]
        show_table(("file", "size"), [(file.path, _size(file)) for file in shown], right="size")
        if len(manifest.files) > len(shown):
            click.echo(f"and {len(manifest.files) - len(shown)} more files")


def _size(file: File) -> str:
    return readable(file.size_bytes) if file.target is None else f"-> {file.target}"


def _leaf(leaf: StoredLeaf) -> tuple[str, str, str, str]:
    return leaf.name, leaf.dtype, " x ".join(map(str, leaf.shape)), readable(leaf.size_bytes)


def _part(part: Part) -> dict[str, str]:
    return dict(zip(("kind", "name", "digest", "where", "summary"), part.to_json(), strict=False))
