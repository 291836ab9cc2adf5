"""Naming: the entries that a name stands for, as people have it at hand."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from memoflow.catalog.decisions import task_results
from memoflow.catalog.labels import Label, details, labels_of, texts_of
from memoflow.catalog.listed import SHOWN_ID, Listed, listed
from memoflow.catalog.suggestions import near
from memoflow.errors import BadKeyError, MemoflowError, NotFoundError, UsageError
from memoflow.index import IndexEntry
from memoflow.kinds import retention
from memoflow.kinds.details import Details
from memoflow.names import Key
from memoflow.store import Store

SHORTEST_ID = 4
_MOST_CANDIDATES = 20
_HEX = re.compile(r"[0-9a-f]+")
_PATTERN = re.compile(r"[*?\[]")
# Metaflow is asked about these alone: a run, its tasks of a step, or one task.
RUN = re.compile(r"\w+/(?:\d+|(?:argo|sfn|airflow)-[^/]+)(?:/\w+(?:/[^/]+)?)?")
_UNKNOWN = Details()


class AmbiguousNameError(UsageError):
    """A name that matches several entries."""

    def __init__(self, text: str, found: Sequence[Listed], known: Mapping[str, Details]) -> None:
        shown = found[:_MOST_CANDIDATES]
        named = labels_of(shown, known)
        lines = [f"  {each.id}  {each.where}  {named[each.key].text}".rstrip() for each in shown]
        if len(found) > _MOST_CANDIDATES:
            lines.append(f"  and {len(found) - _MOST_CANDIDATES} more")
        listing = "\n".join(lines)
        super().__init__(
            f"{text!r} matches {len(found)} entries; name one of them by its id:\n{listing}"
        )


def matching(among: Collection[Listed], text: str) -> list[Listed]:
    """Return the entries whose key or id a name stands for.

    A name is a key, the beginning of an id or of a key, consecutive parts of keys, such as
    Flow/step, or module.function, in this order: the first kind with a match counts.
    """
    text = text.strip("/")
    is_id = len(text) >= SHORTEST_ID and _HEX.fullmatch(text)
    for fits in (
        lambda each: each.key == text,
        lambda each: is_id and each.ref.digest.hex.startswith(text),
        lambda each: each.key.startswith(f"{text}/"),
        lambda each: text and each.key.startswith(text),
        lambda each: text and f"/{text}/" in f"/{each.key}/",
        lambda each: text and each.where == text,
        lambda each: each.kind == "memo" and text == f"{each.flow}.{each.step}",
    ):
        if found := [each for each in among if fits(each)]:
            return found
    return []


def one(store: Store, text: str) -> Listed:
    """Return the entry that matches a name; NotFoundError for none, AmbiguousNameError for many."""
    known = _by_key(store, text)
    if known is not None:
        return known
    found = named(store, listed(store), text)
    if len(found) > 1:
        raise AmbiguousNameError(text, found, details(store, found[:_MOST_CANDIDATES]))
    return found[0]


def some(store: Store, texts: Iterable[str], *, all_of_them: bool) -> list[Listed]:
    """Return the entries that match names, each once; one a name unless `all_of_them`."""
    among = listed(store)
    chosen: dict[str, Listed] = {}
    for text in texts:
        found = named(store, among, text)
        if len(found) > 1 and not all_of_them:
            raise AmbiguousNameError(text, found, details(store, found[:_MOST_CANDIDATES]))
        chosen.update((each.key, each) for each in found)
    return list(chosen.values())


def named(store: Store, among: Sequence[Listed], text: str) -> list[Listed]:
    """Return the entries that a name stands for; NotFoundError, with names like it, for none.

    Beside the names that `matching` knows these are patterns, runs and tasks, which stand for the
    entries that they made or used, names of entries as lists show them, and beginnings of
    Flow/step.
    """
    asked = text.strip().strip("/").replace("…", "*").replace("...", "*")  # As lists cut names.
    is_pattern = _PATTERN.search(asked) is not None
    found = [] if is_pattern else matching(among, text)
    if found or not asked:
        return found or _missing(store, among, text, {})
    known = details(store, among)
    by_run = [] if is_pattern else _of_run(store, among, known, asked)
    return (
        by_run
        or [each for each in among if is_pattern and _is_like(each, asked, known)]
        or _by_fields(among, known, asked)
        or [each for each in among if not is_pattern and each.where.startswith(asked)]
        or _missing(store, among, text, known)
    )


def _is_like(entry: Listed, pattern: str, known: Mapping[str, Details]) -> bool:
    """Return whether a pattern fits the key, id, place, run or task of an entry."""
    label = Label((), known.get(entry.key, _UNKNOWN).origin)
    names = (entry.key, entry.id, entry.where, f"{entry.kind}/{entry.where}", entry.flow)
    more = (f"{entry.flow}.{entry.step}", label.origin, label.run, label.run.partition("/")[2])
    return any(name and fnmatchcase(name, pattern) for name in (*names, *more))


def _by_fields(among: Sequence[Listed], known: Mapping[str, Details], text: str) -> list[Listed]:
    """Return the entries that have all of the fields in a text such as `lr=0.01 seed=7`."""
    named = labels_of(among, known)
    if found := [each for each in among if named[each.key].text == text]:
        return found
    place, _, rest = text.partition(" ")
    places = [each for each in among if rest and "=" not in place and each.where == place]
    wanted = rest if places else text
    if "=" not in wanted:
        return [each for each in places if named[each.key].text == wanted]
    # A value may have spaces: what has no name belongs to the field before it.
    patterns = re.split(r" (?=[^ =]+=)", wanted.strip())
    return [
        each
        for each in places or among
        if _has_all(texts_of(known.get(each.key, _UNKNOWN).fields), patterns)
    ]


def _has_all(texts: set[str], patterns: Sequence[str]) -> bool:
    return all(
        each in texts or ("*" in each and any(fnmatchcase(text, each) for text in texts))
        for each in patterns
    )


def _of_run(
    store: Store, among: Sequence[Listed], known: Mapping[str, Details], text: str
) -> list[Listed]:
    """Return the entries that a run, its tasks of a step, or one task made or used."""
    if not 1 <= text.count("/") <= 3 or not all(text.split("/")):
        return []
    made = {
        key
        for key, each in known.items()
        if each.origin == text or each.origin.startswith(f"{text}/")
    }
    used: set[str] = set()
    if RUN.fullmatch(text):
        try:
            used = task_results().keys_used(text)
        except MemoflowError as error:
            if not made:
                raise NotFoundError(f"{error}; {_hint(among, text, known)}") from None
    found = [each for each in among if each.key in made or each.key in used]
    if not found and RUN.fullmatch(text):
        noun = ("run", "step", "task")[text.count("/") - 1]
        raise NotFoundError(
            f"the {noun} {text} has no entry in the store; ask `memoflow why {text}`"
        )
    return found


def _missing(
    store: Store, among: Sequence[Listed], text: str, known: Mapping[str, Details]
) -> list[Listed]:
    hint = _hint(among, text, known or details(store, among))
    raise NotFoundError(f"{store.backend} has no entry named {text!r}; {hint}")


def _hint(among: Sequence[Listed], text: str, known: Mapping[str, Details]) -> str:
    """Return names like a text that names nothing, and how to see all."""
    like = near(text.strip().strip("/"), among, known)
    return (
        f"did you mean {' or '.join(like)}? " * bool(like) + "list the entries with `memoflow ls`"
    )


def _by_key(store: Store, text: str) -> Listed | None:
    """Return the entry of a full key, without listing all others."""
    try:
        key = Key.parse(text)
    except (BadKeyError, UnicodeError):
        return None
    ref = store.lookup(key) if retention.is_entry(key) else None
    if ref is None:
        return None
    # Its own folder alone: that is a listing of one entry.
    remembered = store.index.entries(Key.of(*key.parts[:-1])).get(text)
    used = remembered.used if remembered is not None else ref.created
    return Listed(IndexEntry(ref, used), ref.digest.hex[:SHOWN_ID], text)
