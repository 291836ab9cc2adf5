"""The example with a memoized function goes on where it was killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import memoflow
from memoflow.errors import NotFoundError
from memoflow.store import open_store
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
ITEMS = 60


def test_a_scoring_that_is_killed_scores_only_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    text = (ROOT / "examples" / "score_reviews.py").read_text()
    assert "reviews(1000, seed=2)" in text
    # Sixty reviews in place of a thousand: the rest is the example as it is.
    shorter = text.replace("reviews(1000, seed=2)", f"reviews({ITEMS}, seed=2)")
    (folder / "score_reviews.py").write_text(shorter)
    named = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("METAFLOW", "MEMOFLOW"))
    }

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "score_reviews.py"],
            cwd=folder,
            env={**named, "HOME": str(tmp_path / "home")},
            text=True,
            stdout=subprocess.PIPE,
        )

    def stored() -> int:
        try:
            store = open_store(folder / ".metaflow" / "memoflow", cache_dir=tmp_path / "cache")
            return len(memoflow.results("score_reviews.score", store=store))
        except NotFoundError:
            return 0

    killed = start()
    until(lambda: stored() >= 10 or killed.poll() is not None)
    killed.kill()
    killed.wait(PATIENCE_S)
    kept = stored()
    assert 10 <= kept < ITEMS

    said, _ = start().communicate(timeout=PATIENCE_S)
    assert re.search(rf"^{ITEMS} of {ITEMS} right; ", said)
    assert f"score: {kept} hits, {ITEMS - kept} misses>" in said
    assert stored() == ITEMS
