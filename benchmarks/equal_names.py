"""Save under equal names from several processes, by each way that a disk may know; count the lost.

    python -m benchmarks.equal_names

Each writer appends to one series in step with the others, so that all want the same next number,
and says so after each save has returned. Then each of those keys must be another, and lead to the
bytes of whoever said so. The ways are tried by leaving the others out, and on an exFAT by FUSE,
which has neither hard links nor renames that replace nothing (root only).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memoflow.names import Key
from memoflow.store import Store, open_store
from tests.mounts import UnmountableError, mounted

WRITER = """
import json, sys, time
from pathlib import Path
from memoflow.backends import Local, exclusive
from memoflow.names import Key
from memoflow.store import Payload, open_store

root, cache, way, me, saves, start = sys.argv[1:]
ways = exclusive.WAYS if way == "all" else [getattr(exclusive, way)]
store = open_store(Local(Path(root), ways=ways), cache_dir=Path(cache))
for number in range(int(saves)):
    # In step, so that all of them look for the next number at the same time.
    while time.time() < float(start) + number * 0.05:
        pass
    text = f"{me} {number}"
    ref = store.append(Key.of("checkpoint", "F"), Payload(files={"f": text.encode()}))
    print(json.dumps([str(ref.key), text]), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--saves", type=int, default=80)
    asked = parser.parse_args()
    for way in ("by_link", "by_rename", "by_lock", "by_look"):
        with tempfile.TemporaryDirectory() as folder:
            _round(Path(folder), way, f"this disk, {way}", asked)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder) / "disk", "exfat", size_bytes=64 << 20) as place:
                _round(place, "all", "exFAT by FUSE", asked)
        except UnmountableError as error:
            print(f"exFAT by FUSE: not tried, {error}")


def _round(folder: Path, way: str, title: str, asked: argparse.Namespace) -> None:
    start = str(time.time() + 3)
    caches = tempfile.mkdtemp(dir=folder)
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", WRITER, str(folder / "store")),
                *(f"{caches}/{me}", way, str(me), str(asked.saves)),
                start,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in range(asked.writers)
    ]
    said = [line for child in children for line in child.communicate(timeout=400)[0].splitlines()]
    store = open_store(folder / "store", cache_dir=folder / "cache")
    lost = sum(_is_lost(store, *json.loads(line)) for line in said)
    print(f"{title:24} {lost} of {len(said)} acknowledged saves overwritten", flush=True)


def _is_lost(store: Store, key: str, text: str) -> bool:
    ref = store.find(Key.parse(key))
    return ref is None or store.read_file(store.manifest(ref), "f") != text.encode()


if __name__ == "__main__":
    main()
