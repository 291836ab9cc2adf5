"""Snippets: the fenced blocks of README and docs, run as pasted, a page in a folder of its own.

By language: `python` is run, a flow with `run`; with a title it is a file to write, or as `diff`
one to edit; `console` is commands and what they print; `bash` is a script; `ipython` cells of one
session; `json` and `yaml` are parsed; `text` is shown only. A comment `<!-- in: NAME -->` before a
block names the file beside this one in which it is pasted, at the line `SNIPPET`: code of users of
which the page shows a part. `EXCEPTIONS` are not run, each for a reason.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.pages import README, Block, Reader, blocks
from tests.waiting import PATIENCE_S

HERE = Path(__file__).parent
LANGUAGES = {"python", "console", "bash", "ipython", "json", "yaml", "text", "diff"}
_IN = re.compile(r"<!-- in: ([\w-]+) -->\n\Z")

# By page and a text of the block: these are compiled, or read by `bash -n`, in place of run.
EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("README.md", "examples/digits.py run"): "a stress test runs it, and docs/pictures.py",
    ("README.md", "$ python digits.py"): "a stress test runs it, and docs/pictures.py",
    ("README.md", "python -m pytest"): "it is the command that runs this test",
    ("coming-from-metaflow-checkpoint.md", "--no-deps"): "installs packages",
    ("checkpoint.md", "/mnt/big"): "needs that disk; tests/stories/test_artifact_store.py",
    ("deploy.md", "azurite"): "installs packages, and runs tests that run on request",
    ("deploy.md", "chgrp team"): "needs a group of that name",
    ("integrations.md", "torch.distributed"): "needs torch: pytest -m integrations runs it",
    ("integrations.md", "transformers"): "needs transformers: pytest -m integrations runs it",
    ("integrations.md", "lightning"): "needs lightning: pytest -m integrations runs it",
    ("integrations.md", "xgboost"): "needs xgboost: pytest -m integrations runs it",
    **dict.fromkeys(
        [
            ("checkpoint.md", "card view 1763"),
            ("memoize.md", "card view 1764"),
            ("memoize.md", "run --memo shadow"),
            ("memoize.md", "why Sweep/18"),
            ("memoize.md", "sweep.py memo why"),
            ("operate.md", "stats --team"),
        ],
        "shows weeks of somebody's runs; the tutorial compares the same on runs of its own",
    ),
    ("security.md", "/run/secrets"): "needs that file",
    ("tutorial.md", "pip install ."): "installs this package; test_docs.py follows the page",
}


def exception(page: Path, block: Block) -> str:
    """Return the reason why a block is not run; "" for one that is."""
    for (name, text), reason in EXCEPTIONS.items():
        if page.name == name and text in block.text:
            return reason
    return ""


def is_signature(page: Path, block: Block) -> bool:
    """Return whether a block is a signature, which docs/api.py takes from the code."""
    return page.name == "api.md" and not block.text.startswith(("from ", "import "))


class SnippetRunner(Reader):
    """Somebody who pastes all that a page shows, from its top on."""

    def __init__(self, page: Path, folder: Path, env: Mapping[str, str]) -> None:
        super().__init__(folder, env)
        self.counts: Counter[str] = Counter()
        self._page = page
        self._cells: list[str] = []

    def run(self) -> None:
        """Run each block; AssertionError for one that fails or prints something else."""
        text = self._page.read_text()
        for block in blocks(text):
            inside = _IN.search(text[: block.start - len(block.opening)])
            if exception(self._page, block):
                self._read(block)
                self.counts["exceptions"] += 1
            else:
                self._one(block, inside and inside[1])
                self.counts[block.language] += 1
        if self._cells:
            self._python("cells.py", _SESSION.format(cells=self._cells), "")

    def _read(self, block: Block) -> None:
        if block.language == "python":
            compile(block.text, f"{self._page.name}:{block.line}", "exec")
        else:
            typed = re.findall(r"^\$ (.*)", block.text, re.MULTILINE)
            text = "\n".join(typed) if block.language == "console" else block.text
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)

    def _one(self, block: Block, inside: str | None) -> None:
        if block.title or block.language in ("console", "diff"):
            self.follow_block(block)
        elif block.language == "python" and is_signature(self._page, block):
            code = block.text.strip()
            compile(f"def {code}: ..." if "(" in code.split(":")[0] else code, code, "exec")
        elif block.language == "python":
            code, name = _pasted(block.text, inside), f"snippet_{block.line}.py"
            self._python(name, code, "run" if "__main__" in code else "")
        elif block.language == "bash":
            self._checked(block, ["bash", "-euo", "pipefail", "-c", block.text])
        elif block.language == "ipython":
            self._cells += _pasted(block.text, inside).split("# next cell\n")
        elif block.language in ("json", "yaml"):
            (json.loads if block.language == "json" else yaml.safe_load)(block.text)
        else:
            assert block.language == "text", f"line {block.line}: {block.language}?"

    def _python(self, name: str, code: str, arguments: str) -> None:
        (self.folder / name).write_text(code)
        block = Block("python", None, code, 0, 0, "")
        self._checked(block, [sys.executable, name, *arguments.split()])

    def _checked(self, block: Block, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stdout}"


def _pasted(code: str, inside: str | None) -> str:
    if inside is None:
        return code
    around = (HERE / f"{inside}.txt").read_text()
    (line,) = re.findall(r"^ *SNIPPET$", around, re.MULTILINE)
    indented = textwrap.indent(textwrap.dedent(code), line.removesuffix("SNIPPET"))
    return around.replace(f"{line}\n", indented)


_SESSION = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in {cells!r}:
    shell.run_cell(cell).raise_error()
"""
PAGES = [README, *sorted(p for p in (HERE.parents[1] / "docs").rglob("*.md"))]
