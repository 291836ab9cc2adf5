"""What anybody could write into a store costs a line at most: whatever the verb, no traceback.

Each case plants one file, beside a shelf of good ones; then every verb is asked.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memoflow.fingerprint import Part
from memoflow.kinds import memo
from memoflow.names import Digest, Key
from memoflow.store.marker_file import sealed
from tests.cli.conftest import INFO, SCOPE, SERIES, Shelf
from tests.waiting import PATIENCE_S

MOST_BYTES = 200 << 20
FAR = 1e17
HALF = "\ud800"
ESCAPE = "\x1b]52;c;aGk=\x07\u202e"
RESULT = memo.results_key(SCOPE, (Part("input", "x", "xxh3:" + "7" * 32),)) / "refs" / "00000001"
SAVE = SERIES / "00000009-abcdef01"
MODEL = Key.of("model", "Train", "fit", "77")
SNAPSHOT = Key.of("hub", "flow", "Get", "model", "org/name", "d" * 40, "1" * 32)
REVISION = Key.of("hub", "revision", "model", "org/name", "main", "host", "Get", "1")
CARD = Key.of("card", *RESULT.parts[1:])
READS = SCOPE / "reads" / ("a" * 32)
CODE = SCOPE / "code"
LEASE = f"leases/{RESULT}/n=00000001"

_MEMO = {
    "origin": "Sweep/1/fit/9",
    "run_time_s": 1.5,
    "artifacts": {"score": [INFO, {}]},
    "inputs": [["input", "x", "xxh3:" + "7" * 32, "", "7"]],
    "outlines": {},
    "refs": [],
    "refers_to": [],
    "going_on": {},
    "reads": [],
    "written": [],
    "named": [],
    "files": [],
}
_ADOPTED = {
    "name": "score",
    "blob": "sha1:" + "a" * 40,
    "size_bytes": 9,
    "xxh3": "1" * 32,
}
_SAVE = {
    "task": "Train/1/fit/3",
    "attempt": 0,
    "name": "epoch",
    "latest": True,
    "metadata": "{}",
    "storage_format": "files",
    "code": "",
    "own": "",
}
_MODEL = {
    "task": "Train/1/fit/3",
    "attempt": 0,
    "uuid": "77",
    "label": "best",
    "metadata": "{}",
    "storage_format": "tar",
}
_SNAPSHOT = {
    "task": "Get/1/start/1",
    "attempt": 0,
    "repo_id": "org/name",
    "repo_type": "model",
    "revision": "main",
    "commit": "d" * 40,
    "allow": None,
    "ignore": None,
}
_CLAIM = {
    "id": "1" * 32,
    "who": "Sweep/1/fit/9",
    "host": "there",
    "pid": 1,
    "every_s": 15.0,
    "beat": 0,
    "lifted": False,
    "lasting": False,
}

Files = dict[str, bytes | int]  # by name; a number is the size of a file that has no blocks


def _ref(key: Key, about: Any, **fields: Any) -> Files:
    manifest = {"format": 1, "files": []}
    if key.kind == "memo" and "results" in key.parts:
        manifest["adopted"] = [_ADOPTED]
    good = {
        "format": 1,
        "key": str(key),
        "created": 1.5,
        "expires": None,
        "size_bytes": 0,
        "new_bytes": 0,
        "meta": about,
        "manifest": manifest,
    }
    body = json.dumps(good | fields).encode()
    return {f"refs/{key}": b"%b\n%b\n" % (body, Digest.of(body).encode())}


def _memo(**changed: Any) -> Files:
    return _ref(RESULT, _MEMO | changed)


def _save(**changed: Any) -> Files:
    return _ref(SAVE, _SAVE | changed)


def _lease(**changed: Any) -> Files:
    return {LEASE: json.dumps(_CLAIM | changed).encode()}


def _bundle(*rows: Any) -> Files:
    data = gzip.compress("\n".join(json.dumps(row) for row in rows).encode())
    return {f"bundles/memo/{Digest.of(data).hex}": data}


CASES: dict[str, Files] = {
    **{
        f"{name} of {key.kind} {'/'.join(key.parts[-1:])[:9]}": _ref(key, meta, **fields)
        for key, meta in ((RESULT, _MEMO), (SAVE, _SAVE), (MODEL, _MODEL), (SNAPSHOT, _SNAPSHOT))
        for name, fields in {
            "created far away": {"created": FAR},
            "created just before the end": {"created": 253402300800.0},
            "expires far away": {"expires": FAR},
            "size beyond the index": {"size_bytes": 10**17, "new_bytes": 1 << 62},
            "no meta": {"meta": {}},
            "meta of texts": {"meta": dict.fromkeys(meta, "x")},
            "meta of lists": {"meta": {each: [] for each in meta}},
            "meta of numbers": {"meta": dict.fromkeys(meta, 10**17)},
            "meta of halves": {"meta": dict.fromkeys(meta, HALF)},
            "meta of escapes": {"meta": dict.fromkeys(meta, ESCAPE)},
            "manifest of escapes": {"manifest": {"format": 1, "files": [], ESCAPE: 1}},
        }.items()
    },
    "artifact without info": _memo(artifacts={"score": [{}, {}]}),
    "artifact with odd info": _memo(artifacts={"score": [INFO | {"size": "9"}, {}]}),
    "artifact with odd packing": _memo(artifacts={"score": [INFO, {"cas_version": 7}]}),
    "artifact that is not there": _memo(artifacts={"score": [INFO, {}], "other": [INFO, {}]}),
    "artifact of three": _memo(artifacts={"score": [INFO, {}, {}]}),
    "artifact with an odd name": _memo(artifacts={HALF: [INFO, {}]}),
    "refers to half a character": _memo(refers_to=[f"model/a/{HALF}"]),
    "refers to a quoted half": _memo(refers_to=["model/a/%ED%A0%80"]),
    "refers to nothing": _memo(refers_to=[""]),
    "refers to a path": _memo(refers_to=["../../etc/passwd", "\0"]),
    "refers to a number": _memo(refers_to=[1]),
    "origin that is no task": _memo(origin="../../x"),
    "origin of escapes": _memo(origin=f"Sweep/1/fit/{ESCAPE}"),
    "run time negative": _memo(run_time_s=-1),
    "run time far away": _memo(run_time_s=1e300),
    "run time not a number": _memo(run_time_s=float("nan")),
    "inputs of two fields": _memo(inputs=[["a", "b"]]),
    "input of escapes": _memo(inputs=[["input", ESCAPE, "xxh3:" + "7" * 32, "", ESCAPE]]),
    "input of halves": _memo(inputs=[["input", HALF, "xxh3:" + "7" * 32, HALF, HALF]]),
    "next step of escapes": _memo(going_on={"_transition": [[ESCAPE], HALF]}),
    "next step of nothing": _memo(going_on={"_transition": []}),
    "outlines of lists": _memo(outlines={"x": [[[]]]}),
    "save without a task": _save(task=None),
    "save with a far attempt": _save(attempt=1 << 70),
    "save with odd metadata": _save(metadata="[]"),
    "save with deep metadata": _save(metadata="[" * 100_000),
    "save with far code": _save(code="../" * 9),
    "save that is latest by text": _save(latest="no"),
    "number of a save too long": _ref(SERIES / ("9" * 200), _SAVE),
    "read-set of numbers": _ref(READS, {"names": [1, None]}),
    "read-set of escapes": _ref(READS, {"names": [ESCAPE, HALF]}),
    "code of nothing": _ref(CODE, {}),
    "commit that is none": _ref(REVISION, {"commit": ESCAPE, "asked": FAR}),
    "card of nothing": _ref(CARD, {}),
    "kind that nobody knows": _ref(Key.of("odd", "a"), {}),
    "key of escapes": _ref(Key.of("model", ESCAPE, "fit", "1"), _MODEL),
    "ref of 3 GB": {f"refs/{RESULT}": 3 << 30},
    "ref of lists": _ref(RESULT, _MEMO | {"inputs": [[[]] * 1000] * 1000}),
    "lease with a heartbeat in text": _lease(every_s="0.1"),
    "lease with no heartbeat": _lease(every_s=0),
    "lease with a far heartbeat": _lease(every_s=FAR),
    "lease of escapes": _lease(who=ESCAPE, host=HALF),
    "lease of lists": _lease(who=[], host={}, id=[], pid="x"),
    "lease of 3 GB": {LEASE: 3 << 30},
    "lease of deep lists": {LEASE: b"[" * 100_000},
    "lease below half a key": {"leases/%ED%A0%80/n=00000001": b"{}"},
    "names of a pass, 100 MB": {"gc/deleting/x/names": 100 << 20},
    "names of a pass that is no text": {"gc/deleting/x/names": sealed(b"\xff" * 99)},
    "a pass without an id": {"gc/deletions": b"\xff\xfe"},
    "a pass of 3 GB": {"gc/deletions": 3 << 30},
    "a save that began never": {"gc/saving/x": sealed(b"nan")},
    "a save that began long ago": {"gc/saving/x": sealed(b"1" * 400)},
    "a save of 3 GB": {"gc/saving/x": 3 << 30},
    "condemned in text": {"gc/condemned": sealed(b'{"blobs":{"a":"1"}}')},
    "condemned far away": {"gc/condemned": sealed(b'{"blobs":{"a":1e400,"\\ud800":NaN}}')},
    "condemned as a list": {"gc/condemned": sealed(b"[]")},
    "condemned, 3 GB": {"gc/condemned": 3 << 30},
    "dropped, 3 GB": {f"gc/dropped/{'a' * 64}": 3 << 30},
    "a turn of escapes": {"gc/housekeeping/1": ESCAPE.encode()},
    "a turn of 3 GB": {"gc/housekeeping/1": 3 << 30},
    "bundle of numbers": _bundle([1, 2, 3]),
    "bundle of 3 GB": {f"bundles/memo/{'a' * 64}": 3 << 30},
    "bundle of halves": _bundle([str(RESULT), "0", HALF]),
    "uses of 3 GB": {f"uses/2026-11-29/{'a' * 32}": 3 << 30},
    "uses of escapes": {f"uses/2026-11-29/{'a' * 32}": sealed(ESCAPE.encode())},
    "uses merged that are none": {f"uses/merged/{'a' * 64}": b"\xff" * 99},
    "quarantine of escapes": {f"quarantine/refs/{ESCAPE}": b"", "quarantine/x": 3 << 30},
    "blob of 3 GB": {f"blobs/aa/{'a' * 64}": 3 << 30},
    "blob with an odd name": {"blobs/aa/x": b"", f"blobs/aa/{ESCAPE}": b""},
}

VERBS: tuple[tuple[str, ...], ...] = (
    ("ls",),
    ("ls", "--json"),
    ("stats",),
    ("stats", "--json"),
    ("show", "KEY"),
    ("show", "KEY", "--json"),
    ("why", "KEY"),
    ("why", "Sweep/1/fit/9"),
    ("get", "KEY", "--into", "INTO"),
    ("report", "--html", "PAGE"),
    ("doctor",),
    ("verify",),
    ("gc", "--dry-run"),
    ("reindex",),
    ("forget", "KEY", "--dry-run"),
    ("verify", "--repair"),
    ("gc", "--older-than", "1000w"),
    ("forget", "KEY", "--force"),
)


def plant(root: Path, files: Files) -> str:
    """Write what somebody wrote who may; return the key that it is about."""
    for name, data in files.items():
        path = root / os.fsdecode(name.encode("utf-8", "surrogateescape"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else b"")
        if isinstance(data, int):
            os.truncate(path, data)
        os.utime(path, (time.time() - 60,) * 2)
    (name, *_) = files
    return name.removeprefix("refs/") if name.startswith("refs/") else str(RESULT)


def words(verb: tuple[str, ...], key: str, folder: Path) -> list[str]:
    into = {"KEY": key, "INTO": str(folder / "got"), "PAGE": str(folder / "page.html")}
    return [into.get(word, word) for word in verb]


def is_harmless(text: str) -> bool:
    """Tell whether nothing in it could do anything to a terminal."""
    return all(each.isprintable() or each in "\n\t" for each in text)


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFLOW_USER", "somebody")


@pytest.mark.parametrize("name", CASES)
def test_one_hostile_file_stops_no_verb(shelf: Shelf, name: str) -> None:
    key = plant(shelf.root, CASES[name])
    for verb in VERBS:
        done = shelf.run(*words(verb, key, shelf.folder))
        trouble = done.exception
        assert trouble is None or isinstance(trouble, SystemExit), (verb, repr(trouble))
        assert is_harmless(done.output), (verb, done.output)
    assert len(shelf.keys("checkpoint")) >= 2  # What is good is there still.


def test_there_are_more_than_60_of_them() -> None:
    assert len(CASES) >= 60


# Not ru_maxrss, which a process that pytest starts has of pytest.
_MEASURE = """
import re, sys
from memoflow.cli.main import main
for line in sys.stdin:
    try:
        main(line.rstrip("\\n").split("\\t"))
    except SystemExit:
        pass
print("PEAK", re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much it took")
@pytest.mark.parametrize("name", [name for name in CASES if " GB" in name or " MB" in name])
def test_what_is_larger_than_memory_is_not_read(shelf: Shelf, name: str) -> None:
    key = plant(shelf.root, CASES[name])
    shelf.store.close()
    lines = [["--root", str(shelf.root), *words(verb, key, shelf.folder)] for verb in VERBS]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        input="".join("\t".join(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    peak_kib = int(done.stdout.rpartition("PEAK ")[2])
    assert peak_kib * 1024 < MOST_BYTES
