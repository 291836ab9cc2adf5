"""World: the present state of the files, folders and variables that a result depends on.

A read is a part of a result's key, of the kind "file", "directory", "environment", "code" or
"package". The digest of a file says how much of it was asked for: `xxh3:...` its content,
`size:...`, `is:...` what sort of thing it is, and "absent" that it was looked for and not there.
"""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from xxhash import xxh3_128_hexdigest

from memoflow.fingerprint import Part, source
from memoflow.fingerprint.distributions import providers
from memoflow.fingerprint.modules import locate, location_of
from memoflow.fingerprint.reads import reads_of
from memoflow.fingerprint.static import candidates
from memoflow.tracking.digests import ABSENT, FileDigests, State, UnreadableError, state_of
from memoflow.tracking.notes import CONTENT, KIND, SIZE, Read, link_text
from memoflow.tracking.paths import Paths, is_magic, names_in, names_matching, split
from memoflow.tracking.tracker import AccessTracker

LINK = " (link)"  # at the end of the name of a symbolic link, of which the target was asked for
_LONGEST_SUMMARY = 4096  # characters of the names in a folder that are kept to tell which is new


def matches(pattern: str, part: Part) -> bool:
    """Return whether a name in `ignore=` means a read: `logs/*`, `os.environ['X']`, `Client`."""
    if part.kind == "environment":
        return pattern in ("os.environ", f"os.environ[{part.name!r}]", f'os.environ["{part.name}"]')
    if part.kind in ("file", "directory", "code"):
        return fnmatch.fnmatch(part.name, pattern) or fnmatch.fnmatch(part.name, f"{pattern}/*")
    if part.kind == "client":
        return pattern == "Client" or fnmatch.fnmatch(part.name, pattern)
    return fnmatch.fnmatch(part.name, pattern)


def part_named(name: str) -> Part:
    """Return a part by the name of a read in `never`: its kind, if it has one, and the name."""
    kind, _, inner = name.partition(" ")
    return Part(kind, inner, "") if inner else Part("", name, "")


def with_imports(code: Mapping[str, str]) -> dict[str, str]:
    """Return module names by file: those given, and the user's loaded ones that they import."""
    found: dict[str, str] = {}
    ahead = list(code.items())
    while ahead:
        path, module = ahead.pop()
        if path in found:
            continue
        found[path] = module
        for name in _imports(path, module):
            home = sys.modules.get(name)
            if home is None or location_of(home).owner != "user":
                continue  # What was not loaded did nothing.
            file = vars(home).get("__file__")
            if isinstance(file, str) and file.endswith(".py"):
                ahead.append((os.path.abspath(file), name))
    return found


def _imports(path: str, module: str) -> Iterator[str]:
    """Yield the names of the modules that the statements in a file may import."""
    parsed = source.current(path)
    if parsed is None:
        return
    is_package = os.path.basename(path) == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]
    kinds = (ast.Import, ast.ImportFrom)
    statements = [node for node in ast.walk(parsed.tree) if isinstance(node, kinds)]
    for ran in reads_of(statements).ran:
        yield from candidates(ran, package)


