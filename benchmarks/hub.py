"""@huggingface_hub against a Hub on this machine: the figures of docs/huggingface_hub.md.

    python benchmarks/hub.py warm --size-gb 5       time and requests of warm loads by hard link
    python benchmarks/hub.py foreach --tasks 20     downloads of a cold foreach
    python benchmarks/hub.py shared                 what a second revision costs
    python benchmarks/hub.py faults --count 50      what a bad day does

Under root the warm loads are timed in a child of another user, since root could write through a
link and so gets copies. It runs from a checkout: the Hub is that of the tests.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.hubs import Hub

NOBODY = 65534
REPO = "org/large"
SHORT = {"HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2"}  # Seconds: some answers stall.

FLOW = """
from hashlib import sha256
from pathlib import Path
from metaflow import FlowSpec, Parameter, current, huggingface_hub, step

class Many(FlowSpec):
    tasks = Parameter("tasks", type=int)

    @step
    def start(self):
        self.items = list(range(self.tasks))
        self.next(self.work, foreach="items")

    @huggingface_hub(load=["org/large"])
    @step
    def work(self):
        folder = Path(current.huggingface_hub.loaded["org/large"])
        self.digests = [sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())]
        self.next(self.join)

    @step
    def join(self, inputs):
        assert len({tuple(one.digests) for one in inputs}) == 1
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Many()
"""


class Bench:
    """A store and a cache of huggingface_hub's in a folder, and tasks that load there."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        from memoflow.store import open_store

        self.folder = folder
        self.hub = hub
        self.store = open_store(folder / "store", cache_dir=folder / "index")

    def get(self, revision="main", *, run="1"):
        from memoflow.flow.hub.client import HubClient, Transfer
        from memoflow.flow.hub.snapshots import Revalidate, Run, Snapshots
        from memoflow.kinds.hub import Scope, Wanted

        snapshots = Snapshots(
            self.store,
            Scope(("global",), "bench"),
            Run("Bench", run),
            Revalidate(),
            task="Bench/1/start/1",
            attempt=0,
            say=lambda line: None,
        )
        transfer = Transfer(endpoint=self.hub.endpoint, cache_dir=str(self.folder / "hf"))
        return snapshots.get(
            Wanted.of(REPO, revision=revision), HubClient(transfer, lambda line: None)
        )[0]

    def load(self, revision="main", *, run="1"):
        """Load as `current.huggingface_hub.load` does, and return where to and how long it took."""
        into = self.folder / f"out-{time.monotonic_ns()}"
        began = time.perf_counter()
        self.store.load(self.get(revision, run=run).ref, into, linked=True)
        return into, time.perf_counter() - began

    def stored_bytes(self):
        """Return what the store takes, without what it shares with the cache of huggingface_hub."""
        files = [path for path in (self.folder / "store").rglob("*") if path.is_file()]
        return sum({path.stat().st_ino: path.stat().st_size for path in files}.values())

    def taken_bytes(self):
        """Return what store and cache take together."""
        files = [
            path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()
        ]
        return sum({path.stat().st_ino: path.stat().st_size for path in files}.values())


def several(count, size_bytes, *, seed=0):
    step = 100_000_000
    return {
        f"model-{number:05d}.safetensors": b"".join(
            random.Random(1000 * seed + 100 * number + part).randbytes(
                min(step, size_bytes - start)
            )
            for part, start in enumerate(range(0, size_bytes, step))
        )
        for number in range(count)
    }


