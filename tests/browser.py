"""A browser: what a page comes to be once its scripts have run, and what it complains of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=6000",
    "--window-size=1280,1600",
)


class Seen(NamedTuple):
    """A page: its document, and what its console holds at the level of errors."""

    dom: str
    errors: list[str]

    def charts(self) -> list[tuple[float, float]]:
        """Return width and height of each chart."""
        found = re.findall(r'<svg[^>]*class="marks"[^>]*>', self.dom)
        sizes = [[re.search(rf'\b{side}="([\d.]+)"', tag) for side in _SIDES] for tag in found]
        return [(float(w[1]), float(h[1])) for w, h in sizes if w and h]


_SIDES = ("width", "height")


def look(page: Path, folder: Path) -> Seen:
    """Open a page in Chromium; skips the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine to look at the page with")
    done = subprocess.run(
        [chromium, *_FLAGS, f"--user-data-dir={folder}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)
    return Seen(done.stdout, [line for line in said if line != "WARN"])
