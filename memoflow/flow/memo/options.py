"""Options of @memoize: parsed from Python or from `--with memoize:...`, and checked."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import UsageError
from memoflow.flow.lifecycle import Option, as_given, choice, optional, read
from memoflow.flow.memo.flags import MODES
from memoflow.units import duration, flag, share

SCOPES = ("flow", "global")

_ALWAYS_THERE = {"input", "index", "foreach_stack"}


def names(option: str, value: Any) -> tuple[str, ...]:
    """Return a list of names; `--with memoize:inputs=a,b` passes them as one text."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(
        isinstance(name, str) and name for name in value
    ):
        raise UsageError(f"@memoize({option}=...) takes a list of names, not {value!r}")
    return tuple(dict.fromkeys(sorted(value) if isinstance(value, (set, frozenset)) else value))


def _name_set(option: str, value: Any) -> frozenset[str]:
    return frozenset(names(option, value))


def _text(option: str, value: Any) -> str:
    return "" if value is None else str(value)


def _flag(option: str, value: Any) -> bool:
    return flag(f"@memoize({option}=...)", value)


def _share(option: str, value: Any) -> float:
    return share(f"@memoize({option}=...)", value or 0)


# fmt: off
OPTIONS = (
    Option("inputs", None, optional(names), "Collection[str] | None",
           'names of artifacts that decide the result; `"input"` and `"index"` are those of the '
           "foreach; `None`: what the step reads"),
    Option("outputs", None, optional(names), "Collection[str] | None",
           "names to keep; `None`: all that the step sets or changes"),
    Option("files", None, optional(names, ()), "Collection[str] | None",
           'patterns of files that the step writes, such as `"out/*.csv"`, to be kept with the '
           "result, and put back on a hit where they are missing or different"),
    Option("ignore", None, optional(_name_set, frozenset()), "Collection[str] | None",
           'reads that do not decide the result, such as `"current.run_id"`, `"logs/*"`, '
           "`\"os.environ['X']\"` or a global `\"lib.client\"`: see "
           "[its section](memoize.md#ignore)"),
    Option("ttl", None, optional(duration), "str | timedelta | None",
           'how long a result may be used: `"30d"`, `"12h"`, `"90m"` or a `timedelta`; `None`: '
           "until it is evicted"),
    Option("version", None, _text, "str | None",
           "part of the key; change it to start afresh"),
    Option("environment", True, _flag, "bool",
           "whether Python's minor version and the versions of packages are part of the key"),
    Option("scope", "flow", choice(*SCOPES), 'Literal["flow", "global"]',
           '`"global"` shares results with equal steps of other flows'),
    Option("refresh", False, _flag, "bool",
           "run and record again, whatever is stored"),
    Option("mode", None, optional(choice(*MODES)),
           'Literal["on", "off", "read-only", "only", "shadow"] | None',
           '`"on"`, which `None` means as well, `"off"`, `"read-only"` (use, do not record), '
           '`"only"` (a miss is an error) or `"shadow"` (all tasks run, and are compared with the '
           "results that they would have had)"),
    Option("single_flight", True, _flag, "bool",
           "wait while another task, of any run on any machine, computes the same result"),
    Option("audit", 0, _share, "float | str",
           "the share of hits that run all the same and are compared with what is stored, which "
           'stands: `0.05` or `"5%"`'),
    Option("show_card", None, optional(_flag), "bool | None",
           "a card of the memo for each task; `None`: unless its step has a `@card` or `@memoize` "
           "comes from `--with`. Hits have the cards of their origins, but with `False` none"),
    Option("min_time", None, optional(duration), "str | timedelta | None",
           'results of tasks whose step took less are not kept: `"1s"` or a `timedelta`'),
    Option("mask", None, optional(_name_set, frozenset()), "Collection[str] | None",
           "names of parameters, constants and variables whose values are shown and kept "
           'nowhere, such as `"dsn"`, beside those that [look like '
           "passwords](security.md#passwords); the values still count"),
    Option("next", None, optional(as_given), "str | None",
           "the step that follows, checked against the graph; nothing depends on it"),
)
# fmt: on


@dataclass(frozen=True)
class MemoizeOptions:
    """The options of one @memoize; None for `inputs` means the inputs that the step reads."""

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    next: str | None = None
    ttl: timedelta | None = None
    version: str = ""
    environment: bool = True
    scope: str = "flow"
    refresh: bool = False
    mode: str | None = None
    single_flight: bool = True
    audit: float = 0.0
    show_card: bool | None = None
    min_time: timedelta | None = None
    min_time_text: str = ""  # as it was given
    mask: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> MemoizeOptions:
        """Read a decorator's attributes; UsageError names the one that cannot be."""
        shortest = attributes["min_time"]
        return cls(
            **read(OPTIONS, attributes),
            min_time_text="" if shortest in (None, "None") else str(shortest),
        )

    def check(self, flow: type, graph: Any, step: str) -> None:
        """Raise UsageError for names that this flow does not have."""
        if self.next is not None and self.next not in graph[step].out_funcs:
            following = " or ".join(graph[step].out_funcs) or "none"
            raise UsageError(
                f"@memoize(next={self.next!r}) on step {step}: its next step is {following}"
            )
        known = mentioned(flow, step)
        if known is None:
            return
        for option, wanted in (("inputs", self.inputs), ("outputs", self.outputs)):
            extra = _ALWAYS_THERE if option == "inputs" else set()
            for name in wanted or ():
                if name in known or name in extra or name.startswith("current."):
                    continue
                import difflib  # Here, since only a wrong name needs it.

                close = difflib.get_close_matches(name, sorted(known | extra), n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise UsageError(
                    f"@memoize({option}=[{name!r}]) on step {step}: "
                    f"{flow.__name__} has no attribute {name}{hint}"
                )


def mentioned(flow: type, step: str) -> set[str] | None:
    """Return every name that a flow's source could bind to an artifact, None if it cannot tell.

    A typo in `inputs` should stop a run before it starts, yet artifacts are only names until
    then. So this takes all attributes and texts in the modules of the flow's classes, but not
    the texts in `@memoize(...)` itself.
    """
    if getattr(getattr(flow, step), "wrappers", None):
        return None  # A step decorator of the user's may set artifacts from any module.
    found: set[str] = set()
    for cls in flow.__mro__:
        if cls is object or cls.__module__.partition(".")[0] == "metaflow":
            continue
        found.update(name for name in vars(cls) if not name.startswith("__"))
        try:
            bound = _bound(ast.parse(inspect.getsource(sys.modules[cls.__module__])))
        except (OSError, TypeError, SyntaxError, KeyError):
            return None
        if bound is None:
            return None
        found |= bound
    return found


def _bound(tree: ast.Module) -> set[str] | None:
    """Return the attributes and texts in a module's source, None if it sets others by name."""
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Call):
            callee = getattr(node.func, "attr", getattr(node.func, "id", None))
            if callee == "memoize":
                continue
            if callee in ("setattr", "__setattr__"):
                return None
        todo += ast.iter_child_nodes(node)
    return found
