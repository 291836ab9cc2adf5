"""Memos: the key of a memoized step's result, and the result as payload.

    memo/<flow>/<step>/<scope>/code                         the parts of the code key
    memo/<flow>/<step>/<scope>/refs/<refs>                  and those of `refs`
    memo/<flow>/<step>/<scope>/reads/<read-set>             the names a step read
    memo/<flow>/<step>/<scope>/results/<inputs>/<refs>/<n>  what it left, numbered
    memo/<flow>/<step>/<scope>/results/<inputs>/<refs>.<reads>/<n>
    memo/<flow>/<step>/<scope>/logs/...                     its stdout and stderr: see `task_log`

`scope` is the fingerprint of the code and its environment. `inputs` is the digest of the values
of one read-set. `refs` is the fingerprint of the classes and functions that those values are
instances of, which nothing in the step's code need mention. `reads` is the digest of what else the
step read, such as files: an entry lists them, and is found while each is as it was.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from memoflow import owned
from memoflow.backends import BlobLocation
from memoflow.dataclass import dataclass
from memoflow.errors import BadKeyError, IntegrityError, MemoflowError, NotFoundError
from memoflow.fields import Fields, text
from memoflow.fingerprint import Fingerprint, Part, of_references
from memoflow.kinds import details, kept_code
from memoflow.kinds.memo_fields import (
    Artifact,
    artifact_of,
    free_texts,
    leaves_of,
    mostly_empty_of,
    next_of,
    origin_of,
    parts_of,
    references_of,
)
from memoflow.masking import ANY, Mask
from memoflow.names import Digest, Key, Ref
from memoflow.objects import Content, Manifest
from memoflow.store import Adoption, Payload, Store

# below a code key
CODE, LOGS, READ_SETS, REFERENCES, RESULTS = "code", "logs", "reads", "refs", "results"
SCHEMA = "2"  # part of every code key: a change in what goes into a key abandons older entries

Refs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MemoEntry:
    """The recorded result of a task."""

    ref: Ref
    origin: str  # Flow/run/step/task
    run_time_s: float
    artifacts: dict[str, Artifact]
    next_step: dict[str, Any]
    inputs: tuple[Part, ...]
    refs: Refs
    refers_to: tuple[str, ...] = ()  # keys of the checkpoints and models that its outputs name
    reads: tuple[Part, ...] = ()  # besides inputs, as they were: see `tracking.world`
    written: tuple[str, ...] = ()  # names of files that it wrote, where it listed folders
    named: Mapping[str, str] = field(default_factory=dict)  # that its outputs name: name, digest
    files: Mapping[str, str] = field(default_factory=dict)  # that are kept with it: name, digest
    outlines: Mapping[str, Any] = field(default_factory=dict)  # of inputs by name, as JSON
    value: Mapping[str, Any] = field(default_factory=dict)  # how the value of a function is kept
    manifest: Manifest = field(default_factory=lambda: Manifest(()), repr=False, compare=False)

    @property
    def outlined_inputs(self) -> tuple[Part, ...]:
        """The inputs with their outlines, which a hit does not need."""
        return tuple(
            replace(part, outline=leaves_of(self.outlines.get(part.name))) for part in self.inputs
        )


@dataclass(frozen=True)
class Result:
    """The result of a task, to be recorded."""

    origin: str
    run_time_s: float
    artifacts: dict[str, tuple[Artifact, Path | BlobLocation]]  # and where the packed bytes are
    next_step: dict[str, Any]  # plain JSON: where the flow goes on, as the step decided
    inputs: tuple[Part, ...]
    refs: Refs = ()
    refers_to: tuple[str, ...] = ()
    reads: tuple[Part, ...] = ()
    written: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, Path]] = field(default_factory=dict)  # name: digest, place
    value: Mapping[str, Any] = field(default_factory=dict)  # how that of a function is kept
    value_files: Mapping[str, Content] = field(default_factory=dict)


def step_key(flow: str, step: str) -> Key:
    return Key.of("memo", flow, step)


def code_key(flow: str, step: str, code: Fingerprint) -> Key:
    return step_key(flow, step) / code.hex


def known_since(store: Store, code_key: Key) -> float | None:
    """Return since when a code key has a read-set, so that it had a result; None if it has none."""
    refs = (store.find(key) for key in store.remembered.keys(code_key / READ_SETS))
    return min((ref.created for ref in refs if ref is not None), default=None)


def start_key(code_key: Key, start: Iterable[Part]) -> Key:
    """Return the key of the lease of a task that starts from these values."""
    return code_key / "starts" / Fingerprint.of(start).hex


def results_key(code_key: Key, inputs: Iterable[Part]) -> Key:
    """Return the key prefix shared by all results for these inputs."""
    return code_key / RESULTS / Fingerprint.of(inputs).hex


def is_call(store: Store, ref: Ref) -> bool:
    """Tell whether a result is of a function's call; False if it is gone or damaged."""
    try:
        return bool(read(store, ref).value)
    except MemoflowError:
        return False