class World:
    """This machine, as a result's reads see it; `secret` keys the digests of variables."""

    def __init__(
        self, paths: Paths, digests: FileDigests, secret: bytes, environment: Mapping[str, str]
    ) -> None:
        self.paths = paths
        self._digests = digests
        self._secret = secret
        self._environment = environment

    def differs(self, reads: Sequence[Part], written: Iterable[str] = ()) -> Part | None:
        """Return the first read that finds something else now, as it is now; None if none does.

        `written` are the names of what the code wrote itself: no listing counts them.
        """
        for now, before in zip(self.now(reads, written), reads, strict=True):
            if now.digest != before.digest:
                return now
        return None

    def now(self, reads: Sequence[Part], written: Iterable[str] = ()) -> list[Part]:
        """Return the same reads as they would be now."""
        states = {
            part.name: state_of(self.paths.path(part.name)) for part in reads if part.kind == "file"
        }
        self._digests.expect(
            states[part.name]
            for part in reads
            if part.kind == "file" and part.digest.startswith("xxh3:")
        )
        own = {self.paths.path(name) for name in written}
        with self._digests.many():
            return [self._now(part, states, own) for part in reads]

    def _now(self, part: Part, states: Mapping[str, State | None], own: set[str]) -> Part:
        if part.kind == "file" and part.name.endswith(LINK):
            path = self.paths.path(part.name.removesuffix(LINK))
            return link_part(self.paths, path, link_text(self.paths, path))
        if part.kind == "file":
            depth = {"xxh3": CONTENT, "is": KIND}.get(part.digest.partition(":")[0], SIZE)
            digest = self._file(self.paths.path(part.name), states[part.name], depth)
            return Part("file", part.name, digest)
        if part.kind == "directory":
            return self.listing(part.name, own)
        if part.kind == "cwd":
            return self.cwd()
        if part.kind == "environment":
            return self.variable(part.name, self._environment.get(part.name))
        return self.package(part.name) if part.kind == "package" else self.code(part.name)

    def _file(self, path: str, state: State | None, depth: int) -> str:
        try:
            return digest_of_file(self._digests, path, state, depth)
        except UnreadableError as error:
            return f"unreadable: {error}"

    def listing(self, name: str, own: set[str]) -> Part:
        """Return the names in a folder, or of those that match a pattern, without own ones."""
        path = self.paths.path(name)
        names = names_matching(path) if is_magic(name) else names_in(path)
        return listing_part(name, path, names, own)

    def cwd(self) -> Part:
        """Return the working directory, by its name in the project."""
        name = self.paths.name(os.getcwd())
        return Part("cwd", "the working directory", name, summary=name)

    def variable(self, name: str, value: str | None) -> Part:
        """Return an environment variable by a digest from which nobody reads its value."""
        if value is None:
            return Part("environment", name, ABSENT)
        text = value.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(text, key=self._secret[:64], digest_size=16).hexdigest()
        return Part("environment", name, f"keyed:{digest}")

    def package(self, name: str) -> Part:
        """Return the distributions that provide a module, by name and content."""
        location = locate(name)
        found = providers(name, location.path) if location.path else ()
        digest = " ".join(f"{each.name} {each.digest}" for each in found) or ABSENT
        return Part("package", name, digest, summary=", ".join(each.version for each in found))

    def code(self, name: str) -> Part:
        """Return the code in a file, without its comments and layout."""
        path = self.paths.path(name)
        state = state_of(path)
        if state is None or state.kind != "file":
            return Part("code", name, ABSENT)
        try:
            return Part("code", name, self._digests.of_code(path, state))
        except UnreadableError as error:
            return Part("code", name, f"unreadable: {error}")


def digest_of_file(digests: FileDigests, path: str, state: State | None, depth: int) -> str:
    """Return the digest of as much of a file as was asked for; UnreadableError if it has none."""
    if state is None:
        return ABSENT
    if state.kind != "file" or depth < SIZE:
        return f"is:{state.kind}"
    if depth < CONTENT:
        return f"size:{state.size}"
    return digests.of_content(path, state)


def link_part(paths: Paths, path: str, text: str | None) -> Part:
    """Return the part that the target of a symbolic link is."""
    digest = ABSENT if text is None else f"link:{text}"
    return Part("file", f"{paths.name(path)}{LINK}", digest)


def listing_part(name: str, path: str, names: Iterable[str] | None, own: set[str]) -> Part:
    """Return the part that a listing is, given the names that it found."""
    if names is None:
        return Part("directory", name, ABSENT)
    folder = split(path)[0] if is_magic(name) else path
    kept = [each for each in names if os.path.join(folder, each) not in own]
    text = "\n".join(kept)
    digest = xxh3_128_hexdigest(text.encode("utf-8", "surrogateescape"))
    if len(text) > _LONGEST_SUMMARY:
        text = text[:_LONGEST_SUMMARY].rpartition("\n")[0] + "\n..."
    return Part("directory", name, f"xxh3:{digest}", summary=text)


