"""The finished tasks from which a task starts, and the digests of the inputs that it reads.

Reads are named as people write them: `x`, `input`, `index`, `foreach_stack`, `current.username`,
and in a join `inputs[*].x`, `inputs[3].x`, `inputs.branch.x`. Two more stand for a whole:
`inputs`, which inputs there are, and `merge_artifacts(...)`, all that it could take. Parts of a
config are `config cfg.clean.k`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from metaflow.metaflow_current import current
from metaflow.util import get_username, resolve_identity

from memoflow import fingerprint
from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import ABSENT, Outline, Part
from memoflow.flow.artifact_ref import find_in
from memoflow.flow.host import foreach
from memoflow.flow.host.artifacts import INTERNAL, TaskArtifacts
from memoflow.flow.host.flow_class import NAMES_OF_FLOWSPEC, parameters_of, parser_of
from memoflow.flow.memo import config_parts
from memoflow.index import Index
from memoflow.kinds import memo
from memoflow.masking import ANY, MASK, Mask
from memoflow.names import Digest

if TYPE_CHECKING:
    from memoflow.flow.artifact_store import ArtifactStore
    from memoflow.flow.memo.lookup import MemoizedStep

# `current.x` that is another one in each run: a step that reads it depends on its run.
OF_ONE_RUN = frozenset(
    [
        "origin_run_id",
        "parallel",
        "pathspec",
        "retry_count",
        "run",
        "run_id",
        "task",
        "task_id",
        "trigger",
    ]
)
# `current.x` that is a tool and no input.
TOOLS = frozenset(
    ["card", "checkpoint", "get", "huggingface_hub", "is_running_flow", "memo", "model", "tempdir"]
)

# Up to this pickled size a value is known by its meaning, above by its bytes alone: walking
# millions of Python objects would cost more than many a step. Metaflow keeps the size beside the
# artifact, so the choice needs no byte of it.
MEANING_LIMIT = 1 << 20

# Facts of the index: the digest and summary of a value by its bytes, and its outline. Named anew
# with each encoding of values, since an index outlives versions of memoflow.
# Named anew when other values are masked in them.
_VALUE, _OUTLINE, _PART = (f"{each}{memo.SCHEMA}b" for each in ("meaning", "outline", "part"))
_MOST_INPUTS = 100


class UndecidedError(Exception):
    """This process cannot tell the digest of a read; the worker may."""


class InputDigests:
    """The tasks that a task starts from, opened for reading."""

    def __init__(
        self,
        datastores: list[Any],
        *,
        shape: FlowShape,
        join_type: str | None,
        frames: list[Any],
        current: Callable[[str], Any],
        facts: Index,
        lists: dict[str, Any],
        load_limit_bytes: int,
        mask: Mask = ANY,
    ) -> None:
        self.mask = mask
        self.datastores = datastores
        self.join_type = join_type
        self.frames = frames
        self._shape = shape
        self._current = current
        self._facts = facts
        self._lists = lists
        self._load_limit_bytes = load_limit_bytes
        self._by_label: dict[str, Any] | None = None
        self._outlined: dict[str, Callable[[], Outline]] = {}  # by digest
        self._configs: dict[str, Any] = {}

    @property
    def by_label(self) -> dict[str, Any]:
        """The inputs of a join by branch or foreach index: they come in no fixed order."""
        if self._by_label is None:
            self._by_label = {label(ds, self.join_type): ds for ds in self.datastores}
            if len(self._by_label) != len(self.datastores):
                raise UndecidedError("the inputs of this join cannot be told apart")
        return self._by_label

    def digest(self, name: str) -> Part:
        """Return a read with the digest of its present value.

        Raises UndecidedError if only the worker can tell.
        """
        path = config_parts.path_of(name)
        try:
            if path is not None:
                return self._config_part(name, path[0])
            digest, summary = self._digest(name)
        except NoFingerprintError as error:
            raise UndecidedError(str(error)) from error
        kind = "parameter" if name in self._shape.parameters else "input"
        return Part(kind, name, digest, summary=summary)

    def _seen(self, name: str, value: Any, digest: str) -> tuple[str, str]:
        """Return the digest of a value and the value in few words, as they may be shown."""
        return self.mask.digest(name, value, digest), fingerprint.summary(value, name, self.mask)

    def outlined(self, parts: Iterable[Part]) -> tuple[Part, ...]:
        """Return parts that were read here with the outlines of their values, where known.

        Apart from `read`, since a hit needs none.
        """
        unknown: Callable[[], Outline] = tuple
        return tuple(
            replace(part, outline=part.outline or self._outlined.get(part.digest, unknown)())
            for part in parts
        )

    def has_item(self, digest: str, *, most: int) -> bool | None:
        """Tell whether the innermost foreach has an item of that digest.

        None if it has more items than `most`, or if only the worker can tell.
        """
        if not self.frames or (self.frames[-1].num_splits or most + 1) > most:
            return None
        frame = self.frames[-1]
        try:
            every = (self.item(frame._replace(index=i)) for i in range(frame.num_splits))
            return any(each == digest for each in every)
        except (UndecidedError, NoFingerprintError):
            return None

    def item(self, frame: Any) -> str:
        """Return the digest of a foreach's item; UndecidedError if only the worker can tell."""
        return self._items(frame)[0]

    def _config_part(self, name: str, config: str) -> Part:
        ds = self.datastores[0]
        sha1 = TaskArtifacts(ds).sha1(config)
        if sha1 is None:
            return config_parts.part(name, None, self.mask)
        fact = f"{_PART}:{self._masked_names}{sha1}:{name}"
        known = self._facts.get([fact]).get(fact)
        if known is not None:
            return Part.from_json(json.loads(known))
        if sha1 not in self._configs:
            self._configs[sha1] = load(ds, config)
        part = config_parts.part(name, self._configs[sha1], self.mask)
        self._facts.set({fact: json.dumps(part.to_json())})
        return part

    def _digest(self, name: str) -> tuple[str, str]:
        if name.startswith("current."):
            value = self._current(name.removeprefix("current."))
            return self._told(name, fingerprint.of_value(value, name=name), value)
        if name == "index":
            value = self.frames[-1].index if self.frames else None
            return fingerprint.of_value(value), fingerprint.summary(value)
        if name == "input":
            return self._items(self.frames[-1]) if self.frames else (ABSENT, ABSENT)
        if name == "foreach_stack":
            levels = [[each.index, each.num_splits, self._items(each)[0]] for each in self.frames]
            short = [level[:2] for level in levels]
            return fingerprint.of_value(levels), fingerprint.summary(short)
        if name in self._shape.constants:
            return self._constant(name)
        if self.join_type is not None and name not in self._shape.parameters:
            return self._joined(name)
        return self._artifact(self.datastores[0], name)

    def _of_input(self, ds: Any, name: str) -> tuple[str, str]:
        """Return the digest of `inputs[i].name`; `input` and `index` are those of its foreach."""
        if name not in ("input", "index"):
            return self._artifact(ds, name)
        frames = foreach.stack_of(ds)
        if not frames:
            return ABSENT, ABSENT
        if name == "input":
            return self._item(ds, frames[-1])
        return fingerprint.of_value(frames[-1].index), fingerprint.summary(frames[-1].index)

    def _artifact(self, ds: Any, name: str) -> tuple[str, str]:
        if name in self._shape.constants:
            return self._constant(name)
        artifacts = TaskArtifacts(ds)
        sha1 = artifacts.sha1(name)
        if sha1 is None or name in INTERNAL:
            return ABSENT, ABSENT
        digest, summary = f"sha1:{sha1}", f"sha1:{sha1[:12]}"
        if artifacts.size_bytes(name) <= MEANING_LIMIT:
            digest, summary = self._remembered(sha1, lambda: load(ds, name), digest, name)
        parser = self._shape.parsers.get(name)
        if parser == "":
            raise UndecidedError(f"the parser of {name} has no stable fingerprint")
        return (digest, summary) if parser is None else (f"{digest} {parser}", summary)

    def _constant(self, name: str) -> tuple[str, str]:
        # Never by the artifact of that name: a step sees what the class says in this process.
        value = self._shape.constants[name]
        digest = fingerprint.of_constant(value, name=name, mask=self.mask)
        return self._told(name, digest, value)

    def _told(self, name: str, digest: str, value: Any) -> tuple[str, str]:
        seen, summary = self._seen(name, value, digest)
        self._outlined[str(seen)] = lambda: fingerprint.outline(value, name, self.mask)
        return seen, summary

    def _remembered(
        self, fact: str, value: Callable[[], Any], bytes_digest: str, name: str
    ) -> tuple[str, str]:
        hidden = f"{MASK}:" if self.mask.hides(name) else ""
        fact = f"{hidden}{self._masked_names}{fact}"
        fact, leaves = f"{_VALUE}:{fact}", f"{_OUTLINE}:{fact}"
        known = self._facts.get([fact]).get(fact)
        if known is not None:
            digest, summary = json.loads(known)
            self._outlined[digest] = lambda: self._recalled(leaves)
            return digest, summary
        loaded = value()
        if find_in(loaded)[0]:  # The content of checkpoints and models counts, not their keys.
            references, where = current_saves()
            loaded = references.by_content(where, loaded)
        outline = fingerprint.outline(loaded, name, self.mask)
        try:
            digest = str(fingerprint.of_value(loaded, name=name))
        except NoFingerprintError:
            digest = bytes_digest  # No stable meaning; equal bytes still mean equal values.
        digest, summary = self._seen(name, loaded, digest)
        facts = {fact: json.dumps([digest, summary])}
        self._facts.set(facts | ({leaves: json.dumps(outline)} if outline else {}))
        self._outlined[digest] = lambda: outline
        return digest, summary

    @cached_property
    def _masked_names(self) -> str:
        """The prefix that separates facts of this mask from those of others."""
        names = "\n".join(sorted(self.mask.names))
        return f"{Digest.of(names.encode()).hex[:16]}:" if names else ""

    def _recalled(self, fact: str) -> Outline:
        known = self._facts.get([fact]).get(fact, "[]")
        return tuple((path, text, mark) for path, text, mark in json.loads(known))

    def _item(self, ds: Any, frame: Any) -> tuple[str, str]:
        """Return the digest of `self.input`: the item of the foreach, wherever it came from."""
        artifacts = TaskArtifacts(ds)
        sha1 = artifacts.sha1(frame.var)
        if sha1 is None:
            return ABSENT, ABSENT
        size_bytes = artifacts.size_bytes(frame.var)

        def item() -> Any:
            if sha1 not in self._lists:
                if size_bytes > self._load_limit_bytes:
                    raise UndecidedError(f"{frame.var} is too large to load in the scheduler")
                self._lists.clear()  # One is enough: the splits of a foreach come in a row.
                self._lists[sha1] = load(ds, frame.var)
            values = self._lists[sha1]
            if isinstance(values, (set, frozenset)):
                raise UndecidedError(f"{frame.var} is a set, whose order each process makes anew")
            try:
                return values[frame.index]
            except TypeError:  # As FlowSpec._find_input does it.
                return next(islice(values, frame.index, frame.index + 1))
            except LookupError as error:
                raise UndecidedError(f"{frame.var} has no item {frame.index}") from error

        place = f"{sha1}[{frame.index}]"
        # An item of `passwords` is one.
        name = str(frame.var) if self.mask.hides(str(frame.var)) else "input"
        return self._remembered(place, item, f"sha1:{place}", name)

    def _items(self, frame: Any) -> tuple[str, str]:
        """Return the item of a foreach as every parent has it: a join may merge it from any."""
        items = [self._item(ds, frame) for ds in self.datastores]
        if len(items) == 1:
            return items[0]
        return fingerprint.of_value(sorted({digest for digest, _ in items})), items[0][1]

    def _joined(self, name: str) -> tuple[str, str]:
        if name == "inputs":
            labels = sorted(self.by_label)
            return fingerprint.of_value(labels), f"{len(labels)} inputs"
        if name.startswith("merge_artifacts("):
            exclude = set(name[len("merge_artifacts(") : -1].split(","))
            # The flow has these already.
            exclude |= INTERNAL | self._shape.parameters | self._shape.constants.keys()
            found = [
                (one, sorted((n, sha1) for n, sha1 in ds.items() if n not in exclude))
                for one, ds in sorted(self.by_label.items())
            ]
            digest = fingerprint.of_value(found)
            bound = [(f"{one}.{n}", "", sha1) for one, each in found for n, sha1 in each]
            self._outlined[str(digest)] = lambda: _leaves(bound)
            return digest, f"{len(found)} inputs"
        inner = name.removeprefix("inputs[*].")
        if inner != name or not name.startswith("inputs"):  # the second is `inputs=["x"]`
            values = [
                (one, *self._of_input(ds, inner)) for one, ds in sorted(self.by_label.items())
            ]
            digest = fingerprint.of_value([(one, digest) for one, digest, _ in values])
            self._outlined[str(digest)] = lambda: _leaves(
                [(one, summary, digest) for one, digest, summary in values]
            )
            return digest, f"{len(values)} values"
        for one, ds in self.by_label.items():
            if name.startswith(f"{one}."):
                return self._of_input(ds, name.removeprefix(f"{one}."))
        return ABSENT, ABSENT


