"""@huggingface_hub: repositories of the Hub, downloaded once, proven and pinned.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with
@huggingface_hub runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metaflow.exception import MetaflowException

from memoflow.errors import UsageError
from memoflow.flow.lifecycle import (
    Attempt,
    Lifecycle,
    Option,
    as_given,
    choice,
    optional,
    translated_errors,
)
from memoflow.flow.task import dependencies

if TYPE_CHECKING:
    from memoflow.flow.hub.current_hub import CurrentHub
    from memoflow.kinds.hub import Wanted

# Arguments that hold secrets.
_SECRETS = ("token", "headers")


class HuggingfaceHubException(MetaflowException):
    headline = "@huggingface_hub"


class HuggingfaceHubTypeError(HuggingfaceHubException, TypeError):
    """An argument of a type that the call never takes."""


def _check(name: str, value: Any) -> Any:
    return _in_task().CHECKS[name](value)


class HuggingfaceHubDecorator(Lifecycle):
    """Load repositories of the Hugging Face Hub from the store, which downloads each once.

    MF Add To Current
    -----------------
    huggingface_hub -> memoflow.flow.hub.current_hub.CurrentHub
        Downloads, keeps and loads repositories in the running task.
    """

    name = "huggingface_hub"
    # fmt: off
    option_table = (
        Option("load", None, optional(_check, ()), "Sequence[Any] | None",
               'what to load before the step starts, a list of `"org/name"`, `("org/name", '
               'path)`, `{"repo_id": "org/name", ...}` with any arguments of '
               "`snapshot_download`, or `({...}, path)`; without a path it is a temporary "
               "directory that goes with the task"),
        Option("cache_scope", "checkpoint", choice("checkpoint", "flow", "global"),
               'Literal["checkpoint", "flow", "global"]',
               'who shares what was downloaded: `"checkpoint"`, the tasks that share '
               'checkpoints; `"flow"`, all runs of the flow; `"global"`, everybody. What is '
               'private or gated is shared with other users in `"global"` alone'),
        Option("revalidate", "run", _check, "str | timedelta",
               "when to ask the Hub again which commit a branch or tag stands for: once a "
               '`"run"`, `"never"`, `"always"`, or when the answer is older than a time such as '
               '`"7d"`'),
        Option("temp_dir_root", None, optional(as_given), "str | None",
               "where temporary directories are made; `None` is where temporary files go"),
    )
    # fmt: on
    exception = HuggingfaceHubException
    packages = dependencies.HUB

    _current: CurrentHub | None = None

    def init(self) -> None:
        if not self.statically_defined and has_secret(self.attributes["load"]):
            raise HuggingfaceHubException(
                "everybody who lists processes sees a token on the command line; set HF_TOKEN, or "
                "log in with `hf auth login`"
            )
        # Now, since Metaflow keeps the arguments of decorators with each run.
        self.attributes["load"] = hide(self.attributes["load"])

    def without_packages(self, error: UsageError) -> bool:
        super().without_packages(error)
        return False  # Such as `init` in a container; the task itself may install them.

    def prepare(self, flow: Any, graph: Any) -> None:
        self.check_store()

    def deciding_attributes(self) -> dict[str, Any]:
        """Return the arguments that decide the step's result, for its key."""
        return {"load": [request.deciding for request in self.values["load"]]}

    def revisions_read(self) -> list[str]:
        """Return the branches and tags that `load=` names, as reads of the step."""
        wanted = [request.wanted for request in self.values["load"]]
        return [_in_task().revisions.name_of(one) for one in wanted if one.commit is None]

    def commit_of(self, wanted: Wanted, flow: str, run_id: str, origin: str | None) -> str:
        """Return the commit that a run goes by for a branch or tag; MemoflowError if none.

        `origin` is the run that it resumes.
        """
        found: str = _in_task().commit_of(wanted, (flow, run_id, origin), self.values, self.say)
        return found

    def begin(self, attempt: Attempt) -> None:
        with translated_errors(HuggingfaceHubException):
            self._current = current = _in_task().begin(attempt, self.values, self.say)
        self.open_card(attempt)
        self.show_card({"cache scope": self.values["cache_scope"]})
        try:
            current.load_all(self.values["load"])
        except BaseException:
            current.clean_up()  # Of a signal Metaflow tells nobody.
            raise
        self.note_store(attempt)
        keys = [reference["key"] for reference in current.loaded.info.values()]
        if keys:
            facts = {"hf-loaded-models": json.dumps({"keys": keys})}
            self.note_lineage(attempt, "model-registry", facts)

    def clean_up(self) -> None:
        if self._current is not None:
            self._current.clean_up()
            self._current = None


def _in_task() -> ModuleType:
    # Here, since Metaflow imports this module at each start.
    from memoflow.flow.hub import current_hub

    return current_hub


class Secret:
    """A value that is not shown: Metaflow keeps the arguments of decorators with each run."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"


def has_secret(value: Any) -> bool:
    """Tell whether arguments, in lists and dicts of any shape, hold a secret."""
    if isinstance(value, Mapping):
        return any(_is_secret(*item) or has_secret(item[1]) for item in value.items())
    return isinstance(value, (list, tuple)) and any(map(has_secret, value))


def hide(value: Any) -> Any:
    """Return arguments, in lists and dicts of any shape, with their secrets hidden."""
    if isinstance(value, Mapping):
        return {
            name: Secret(each) if _is_secret(name, each) else hide(each)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(hide, value))
    return value


def _is_secret(name: Any, value: Any) -> bool:
    if name == "endpoint" and isinstance(value, str):
        return "@" in value  # It holds a login.
    return name in _SECRETS and not isinstance(value, (bool, Secret, type(None)))


def reveal(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value