def read(store: Store, ref: Ref) -> MemoEntry:
    """Return the entry behind a ref; NotFoundError or IntegrityError if it is gone or damaged."""
    manifest = store.manifest(ref)
    try:
        return _entry(ref, manifest)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"the description of {ref.key} is no result of a memoized step or function: {error!r}"
        ) from None


def _entry(ref: Ref, manifest: Manifest) -> MemoEntry:
    meta = Fields(manifest.meta)
    packed = {adopted.name: adopted for adopted in manifest.adopted}
    return MemoEntry(
        ref=ref,
        origin=origin_of(meta.text("origin")),
        run_time_s=meta.number("run_time_s"),
        artifacts={
            text(name, "artifacts"): artifact_of(packed[name], *loaded_as)
            for name, loaded_as in meta.mapping("artifacts").items()
        },
        next_step=next_of(meta.mapping("going_on")),
        inputs=parts_of(meta.rows("inputs")),
        refs=tuple((module, name) for module, name in map(free_texts, meta.rows("refs"))),
        outlines=meta.mapping("outlines", {}),
        value=meta.mapping("value", {}),
        manifest=manifest,
        **mostly_empty_of(manifest.meta),
    )


def restore_file(store: Store, entry: MemoEntry, name: str, path: Path) -> None:
    """Put a file that is kept with a result in its place, whole.

    NotFoundError or IntegrityError if its bytes are gone or damaged.
    """
    stored = f"{_FILES}{list(entry.files).index(name)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    owned.reap(path.parent, ".memoflow-", most=1)
    with owned.Directory(".memoflow-", path.parent) as folder:
        store.load(entry.ref, Path(folder), only=lambda each: each == stored)
        if not Path(folder, stored).exists():
            raise IntegrityError(f"{entry.ref.key} lists {name} and has no bytes of it")
        shutil.move(Path(folder, stored), path)


def artifacts_of(store: Store, refs: Iterable[Ref]) -> set[str]:
    """Return the SHA-1 of every artifact that these results bind, as far as they can be read."""
    found: set[str] = set()
    for ref in refs:
        if is_result(ref.key):
            with suppress(NotFoundError, IntegrityError):
                found.update(artifact.sha1 for artifact in read(store, ref).artifacts.values())
    return found


def recent(store: Store, prefix: Key, most: int, *, before: float | None = None) -> list[Ref]:
    """Return the newest results below a prefix, at most so many; see `Store.recent`."""
    until = time.time() + _SKEW_SECONDS if before is None else before
    return store.recent(prefix, most, before=until, wanted=is_result)


def code_key_of(result: Key) -> Key:
    """Return the code key of a result or of any other key below it."""
    return Key(result.parts[:4])


def code_parts(store: Store, result: Key) -> tuple[Part, ...]:
    """Return the parts of the fingerprint that a result was recorded under.

    With their sources, as far as these were small enough to be kept. () if they are not known
    any more; IntegrityError if they are damaged.
    """
    try:
        ref = store.find(code_key_of(result) / CODE)
        if ref is not None:
            return kept_code.read(store, ref)
        # Results that were recorded before code keys had their parts have them beside them.
        ref = store.lookup(result)
        text = b"[]" if ref is None else store.read_file(store.manifest(ref), kept_code.PARTS)
    except NotFoundError:
        return ()
    return kept_code.parsed_parts(text)


def reference_parts(store: Store, result: Key) -> tuple[Part, ...]:
    """Return the code of the classes that a result's inputs are instances of, as it was.

    Only the user's; () if there is none. Raises like `read`.
    """
    ref = store.find(code_key_of(result) / REFERENCES / result.parts[-2].partition(".")[0])
    return () if ref is None else kept_code.read(store, ref)


