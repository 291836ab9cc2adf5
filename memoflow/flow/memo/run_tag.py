"""Run tag: the hits of a run and the tasks looked up, as a tag by which runs are found."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from metaflow import metaflow_config

from memoflow.flow.memo.run_summary import RunSummary
from memoflow.threads import within
from memoflow.units import flag

_OURS = re.compile(r"memo:(?:\d+/\d+|all)")
_PATIENCE_S = 5.0


def of_run(summary: RunSummary) -> list[str]:
    """Return the tags: `memo:6/7`, and `memo:all` where each task that was looked up hit."""
    looked_up = summary.hits + summary.misses
    if not looked_up:
        return []
    return [f"memo:{summary.hits}/{looked_up}", *["memo:all"] * (not summary.misses)]


def put(metadata: Any, flow: str, run: str, summary: RunSummary) -> str:
    """Tag a run, in place of the tags that it had; return why it could not be, "" if it is.

    A service that does not answer is waited for a few seconds.
    """
    try:
        tags = of_run(summary)
        if tags and flag("METAFLOW_MEMOFLOW_TAG", metaflow_config.MEMOFLOW_TAG):
            within(_PATIENCE_S, partial(_replace, metadata, flow, run, tags))
    except Exception as error:  # Of a provider, or of a server.
        return f"the run has no tag of its hits: {error}"
    return ""


def _replace(metadata: Any, flow: str, run: str, tags: list[str]) -> None:
    # A run that was resumed under its own id has tags already; others may come by --tag.
    found = metadata.get_object("run", "self", {}, None, flow, run) or {}
    old = [tag for tag in found.get("tags") or () if _OURS.fullmatch(tag) and tag not in tags]
    metadata.mutate_user_tags_for_run(flow, run, tags_to_add=tags, tags_to_remove=old)
