"""Pages: what docs tell a reader to type, done word for word, and what they show of it.

A block of code with a `title` is a file to write, or as a `diff` one to edit; a `console` block is
commands, each after `$ `, and what they print. Names that are new with each run (of runs, entries
and keys) may be others than the page's, but the same ones each time; amounts and times may be any.

    python -m tests.pages docs/tutorial.md

does all that is on a page in an empty directory, and writes what was printed into it, where that
is not what the page shows.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")
_COLUMNS = "120"
_FOLDER = "/home/me/tutorial"

# What Metaflow says of any flow, and the time before each of its lines: pages leave them out.
_TIME = re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ ")
_OF_METAFLOW = re.compile(
    r"Metaflow \d.* executing |Validating your flow|    The graph looks good|Running pylint"
    r"|    Pylint |Creating local datastore|Workflow starting|Done!"
    r"|.*\] (Task is starting|Task finished|Foreach yields)"
)

_VARYING = re.compile(
    r"""
      (?P<number> \b0{5}\d{3}\b )
    | (?P<name> \b\d{16}\b | \b(?=[a-f]*\d)[0-9a-f]{8,64}\b )
    | (?P<moment> \b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00)? )
    | (?P<ago> \bjust\ now\b | \b\d+\ (min|h|days)\ ago\b )
    | (?P<process> \bpid\ \d+ )
    | (?P<amount> \b\d+(\.\d+)?\ (B|kB|MB|GB|ms|s|min|times)\b )
    | (?P<rule> ─+ )
    | (?P<blank> \s+ )
    """,
    re.VERBOSE,
)
_ANY = {
    "number": r"\d{8}",
    "moment": r"20\d\d-\d\d-\d\d[ T]\d\d:\d\d[\d:.]*(?:\+00:00)?",
    "ago": r"(?:just now|\d+ (?:min|h|days) ago)",
    "process": r"pid \d+",
    "amount": r"\d+(?:\.\d+)? (?:B|kB|MB|GB|ms|s|min|times)",
    "rule": "─+",
    "blank": r"\s+",
}


class Block(NamedTuple):
    """A fenced block: its language, the file it is of if any, its text, and where it begins.

    `start` is where its text does, after the line `opening`.
    """

    language: str
    title: str | None
    text: str
    line: int
    start: int
    opening: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [
        Block(
            found[1],
            found[2],
            found[3],
            page.count("\n", 0, found.start()) + 1,
            found.start(3),
            page[found.start() : found.start(3)],
        )
        for found in _BLOCK.finditer(page)
    ]


class Reader:
    """Somebody who does what a page says, in a folder that was empty."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = {**env, "COLUMNS": _COLUMNS, "TERM": "xterm"}
        self.names: dict[str, str] = {}  # What is called so on the page, and here.

    def follow(self, page: str) -> None:
        """Do all that the page says; AssertionError where something else comes of it."""
        for block in blocks(page):
            self.follow_block(block)

    def follow_block(self, block: Block) -> None:
        """Do what a block says; AssertionError where something else comes of it."""
        for command, shown, printed in self._done(block):
            assert self._matched(shown, printed, ordered=not _is_run(command)) is not None, (
                f"line {block.line}: $ {command}\nthe page shows\n"
                + "\n".join([*shown, "", "but there is", *printed])
            )

    def rewritten(self, page: str) -> str:
        """Do all that the page says, and return it with what came of that."""
        changes: list[tuple[int, str, str]] = []
        done = ((block, *each) for block in blocks(page) for each in self._done(block))
        for block, command, shown, printed in done:
            found = self._matched(shown, printed, ordered=not _is_run(command))
            before = "".join(f"{line}\n" for line in (f"$ {command}", *shown))
            after = "".join(f"{line}\n" for line in (f"$ {command}", *(found or printed)))
            changes.append((block.start + block.text.index(before), before, after))
        for start, before, after in reversed(changes):
            page = page[:start] + after + page[start + len(before) :]
        for named, here in self.names.items():
            page = page.replace(named, here)  # Those that commands and the text have.
        return page

    def _done(self, block: Block) -> Iterator[tuple[str, list[str], list[str]]]:
        if block.language == "diff" and block.title:
            self._edit(block.title, block.text)
        elif block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "console":
            for command, shown in _commands(block.text):
                typed = command
                for named, here in self.names.items():
                    typed = typed.replace(named, here)
                yield command, shown, self._type(typed)

    def _edit(self, name: str, diff: str) -> None:
        path = self.folder / name
        text = path.read_text()
        before = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in "- ")
        after = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in "+ ")
        assert text.count(before) == 1, f"{name} has {text.count(before)} times\n{before}"
        path.write_text(text.replace(before, after))

    def _type(self, command: str) -> list[str]:
        """Return what a terminal shows of a command, without what Metaflow says of any flow."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            text = _read(ours)
            os.close(ours)
            process.wait(timeout=PATIENCE_S)
        text = _ESCAPES.sub("", text).replace("\r", "").replace(str(self.folder), _FOLDER)
        lines = [_TIME.sub("", line).rstrip() for line in text.splitlines()]
        lines = [line for line in lines if not _OF_METAFLOW.match(line)]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n")).splitlines()

    def _matched(self, shown: list[str], printed: list[str], *, ordered: bool) -> list[str] | None:
        """Return what was printed for each line that is shown; None if they are not the same.

        A line `...` stands for any lines, and blank lines for nothing. What tasks say that run at
        once comes in any order.
        """
        left = [line for line in printed if line]
        matched = []
        skips = False
        for line in shown:
            if line in ("", "..."):
                skips = skips or line == "..."
                matched.append(line)
                continue
            tried = left if skips or not ordered else left[:1]
            at = next((at for at, one in enumerate(tried) if self._is_same(line, one)), None)
            if at is None:
                return None
            matched.append(left[at])
            del left[0 if ordered else at : at + 1]
            skips = skips and not ordered
        return None if left and not skips else matched

    def _is_same(self, shown: str, printed: str) -> bool:
        pattern, named = "", []
        end = 0
        for found in _VARYING.finditer(shown):
            pattern += re.escape(shown[end : found.start()])
            end = found.end()
            if found["name"] is None:
                pattern += _ANY[next(kind for kind in _ANY if found[kind] is not None)]
            elif found[0] in self.names:
                pattern += re.escape(self.names[found[0]])
            else:
                pattern += r"(\d{16})" if len(found[0]) == 16 else f"([0-9a-f]{{{len(found[0])}}})"
                named.append(found[0])
        same = re.fullmatch(pattern + re.escape(shown[end:]), printed)
        if same is None:
            return False
        self.names.update(zip(named, same.groups(), strict=True))
        return True


def options_of(decorator: str) -> dict[str, str]:
    """Return the options that the page of a decorator documents, and their defaults."""
    page = (DOCS / f"{decorator}.md").read_text()
    table = re.split(r"^\| option \| default \|.*$", page, flags=re.MULTILINE)[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    return {name: default.strip("`").strip('"') for name, default in rows}


def _is_run(command: str) -> bool:
    return bool(re.match(r"python \w+\.py run\b", command))


def _commands(text: str) -> Iterator[tuple[str, list[str]]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, shown


def _read(terminal: int) -> str:
    data = b""
    while True:
        try:
            more = os.read(terminal, 1 << 16)
        except OSError:  # As Linux says that nobody writes to it any more.
            more = b""
        if not more:
            return data.decode(errors="replace")
        data += more


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: v for name, v in os.environ.items() if not name.startswith("METAFLOW")}
    return kept | {
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
        "METAFLOW_USER": "me",
        "METAFLOW_HOME": str(folder / ".metaflowconfig"),
        "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / ".cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(Path(scratch), _environment(Path(scratch)))
        Path(name).write_text(reader.rewritten(Path(name).read_text()))