def record(
    store: Store,
    code_key: Key,
    parts: Iterable[Part],
    result: Result,
    *,
    expires: float | None = None,
    mask: Mask = ANY,
) -> Ref:
    """Store a result as the next entry of its series, then drop the entries it replaces."""
    # By which they are read again: a part of a config is not any artifact.
    names = sorted(
        f"config {part.name}" if part.kind == "config" else part.name for part in result.inputs
    )
    text = json.dumps(names)
    reads = code_key / READ_SETS / Digest.of(text.encode()).hex[:32]
    if store.find(reads) is None:
        store.save(reads, Payload(), meta={"names": names}, durable=False)
    kept_code.keep(store, code_key / CODE, parts)
    references = of_references(result.refs, mask=mask)
    if any(part.kind in ("code", "constant") for part in references.parts):
        kept_code.keep(store, code_key / REFERENCES / references.hex, references.parts)
    folder = references.hex
    if result.reads:
        folder += f".{Fingerprint.of(result.reads).hex}"
    results = results_key(code_key, result.inputs)
    series = results / folder
    meta = {
        "origin": result.origin,
        "run_time_s": result.run_time_s,
        "artifacts": {
            name: [artifact.info, artifact.cas] for name, (artifact, _) in result.artifacts.items()
        },
        "inputs": [part.to_json() for part in result.inputs],
        "outlines": {part.name: part.outline for part in result.inputs if part.outline},
        "refs": list(map(list, result.refs)),
        "refers_to": list(result.refers_to),
        "going_on": result.next_step,
        "reads": [part.to_json() for part in result.reads],
        "written": list(result.written),
        "named": list(map(list, result.named.items())),
        "files": [[name, digest] for name, (digest, _) in result.files.items()],
        **({"value": result.value} if result.value else {}),
    }
    ref = store.append(
        series,
        Payload(
            files={
                **{f"{_FILES}{i}": path for i, (_, path) in enumerate(result.files.values())},
                **{f"{VALUE}{name}": content for name, content in result.value_files.items()},
            },
            whole=bool(result.value_files),
            adopted={
                name: Adoption(Digest(f"sha1:{artifact.sha1}"), path)
                for name, (artifact, path) in result.artifacts.items()
            },
        ),
        meta=meta,
        expires=expires,
        durable=False,
    )
    details.record(store, ref, meta)
    store.index.touch(reads, code_key / CODE)  # Or they would be evicted before what they lead to.
    for key in store.keys(results):
        is_older = key.parts[:-1] == series.parts and str(key) < str(ref.key)
        # One of no reads would be found first, and this run has shown it to be wrong.
        if is_older or (result.reads and key.parts[-2] == references.hex):
            store.forget(key)
    return ref


def is_result(key: Key) -> bool:
    """Return whether a key is that of a result, not of the notes that lead to results."""
    return key.kind == "memo" and len(key.parts) > 4 and key.parts[4] == RESULTS


def is_log(key: Key) -> bool:
    """Return whether a key is that of the log of the task that computed a result."""
    return key.kind == "memo" and len(key.parts) > 4 and key.parts[4] == LOGS


def references(store: Store) -> set[str]:
    """Return the keys that the outputs of entries refer to; see `references_by_result`."""
    return {text for texts in references_by_result(store).values() for text in texts}


def keys_of(references: Iterable[str]) -> set[Key]:
    """Return the keys among the references of outputs; texts that are no keys are left out."""
    keys = set()
    for each in references:
        with suppress(BadKeyError, UnicodeError):
            keys.add(Key.parse(each))
    return keys


def references_by_result(store: Store) -> dict[Key, tuple[str, ...]]:
    """Return the keys that the outputs of each entry refer to; only of entries that do.

    Of expired ones, too: whether they are is for the backend's clock to say.
    """
    found: dict[Key, tuple[str, ...]] = {}
    for ref, meta in store.metas(Key.of("memo"), wanted=is_result):
        named: list[str] = []
        with suppress(ValueError):
            for each in Fields(meta).rows("refers_to", ()):
                with suppress(ValueError):  # What is no key refers to nothing.
                    named += references_of([each])
        if named:
            found[ref.key] = tuple(named)
    return found


def orphans(
    store: Store, going: Collection[Key] = (), *, keep_newer: timedelta = timedelta(hours=1)
) -> list[Key]:
    """Return the keys of logs without results, and of notes under code keys that have none.

    Results that are `going` do not count. Not notes newer than `keep_newer`: a result may be on its
    way.
    """
    keys = [key for key in store.keys(Key.of("memo")) if key not in going]
    results = {key.parts for key in keys if is_result(key)}
    with_results = {parts[:4] for parts in results}
    found = []
    for key in keys:
        if is_log(key):
            if (*key.parts[:4], RESULTS, *key.parts[5:]) not in results:
                found.append(key)
            continue
        if is_result(key) or key.parts[:4] in with_results:
            continue
        ref = store.find(key)
        if ref is None or ref.created < time.time() - keep_newer.total_seconds():
            found.append(key)
    return found


VALUE = "value/"  # before the names of the files of a function's value
_FILES = "files/"  # before the names of kept files in a manifest
_SKEW_SECONDS = 3600.0  # by which another machine's clock may be ahead
