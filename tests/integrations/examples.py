"""Examples: those of docs/integrations.md, as an attempt of a task runs them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from tests.pages import DOCS, blocks


def run_example(heading: str, current: CurrentCheckpoint, **names: Any) -> dict[str, Any]:
    """Run the first block below a heading, and return its variables."""
    page = (DOCS / "integrations.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    code = next(block.text for block in blocks(section) if block.language == "python")
    found = {"current": SimpleNamespace(checkpoint=current), **names}
    exec(compile(code, f"docs/integrations.md: {heading}", "exec"), found)
    return found
