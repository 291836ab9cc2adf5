"""Explanations: differences between two fingerprints, and values in few words."""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from memoflow.dataclass import dataclass
from memoflow.display import printable
from memoflow.fingerprint.outline import changes
from memoflow.fingerprint.parts import Fingerprint, Part
from memoflow.masking import MASK

_LONGEST = 60
# Most telling first; what is new or gone comes after what it is new to or gone from.
_ORDER = (
    ("code", "changed"),
    ("names", "changed"),
    ("constant", "changed"),
    ("code", "new"),
    ("code", "gone"),
    ("constant", "new"),
    ("constant", "gone"),
    *itertools.product(
        (
            "parameter", "config", "input", "file", "directory", "link", "environment", "client",
            "s3", "option", "decorator", "package", "python",
        ),
        ("changed", "new", "gone"),
    ),
)  # fmt: skip
# What these say is in the parts of the constants as well.
_NOT_COMPARED = frozenset({"opaque", "ignored"})
_NAMED_WITH_KIND = frozenset({"constant", "parameter", "input", "option", "config", "file"})
# The digest of what was looked for and was not there.
ABSENT = "absent"
_CUT = "..."  # the last line of names that are not all of them
_MOST_NAMED = 3
# Patterns are texts, so that a process compiles only those that it uses.
_DIGEST = r"(#|\b(keyed|xxh3|sha1|sha256):)?\b[0-9a-f]{32,64}\b"
_RUN = r"(/latest(?:_successful)?_run)\b.*$"
# In the name of a directory, the pattern of the names in it that count.
_PATTERN = r"(?:^|/)[^/]*[*?\[].*$"
_HUNK = r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@"


