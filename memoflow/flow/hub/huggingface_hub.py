"""@huggingface_hub: repositories of the Hub, downloaded once, proven and pinned.

Imported whenever Metaflow is, so nothing here imports more than Metaflow until a step with
@huggingface_hub runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from metaflow.decorators import StepDecorator
from metaflow.metadata_provider.metadata import MetaDatum
from metaflow.metaflow_current import current

from memoflow.errors import UsageError
from memoflow.flow import artifact_store
from memoflow.flow.failures import HuggingfaceHubException, translated_errors
from memoflow.flow.host.current import add_to_current
from memoflow.flow.hub.secret import has_secret, hide
from memoflow.flow.task import dependencies, launch_info
from memoflow.flow.task.process import arguments_of_step, tell

if TYPE_CHECKING:
    from memoflow.flow.cards.card import TaskCard
    from memoflow.flow.hub.current_hub import CurrentHub
    from memoflow.kinds.hub import Scope, Wanted

_CACHE_SCOPES = ("checkpoint", "flow", "global")


class HuggingfaceHubDecorator(StepDecorator):
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
    defaults = {
        "load": None,
        "cache_scope": "checkpoint",
        "revalidate": "run",
        "temp_dir_root": None,
    }

    _current: CurrentHub | None = None
    _card: TaskCard | None = None

    def init(self) -> None:
        if not self.statically_defined and has_secret(self.attributes["load"]):
            raise HuggingfaceHubException(
                "a token on the command line is seen by all who list processes; set HF_TOKEN, or "
                "log in with `hf auth login`"
            )
        # Now, since Metaflow keeps the arguments of decorators with each run.
        self.attributes["load"] = hide(self.attributes["load"])

    def step_init(
        self,
        flow: Any,
        graph: Any,
        step_name: str,
        decorators: Any,
        environment: Any,
        flow_datastore: Any,
        logger: Any,
    ) -> None:
        running = arguments_of_step()
        if running and step_name not in running:
            return  # The worker of another step, which may have next to no packages.
        try:
            dependencies.provide(dependencies.HUB, install=bool(running))
        except UsageError as error:
            if not running:
                return  # Such as `init` in a container; the task itself may install them.
            raise HuggingfaceHubException(str(error)) from error
        from memoflow.flow.hub.request import parse
        from memoflow.flow.hub.resolving import Revalidate

        self._flow_datastore = flow_datastore
        # One card for all, so that a step which wants none gets none.
        self._show_card = not any(
            deco.name == "checkpoint" and str(deco.attributes["show_card"]).lower() == "false"
            for deco in decorators
        )
        asked = self.attributes
        for option, value in asked.items():
            if value == "None":  # As `--with huggingface_hub:load=None` has it.
                asked[option] = None
        if asked["cache_scope"] not in _CACHE_SCOPES:
            raise HuggingfaceHubException(
                f"@huggingface_hub(cache_scope={asked['cache_scope']!r}) on step {step_name}: it "
                f"is one of {', '.join(map(repr, _CACHE_SCOPES))}"
            )
        with translated_errors(HuggingfaceHubException):
            parse(asked["load"])
            self._revalidate = Revalidate.parse(asked["revalidate"])
            if self.system_ctx.is_launch:
                artifact_store.check_usable()

    def package_init(self, flow: Any, step_name: str, environment: Any) -> None:
        launch_info.note_image(step_name, getattr(flow, step_name).decorators)

    def add_to_package(self) -> list[tuple[str, str]]:
        return dependencies.package_files()

    def deciding_attributes(self) -> dict[str, Any]:
        """Return what of the arguments decides the step's result, for a key of it."""
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
            say=self._say,
        )
        return resolver.commit_of(
            wanted, HubClient(transfers[0] if transfers else Transfer(), self._say)
        )

    def task_pre_step(
        self,
        step_name: str,
        task_datastore: Any,
        metadata: Any,
        run_id: str,
        task_id: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
        ubf_context: Any,
        inputs: Any,
    ) -> None:
        from memoflow.flow.cards.journal import of_this_process
        from memoflow.flow.hub.current_hub import CurrentHub
        from memoflow.flow.hub.request import parse
        from memoflow.flow.hub.resolving import Run
        from memoflow.flow.hub.snapshots import Snapshots
        from memoflow.flow.task.scratch import Scratch

        pathspec = str(current.pathspec)
        with translated_errors(HuggingfaceHubException):
            where = artifact_store.current_store()
            self._current = CurrentHub(
                where,
                Snapshots(
                    where.store,
                    self._scope(flow, parallel=bool(graph[step_name].parallel_step)),
                    Run(str(current.flow_name), run_id, current.origin_run_id),
                    self._revalidate,
                    task=pathspec,
                    attempt=retry_count,
                    say=self._say,
                ),
                scratch=Scratch(
                    "hf",
                    f"{where.folder} {pathspec}",
                    retry_count,
                    self.attributes["temp_dir_root"],
                ),
                say=self._say,
                noticed=_notice,
                journal=of_this_process(),
            )
        add_to_current("huggingface_hub", self._current)
        if self._show_card:
            from memoflow.flow.cards import card

            self._card = card.of_task(self._flow_datastore, pathspec, retry_count)
            self._card.show(self.name, {"cache scope": self.attributes["cache_scope"]})
        try:
            self._current.load_all(parse(self.attributes["load"]))
        except BaseException:
            self._current.clean_up()  # Of a signal Metaflow tells nobody.
            raise
        lineage = artifact_store.metadata_of_flow(retry_count)
        keys = [reference["key"] for reference in self._current.loaded.info.values()]
        if keys:
            tags = [f"attempt_id:{retry_count}"]
            value = json.dumps({"keys": keys})
            lineage.append(MetaDatum("hf-loaded-models", value, "model-registry", tags))
        if lineage:
            metadata.register_metadata(run_id, step_name, task_id, lineage)

    def _scope(self, flow: Any, *, parallel: bool) -> Scope:
        from memoflow.flow.task import identity
        from memoflow.kinds.hub import Scope

        kind, user = self.attributes["cache_scope"], str(current.username)
        if kind == "global":
            return Scope((kind,), user)
        if kind == "flow":
            return Scope((kind, str(current.flow_name)), user)
        mine, notes = identity.of_task(flow, parallel=parallel)
        for note in notes:
            self._say(note)
        return Scope((kind, mine.flow, mine.step, mine.scope, mine.identifier), user)

    def task_exception(
        self,
        exception: Exception,
        step_name: str,
        flow: Any,
        graph: Any,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        self._finish("failed")

    def task_finished(
        self,
        step_name: str,
        flow: Any,
        graph: Any,
        is_task_ok: bool,
        retry_count: int,
        max_user_code_retries: int,
    ) -> None:
        self._finish("succeeded" if is_task_ok else "failed")

    def _finish(self, state: str) -> None:
        if self._current is not None:
            self._current.clean_up()
            self._current = None
        if self._card is not None:
            self._card.finish(state)

    def _say(self, line: str) -> None:
        tell(f"[@huggingface_hub] {line}")


def _notice(wanted: Wanted, commit: str) -> None:
    from memoflow.flow.hub import revisions

    revisions.note(wanted, commit)