def _leaves(inputs: list[tuple[str, str, str]]) -> Outline:
    """Return the outline of the reads of a join: input, text and digest; () if it is too long."""
    if len(inputs) > _MOST_INPUTS:
        return ()
    leaves = [
        (one.removeprefix("inputs"), text, f"#{digest.rpartition(':')[2][:8]}")
        for one, text, digest in inputs
    ]
    return (("", "", "{}"), *leaves)


def label(datastore: Any, join_type: str | None) -> str:
    if join_type == "foreach":
        return f"inputs[{foreach.stack_of(datastore)[-1].index}]"
    return f"inputs.{datastore.step_name}"


def collapse(reads: dict[str, None], parents: InputDigests) -> dict[str, None]:
    """Return the reads, with `inputs[*].x` for a name read of every input of a join.

    So that a foreach of one item more has the same read-set.
    """
    if parents.join_type is None:
        return reads
    labels = list(parents.by_label)
    by_name: dict[str, set[str]] = {}
    for name in reads:
        for one in labels:
            if name.startswith(f"{one}."):
                by_name.setdefault(name.removeprefix(f"{one}."), set()).add(one)
    whole = {name for name, seen in by_name.items() if len(seen) == len(labels)}
    kept: dict[str, None] = {}
    for name in reads:
        for one in labels:
            inner = name.removeprefix(f"{one}.")
            if inner != name and inner in whole:
                kept[f"inputs[*].{inner}"] = None
                break
        else:
            kept[name] = None
    return kept


