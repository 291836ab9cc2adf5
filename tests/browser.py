"""A browser: a page as Chromium lays it out, and what its console complains of."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.waiting import PATIENCE_S

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",  # As on a phone.
    "--enable-logging=stderr",
    "--virtual-time-budget=6000",
    "--window-size=1400,1600",
)

# As Metaflow's UI has it, in a frame; that can be as narrow as a phone, which no window can.
_FRAME = """<!DOCTYPE html><body style="margin:0"><iframe id="frame" srcdoc="{page}"
style="border:0;width:{width}px;height:1500px;color-scheme:{scheme}"></iframe>
<script>
frame.onload = () => {{
  const seen = frame.contentDocument, box = (one) => one.getBoundingClientRect();
  const size = (one) => [box(one).width, box(one).height];
  const cut = (one) => one.scrollWidth > one.clientWidth + 1;
  document.body.dataset.measured = JSON.stringify({{
    width: seen.documentElement.scrollWidth,
    text: seen.body.innerText,
    charts: [...seen.querySelectorAll("svg")].map(size),
    bars: [...seen.querySelectorAll(".bar")].map(size),
    paper: frame.contentWindow.getComputedStyle(seen.body).backgroundColor,
    ink: frame.contentWindow.getComputedStyle(seen.body).color,
    cut: [...seen.querySelectorAll("p, dt, dd, h1, h2, li, .along, .up")]
      .filter(cut).map((one) => one.textContent),
  }});
}};
</script>"""


class Seen(NamedTuple):
    """A page: its text, its layout in pixels, and what the console holds at the level of errors."""

    text: str
    errors: list[str]
    width: float
    charts: list[tuple[float, float]]
    bars: list[tuple[float, float]]
    paper: str
    ink: str
    cut: list[str]

    @property
    def is_dark(self) -> bool:
        def light(colour: str) -> int:
            return sum(int(n) for n in re.findall(r"\d+", colour)[:3])

        return light(self.paper) < 150 and light(self.ink) > 500


def look(page: Path, folder: Path, *, width: int = 1280, dark: bool = False) -> Seen:
    """Open a page in Chromium; skips the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine to look at the page with")
    folder.mkdir(parents=True, exist_ok=True)
    framed = folder / "frame.html"
    scheme = "dark" if dark else "light"
    shown = html.escape(page.read_text())
    framed.write_text(_FRAME.format(page=shown, width=width, scheme=scheme))
    done = subprocess.run(
        [chromium, *_FLAGS, f"--user-data-dir={folder}", "--dump-dom", framed.as_uri()],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    said = re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)
    measured = re.search(r'data-measured="([^"]*)"', done.stdout)
    assert measured, done.stdout[:500]
    errors = [line for line in said if line != "WARN"]
    return Seen(errors=errors, **json.loads(html.unescape(measured[1])))