@dataclass(frozen=True)
class Difference:
    """One difference between two fingerprints.

    `change` is "changed", "new" or "gone", or "moved" for parts in another order; `part` the path
    of what differs in a value of parts, `where` the "file:line" of it as it is now, `old` and `new`
    what it was and is in few words, `diff` a unified diff of its text, all as far as they are
    known.
    """

    kind: str
    name: str
    change: str = "changed"
    where: str = ""
    old: str = ""
    new: str = ""
    diff: str = ""
    part: str = ""

    def __str__(self) -> str:
        # One line, whatever the names of files hold.
        return printable(self._line())

    def _line(self) -> str:
        place = f" ({self.where})" if self.where else ""
        if self.kind == "names" and self.old:
            name, _, subject = self.name.partition(" in ")
            return f"{name} in {subject} is {self.new}, was {self.old}{place}"
        if self.kind == "names":
            return f"what {self.name} refers to changed{place}"
        if self.kind == "directory":
            return self._of_directory()
        if self.name == "input" and self.part:
            return f"input changed: {self._of_item()}"
        subject = self._subject
        if self.change == "moved":
            return f"{subject} changed{place}: the same in another order"
        if self.change != "changed":
            return f"{subject} is {self._changed}{place}"
        if self.kind == "code":
            return f"code of {subject} changed{place}"
        if not self.old or not self.new or (self.old == self.new and self.part):
            return f"{subject} changed{place}"
        if self.old == self.new and self.kind == "package":
            return f"{subject} {self.new} was installed again from elsewhere"
        if self.old == self.new == MASK:
            return f"{subject} changed{place}: {MASK}"
        if self.old == self.new:
            return f"{subject} changed{place}: other values in {self.new}"
        return f"{subject} changed: {self.old} -> {self.new}{place}"

    def _of_item(self) -> str:
        """Return the change of a part of a foreach's item, which has no other name."""
        part = self.part.removeprefix(".")
        if self.change != "changed":
            return f"{part} is {self.change}"
        if not self.old or not self.new or self.old == self.new:
            return part
        return f"{part} {self.old} -> {self.new}"

    @property
    def _changed(self) -> str:
        return _CHANGES.get((self.kind, self.change), self.change)

    @property
    def _subject(self) -> str:
        if self.kind == "python":
            return "Python"
        if self.kind == "environment":
            return f"environment variable {self.name}"
        if self.kind == "client" and self.old.isdigit() and self.new.isdigit():
            return re.sub(_RUN, r"\1", self.name)  # Another run was found, whatever is read of it.
        if self.name == "input":
            return "input"
        name = self.name.replace("[*]", self.part) if "[*]" in self.name else self.name + self.part
        return f"{self.kind} {name}" if self.kind in _NAMED_WITH_KIND else name

    def _of_directory(self) -> str:
        folder = re.sub(_PATTERN, "", self.name) or "."
        if self.change != "changed":
            return f"directory {self.name} is {self._changed}"
        before, after = (text.split("\n") if text else [] for text in (self.old, self.new))
        for names, others, what in ((after, before, "new"), (before, after, "gone")):
            # Names that follow upon the last one of a list that was cut off are not known.
            known = sorted(set(names) - set(others) - {_CUT})
            if known and (_CUT not in others or known[0] < max(others[:-1], default="")):
                more = len(known) - _MOST_NAMED
                shown = ", ".join(known[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
                return f"directory {folder}: {shown} {'is' if len(known) == 1 else 'are'} {what}"
        return f"directory {self.name} changed"

    def to_json(self) -> dict[str, str]:
        return {**asdict(self), "line": str(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, str]) -> Difference:
        """Return the difference written by `to_json`; TypeError for any other value."""
        return cls(**{name: text for name, text in fields.items() if name != "line"})


# Of what is there outside of the flow: as it is found now.
_CHANGES = {
    **dict.fromkeys(
        itertools.product(("file", "directory", "client", "s3"), ("new",)), "there now"
    ),
    ("environment", "new"): "set now",
    ("environment", "gone"): "not set any more",
}


def explain(old: Iterable[Part] | Fingerprint, new: Iterable[Part] | Fingerprint) -> list[str]:
    """Return the differences, one line a part, the most telling first; [] for equal ones."""
    return list(map(str, differences(old, new)))


def differences(
    old: Iterable[Part] | Fingerprint, new: Iterable[Part] | Fingerprint
) -> list[Difference]:
    """Return the differences, most telling first, but for callers of changed code; [] if equal."""
    before, after = _grouped(old), _grouped(new)
    found: list[Difference] = []
    bindings: list[Difference] = []
    for key in sorted({*before, *after}):
        was, now = before.get(key, []), after.get(key, [])
        if _alike(was, now):
            continue
        kind, name, _ = key
        if kind != "names":
            found += _in_parts(kind, name, was, now) or [_difference(kind, name, was, now)]
        else:
            bindings.append(_binding(name, was, now))
            if _alike(before.get(("code", name, key[2])), after.get(("code", name, key[2]))):
                found += _rebound(name, was, now)
    # Which names mean what follows from the rest, unless nothing else changed.
    return sorted(_innermost(found), key=_rank) or bindings


def _innermost(found: list[Difference]) -> Iterator[Difference]:
    """Leave out functions that differ only in functions inside them which are named, too."""
    changed = [each for each in found if each.kind == "code" and each.change == "changed"]
    for each in found:
        within = f"{each.name.removesuffix('()')}."
        inner = [other for other in changed if other.name.startswith(within) and other.diff]
        edited = set().union(*map(_edited, inner))
        if not (inner and each in changed and each.diff and _edited(each) <= edited):
            yield each


def _edited(difference: Difference) -> set[str]:
    """Return the changed lines, without regard to indentation."""
    lines = difference.diff.splitlines()[2:]
    return {line[0] + line[1:].strip() for line in lines if line[0] in "+-"}


def _rank(difference: Difference) -> tuple[int, str]:
    key = difference.kind, difference.change
    return _ORDER.index(key) if key in _ORDER else len(_ORDER), str(difference)


def _grouped(parts: Iterable[Part] | Fingerprint) -> dict[tuple[str, str, str], list[Part]]:
    groups: dict[tuple[str, str, str], list[Part]] = {}
    for part in parts.parts if isinstance(parts, Fingerprint) else parts:
        # The file, not the line, tells two functions of one name apart.
        own = part.kind in ("code", "names")
        key = part.kind, part.name, part.where.partition(":")[0] if own else ""
        if part.kind in _NOT_COMPARED:
            continue
        groups.setdefault(key, []).append(part)
    return groups


def _alike(was: list[Part] | None, now: list[Part] | None) -> bool:
    return {part.digest for part in was or ()} == {part.digest for part in now or ()}


def _at(parts: list[Part]) -> str:
    return ", ".join(sorted({part.where for part in parts if part.where}))


def _in_parts(kind: str, name: str, was: list[Part], now: list[Part]) -> list[Difference]:
    """Return the differences in the parts of a value; [] if it has none, or they are equal."""
    if len(was) != 1 or len(now) != 1:
        return []
    before, after = was[0], now[0]
    found = changes(before.outline, after.outline)
    if any(not each.path and each.change != "moved" for each in found):
        return []  # Of another kind or length as a whole, which the summaries say.
    diff = _diff(before, after) if kind == "constant" else ""
    where = after.where if kind == "constant" else ""
    return [
        Difference(kind, name, each.change, where, each.old, each.new, diff, each.path)
        for each in found
    ]


def _difference(kind: str, name: str, was: list[Part], now: list[Part]) -> Difference:
    change = "changed" if was and now else "new" if now else "gone"
    if change == "changed" and ABSENT in (was[0].digest, now[0].digest):
        change = "new" if was[0].digest == ABSENT else "gone"
    # Several have one name, such as two closures of a function: those that are in both are not it.
    known = {part.digest for part in was} & {part.digest for part in now}
    older = [part for part in was if part.digest not in known] or was
    newer = [part for part in now if part.digest not in known] or now
    is_shown = kind not in ("code", "environment")  # What a variable holds never is.
    is_version = kind in ("package", "python")

    def shown(parts: list[Part]) -> str:
        texts = {part.summary or part.digest * is_version for part in parts}
        return ", ".join(sorted(texts)) if is_shown else ""

    diff = _diff(older[0], newer[0]) if len(older) == len(newer) == 1 else ""
    where = _at(newer or older) if kind in ("code", "constant") else ""
    return Difference(kind, name, change, where, shown(was), shown(now), diff)


def _diff(old: Part, new: Part) -> str:
    """Return a unified diff of two sources, numbered as in their files; "" if one is not known."""
    if not old.source or not new.source:
        return ""
    before, after = (textwrap.dedent(part.source).splitlines() for part in (old, new))
    first = [int(part.where.partition(":")[2] or 1) - 1 for part in (old, new)]

    def shifted(hunk: re.Match[str]) -> str:
        starts = int(hunk[1]) + first[0], int(hunk[3]) + first[1]
        return f"@@ -{starts[0]}{hunk[2] or ''} +{starts[1]}{hunk[4] or ''} @@"

    import difflib  # Here, since every lookup imports this, and few show a diff.

    lines = difflib.unified_diff(before, after, old.where, new.where, lineterm="")
    return "\n".join(re.sub(_HUNK, shifted, line) if line[:3] == "@@ " else line for line in lines)


def _binding(name: str, was: list[Part], now: list[Part]) -> Difference:
    """Return that names mean something else, and which, as far as that is known."""
    texts = [{line for part in parts for line in part.source.splitlines()} for parts in (was, now)]
    names = sorted({line.partition("\t")[0].removesuffix("=") for line in texts[0] ^ texts[1]})
    shown = f"{', '.join(names)} in {name}" if all(texts) and names else name
    return Difference("names", shown, "changed", _at(now or was))


def _rebound(name: str, was: list[Part], now: list[Part]) -> Iterator[Difference]:
    """Yield the names that mean something else to code which itself is as it was."""
    if len(was) != 1 or len(now) != 1:
        return
    before, after = _meanings(was[0].source), _meanings(now[0].source)
    for each in sorted(before.keys() & after.keys()):
        if before[each] != after[each]:
            subject = f"{each.removesuffix('=')} in {name}"
            where = now[0].where
            yield Difference("names", subject, "changed", where, before[each], after[each])


def _meanings(source: str) -> dict[str, str]:
    """Return the meaning of each name, without digests."""
    meanings = {}
    for line in source.splitlines():
        name, _, token = line.partition("\t")
        try:
            text = str(ast.literal_eval(token))
        except (ValueError, SyntaxError):
            continue  # It was cut off.
        shown = re.sub(_DIGEST, "", text).replace("__main__:", "").replace(":", ".")
        meanings[name] = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
    return meanings
