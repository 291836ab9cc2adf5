"""Parts: the things that together determine a result, and the fingerprint they add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xxhash import xxh3_128_hexdigest

from memoflow.names import Digest

# path, text and mark of each part; see `outline`.
Outline = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One determinant of a result.

    Only `kind`, `name` and `digest` count; `where` and `summary` are there for people, and so is
    `source`, the text that it was read from, or for "names" the meaning of each of them, and
    `outline`, the leaves of a small value. The digest of a package is its version and a digest of
    its files; its summary is the version.
    """

    kind: str
    name: str
    digest: str
    where: str = ""
    summary: str = ""
    source: str = field(default="", compare=False, repr=False)
    outline: Outline = field(default=(), compare=False, repr=False)

    def to_json(self) -> list[str]:
        """Return the part without its source and outline, which are kept elsewhere."""
        return [self.kind, self.name, self.digest, self.where, self.summary]

    @classmethod
    def from_json(cls, fields: Iterable[str]) -> Part:
        kind, name, digest, where, summary, *source = fields
        return cls(kind, name, digest, where, summary, "".join(source))


class Fingerprint(Digest):
    """The digest of all determinants of a result, with its parts."""

    __slots__ = ("parts",)

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, parts: Iterable[Part]) -> Fingerprint:  # type: ignore[override]
        """Add parts up; their order and repetitions do not count."""
        unique = {(part.kind, part.name, part.digest): part for part in parts}
        keys = sorted(unique)
        self = cls(digest_of(*(field for key in keys for field in key)))
        self.parts = tuple(unique[key] for key in keys)
        return self

    @property
    def by_class(self) -> tuple[Part, ...]:
        """Return a part for each object of a constant that counts by its class only.

        Its `name` is that of the constant, and its `summary` the class and what provides it.
        """
        return tuple(part for part in self.parts if part.kind == "opaque")

    @property
    def ignored(self) -> frozenset[str]:
        """Return the names of those constants that were to be left out and are."""
        return frozenset(part.name for part in self.parts if part.kind == "ignored")

    def __reduce__(self) -> tuple[object, ...]:
        return Fingerprint.of, (self.parts,)

    __copy__ = __deepcopy__ = lambda self, _memo=None: self


def digest_of(*texts: str) -> Digest:
    """Digest texts so that moving a character from one to the next makes another digest."""
    pieces: list[bytes] = []
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        pieces += (b"%d:" % len(data), data)
    return Digest("xxh3:" + xxh3_128_hexdigest(b"".join(pieces)))
