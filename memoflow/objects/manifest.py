"""Manifest: the list of the files and pieces of one saved thing."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, NamedTuple, NoReturn

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError
from memoflow.names import Digest
from memoflow.objects.paths import MOST_FILES, check_tree

INLINE_BYTES = 1024  # below this a file lies in the manifest itself
LONGEST_PIECE_BYTES = 64 << 20
MOST = MOST_FILES  # of files, folders, adopted blobs or pieces in one manifest
LARGEST_BYTES = 256 << 20  # of a manifest, a million short paths and pieces fit twice over
_LARGEST = 1 << 60
_MODES = "modes"
_XXH3 = re.compile(r"[0-9a-f]{32}")
_XXH3S = re.compile(r"[0-9a-f]*")
_BLOB = re.compile(r"sha256:[0-9a-f]{64}")
_ADOPTED = re.compile(r"sha1:[0-9a-f]{40}")


class Piece(NamedTuple):
    """Consecutive bytes of a file: their place in a blob, and their XXH3-128 for checks, in hex."""

    blob: Digest
    offset: int
    length: int
    xxh3: str


# With methods of its own: there are up to a million of them.
@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file as pieces, as `inline` bytes, or as a symbolic link to `target`."""

    path: str
    size_bytes: int
    executable: bool = False
    pieces: tuple[Piece, ...] = ()
    inline: bytes | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """A blob in Metaflow's format: SHA-1 of its content, and size and XXH3-128 of the packed file.

    The last is empty where the blob was copied unread.
    """

    name: str
    blob: Digest
    size_bytes: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list of saved files. `folders` has the empty ones; others follow from the files' paths.

    `modes` are the permission bits of files and folders that not everybody could read.
    """

    files: tuple[File, ...] = ()
    folders: tuple[str, ...] = ()
    adopted: tuple[Adopted, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """The logical size: the bytes that a load writes."""
        files = sum(file.size_bytes for file in self.files)
        return files + sum(adopted.size_bytes for adopted in self.adopted)

    @property
    def blobs(self) -> set[Digest]:
        """The blobs without which this cannot be loaded."""
        pieces = {piece.blob for file in self.files for piece in file.pieces}
        return pieces | {adopted.blob for adopted in self.adopted}

    def to_json(self) -> dict[str, Any]:
        """Return this as JSON-able data.

        A run is pieces of one length that follow each other in a blob, which is named by its
        position in a list; the XXH3-128 of all pieces of a file are one text.
        """
        numbers: dict[Digest, int] = {}
        files = []
        for file in self.files:
            row: dict[str, Any] = {"path": file.path}
            if file.executable:
                row["executable"] = True
            if file.target is not None:
                row["target"] = file.target
            elif file.inline is not None:
                row["inline"] = base64.b64encode(file.inline).decode()
            else:
                row["runs"] = _runs(file.pieces, numbers)
                row["xxh3"] = "".join(piece.xxh3 for piece in file.pieces)
            files.append(row)
        described: dict[str, Any] = {
            "blobs": list(numbers),
            "files": files,
            "folders": list(self.folders),
            "adopted": [[a.name, a.blob, a.size_bytes, a.xxh3] for a in self.adopted],
        }
        # Where the first versions had what users note of a save, so that these pass it over.
        meta = self.meta | {_MODES: self.modes} if self.modes else self.meta
        return described | {"meta": meta} if meta else described

    @classmethod
    def from_json(cls, data: object) -> Manifest:
        """Return the manifest that `to_json` described; IntegrityError for anything else."""
        try:
            return _manifest(data)
        except (ValueError, binascii.Error) as error:
            raise IntegrityError(f"this is no manifest: {error}") from None

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        if len(data) > LARGEST_BYTES:
            raise IntegrityError(f"this is no manifest: {len(data)} bytes are too many")
        try:
            return cls.from_json(parsed(data))
        except ValueError as error:
            raise IntegrityError(f"this is no manifest: {error}") from None


def parsed(data: bytes) -> Any:
    """Return the manifest in JSON; ValueError if it is ambiguous, malformed or nested deeply."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


Located = tuple[Digest, int, int]  # blob, offset, length


@dataclass(frozen=True)
class Packed:
    """The files of a save as lists of pieces, and the number of new bytes.

    `new` tells where pieces that were stored can be found from now on, by their XXH3-128, `whole`
    which files became blobs by themselves, and `sizes` how long packs are at least, as far as that
    is known.
    """

    files: tuple[File, ...]
    folders: tuple[str, ...]
    new: dict[str, Located]
    whole: tuple[Digest, ...]
    new_bytes: int
    sizes: dict[Digest, int]
    modes: dict[str, int]


NOTHING = Packed((), (), {}, (), 0, {}, {})


def _runs(pieces: Iterable[Piece], numbers: dict[Digest, int]) -> list[list[int]]:
    """Return number of the blob, offset, length and count of pieces for each run of them."""
    runs: list[list[int]] = []
    blob, length, end = None, 0, 0
    for piece in pieces:
        if piece.length == length and piece.offset == end and piece.blob == blob:
            runs[-1][3] += 1
        else:
            blob, length = piece.blob, piece.length
            runs.append([numbers.setdefault(blob, len(numbers)), piece.offset, length, 1])
        end = piece.offset + length
    return runs


