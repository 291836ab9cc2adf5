"""Planned: the tasks of a step that a run would start, judged by the latest run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from metaflow.client import Flow, Step
from metaflow.exception import MetaflowException, MetaflowNotFound
from metaflow.includefile import IncludeFile
from metaflow.parameters import DeployTimeField

from memoflow import fingerprint
from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import Part
from memoflow.flow.host import client, foreach, listed_tasks, transition
from memoflow.flow.host.flow_class import configs_of, graph_of, parameters_of
from memoflow.flow.host.foreach import Foreach
from memoflow.flow.host.listed_tasks import AttemptFiles, ListedTask
from memoflow.flow.memo import config_parts
from memoflow.flow.memo.inputs import (
    OF_ONE_RUN,
    InputDigests,
    UndecidedError,
    current_of_step,
    load,
)
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.memoize import MemoizeDecorator
from memoflow.flow.memo.store_context import StoreContext
from memoflow.storages import backend_of

_LOAD_LIMIT_BYTES = 64 << 20
_MOST_PARENTS = 1000
_NOT_IN_KEY = frozenset(("card", "resources", "retry", "timeout"))
_MOST_RUNS = 5
_AT_ONCE = 100  # tasks that are opened together

Inputs = TypeVar("Inputs", bound=InputDigests)


class PlannedTask(InputDigests):
    """The tasks that a task would start from, with the configs of this process.

    They are read anew each time that the flow is loaded, whatever is done with it then.
    """

    configs: dict[str, Any]

    def digest(self, name: str) -> Part:
        path = config_parts.path_of(name)
        if path is not None and path[0] in self.configs:
            try:
                return config_parts.part(name, self.configs[path[0]], self.mask)
            except NoFingerprintError as error:
                raise UndecidedError(str(error)) from error
        part = super().digest(name)
        if name not in self.configs or part.digest.startswith("sha1:"):
            return part
        value = self.configs[name]
        try:
            digest = str(fingerprint.of_value(value, name=name))
        except NoFingerprintError:
            return part
        digest, summary = self._seen(name, value, digest)
        if digest == part.digest:
            return part
        outline = fingerprint.outline(value, name, self.mask)
        return replace(part, digest=digest, summary=summary, outline=outline)


def latest_runs(memoized: MemoizedStep) -> list[str]:
    """Return the ids of the flow's latest runs by any user, the latest first.

    Several, since the latest may have failed, or be on its way, before it came to the step.
    """
    try:
        flow = Flow(memoized.shape.flow.__name__, _namespace_check=False)
        return [str(run.id) for run in islice(flow, _MOST_RUNS)]
    except MetaflowNotFound:
        return []


@dataclass(frozen=True)
class OptionRun:
    """The latest run of a flow, and the steps that its `--with memoize` memoized.

    `steps` has the options by step. `others` are other decorators by `--with` that may count in a
    key; where there are any, the steps are as that run had them only with these.
    """

    pathspec: str
    steps: Mapping[str, Mapping[str, Any]]
    others: tuple[str, ...]

    @classmethod
    def latest(cls, flow: str) -> OptionRun | None:
        """Return the latest run of a flow, None if there is none or it cannot be read."""
        steps: dict[str, Mapping[str, Any]] = {}
        others: set[str] = set()
        try:
            run = next(iter(Flow(flow, _namespace_check=False)))
            [task] = Step(f"{run.pathspec}/_parameters", _namespace_check=False)
            for step, node in client.graph_of(task)["steps"].items():
                for deco in node["decorators"]:
                    if deco["statically_defined"] or deco.get("inserted_by"):
                        continue
                    if deco["name"] == "memoize":
                        steps[step] = deco["attributes"]
                    elif deco["name"] not in _NOT_IN_KEY:
                        others.add(deco["name"])
        except (MetaflowException, StopIteration, ValueError, KeyError, TypeError, AttributeError):
            return None
        return cls(run.pathspec, steps, tuple(sorted(others)))

    def memoize(self, flow: Any) -> set[str]:
        """Memoize the steps of a flow as the run had them; return those that are now."""
        done = set()
        for step, given in self.steps.items() if not self.others else ():
            decorators = getattr(getattr(flow, step, None), "decorators", None)
            if decorators is not None and all(deco.name != "memoize" for deco in decorators):
                options = {  # Metaflow keeps None as a text.
                    name: given[name]
                    for name, default in MemoizeDecorator.defaults.items()
                    if name in given and given[name] != str(default)
                }
                decorators.append(MemoizeDecorator(attributes=options, statically_defined=False))
                done.add(step)
        return done


def hint_of_option(step: str = "", others: Iterable[str] = ()) -> str:
    """Return the command that predicts a run with `--with memoize`, in a sentence."""
    options = " ".join(f"--with {name}" for name in ("memoize", *others))
    command = f"python {os.path.basename(sys.argv[0])} {options} memo why {step}".rstrip()
    return f"`{command}` predicts a run {options}"


def planned_tasks(memoized: MemoizedStep, context: StoreContext, run: str) -> Iterator[PlannedTask]:
    """Yield the inputs of each task of a step, were the steps before it to run as in `run`.

    UndecidedError if that cannot be told in a short while.
    """
    configs = configs_of(memoized.shape.flow)
    current = partial(_current, memoized)
    for parents, _ in task_inputs(memoized, context, run, PlannedTask, current):
        parents.configs = configs
        yield parents


def task_inputs(
    memoized: MemoizedStep,
    context: StoreContext,
    run: str,
    cls: type[Inputs],
    current: Callable[[str], Any],
) -> Iterator[tuple[Inputs, int | None]]:
    """Yield the inputs that each task of a step has in a run, as this class, and its split index.

    `current` returns a value of `current` by name. UndecidedError as for `planned_tasks`.
    """
    assert context.store is not None
    for datastores, split_index in starts(memoized, context, run):
        around = Foreach.of_new_task(
            memoized.shape.flow, memoized.step, datastores, memoized.join_type, split_index
        )
        parents = cls(
            datastores,
            shape=memoized.shape,
            join_type=memoized.join_type,
            frames=around.stack,
            current=current,
            facts=context.store.index,
            lists=context.lists,
            load_limit_bytes=_LOAD_LIMIT_BYTES,
            mask=memoized.mask,
        )
        yield parents, split_index


def unlike_defaults(
    memoized: MemoizedStep, parents: InputDigests, names: set[str]
) -> Iterator[str]:
    """Yield the inputs that would have another value in a run without options."""
    for name, parameter in parameters_of(memoized.shape.flow):
        if name not in names or parameter.IS_CONFIG_PARAMETER:
            continue
        default = parameter.kwargs.get("default")
        # Nothing here may stop an answer: what users give as a default is theirs.
        with suppress(Exception):
            was = load(parents.datastores[0], name)
            if isinstance(parameter, IncludeFile):
                path = default(deploy_time=False) if callable(default) else default
                was = was.decode(name)
                held = was if isinstance(was, bytes) else was.encode()
                if path is not None and Path(path).read_bytes() != held:
                    yield f"{path}, which {name} includes, has changed since"
            elif default is not None and not isinstance(default, DeployTimeField):
                kind = parameter.kwargs.get("type", type(default))
                value = kind(default) if isinstance(kind, type) else was
                value = value.split(parameter.separator) if parameter.separator else value
                if value != was:
                    there, now = (
                        fingerprint.summary(each, name, memoized.mask) for each in (was, value)
                    )
                    yield f"{name} is {there} there, and {now} by default"


def starts(
    memoized: MemoizedStep, context: StoreContext, run: str
) -> Iterator[tuple[list[Any], int | None]]:
    """Yield the datastores that a task starts from, and its place in a foreach."""
    graph, step = graph_of(memoized.shape.flow), memoized.step
    before = ["_parameters"] if step == graph.start_step else sorted(memoized.node.in_funcs)
    finished = _finished(context.flow_datastore, run, before)
    if memoized.join_type is not None:
        groups: dict[str, list[Any]] = {}
        for datastore in _opened(memoized, context, run, finished):
            stack = foreach.stack_of(datastore)
            outer = stack[:-1] if memoized.join_type == "foreach" else stack
            groups.setdefault(repr([frame[:4] for frame in outer]), []).append(datastore)
        for group in groups.values():
            yield sorted(group, key=lambda each: str(each.pathspec)), None
        return
    # A few at a time: who asks may want the first ones only.
    for start in range(0, len(finished), _AT_ONCE):
        for datastore in _opened(memoized, context, run, finished[start : start + _AT_ONCE]):
            if graph.nodes.get(datastore.step_name) is None:  # the parameters
                yield [datastore], None
            elif graph[datastore.step_name].type == "foreach":
                for index in range(foreach.num_splits(datastore)):
                    yield [datastore], index
            else:
                yield [datastore], None


def _finished(flow_datastore: Any, run: str, steps: Iterable[str]) -> list[ListedTask]:
    """Return the finished tasks of some steps, by a listing; UndecidedError if there are too many.

    A bucket lists a thousand files in a request, and a task has about eight.
    """
    root = flow_datastore.datastore_root.rstrip("/")
    tasks = backend_of(flow_datastore.TYPE, f"{root}/{flow_datastore.flow_name}/{run}")
    files = AttemptFiles()
    for step in steps:
        for found in tasks.list(step):
            files.add(found.name)
            if len(files.began) > _MOST_PARENTS:
                raise UndecidedError(f"more than {_MOST_PARENTS:,} tasks come before it")
    return files.finished()


def _opened(
    memoized: MemoizedStep, context: StoreContext, run: str, tasks: Iterable[ListedTask]
) -> list[Any]:
    """Return the datastores of those of the tasks that went on to the step."""
    step = memoized.step
    is_first = step == graph_of(memoized.shape.flow).start_step
    return [
        datastore
        for datastore in listed_tasks.opened(context.reader, run, tasks)
        if is_first or step in transition.next_steps(datastore)
    ]


def _current(memoized: MemoizedStep, name: str) -> Any:
    if name in OF_ONE_RUN or name == "tags" or name.startswith("huggingface_hub"):
        raise UndecidedError(f"current.{name} is known in the run only")
    return current_of_step(name, memoized, known_in="run")
