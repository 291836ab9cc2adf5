"""Claims: a class has a name of its own, and a docstring's summary names things with nouns."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PRODUCT = Path(__file__).parents[1] / "memoflow"

# Summaries with a clause that a room still has: lower a number with each rewrite, never raise one.
ALLOWED: dict[str, int] = {}

# "which", "who", "where" and their like are fine after a noun: "the folder in which", "the task
# whose result". After a verb they begin a clause in place of a noun: "Return which file". "what"
# and "whatever" always do. "Return whether" and its like are the ordinary words for a boolean.
_ASKING = "(?:which|who(?:se|m)?|where|when|how|why)"
_PREPOSITION = "(?:about|as|at|by|for|from|in|into|of|on|than|to|with)"
_CLAUSE = re.compile(
    rf"^(?:that|if|whether|{_ASKING})\b"
    r"|\b(?:what|whatever|whoever|whichever)\b"
    rf"|^\w+ (?:{_PREPOSITION} )?{_ASKING}\b"
    rf"|\b(?:tells?|says?|knows?|decides?|describes?|remembers?) (?:{_PREPOSITION} )?{_ASKING}\b"
    rf"|\b{_PREPOSITION} (?:who|how|why|whether)\b"
    r"|(?<!return )(?<!tell )(?<!say )(?<!check )\bwhether\b"
    r"|\b(?:all that|that which)\b",
    re.IGNORECASE,
)


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PRODUCT.rglob("*.py")):
        yield path.relative_to(PRODUCT).as_posix(), ast.parse(path.read_text())


def _summary(docstring: str) -> str:
    """Return the first sentence of a docstring, with code and quotations left out."""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", re.sub(r'`[^`]*`|"[^"]*"', "X", paragraph))[0]


def _has_clause(summary: str) -> bool:
    """Return whether a summary, or the text after its first colon, has a clause for a noun."""
    return any(map(_CLAUSE.search, [summary, *summary.split(": ", 1)[1:]]))


def _clauses() -> dict[str, list[str]]:
    """Return the summaries that break the rule, by room; single modules are the room "."."""
    found = defaultdict(list)
    for name, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                summary = _summary(ast.get_docstring(node) or "")
                if _has_clause(summary):
                    room = name.split("/")[0] if "/" in name else "."
                    found[room].append(f"{name}:{getattr(node, 'lineno', 1)}: {summary}")
    return found


def test_no_two_classes_share_a_name():
    classes = Counter(
        node.name
        for _, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in classes.items() if count > 1} == set()


def test_summaries_name_things_with_nouns():
    found = _clauses()
    assert not {
        room: "\n".join(["", *lines])
        for room, lines in found.items()
        if len(lines) > ALLOWED.get(room, 0)
    }


@pytest.mark.parametrize(
    "summary",
    [
        "Return what is above all results.",
        "Note: what a run used.",
        "Return which file was read.",
        "Return in which parts two values differ.",
        "Whose a module is.",
        "Return a digest of how it was made.",
        "Encode tensors, whatever their layout.",
        "Remember all that was read.",
        "Note for the log whether a run ended.",
    ],
)
def test_a_clause_in_place_of_a_noun_is_found(summary):
    assert _has_clause(_summary(summary))


@pytest.mark.parametrize(
    "summary",
    [
        "Return the file that was read.",
        "Return the folder in which a file lies.",
        "Return the task whose result was kept.",
        "Return whether a file was read.",
        'Return the text after "what".',
        "Return the name by which a value is bound.",
    ],
)
def test_a_relative_clause_after_a_noun_is_fine(summary):
    assert not _has_clause(_summary(summary))
