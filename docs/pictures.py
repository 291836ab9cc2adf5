"""Pictures: what docs/images holds, each light and dark, made anew from real runs.

    python docs/pictures.py [run] [cards] [memo] [report]

`run` is the terminal of examples/digits.py run twice; the others are pages as headless
Chromium shows them, made small by pngquant.
"""

from __future__ import annotations

import html
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.hubs import Hub  # noqa: E402
from tests.pages import Reader, _environment, blocks  # noqa: E402

IMAGES = ROOT / "docs" / "images"
_COLUMNS = 98
_DAY = 86400
_WIDTH = 900
_FRAME = """<!DOCTYPE html><body style="margin:0;overflow:hidden">
<iframe id="frame" srcdoc="{page}"
style="border:0;display:block;width:{width}px;height:{height}px;color-scheme:{scheme}"></iframe>
<script>frame.onload = () => {{
  document.body.dataset.height = frame.contentDocument.documentElement.scrollHeight;
}};</script>"""
# The theme's fonts come from elsewhere, and a picture in a README may load nothing.
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" \
xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


def picture_of_runs(folder: Path) -> None:
    """Write the terminal of two runs of the example."""
    reader = Reader(folder, _environment(folder))
    (folder / "digits.py").write_text((ROOT / "examples" / "digits.py").read_text())
    shown: list[Text] = []
    for number in (1, 2):
        began = time.monotonic()
        lines = reader._type("python digits.py run")
        took = f"{time.monotonic() - began:.0f} s"
        shown += [Text("$ python digits.py run", "bold")]
        for line in lines:
            style = "green" if " hit: " in line else "yellow" if " miss: " in line else ""
            is_total = line.startswith("[memoize]")
            shown.append(Text(line, "bold" if is_total else style))
        shown.append(Text(f"# took {took}", "bright_black"))
        shown += [Text("")] * (number == 1)
    for scheme, theme in (("light", DEFAULT_TERMINAL_THEME), ("dark", SVG_EXPORT_THEME)):
        console = Console(record=True, width=_COLUMNS, file=io.StringIO())
        for line in shown:
            console.print(line)
        name = IMAGES / f"run-{scheme}.svg"
        name.write_text(
            console.export_svg(
                title="examples/digits.py", theme=theme, code_format=_SVG, unique_id="run"
            )
        )
        print(f"wrote {name}")


def shoot(page: str, name: str, *, width: int = _WIDTH, most: int = 1400) -> None:
    """Write pictures of a page, light and dark, as high as it is up to a limit."""
    for scheme in ("light", "dark"):
        picture = IMAGES / f"{name}{'-dark' * (scheme == 'dark')}.png"
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "page.html")

            def browser(height: int, *, to: str, file: Path = file, scheme: str = scheme) -> str:
                shown = _FRAME.format(
                    page=html.escape(page), width=width, height=height, scheme=scheme
                )
                file.write_text(shown)
                flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
                flags += [f"--user-data-dir={file.parent}/profile", "--virtual-time-budget=6000"]
                flags += [f"--window-size={width},{height}", to]
                done = subprocess.run(
                    ["chromium", *flags, file.as_uri()], capture_output=True, text=True, check=True
                )
                return done.stdout

            found = re.search(r'data-height="(\d+)"', browser(600, to="--dump-dom"))
            assert found, name
            browser(min(int(found[1]), most), to=f"--screenshot={picture}")
        subprocess.run(
            ["pngquant", "--force", "--ext", ".png", "--speed", "1", "48", picture], check=True
        )
        print(f"wrote {picture}: {picture.stat().st_size:,} bytes")


class Cards:
    """Flows in a folder, and the cards of their tasks."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.env = _environment(folder) | env

    def run(self, flow: str, *arguments: str) -> str:
        """Run a flow, and return the id of the run."""
        done = self._python(flow, "run", *arguments)
        found = re.search(r"run-id (\d+)", done)
        assert found, done
        return found[1]

    def card(self, flow: str, task: str, name: str) -> str:
        """Return the card of a task."""
        file = self.folder / "card.html"
        self._python(flow, "card", "get", task, str(file), *(["--id", name] if name else []))
        return file.read_text()

    def task(self, flow: str, run: str, step: str, at: int = 0) -> str:
        """Return the pathspec of a task of a step, without the flow."""
        question = (
            "import metaflow, json; metaflow.namespace(None);"
            f"print(json.dumps([t.id for t in metaflow.Step('{flow}/{run}/{step}')]))"
        )
        ids = json.loads(self._python("-c", question).splitlines()[-1])
        return f"{run}/{step}/{sorted(ids, key=int)[at]}"

    def _python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


_MODELS = """
from pathlib import Path
from metaflow import FlowSpec, current, model, step


class Digits(FlowSpec):
    @model
    @step
    def start(self):
        self.models = []
        for trees in (50, 100, 200):
            Path("model.bin").write_bytes(bytes(range(256)) * trees * 40)
            about = {"accuracy": 0.93 + trees / 5000, "trees": trees}
            saved = current.model.save("model.bin", label=f"forest-{trees}", metadata=about)
            self.models.append(saved)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Digits()
