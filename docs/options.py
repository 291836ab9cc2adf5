"""Options: the tables of the pages and the stub for editors, made of the decorators' own tables.

python docs/options.py
"""

from __future__ import annotations

import re
from pathlib import Path

from memoflow.flow.checkpoint.checkpoint import CheckpointDecorator
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubDecorator
from memoflow.flow.lifecycle import Option, WithOptions
from memoflow.flow.memo.memoize import MemoizeDecorator
from memoflow.flow.model.model import ModelDecorator
from memoflow.flow.with_artifact_store import ArtifactStoreDecorator

_DOCS = Path(__file__).parent
STUB = _DOCS.parent / "memoflow" / "flow" / "signatures.pyi"

OF_STEPS = (MemoizeDecorator, CheckpointDecorator, ModelDecorator, HuggingfaceHubDecorator)
PAGES = {
    **{decorator: _DOCS / f"{decorator.name}.md" for decorator in OF_STEPS},
    ArtifactStoreDecorator: _DOCS / "checkpoint.md",
}

_STUB = '''\
"""Signatures: the decorators' options for editors, made by docs/options.py of their tables."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

_Step = TypeVar("_Step", bound=Callable[..., Any])
_Flow = TypeVar("_Flow", bound=type)
'''


def default(option: Option) -> str:
    """Return a default as Python has it, with double quotes."""
    return f'"{option.default}"' if isinstance(option.default, str) else repr(option.default)


def table(decorator: type[WithOptions]) -> str:
    """Return the table of a decorator's options for a page."""
    rows = [
        f"| `{option.name}` | `{default(option)}` | {option.doc.replace('|', chr(92) + '|')} |"
        for option in decorator.option_table
    ]
    return "\n".join(("| option | default | what it does |", "|---|---|---|", *rows))


def with_table(page: str, decorator: type[WithOptions]) -> str:
    """Return a page with a decorator's table in place of the one that begins with its option."""
    first = decorator.option_table[0].name
    old = rf"^\| option \| default \|.*\n\|---.*\n\| `{first}` (?:.+\n)+"
    return re.sub(old, lambda _: table(decorator) + "\n", page, count=1, flags=re.MULTILINE)


def stub() -> str:
    """Return the stub with the signatures of all decorators."""
    return "".join((_STUB, *map(_signature, PAGES)))


def _signature(decorator: type[WithOptions]) -> str:
    kind = "_Step" if decorator in OF_STEPS else "_Flow"
    name = decorator.name
    options = "".join(
        f"    {option.name}: {option.type} = {default(option)},\n"
        for option in decorator.option_table
    )
    about = (decorator.__doc__ or "").partition("\n")[0]
    alone = f"@overload\ndef {name}(step: _Step, /) -> _Step: ...\n@overload\n"
    return (
        f"\n{alone if kind == '_Step' else ''}def {name}(\n    *,\n{options}"
        f') -> Callable[[{kind}], {kind}]:\n    """{about}"""\n'
    )


if __name__ == "__main__":
    STUB.write_text(stub())
    for decorator, page in PAGES.items():
        page.write_text(with_table(page.read_text(), decorator))
