"""Commands: the files that the arguments of a subprocess name."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})
_OPERATORS = r"[|&;()<>`\n]+|\$\("
_TARGET = r"\d?>{1,2}\s*(?P<target>[^\s|&;<>()]+)"
_MOST_WORDS = 2000
_OF_SHELLS = frozenset(  # by which they find their way
    {"HOME", "IFS", "LINENO", "LOGNAME", "OLDPWD", "OPTARG", "OPTIND", "PATH", "PPID", "PS1", "PWD",
     "RANDOM", "SECONDS", "SHELL", "SHLVL", "TERM", "TMPDIR", "UID", "USER"}
)  # fmt: skip
_LONGEST = 4096  # characters of a path


def files_named(
    executable: Any, arguments: Any, directory: Any, *, shell: bool = False
) -> list[str]:
    """Return the absolute paths of the existing files and folders that a command names.

    `arguments` are a text or a sequence, as `subprocess.Popen` takes them; `directory` is where
    the command runs, None for here. What it writes by `>` is not among them.
    """
    here = os.path.abspath(_text(directory) or os.getcwd())
    words = [_text(arguments)] if isinstance(arguments, (str, bytes)) else _texts(arguments)
    if isinstance(arguments, (str, bytes)) and shell:
        words = ["sh", "-c", words[0]]
    found: dict[str, None] = {}
    for word in [_text(executable), *_words(words)][:_MOST_WORDS]:
        for candidate in _candidates(word):
            path = os.path.normpath(os.path.join(here, os.path.expanduser(candidate)))
            if 0 < len(candidate) < _LONGEST and "\0" not in path and os.path.exists(path):
                found[path] = None
    for path in _modules(words, here):
        found[path] = None
    return list(found)


def variables_named(arguments: Any) -> list[str]:
    """Return the environment variables that a shell's command names and does not set: `$REGION`."""
    words = _texts(arguments) if not isinstance(arguments, (str, bytes)) else []
    if not words or os.path.basename(words[0]) not in _SHELLS:
        return []
    script = " ".join(words[1:])
    own = set(re.findall(r"(?:^|[\s;&|(])(?:export\s+|for\s+|read\s+)?(\w+)(?==|\s+in\b)", script))
    named = re.findall(r"\$\{?([A-Za-z_]\w*)", script)
    return [name for name in dict.fromkeys(named) if name not in own | _OF_SHELLS]


def _words(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command, and those of the scripts given to a shell."""
    is_shell = bool(words) and os.path.basename(words[0]) in _SHELLS
    for i, word in enumerate(words):
        if is_shell and i and words[i - 1].startswith("-") and words[i - 1].endswith("c"):
            yield from _words_of_script(word)
        else:
            yield word


def _words_of_script(script: str) -> Iterator[str]:
    for part in re.split(_OPERATORS, re.sub(_TARGET, " ", script)):
        try:
            yield from shlex.split(part, comments=True)
        except ValueError:  # A quotation that an operator stands in.
            yield from part.replace('"', " ").replace("'", " ").split()


def _candidates(word: str) -> Iterator[str]:
    """Yield possible paths in a word: `--data=a.csv`, `-Idir`, `@file`, `a.csv:ro`."""
    if not word or word in (".", "/", "-"):
        return
    if not word.startswith("-"):
        yield word
        yield from (word[1:],) if word.startswith("@") else ()
        yield from (word.partition(":")[0],) if ":" in word else ()
    if "=" in word:
        yield from word.partition("=")[2].split(",")


def _modules(words: Sequence[str], here: str) -> Iterator[str]:
    """Yield the files of `python -m package.module`."""
    if not words or not os.path.basename(words[0]).startswith(("python", "pypy")):
        return
    for option, name in itertools.pairwise(words):
        if option == "-m" and re.fullmatch(r"[\w.]+", name):
            path = os.path.join(here, *name.split("."))
            for each in (f"{path}.py", f"{path}/__main__.py", f"{path}/__init__.py"):
                if os.path.isfile(each):
                    yield each


def _texts(values: Any) -> list[str]:
    try:
        return [_text(each) for each in values or ()]
    except TypeError:
        return []


def _text(value: Any) -> str:
    """Return a path or word as text; "" for none."""
    try:
        return os.fsdecode(value) if value else ""
    except TypeError:
        return str(value)
