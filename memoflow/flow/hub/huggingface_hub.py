"""@huggingface_hub: repositories of the Hub, downloaded once, proven and pinned.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with
@huggingface_hub runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from metaflow.metaflow_current import current

from memoflow.errors import UsageError
from memoflow.flow import artifact_store
from memoflow.flow.failures import HuggingfaceHubException, translated_errors
from memoflow.flow.host.current import add_to_current
from memoflow.flow.hub.secret import has_secret, hide
from memoflow.flow.lifecycle import Attempt, Lifecycle, Option, as_given, choice, optional
from memoflow.flow.task import dependencies

if TYPE_CHECKING:
    from memoflow.flow.hub.current_hub import CurrentHub
    from memoflow.flow.hub.resolving import Revalidate
    from memoflow.kinds.hub import Scope, Wanted


def _load(name: str, value: Any) -> Any:
    from memoflow.flow.hub.request import parse

    parse(value)
    return value


def _revalidate(name: str, value: Any) -> Revalidate:
    from memoflow.flow.hub.resolving import Revalidate

    return Revalidate.parse(value)


class HuggingfaceHubDecorator(Lifecycle):
    """Load repositories of the Hugging Face Hub from the store, which downloads each once.

    MF Add To Current
    -----------------
    huggingface_hub -> memoflow.flow.hub.current_hub.CurrentHub
        Downloads, keeps and loads repositories in the running task.

    Parameters
    ----------
    load : List[str | Dict[str, Any] | Tuple[str | Dict[str, Any], Optional[str]]], optional
        Repositories to load before the step starts, by id or as arguments of `snapshot_download`;
        with a path each, or to a temporary directory.
    cache_scope : str, default "checkpoint"
        Who shares what was downloaded: "checkpoint", the tasks that share checkpoints; "flow",
        all runs of the flow; "global", everybody. What is private or gated is shared with other
        users in "global" alone.
    revalidate : str or timedelta, default "run"
        When to ask again which commit a branch or tag stands for: once a "run", "never",
        "always", or when the answer is older than a time such as "7d".
    temp_dir_root : str, optional, default None
        Where temporary directories are made. None: where temporary files go.
    """

    name = "huggingface_hub"
    options = (
        Option("load", None, optional(_load)),
        Option("cache_scope", "checkpoint", choice("checkpoint", "flow", "global")),
        Option("revalidate", "run", _revalidate),
        Option("temp_dir_root", None, optional(as_given)),
    )
    exception = HuggingfaceHubException
    packages = dependencies.HUB

    _current: CurrentHub | None = None

    def init(self) -> None:
        if not self.statically_defined and has_secret(self.attributes["load"]):
            raise HuggingfaceHubException(
                "a token on the command line is seen by all who list processes; set HF_TOKEN, or "
                "log in with `hf auth login`"
            )
        # Now, since Metaflow keeps the arguments of decorators with each run.
        self.attributes["load"] = hide(self.attributes["load"])

    def without_packages(self, error: UsageError) -> bool:
        super().without_packages(error)
        return False  # Such as `init` in a container; the task itself may install them.

    def prepare(self, flow: Any, graph: Any) -> None:
        self._revalidate = _revalidate("revalidate", self.attributes["revalidate"])
        if self.system_ctx.is_launch:
            with translated_errors(HuggingfaceHubException):
                artifact_store.check_usable()

    def deciding_attributes(self) -> dict[str, Any]:
        """Return the arguments that decide the step's result, for its key."""
        from memoflow.flow.hub.request import deciding

        return {"load": deciding(self.attributes["load"])}

    def revisions_read(self) -> list[str]:
        """Return the branches and tags that `load=` names, as reads of the step."""
        from memoflow.flow.hub import revisions
        from memoflow.flow.hub.request import parse

        wanted = [asked.wanted for asked in parse(self.attributes["load"])]
        return [revisions.name_of(one) for one in wanted if one.commit is None]

    def commit_of(self, wanted: Wanted, flow: str, run_id: str, origin: str | None) -> str:
        """Return the commit that a run goes by for a branch or tag; MemoflowError if none.

        `origin` is the run that it resumes.
        """
        from memoflow.flow.hub.client import HubClient, Transfer
        from memoflow.flow.hub.request import parse
        from memoflow.flow.hub.resolving import Resolver, Run

        transfers = [
            asked.transfer
            for asked in parse(self.attributes["load"])
            if asked.wanted.name == wanted.name
        ]
        if wanted.at and not transfers:
            raise UsageError(f"how to reach {wanted.at} is known to the step alone")
        resolver = Resolver(
            artifact_store.current_store().store,
            Run(flow, run_id, origin),
            self._revalidate,
            cache_scope=self.attributes["cache_scope"],
            say=self.say,
        )
        return resolver.commit_of(
            wanted, HubClient(transfers[0] if transfers else Transfer(), self.say)
        )

    def begin(self, attempt: Attempt) -> None:
        from memoflow.flow.cards.journal import of_this_process
        from memoflow.flow.hub.current_hub import CurrentHub
        from memoflow.flow.hub.request import parse
        from memoflow.flow.hub.resolving import Run
        from memoflow.flow.hub.snapshots import Snapshots
        from memoflow.flow.task.scratch import Scratch

        with translated_errors(HuggingfaceHubException):
            where = artifact_store.current_store()
            self._current = CurrentHub(
                where,
                Snapshots(
                    where.store,
                    self._scope(attempt),
                    Run(str(current.flow_name), attempt.run_id, current.origin_run_id),
                    self._revalidate,
                    task=attempt.pathspec,
                    attempt=attempt.number,
                    say=self.say,
                ),
                scratch=Scratch(
                    "hf",
                    f"{where.folder} {attempt.pathspec}",
                    attempt.number,
                    self.attributes["temp_dir_root"],
                ),
                say=self.say,
                noticed=_notice,
                journal=of_this_process(),
            )
        add_to_current("huggingface_hub", self._current)
        self.open_card(attempt)
        self.show_card({"cache scope": self.attributes["cache_scope"]})
        try:
            self._current.load_all(parse(self.attributes["load"]))
        except BaseException:
            self._current.clean_up()  # Of a signal Metaflow tells nobody.
            raise
        self.note_store(attempt)
        keys = [reference["key"] for reference in self._current.loaded.info.values()]
        if keys:
            facts = {"hf-loaded-models": json.dumps({"keys": keys})}
            self.note_lineage(attempt, "model-registry", facts)

    def _scope(self, attempt: Attempt) -> Scope:
        from memoflow.flow.task import identity
        from memoflow.kinds.hub import Scope

        kind, user = self.attributes["cache_scope"], str(current.username)
        if kind == "global":
            return Scope((kind,), user)
        if kind == "flow":
            return Scope((kind, str(current.flow_name)), user)
        mine, notes = identity.of_task(attempt.flow, parallel=attempt.is_parallel)
        for note in notes:
            self.say(note)
        return Scope((kind, mine.flow, mine.step, mine.scope, mine.identifier), user)

    def clean_up(self) -> None:
        if self._current is not None:
            self._current.clean_up()
            self._current = None


def _notice(wanted: Wanted, commit: str) -> None:
    from memoflow.flow.hub import revisions

    revisions.note(wanted, commit)
