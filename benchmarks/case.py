"""Run flows whose names differ by case over one store on a disk that takes no account of case.

    python -m benchmarks.case --rounds 3

Needs root, to mount an exFAT by FUSE. `Train` and `train` have equal code, save checkpoints, memos
and keys of the Hub, in turns; then each must find all of its own, and nothing of the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from memoflow.kinds import checkpoint, memo
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from tests.mounts import mounted

FLOW = """
from metaflow import FlowSpec, checkpoint, current, memoize, step

class {name}(FlowSpec):
    @checkpoint(load_policy="eager")
    @step
    def start(self):
        if current.checkpoint.is_loaded:
            with open(current.checkpoint.directory + "/of") as file:
                print("RESUMED", file.read())
        with open("of", "w") as file:
            file.write("{name}")
        current.checkpoint.save("of")
        self.x = 1
        self.next(self.fit)

    @memoize
    @step
    def fit(self):
        self.made_by = self.__class__.__name__
        print("RAN fit")
        self.next(self.end)

    @step
    def end(self):
        print("MADE BY", self.made_by)

if __name__ == "__main__":
    {name}()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        mounted(Path(folder) / "disk", "exfat", size_bytes=64 << 20) as place,
    ):
        _flows(Path(folder), place, asked.rounds)
        _hub(open_store(place / "store", cache_dir=Path(folder) / "cache"))


def _flows(folder: Path, place: Path, rounds: int) -> None:
    environment = os.environ | {
        "METAFLOW_MEMOFLOW_ROOT": str(place / "store"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder / "data"),
        "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
        "METAFLOW_USER": "tester",
    }
    wrong = 0
    for number in range(rounds):
        for name in ("Train", "train"):
            home = folder / f"of-{name}"
            home.mkdir(exist_ok=True)
            (home / "flow.py").write_text(FLOW.format(name=name))
            done = subprocess.run(
                [sys.executable, "flow.py", "run"],
                cwd=home,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            text = done.stdout + done.stderr
            good = done.returncode == 0 and f"MADE BY {name}" in text
            good = good and ("RAN fit" in text) == (number == 0)
            good = good and (f"RESUMED {name}" in text) == (number > 0)
            wrong += not good
            if not good:
                print(text)
    store = open_store(place / "store", cache_dir=folder / "other-cache")
    keys = store.keys(Key.of("checkpoint")) + store.keys(Key.of("memo"))
    saves = [key for key in keys if checkpoint.is_save(key)]
    results = [key for key in keys if memo.is_result(key)]
    quarantined = len(store.quarantined())
    problems = [each for each in store.verify(repair=True) if not each.harmless]
    print(
        f"{2 * rounds} runs, {wrong} wrong; {len(saves)} of {2 * rounds} checkpoints and "
        f"{len(results)} of 2 results there; {quarantined} quarantined, {len(problems)} problems"
    )


def _hub(store: Store) -> None:
    keys = [
        Key.of("hub", *parts) for n in range(50) for parts in (("Org", f"M{n}"), ("org", f"m{n}"))
    ]
    for key in keys:
        store.save(key, Payload(files={"of": str(key).encode()}))
    lost = 0
    for key in keys:
        ref = store.find(key)
        lost += ref is None or store.read_file(store.manifest(ref), "of") != str(key).encode()
    print(f"{lost} of {len(keys)} keys of the Hub lost")


if __name__ == "__main__":
    main()