"""


def pictures_of_cards(folder: Path) -> None:
    """Write pictures of the cards of all decorators."""
    examples = ROOT / "examples"
    (folder / "boosted_digits.py").write_text((examples / "boosted_digits.py").read_text())
    (folder / "models.py").write_text(_MODELS)
    page = (ROOT / "docs" / "huggingface_hub.md").read_text()
    around = (ROOT / "tests" / "snippets" / "hub.txt").read_text()
    (folder / "hub.py").write_text(around.replace("SNIPPET\n", blocks(page)[0].text))
    with Hub() as hub:
        weights = random.Random(0).randbytes(3_000_000)
        hub.add("org/encoder", {"config.json": b"{}", "model.safetensors": weights})
        hub.add("org/adapter", {"adapter.safetensors": weights[:400_000]})
        hub.add("org/data", {"rows.csv": b"a,b\n" * 5000}, repo_type="dataset")
        cards = Cards(folder, **hub.env(folder / "hf"))
        run = cards.run("hub.py")
        shoot(cards.card("hub.py", cards.task("Evaluate", run, "start"), ""), "hub-card")
    run = cards.run("models.py")
    shoot(cards.card("models.py", cards.task("Digits", run, "start"), ""), "model-card")
    cards.run("boosted_digits.py", "--crash_chance", "0")
    run = cards.run("boosted_digits.py", "--trees", "60", "--crash_chance", "0")
    task = cards.task("BoostedDigits", run, "grow")
    shoot(cards.card("boosted_digits.py", task, "task_checkpoints"), "checkpoint-card")


def picture_of_memo(folder: Path) -> None:
    """Write pictures of the card of a hit."""
    text = (ROOT / "examples" / "digits.py").read_text().replace("cv=20", "cv=3")
    (folder / "digits.py").write_text(text)
    cards = Cards(folder)
    cards.run("digits.py")
    task = cards.task("Digits", cards.run("digits.py"), "fit", 3)
    # An editable install is a folder that Python lists.
    page = cards.card("digits.py", task, "memo")
    shoot(
        re.sub("(<wbr>)?".join(map(re.escape, str(ROOT))), "/home/me/memoflow", page), "memo-card"
    )


def picture_of_report(folder: Path) -> None:
    """Write pictures of the report of a store with a month of somebody's runs."""
    from memoflow.cli.report import write_report
    from memoflow.fingerprint import Difference
    from memoflow.kinds.decision import Decision, Reason, keep_missed
    from memoflow.names import Key
    from memoflow.store import Payload, open_store

    store = open_store(folder / "store", cache_dir=folder / "cache")
    draw, now = random.Random(1), time.time()
    steps = [("Churn", "features", 400), ("Churn", "fit", 1500), ("Churn", "evaluate", 60)]
    steps += [("Ranker", "embed", 900), ("prices", "load_prices", 12)]
    reasons = ["new_input"] * 4 + ["code_changed"] * 3 + ["outside_changed", "evicted"]
    number = 0
    for day in range(25, -1, -1):
        for flow, step, seconds in steps:
            for _ in range(draw.randint(0, 6)):
                number += 1
                at, run_s = (
                    now - day * _DAY - 3600 * draw.random(),
                    seconds * draw.uniform(0.7, 1.3),
                )
                task, hit = (flow, f"{1700 + day}", step, f"{number}"), draw.random() < 0.75
                store.index.record_outcomes([(*task, hit, run_s * hit, at)])
                if hit:
                    continue
                store.index.record_misses([(*task, draw.choice(reasons), 1, run_s, at)])
                key = Key.of(
                    "memo", flow, step, "scope", "results", f"{number:x}", "refs", "00000001"
                )
                files = {"x": draw.randbytes(draw.randint(2000, 400_000))}
                expires = at + 30 * _DAY if step == "fit" else None
                store.save(key, Payload(files=files), durable=False, expires=expires)
                ref = store.lookup(key)
                assert ref is not None
                store.index.record([replace(ref, created=at)])
    edit = Difference("code", "clean()", "changed", "features.py:40")
    keep_missed(
        store.index,
        "Churn",
        {
            "fit": Decision.miss(Reason.NEW_INPUT, "lr=0.01 seed=7"),
            "features": Decision.miss(Reason.CODE_CHANGED, differences=(edit,)),
        },
    )
    write_report(store, folder / "report.html")
    # Where it lies is this machine's business.
    page = (folder / "report.html").read_text().replace(str(folder), "/home/me/churn/.metaflow")
    page = re.sub(r"<wbr>", "", page).replace(str(folder), "/home/me/churn/.metaflow")
    shoot(page, "report", most=2300)
    shoot(page, "report-phone", width=390, most=1500)


MAKERS = {
    "run": picture_of_runs,
    "cards": pictures_of_cards,
    "memo": picture_of_memo,
    "report": picture_of_report,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or MAKERS:
        with tempfile.TemporaryDirectory() as scratch:
            MAKERS[name](Path(scratch))