def warm(folder, given):
    files = several(8, int(given.size_gb * 1e9) // 8)
    with Hub() as hub:
        commit = hub.add(REPO, files)
        del files
        bench = Bench(folder, hub)
        began = time.perf_counter()
        bench.get(commit)
        print(
            f"cold: {time.perf_counter() - began:.1f} s, {hub.count()} requests; store and cache "
            f"take {bench.taken_bytes() / 1e9:.2f} GB for {given.size_gb} GB"
        )
        hub.forget()
        bench.store.close()
        took, linked = as_another_user(lambda: warm_loads(bench, commit, given.rounds), folder)
        print(
            f"warm load of a pinned commit, {given.size_gb} GB in 8 files, {linked} by hard link: "
            f"first {took[0]:.1f} ms, median {statistics.median(took):.1f}, min {min(took):.1f}, "
            f"max {max(took):.1f} ms; {hub.count()} requests to the Hub"
        )
        bench.load()
        asked = hub.count()
        bench.load()
        print(f"a branch: {asked} request at the first load of a run, {hub.count() - asked} later")


def warm_loads(bench, commit, rounds):
    took = []
    for _ in range(rounds):
        into, seconds = bench.load(commit)
        took.append(1000 * seconds)
        linked = sum(path.stat().st_nlink > 2 for path in into.iterdir())
    bench.store.close()
    return took, linked


def foreach(folder, given):
    (folder / "many.py").write_text(FLOW)
    with Hub() as hub:
        hub.add(REPO, several(8, 3_000_000) | {"config.json": b"{}"})
        env = os.environ | {
            **hub.env(folder / "hf"),
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
            "METAFLOW_MEMOFLOW_CACHE_DIR": str(folder / "cache"),
        }
        for name in ("cold", "warm"):
            hub.forget()
            began = time.perf_counter()
            done = subprocess.run(
                [
                    *(sys.executable, "many.py", "--no-pylint", "run"),
                    f"--tasks={given.tasks}",
                    f"--max-workers={given.workers}",
                ],
                cwd=folder,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            gets = [one.path for one in hub.requests if one.what == "get"]
            most = max(map(gets.count, gets), default=0)
            print(
                f"foreach of {given.tasks} tasks, {name}: each of 9 files downloaded {most} times "
                f"({len(gets)} downloads), {hub.count('info')} questions for the branch, "
                f"{hub.count('tree')} for the files; {time.perf_counter() - began:.1f} s"
            )


def shared(folder, given):
    with Hub() as hub:
        before = several(10, 20_000_000)
        after = before | several(1, 20_000_000, seed=1)
        bench = Bench(folder, hub)
        first = hub.add(REPO, before)
        bench.get(first)
        one = bench.stored_bytes()
        second = hub.add(REPO, after)
        hub.forget()
        bench.get(second)
        both, with_cache = bench.stored_bytes(), bench.taken_bytes()
        for commit, files in ((first, before), (second, after)):
            into, _ = bench.load(commit)
            assert {path.name: path.read_bytes() for path in into.iterdir()} == files
        print(
            f"revision A {one / 1e6:.1f} MB, then B that shares 90 %: {both / 1e6:.1f} MB, "
            f"{both / one:.3f} times A; {hub.count('get')} file downloaded for B; "
            f"with huggingface_hub's cache {with_cache / one:.3f} times A"
        )


FAULTS = (
    ("status 503", ("info", "tree", "head", "get")),
    ("status 429", ("info", "tree", "head", "get")),
    ("stall", ("info", "tree", "get")),
    ("truncate", ("info", "tree", "get")),
    ("reset", ("info", "tree", "get")),
    ("flip", ("get",)),
    ("size", ("head", "tree")),
    ("path", ("tree",)),
    ("move", ("info", "tree", "head", "get")),
)


def faults(folder, given):
    from memoflow.errors import MemoflowError

    chance = random.Random(given.seed)
    wrong = unexplained = survived = explained = 0
    for number in range(given.count):
        kind, places = FAULTS[number % len(FAULTS)]
        what = chance.choice(places)
        # Once it passes; one in four stays, and must be an error that says what is wrong.
        times = (
            99 if kind in ("flip", "size", "path", "status 503") and chance.random() < 0.25 else 1
        )
        files = {
            "config.json": chance.randbytes(100),
            "model.safetensors": chance.randbytes(chance.randrange(20_000, 3_000_000)),
        }
        with Hub() as hub:
            os.environ.update(hub.env(folder / "hf") | SHORT)
            hub.add(REPO, files)
            here = folder / str(number)
            here.mkdir()
            moved = {"config.json": b"of another commit"}
            fault = hub.fault(
                kind,
                what,
                times=times,
                retry_after=1 if kind == "status 429" else None,
                then=lambda hub=hub, moved=moved: hub.add(REPO, moved),
            )
            bench = Bench(here, hub)
            try:
                into, _ = bench.load()
            except MemoflowError as error:
                # One that passes is no reason to fail, except a list of files that is wrong.
                fair = times > 1 or (what == "tree" and kind in ("path", "size"))
                explained += fair
                unexplained += not fair
                if not fair:
                    print(f"unexplained: {kind} of {what}: {error}")
            except Exception as error:
                unexplained += 1
                print(f"unexplained: {kind} of {what}: {type(error).__name__}: {error}")
            else:
                got = {path.name: path.read_bytes() for path in into.iterdir()}
                survived += got == files
                wrong += got != files
                for problem in bench.store.verify():
                    wrong += 1
                    print(f"damaged: {kind} of {what}: {problem}")
            if not fault.fired:
                sys.exit(f"{kind} of {what} never fired")
    print(
        f"{given.count} faults: {wrong} wrong bytes, {unexplained} unexplained failures; "
        f"{survived} survived, {explained} that stayed wrong told as errors"
    )


def as_another_user(act, folder):
    """Return what a function does as a user who may not do everything: under root in a child."""
    if os.getuid() != 0:
        return act()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(write, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = json.loads(answer.read() or "null")
    os.waitpid(child, 0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("warm", "foreach", "shared", "faults"))
    parser.add_argument("--size-gb", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where to work; a temporary directory if not given")
    given = parser.parse_args()
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    os.environ.update(SHORT)
    os.environ["METAFLOW_USER"] = "bench"
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        act = {"warm": warm, "foreach": foreach, "shared": shared, "faults": faults}[given.what]
        act(Path(folder), given)
    print(f"on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
