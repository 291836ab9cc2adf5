"""The example and the page of @huggingface_hub say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hubs import Hub

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "huggingface_hub.md").read_text()


@pytest.mark.stress
def test_the_example_evaluates_a_model_that_the_stand_in_serves(project):
    pytest.importorskip("sklearn")
    made = project.python(str(ROOT / "examples" / "hub_model.py"), "digits")
    assert made.returncode == 0, made.stdout
    files = {path.name: path.read_bytes() for path in (project.folder / "digits").iterdir()}
    project.write("hub_digits.py", (ROOT / "examples" / "hub_digits.py").read_text())
    with Hub() as hub:
        commit = hub.add("memoflow/digits", files)
        first = project.run(flow="hub_digits.py", **hub.env(project.folder / "hf"))
        downloads = hub.count("get")
        second = project.run(flow="hub_digits.py", **hub.env(project.folder / "hf"))
        assert (downloads, hub.count("get")) == (2, 2)
    for ran in (first, second):
        told = re.search(r"memoflow/digits at (\w+): accuracy (0\.\d+)", ran.text)
        assert told[1] == commit[:12]
        assert float(told[2]) > 0.9


def test_one_line_of_the_example_points_it_at_the_stand_in():
    text = (ROOT / "examples" / "hub_digits.py").read_text()
    assert [line for line in text.splitlines() if "127.0.0.1" in line] == [
        'os.environ.setdefault("HF_ENDPOINT", "http://127.0.0.1:8765")'
    ]


def test_each_option_is_documented(project):
    question = """
    from memoflow.flow.hub.huggingface_hub import HuggingfaceHubDecorator
    answer = {name: str(value) for name, value in HuggingfaceHubDecorator.defaults.items()}
    """
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    documented = {name: default.strip("`").strip('"') for name, default in rows}
    assert project.ask(question).items() <= documented.items()


def test_importing_metaflow_imports_nothing_of_the_hubs(project):
    question = """
    import sys
    answer = sorted(
        name for name in sys.modules
        if name == "huggingface_hub" or name.startswith(("memoflow.kinds", "memoflow.store"))
    )
    """
    assert project.ask(question) == []
