"""Every snippet of README and docs runs as pasted."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from memoflow import open_store
from tests.hubs import Hub
from tests.pages import DOCS, blocks
from tests.s3 import CREDENTIALS, Server
from tests.snippets import (
    EXCEPTIONS,
    HERE,
    LANGUAGES,
    PAGES,
    SnippetRunner,
    exception,
    is_signature,
)
from tests.stories.conftest import Project

WITH_SNIPPETS = [page for page in PAGES if blocks(page.read_text())]
FOLLOWED = DOCS / "tutorial.md"  # By test_docs.py, with all that it prints.


@pytest.fixture
def env(project: Project, s3_server: Server) -> dict[str, str]:
    """The environment of a user with a bucket, and a summary of a CI job."""
    s3_server.client().create_bucket(Bucket="team-bucket")
    open_store(project.store, create=True).close()
    return {
        **{name: value for name, value in project.env.items() if "SYSROOT" not in name},
        **CREDENTIALS,
        "METAFLOW_S3_ENDPOINT_URL": s3_server.url,
        "GITHUB_STEP_SUMMARY": os.fspath(project.folder / "summary.md"),
        "IPYTHONDIR": os.fspath(project.folder / ".ipython"),
    }


@pytest.mark.parametrize(
    "page", [page for page in WITH_SNIPPETS if page != FOLLOWED], ids=lambda page: page.name
)
def test_the_snippets_of_a_page_run_as_pasted(page: Path, project: Project, env) -> None:
    with Hub() as hub:
        hub.add("org/encoder", {"config.json": b"{}"})
        hub.add("org/adapter", {"config.json": b"{}"})
        hub.add("org/data", {"rows.csv": b"a,b"}, repo_type="dataset")
        of_hub = hub.env(project.folder / "hf")
        SnippetRunner(page, project.folder, env | of_hub).run()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_says_its_language(page: Path) -> None:
    text = page.read_text()
    found = blocks(text)
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(found)
    assert {block.language for block in found} <= LANGUAGES


def test_each_exception_is_of_a_block() -> None:
    used = {
        (name, text)
        for page in WITH_SNIPPETS
        for block in blocks(page.read_text())
        for name, text in EXCEPTIONS
        if page.name == name and text in block.text
    }
    assert used == set(EXCEPTIONS)


def test_most_blocks_that_run_are_run() -> None:
    runnable = [
        exception(page, block)
        for page in WITH_SNIPPETS
        for block in blocks(page.read_text())
        if block.language in ("python", "console", "bash", "ipython")
        and not is_signature(page, block)
    ]
    exceptions = [reason for reason in runnable if reason]
    assert len(exceptions) <= 20
    assert len(runnable) - len(exceptions) >= 50


def test_each_surrounding_is_of_a_block() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"<!-- in: ([\w-]+) -->", page.read_text())
    }
    assert named == {path.stem for path in HERE.glob("*.txt")}
