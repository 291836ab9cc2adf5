"""Verification: reading everything again, to find what is lost or damaged before it is needed."""

from __future__ import annotations

from dataclasses import dataclass

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.names import Digest, Key
from memoflow.objects import Adopted, Manifest, blob_name, blob_of, is_whole, measure
from memoflow.store.ref_file import Stored, decode
from memoflow.store.refs import Refs, ref_name


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was saved: its name, what is wrong, and the key it spoils.

    None for the key: a blob that no ref reaches, but that a later save could take up.
    """

    name: str
    what: str
    key: Key | None


def verify(refs: Refs, *, read_data: bool, repair: bool) -> list[Problem]:
    """Check every ref and blob; see `Store.verify`."""
    return _Check(refs, read_data=read_data, repair=repair).run()


class _Check:
    def __init__(self, refs: Refs, *, read_data: bool, repair: bool) -> None:
        self._refs = refs
        self._read_data = read_data
        self._repair = repair
        self._problems: list[Problem] = []
        self._verdicts: dict[Digest, str | None] = {}
        self._packed: dict[Digest, dict[Adopted, Key]] = {}

    def run(self) -> list[Problem]:
        for key, _ in self._refs.listed():
            self._check_ref(key)
        if self._read_data:
            self._check_packing()
            for file in self._refs.backend.list("blobs"):
                blob = blob_of(file.name)
                if blob is not None and blob not in self._verdicts:
                    self._check_blob(blob, None)
        return self._problems

    def _check_ref(self, key: Key) -> None:
        name = ref_name(key)
        data = self._refs.backend.read(name)
        if data is None:
            return  # Forgotten since it was listed.
        try:
            stored = decode(key, data)
            manifest = self._manifest(stored)
        except IntegrityError as error:
            self._problems.append(Problem(name, str(error), key))
            if self._repair:
                self._refs.set_aside(key, Digest.of(data))
            return
        good = manifest is not None
        for blob in sorted(manifest.blobs) if manifest is not None else ():
            good = self._check_blob(blob, key) and good
        for adopted in manifest.adopted if manifest is not None else ():
            self._packed.setdefault(adopted.blob, {})[adopted] = key
        if self._repair and not good:
            self._refs.drop([key])

    def _manifest(self, stored: Stored) -> Manifest | None:
        """Return the manifest; None if it is a blob that is lost or damaged."""
        blob = stored.manifest_blob
        if blob is None:
            return Manifest.from_json(stored.manifest)
        # Read even if data is not: without it nothing can be said of the rest.
        data = self._refs.backend.read(blob_name(blob))
        if data is None:
            self._verdicts[blob] = "is gone"
        elif Digest.of(data) != blob:
            self._verdicts[blob] = "is damaged"
        else:
            self._verdicts[blob] = None
            return Manifest.from_bytes(data)
        self._report(blob, stored.ref.key)
        return None

    def _check_blob(self, blob: Digest, key: Key | None) -> bool:
        if blob not in self._verdicts:
            self._verdicts[blob] = self._judge(blob)
        if self._verdicts[blob] is not None:
            self._report(blob, key)
        return self._verdicts[blob] is None

    def _judge(self, blob: Digest) -> str | None:
        backend = self._refs.backend
        if not self._read_data:
            return None if backend.exists([blob_name(blob)])[0] else "is gone"
        try:
            return None if is_whole(backend, blob) else "is damaged"
        except NotFoundError:
            return "is gone"

    def _report(self, blob: Digest, key: Key | None) -> None:
        what = self._verdicts[blob]
        self._problems.append(Problem(blob_name(blob), f"blob {blob} {what}", key))
        if self._repair and what == "is damaged":
            self._refs.set_blob_aside(blob)

    def _check_packing(self) -> None:
        """Report adopted blobs whose content is right, but not the bytes it is packed in.

        Harmless, and nothing to repair: but bytes changed that nobody should have changed.
        """
        for blob, claims in self._packed.items():
            file = None if self._verdicts[blob] else self._refs.backend.open(blob_name(blob))
            if file is None:
                continue
            with file:
                size_bytes, xxh3 = measure(file)
            # One fit is enough: the same content may have been packed twice, at two times.
            if not any((a.size_bytes, a.xxh3) == (size_bytes, xxh3) for a in claims):
                what = f"blob {blob} was altered, though not what is packed in it"
                self._problems.append(Problem(blob_name(blob), what, next(iter(claims.values()))))
