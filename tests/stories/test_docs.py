"""What README and docs say is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import memoflow
from memoflow.cli.main import main
from tests.pages import DOCS, README, Reader, options_of
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
PAGES = [README, *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_installs_the_package_of_another_project(page):
    assert not re.search(r"pip install[^`\n]*(?<!metaflow-)\bmemoflow\b", page.read_text())


@pytest.mark.stress
def test_the_example_runs_as_the_readme_shows(project):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    text = (ROOT / "examples" / "digits.py").read_text()
    assert "cv=20" in text
    # Two folds in place of twenty: the rest is the example as it is.
    project.write("digits.py", text.replace("cv=20", "cv=2"))

    first = project.run(flow="digits.py")
    assert first.misses == ["miss: first run"] * 6
    assert first.memo_lines[-1] == "0 hits, 6 misses"

    second = project.run(flow="digits.py")
    assert second.workers.count("fit") == 0
    assert re.fullmatch("6 hits, 0 misses, .* saved", second.memo_lines[-1])

    third = project.run("--more", flow="digits.py")
    assert third.workers.count("fit") == 1
    assert third.misses == ["miss: new input kind='svm' gamma=0.002"]

    project.edit("digits.py", "cv=2", "cv=3")
    fourth = project.run("--more", flow="digits.py")
    assert fourth.workers.count("fit") == 7
    assert set(fourth.misses) == {f"miss: code of train() changed (digits.py:{line_of(text)})"}

    best = r"best of \d: (.*), accuracy"
    assert re.search(best, first.text)[1] == re.search(best, second.text)[1]
    question = """
    from metaflow.cards import get_cards
    (card,) = get_cards(Flow("Digits").latest_run["join"].task)
    answer = "data:image/png;base64," in card.get()
    """
    assert project.ask(question) is True


def test_the_tutorial_goes_as_it_says(project):
    Reader(project.folder, project.env).follow((DOCS / "tutorial.md").read_text())


def line_of(text: str) -> int:
    return text[: text.index("def train(")].count("\n") + 1


@pytest.mark.parametrize("decorator", ["memoize", "checkpoint", "model", "huggingface_hub"])
def test_each_option_of_a_decorator_is_documented(project, decorator):
    question = f"""
    from metaflow.plugins import STEP_DECORATORS
    (found,) = [each for each in STEP_DECORATORS if each.name == {decorator!r}]
    answer = {{name: str(value) for name, value in found.defaults.items()}}
    """
    assert options_of(decorator) == project.ask(question)


def test_each_verb_of_the_command_line_is_documented(project):
    question = """
    from memoflow.cli.main import main
    answer = {verb: command.help for verb, command in main.commands.items()}
    """
    page = (DOCS / "cli.md").read_text()
    for verb, text in project.ask(question).items():
        assert f"## memoflow {verb}\n" in page
        assert text


def test_each_setting_is_documented():
    config = ROOT / "metaflow_extensions" / "memoflow" / "config" / "mfextinit_memoflow.py"
    names = {
        f"METAFLOW_{name}"
        for name in re.findall(r"^(MEMOFLOW_\w+) =", config.read_text(), re.MULTILINE)
    }
    for path in (ROOT / "memoflow").rglob("*.py"):
        names |= set(re.findall(r"METAFLOW_MEMOFLOW_[A-Z_]+[A-Z]", path.read_text()))
    page = (DOCS / "operate.md").read_text()
    assert names == set(re.findall(r"^\| `(METAFLOW_MEMOFLOW_\w+)`", page, re.MULTILINE))


@pytest.mark.parametrize(
    "room",
    [
        *("cli", "flow", "flow/cards", "flow/checkpoint", "flow/hub", "flow/memo", "flow/model"),
        *("flow/host", "flow/spool", "flow/task", "tracking"),
    ],
)
def test_each_module_has_its_job_in_the_design(room):
    page = (DOCS / "design.md").read_text()
    table = page.split(f"\nIn `{room}/`, ", 1)[1].split("\nIn `", 1)[0].split("\n## ", 1)[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|.*?\|", table, re.MULTILINE))))
    modules = {path.stem for path in (ROOT / "memoflow" / room).glob("*.py*")} - {"__init__"}
    verbs = set(main.commands) if room == "cli" else set()  # Each has a module of its own.
    assert named <= modules
    assert modules - named <= verbs


def test_the_reference_of_the_api_is_what_the_code_says():
    made = subprocess.run(
        [sys.executable, DOCS / "api.py"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert made.returncode == 0, made.stderr  # As where something public has no docstring.
    assert (DOCS / "api.md").read_text() == made.stdout, "run python docs/api.py > docs/api.md"


@pytest.mark.parametrize("name", sorted(memoflow._HOMES))
def test_each_public_name_is_in_the_reference_of_the_api(name):
    assert f"### memoflow.{name}\n" in (DOCS / "api.md").read_text()


def test_each_picture_is_on_a_page_and_small():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for targets in re.findall(
            r'!\[[^\]]+\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', page.read_text()
        )
        for target in filter(None, targets)
    }
    pictures = set((DOCS / "images").iterdir())
    assert shown == pictures
    assert all(picture.stat().st_size < 200_000 for picture in pictures)


def test_each_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_picture_has_a_text_and_one_for_the_dark(page):
    for picture in re.findall(r"<picture>.*?</picture>", page.read_text(), re.DOTALL):
        assert re.search(r'<img alt="[^"]{10,}" src="[^"]+">', picture)
        assert 'media="(prefers-color-scheme: dark)" srcset="' in picture


def test_the_search_of_the_site_works_where_it_is_opened_as_files_by_a_browser(tmp_path):
    pytest.importorskip("material")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine to look at the site with")
    site, profile = tmp_path / "site", tmp_path / "profile"
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
        timeout=PATIENCE_S,
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    question = f"{(site / 'index.html').as_uri()}?q=checkpoint"
    seen = subprocess.run(
        [chromium, *flags, f"--user-data-dir={profile}", "--dump-dom", question],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    assert re.search(r"\d+ matching documents", seen)
    assert seen.count('class="md-search-result__item"') >= 5
    assert not re.search(r'(src|href)="https?://[^"]*\.(js|css|woff2?)\b|unpkg', seen)
