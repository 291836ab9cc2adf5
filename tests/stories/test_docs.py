"""What README and docs say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MEMOIZE = (ROOT / "docs" / "memoize.md").read_text()


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
    assert third.misses == ["miss: no result yet for input {'kind': 'svm', 'gamma': 0.002}"]

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


def line_of(text: str) -> int:
    return text[: text.index("def train(")].count("\n") + 1


@pytest.mark.parametrize("decorator", ["memoize", "checkpoint", "model", "huggingface_hub"])
def test_each_option_of_a_decorator_is_documented(project, decorator):
    question = f"""
    from metaflow.plugins import STEP_DECORATORS
    (found,) = [each for each in STEP_DECORATORS if each.name == {decorator!r}]
    answer = {{name: str(value) for name, value in found.defaults.items()}}
    """
    page = (ROOT / "docs" / f"{decorator}.md").read_text()
    table = re.split(r"^\| option \| default \|.*$", page, flags=re.MULTILINE)[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    documented = {name: default.strip("`").strip('"') for name, default in rows}
    assert documented == project.ask(question)


def test_each_verb_of_the_command_line_is_documented(project):
    question = """
    from memoflow.cli.main import main
    answer = {verb: command.help for verb, command in main.commands.items()}
    """
    page = (ROOT / "docs" / "cli.md").read_text()
    for verb, text in project.ask(question).items():
        assert f"## memoflow {verb}\n" in page
        assert text


def test_each_setting_is_documented():
    config = ROOT / "metaflow_extensions" / "memoflow" / "config" / "mfextinit_memoflow.py"
    for name in re.findall(r"^(MEMOFLOW_\w+) =", config.read_text(), re.MULTILINE):
        assert f"METAFLOW_{name}" in MEMOIZE


def test_each_link_leads_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