def _manifest(data: object) -> Manifest:
    fields = _row(data, {"blobs", "files", "folders", "adopted"}, {"meta"})
    blobs = [_digest(blob, _BLOB) for blob in _list(fields["blobs"])]
    files = tuple(_file(row, blobs) for row in _list(fields["files"]))
    if sum(len(file.pieces) for file in files) > MOST:
        raise ValueError(f"more than {MOST} pieces")
    folders = tuple(_text(folder) for folder in _list(fields["folders"]))
    adopted = tuple(_adoption(row) for row in _list(fields["adopted"]))
    if len({each.name for each in adopted}) < len(adopted):
        raise ValueError("an adopted name is there twice")
    meta = fields.get("meta", {})
    if not isinstance(meta, dict):
        raise ValueError("meta is no mapping")
    modes = _modes(meta.get(_MODES, {}))
    meta = {name: value for name, value in meta.items() if name != _MODES}
    check_tree(
        [file.path for file in files if file.target is None],
        folders,
        {file.path: file.target for file in files if file.target is not None},
    )
    return Manifest(files, folders, adopted, meta, modes)


def _modes(data: object) -> dict[str, int]:
    if not isinstance(data, dict) or len(data) > MOST:
        raise ValueError("modes are no mapping, or too many")
    for bits in data.values():
        if type(bits) is not int or not 0 <= bits <= 0o777:
            raise ValueError(f"{bits!r} are no permission bits")
    return data


def _file(data: object, blobs: list[Digest]) -> File:
    fields = _row(data, {"path"}, {"executable", "target", "inline", "runs", "xxh3", "pieces"})
    path = _text(fields["path"])
    executable = fields.get("executable", False)
    if not isinstance(executable, bool):
        raise ValueError(f"{path!r}: executable is neither true nor false")
    if len(fields.keys() & {"target", "inline", "runs", "pieces"}) != 1:
        raise ValueError(f"{path!r} has no content, or two")
    if ("xxh3" in fields) != ("runs" in fields):
        raise ValueError(f"{path!r} has pieces without XXH3-128, or the other way round")
    if "target" in fields:
        return File(path, 0, executable, target=_text(fields["target"]))
    if "inline" in fields:
        inline = base64.b64decode(_text(fields["inline"]), validate=True)
        return File(path, len(inline), executable, inline=inline)
    if "runs" in fields:
        pieces = _unfold(fields["runs"], fields.get("xxh3"), blobs)
    else:  # As the first manifests had them.
        pieces = tuple(_piece(row, blobs) for row in _list(fields["pieces"]))
    return File(path, sum(piece.length for piece in pieces), executable, pieces)


def _unfold(runs: object, xxh3: object, blobs: list[Digest]) -> tuple[Piece, ...]:
    hexes = _text(xxh3)
    pieces: list[Piece] = []
    for row in _list(runs):
        number, offset, length, count = map(_number, _list(row, exactly=4))
        blob = _blob(number, length, blobs)
        at = 32 * len(pieces)
        if not 0 < count <= (len(hexes) - at) // 32:
            raise ValueError(f"a run of {count} pieces")
        pieces += [
            Piece(blob, offset + n * length, length, hexes[at + 32 * n : at + 32 * (n + 1)])
            for n in range(count)
        ]
    if len(hexes) != 32 * len(pieces) or not _XXH3S.fullmatch(hexes):
        raise ValueError("not one XXH3-128 for each piece")
    return tuple(pieces)


def _piece(data: object, blobs: list[Digest]) -> Piece:
    number, offset, length, xxh3 = _list(data, exactly=4)
    blob = _blob(_number(number), _number(length), blobs)
    return Piece(blob, _number(offset), length, _xxh3(xxh3))


def _blob(number: int, length: int, blobs: list[Digest]) -> Digest:
    """Return the blob of a piece, which is checked."""
    if number >= len(blobs):
        raise ValueError(f"there is no blob {number}")
    if not 0 < length <= LONGEST_PIECE_BYTES:
        raise ValueError(f"a piece of {length} bytes")
    return blobs[number]


def _adoption(data: object) -> Adopted:
    name, blob, size_bytes, xxh3 = _list(data, exactly=4)
    known = _xxh3(xxh3) if xxh3 != "" else ""
    return Adopted(_text(name), _digest(blob, _ADOPTED), _number(size_bytes), known)


def _row(data: object, needed: set[str], allowed: set[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(data, dict) or not needed <= data.keys() <= needed | (allowed or set()):
        raise ValueError(f"expected {sorted(needed)}")
    return data


def _list(data: object, *, exactly: int | None = None) -> list[Any]:
    if not isinstance(data, list) or len(data) > MOST or exactly not in (None, len(data)):
        raise ValueError("a list of another shape than expected")
    return data


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise ValueError(f"{data!r} is no text")
    return data


def _number(data: object) -> int:
    if type(data) is not int or not 0 <= data <= _LARGEST:
        raise ValueError(f"{data!r} is no size")
    return data


def _xxh3(data: object) -> str:
    if not _XXH3.fullmatch(_text(data)):
        raise ValueError(f"{data!r} is no XXH3-128")
    return _text(data)


def _digest(data: object, pattern: re.Pattern[str]) -> Digest:
    if not pattern.fullmatch(_text(data)):
        raise ValueError(f"{data!r} is no digest that can be here")
    return Digest(_text(data))