class ReadSet:
    """The reads of code that has run, as parts of its result's key.

    `never` says by name why no later run could be given the result; `unsettled` why this one's
    cannot be kept, though another's may.
    """

    def __init__(self, tracker: AccessTracker, world: World, digests: FileDigests) -> None:
        self.never = dict(tracker.never)
        self.unsettled: list[str] = []
        self.parts: list[Part] = []
        self._tracker = tracker
        self._digests = digests
        self._paths = tracker.paths
        # Copied, since threads of the user's may run on.
        reads = sorted(tracker.reads.copy().items())
        digests.expect(read.state for _, read in reads if read.depth == CONTENT)
        with digests.many():
            for path, read in reads:
                self._add_file(path, read)
        for path, text in sorted(tracker.links.copy().items()):
            self.parts.append(link_part(self._paths, path, text))
        own = set(tracker.written.copy())
        for where, names in sorted(tracker.listings.copy().items()):
            found = None if names == (ABSENT,) else names
            self.parts.append(listing_part(self._paths.name(where), where, found, own))
        for name, value in sorted(tracker.variables.copy().items()):
            self.parts.append(world.variable(name, value))
        for path in sorted(with_imports(tracker.code.copy())):
            self.parts.append(world.code(self._paths.name(path)))
        if tracker.has_used_cwd:
            self.parts.append(world.cwd())
        self.parts += [world.package(name) for name in sorted(tracker.packages.copy())]
        self.unsettled += tracker.troubles
        if tracker.is_full:
            self.unsettled.append("it opens more files than can be followed")

    @property
    def written(self) -> list[str]:
        """The names of files that the code wrote, in the project or not."""
        paths = self._paths
        return sorted(paths.name(each) for each in self._tracker.written if paths.counts(each))

    @property
    def listed(self) -> list[str]:
        """The names of those of them that a listing would find."""
        folders = [split(each)[0] if is_magic(each) else each for each in self._tracker.listings]
        inside = tuple(os.path.join(folder, "") for folder in folders)
        return [name for name in self.written if self._paths.path(name).startswith(inside)]

    def _add_file(self, path: str, read: Read) -> None:
        name, now = self._paths.name(path), state_of(path)
        wrote = read.both or path in self._tracker.written
        state = read.state
        if read.depth < CONTENT:
            if state is None and now is not None and wrote:
                return  # Looked for, and then made.
        elif _is_same(now, state):
            state = now
        else:
            self._note_change(path, name, read, now, wrote)
            return
        try:
            digest = digest_of_file(self._digests, path, state, read.depth)
        except UnreadableError as error:
            self.unsettled.append(f"file {name} has no digest: {error}")
            return
        self.parts.append(Part("file", name, digest))

    def _note_change(
        self, path: str, name: str, read: Read, now: State | None, wrote: bool
    ) -> None:
        """Note the reason for which a file that changed since its read prevents a cached result.

        Nothing is said of one that the code has made, or of an output that a command named.
        """
        if read.state is None and wrote:
            return
        if not read.sure and (self._tracker.is_output(path) or path not in self._tracker.accessed):
            return
        if wrote:
            self.never.setdefault(f"file {name}", f"reads and then changes {name}")
        else:
            change = "appeared" if read.state is None else "changed" if now else "was removed"
            self.unsettled.append(f"file {name} {change} while it ran")


def _is_same(now: State | None, before: State | None) -> bool:
    """Return whether the content of a file is as it was: another link or mode changes none."""
    if now is None or before is None:
        return now is before
    return (now.device, now.inode, now.size, now.modified_ns) == (
        before.device, before.inode, before.size, before.modified_ns,
    )  # fmt: skip
