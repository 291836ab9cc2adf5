"""Reference: docs/api.md, made of annotations and docstrings, and of the decorators' options.

python docs/api.py > docs/api.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import griffe

_ROOT = Path(__file__).parents[1]
_WIDTH = 96

_INTRODUCTION = """\
# Python

Made by `python docs/api.py` of what the code says of itself; a test compares it with that.

What `memoflow.` stands before is imported from `memoflow`; decorators, `Checkpoint`, `load_model`,
`delete_model` and `artifact_store_from` come from `metaflow` just as well: they are the same. From
`memoflow` they complete in an editor, with the options and their types. From `metaflow` they do
once Metaflow has made its stubs, after memoflow was installed:
`pip install build && metaflow develop stubs install`.

```python
from memoflow import checkpoint, huggingface_hub, memoize, model
from metaflow import FlowSpec, current, step
```
"""

_PAGES = {
    "memoize": "memoize.md",
    "checkpoint": "checkpoint.md",
    "model": "model.md",
    "huggingface_hub": "huggingface_hub.md",
    "with_artifact_store": "checkpoint.md#another-store",
}


class Shown(NamedTuple):
    """Something to show: under which name, where it is, and of a class which members.

    None for all that are public. `about` names the class of a decorator.
    """

    name: str
    path: str
    members: tuple[str, ...] | None = None
    about: str | None = None


def _decorator(name: str, about: str) -> Shown:
    return Shown(f"memoflow.{name}", f"memoflow.flow.signatures.{name}", about=about)


SECTIONS: dict[str, tuple[str, tuple[Shown, ...]]] = {
    "Decorators": (
        'Those of steps stand alone, as `@memoize`, or have options, as `@memoize(ttl="30d")`. For '
        "all steps of a flow: `run --with memoize:ttl=30d`.",
        (
            _decorator("memoize", "memoflow.flow.memo.memoize.MemoizeDecorator"),
            _decorator("checkpoint", "memoflow.flow.checkpoint.checkpoint.CheckpointDecorator"),
            _decorator("model", "memoflow.flow.model.model.ModelDecorator"),
            _decorator(
                "huggingface_hub", "memoflow.flow.hub.huggingface_hub.HuggingfaceHubDecorator"
            ),
            _decorator(
                "with_artifact_store", "memoflow.flow.with_artifact_store.ArtifactStoreDecorator"
            ),
        ),
    ),
    "In a step": (
        "What `metaflow.current` has in a step with the decorator of that name. A reference is a "
        "dict of plain JSON; where one is taken, its `key` or an object from `info` will do.",
        (
            Shown("current.memo", "memoflow.flow.memo.worker.CurrentMemo", ()),
            Shown(
                "current.checkpoint",
                "memoflow.flow.checkpoint.current_checkpoint.CurrentCheckpoint",
                ("directory", "is_loaded", "info", "task_identifier", "save", "list", "load"),
            ),
            Shown(
                "current.model",
                "memoflow.flow.model.current_model.CurrentModel",
                ("save", "load"),
            ),
            Shown(
                "current.model.loaded",
                "memoflow.flow.model.current_model.LoadedModels",
                ("info", "cleanup"),
            ),
            Shown(
                "current.huggingface_hub",
                "memoflow.flow.hub.current_hub.CurrentHub",
                ("snapshot_download", "load"),
            ),
            Shown(
                "current.huggingface_hub.loaded",
                "memoflow.flow.hub.current_hub.LoadedSnapshots",
                ("info",),
            ),
            Shown("Reference", "memoflow.flow.artifact_ref.Reference"),
        ),
    ),
    "Outside of a step": (
        "In scripts, notebooks, and subprocesses of a step.",
        (
            Shown("memoflow.Checkpoint", "memoflow.flow.standalone.Checkpoint"),
            Shown("memoflow.load_state", "memoflow.flow.standalone.load_state"),
            Shown("memoflow.load_model", "memoflow.flow.standalone.load_model"),
            Shown("memoflow.delete_model", "memoflow.flow.standalone.delete_model"),
            Shown(
                "memoflow.artifact_store_from",
                "memoflow.flow.with_artifact_store.artifact_store_from",
            ),
        ),
    ),
    "Functions": (
        "Results of plain functions; see [functions](functions.md) for the options.",
        (
            Shown("memoflow.map", "memoflow.functions.mapping.map"),
            Shown(
                "MemoizedFunction",
                "memoflow.functions.memoized.MemoizedFunction",
                ("__call__", "call", "key", "is_stored", "forget", "why"),
            ),
            Shown(
                "memoflow.load_ipython_extension",
                "memoflow.functions.notebook.load_ipython_extension",
            ),
        ),
    ),
    "The store": (
        "What is under all of this: a key resolves to a ref, and a ref to files. Stores, refs and "
        "entries show themselves as tables in a notebook.",
        (
            Shown("memoflow.open_store", "memoflow.catalog.store.open_store"),
            Shown(
                "OpenedStore",
                "memoflow.catalog.store.OpenedStore",
                ("entries", "stats", "why", "gc"),
            ),
            Shown("Listed", "memoflow.catalog.listed.Listed", ("kind", "flow", "step")),
            Shown(
                "Stats",
                "memoflow.catalog.figures.Stats",
                ("size_bytes", "hits", "misses", "saved_s", "deduplication", "by_kind", "by_flow"),
            ),
            Shown("Collected", "memoflow.catalog.store.Collected", ()),
            Shown(
                "Store",
                "memoflow.store.store.Store",
                (
                    "keys",
                    "find",
                    "latest",
                    "series",
                    "manifest",
                    "meta",
                    "load",
                    "is_there",
                    "save",
                    "forget",
                    "evict",
                    "sweep",
                    "verify",
                    "quarantined",
                    "reindex",
                    "is_signed",
                    "close",
                ),
            ),
            Shown("memoflow.results", "memoflow.functions.results.results"),
            Shown("Results", "memoflow.functions.results.Results", ("one", "to_pandas")),
            Shown("ResultRow", "memoflow.functions.results.ResultRow", ("value",)),
            Shown("memoflow.Key", "memoflow.names.Key"),
            Shown("Ref", "memoflow.names.Ref"),
            Shown("Digest", "memoflow.names.Digest"),
            Shown("memoflow.store.entries.entries", "memoflow.store.entries.entries"),
            Shown("Entry", "memoflow.index.index.IndexEntry"),
            Shown("memoflow.store.Payload", "memoflow.store.saves.adoption.Payload"),
            Shown("Evicted", "memoflow.store.gc.eviction.Evicted"),
            Shown("Swept", "memoflow.store.gc.sweeping.Swept"),
            Shown("Problem", "memoflow.store.check.verification.Problem"),
        ),
    ),
    "Fingerprints and reasons": (
        "",
        (
            Shown("memoflow.fingerprint.of_function", "memoflow.fingerprint.closure.of_function"),
            Shown("memoflow.fingerprint.of_value", "memoflow.fingerprint.closure.of_value"),
            Shown("memoflow.fingerprint.explain", "memoflow.fingerprint.explain.explain"),
            Shown("Fingerprint", "memoflow.fingerprint.parts.Fingerprint", ("parts",)),
            Shown("Part", "memoflow.fingerprint.parts.Part", ()),
            Shown("memoflow.flow.memo.why.of_task", "memoflow.flow.memo.why.of_task"),
            Shown("Why", "memoflow.flow.memo.why.Why", ()),
            Shown("Difference", "memoflow.fingerprint.explain.Difference", ()),
        ),
    ),
    "Errors": (
        "Of `memoflow.errors`. In steps and in what `metaflow` exports they come as "
        "`CheckpointException`, `ModelException` and `HuggingfaceHubException`, which are "
        "`MetaflowException`s.",
        tuple(
            Shown(name, f"memoflow.errors.{name}", ())
            for name in re.findall(
                r"^class (\w+)", (_ROOT / "memoflow" / "errors.py").read_text(), re.MULTILINE
            )
        ),
    ),
}


class UndocumentedError(Exception):
    """Something public has no docstring."""


def page() -> str:
    """Return the whole page; UndocumentedError for what does not say what it is."""
    package = griffe.load("memoflow", search_paths=[_ROOT], allow_inspection=False)
    assert isinstance(package, griffe.Module)
    lines = [_INTRODUCTION]
    for title, (introduction, shown) in SECTIONS.items():
        lines.append(f"## {title}\n")
        if introduction:
            lines.append(f"{introduction}\n")
        for each in shown:
            lines.extend(_lines(package, each))
    return "\n".join(lines)


def _lines(package: griffe.Module, shown: Shown) -> Iterator[str]:
    thing = _find(package, shown.path)
    yield f"### {shown.name}\n"
    if isinstance(thing, griffe.Function):
        yield _signature(thing, shown.name.rpartition(".")[2])
        yield f"{_text(thing)}\n"
        if shown.about:
            yield from _options(shown.about)
            yield f"More: [{shown.name}]({_PAGES[thing.name]}).\n"
        return
    assert isinstance(thing, griffe.Class)
    if thing.bases and shown.path.startswith("memoflow.errors."):
        yield f"A kind of {', '.join(f'`{base}`' for base in thing.bases)}.\n"
    yield f"{_text(thing)}\n"
    fields = [
        member
        for member in thing.members.values()
        if isinstance(member, griffe.Attribute) and member.annotation and _is_public(member.name)
        if "property" not in member.labels
    ]
    if fields:
        yield "\n".join(f"- `{_field(each)}`" for each in fields) + "\n"
    for name in _public(thing) if shown.members is None else shown.members:
        member = thing.all_members[name]
        heading = f"#### {shown.name}.{name}\n"
        if isinstance(member, griffe.Function):
            yield heading
            yield _signature(member, name)
        elif "property" in member.labels:
            yield heading
            yield f"```python\n{name}: {member.annotation}\n```\n"
        else:
            continue
        yield f"{_text(member)}\n"


def _public(thing: griffe.Class) -> list[str]:
    return [
        name
        for name, member in thing.members.items()
        if _is_public(name) and (isinstance(member, griffe.Function) or "property" in member.labels)
    ]


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _find(package: griffe.Module, path: str) -> griffe.Object:
    where, _, name = path.removeprefix("memoflow.").rpartition(".")
    home = package[where]
    # Of what is overloaded the last form has the options.
    overloads = home.overloads.get(name) if isinstance(home, griffe.Module) else None
    found = overloads[-1] if overloads else home.members[name]
    assert isinstance(found, griffe.Object), f"{path} is not defined there"
    return found


def _text(thing: griffe.Object | griffe.Alias) -> str:
    if thing.docstring is None:
        raise UndocumentedError(f"{thing.path} has no docstring")
    # What is for Metaflow and for the table of options comes after it.
    return re.split(r"\n(?=[A-Z][\w ]+\n--)", inspect.cleandoc(thing.docstring.value))[0].strip()


def _signature(function: griffe.Function, name: str) -> str:
    parts = []
    star = False
    for each in function.parameters:
        if each.name in ("self", "cls"):
            continue
        if each.kind is griffe.ParameterKind.keyword_only and not star:
            parts.append("*")
        star = star or each.kind in (
            griffe.ParameterKind.keyword_only,
            griffe.ParameterKind.var_positional,
        )
        prefix = {
            griffe.ParameterKind.var_positional: "*",
            griffe.ParameterKind.var_keyword: "**",
        }.get(each.kind, "")
        default = None if prefix or each.default is None else _value(function, str(each.default))
        parts.append(
            f"{prefix}{each.name}"
            + (f": {each.annotation}" if each.annotation is not None else "")
            + (f" = {default}" if default is not None else "")
        )
    end = f" -> {_returned(function)}" if function.returns is not None else ""
    text = f"{name}({', '.join(parts)}){end}"
    if len(text) > _WIDTH:
        text = "\n".join((f"{name}(", *(f"    {part}," for part in parts), f"){end}"))
    return f"```python\n{text}\n```\n"


def _value(function: griffe.Function, default: str) -> str:
    """Return what a default is, also where that has a name in the module."""
    if not default.isidentifier() or default in ("None", "True", "False"):
        return default
    constant = function.package[function.resolve(default).removeprefix("memoflow.")]
    return str(constant.value)


def _returned(function: griffe.Function) -> str:
    returns = str(function.returns)
    if any(each.callable_path.endswith("contextmanager") for each in function.decorators):
        return returns.replace("Iterator", "AbstractContextManager")
    return returns.removeprefix("contextlib.")


def _options(decorator: str) -> Iterator[str]:
    yield "| option | what it does |\n|---|---|"
    for option in resolve_name(decorator).option_table:
        yield f"| `{option.name}` | {_cell(option.doc)} |"
    yield ""


def _field(attribute: griffe.Attribute) -> str:
    default = "" if attribute.value is None else f" = {attribute.value}"
    return f"{attribute.name}: {attribute.annotation}{default}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