def current_saves() -> tuple[ModuleType, ArtifactStore]:
    """Return the module of references, and the place in which they are looked up."""
    # Here, since most values and results refer to nothing.
    from memoflow.flow import artifact_store, references

    return references, artifact_store.current_store()


def current_of_step(name: str, memoized: MemoizedStep, *, known_in: str) -> Any:
    """Return a value of `current` as a process that runs the step would have it."""
    if name == "flow_name":
        return memoized.shape.flow.__name__
    if name == "step_name":
        return memoized.step
    if name == "username":
        return get_username()
    if name == "namespace":
        return resolve_identity()
    try:
        # What flow decorators such as @project set, they set in each process.
        return getattr(current, name)
    except Exception as error:  # A property may raise whatever it likes.
        raise UndecidedError(f"current.{name} is known in the {known_in} only") from error


def load(datastore: Any, name: str) -> Any:
    try:
        return datastore[name]
    except Exception as error:
        # Whatever a user's class does when it is unpickled; the worker has its environment.
        raise UndecidedError(f"{name} cannot be loaded here: {error}") from error


@dataclass(frozen=True)
class FlowShape:
    """The parameters, constants and configs of a flow before Metaflow prepares it for a step."""

    flow: type
    parameters: frozenset[str]  # what each task is handed unchanged: constants and configs too
    constants: dict[str, Any]  # data on the class or set by its `__init__`: wins over artifacts
    parsers: dict[str, str]  # of IncludeFile: digest of what parses the file, empty for none
    configs: frozenset[str] = frozenset()  # those of the parameters that are configs

    @classmethod
    def of(cls, instance: Any) -> FlowShape:
        flow = type(instance)
        parsers = {}
        parameters, configs = set(), set()
        for name, parameter in parameters_of(flow):
            parameters.add(name)
            if parameter.IS_CONFIG_PARAMETER:
                configs.add(name)
            parser = parser_of(parameter)
            if parser is not None:
                try:
                    parsers[name] = str(fingerprint.of_function(parser))
                except NoFingerprintError:
                    parsers[name] = ""
        constants = {}
        for name in dir(flow):
            if name in parameters or name.startswith("__") or name in NAMES_OF_FLOWSPEC:
                continue
            value = getattr(flow, name)
            # The test by which Metaflow (MetaflowTask._init_parameters) tells constants.
            if not isinstance(value, (MethodType, FunctionType, property, type)):
                constants[name] = value
        parameters |= {name for name in constants if name[0] != "_"}
        set_by_init = {n: v for n, v in vars(instance).items() if n not in INTERNAL}
        known = constants | set_by_init
        return cls(flow, frozenset(parameters), known, parsers, frozenset(configs))
