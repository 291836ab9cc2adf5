"""Make `data/`: what metaflow-checkpoint left of two runs, and `data/seen.json`: what it said.

Run with metaflow-checkpoint 0.2.14 and metaflow 2.19.39 in an environment of its own, which
memoflow must not share: `<that environment>/bin/python tests/kinds/legacy/make.py`. References hold
absolute paths, so the datastore lies where no user or machine has a name: in /tmp/legacy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from metaflow import (
    Flow,
    FlowSpec,
    Parameter,
    checkpoint,
    current,
    model,
    namespace,
    parallel,
    retry,
    step,
)

ROOT = Path("/tmp/legacy")
DATA = Path(__file__).parent / "data"
ITEMS = ["a", "b", 7, {"rate": 0.1, "layers": [1, 2]}]
CHILD = "from metaflow import Checkpoint; import sys; Checkpoint().save(sys.argv[1], name='child')"


class Old(FlowSpec):
    """Save in each way there is; `again` says that an earlier run left something to load."""

    again = Parameter("again", default=False, type=bool)

    @checkpoint(load_policy="eager", show_card=False)
    @retry(times=1, minutes_between_retries=0)
    @step
    def start(self):
        self.told = told()
        folder = Path(current.checkpoint.directory)
        (folder / "sub").mkdir(exist_ok=True)
        weights = folder / "sub" / "weights.bin"
        write(weights, bytes([*range(200), current.retry_count]))
        write(folder / "state.json", json.dumps({"attempt": current.retry_count}).encode())
        write(folder / ".hidden", b"kept too")
        (folder / "link").unlink(missing_ok=True)
        os.symlink("state.json", folder / "link")
        self.told["saved"] = [current.checkpoint.save(metadata={"epoch": 1})]
        if not self.again:
            self.told["saved"] += [
                current.checkpoint.save(storage_format="tar", metadata={"epoch": 2}),
                current.checkpoint.save(str(weights), name="one"),
                current.checkpoint.save(name="v1.5"),
            ]
            subprocess.run([sys.executable, "-c", CHILD, str(folder)], check=True)
            self.told["saved"] += [
                current.checkpoint.save(name="best", storage_format="tar"),
                current.checkpoint.save(str(weights), name="aside", latest=False),
            ]
        self.told["listed"] = [each["key"] for each in current.checkpoint.list()]
        if current.retry_count == 0 and not self.again:
            raise RuntimeError("the second attempt loads what the first saved")
        self.next(self.keep)

    @model
    @step
    def keep(self):
        self.told = {}
        folder = ROOT / "model"
        if not self.again:
            (folder / "sub" / "empty").mkdir(parents=True)
            write(folder / "config.json", b"{}")
            write(folder / "sub" / "weights.bin", bytes(300))
            write(folder / "run.sh", b"#!/bin/sh\n")
            (folder / "run.sh").chmod(0o755)
            os.link(folder / "config.json", folder / "same.json")
            os.symlink("sub/weights.bin", folder / "latest")
            one = str(folder / "config.json")
            self.told["models"] = {
                "tar": current.model.save(str(folder)),
                "files": current.model.save(str(folder), storage_format="files", label="net"),
                "one in tar": current.model.save(one, metadata={"f1": 0.5}),
                "one": current.model.save(one, storage_format="files"),
            }
        self.items = ITEMS
        self.next(self.each, foreach="items")

    @checkpoint(load_policy="eager", show_card=False)
    @step
    def each(self):
        self.told = told() | {"item": self.input}
        path = Path(current.checkpoint.directory) / "item.json"
        write(path, json.dumps(self.input).encode())
        self.told["saved"] = [current.checkpoint.save()]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.fork)

    @step
    def fork(self):
        self.next(self.gang, num_parallel=2)

    @parallel
    @checkpoint(load_policy="none", show_card=False)
    @step
    def gang(self):
        self.told = told() | {"item": self.input}
        node = current.parallel.node_index
        write(Path(current.checkpoint.directory) / "node.json", json.dumps(node).encode())
        self.told["saved"] = [current.checkpoint.save(name=f"node{node}")]
        self.next(self.after)

    @step
    def after(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


def told():
    """Return what a task hears from the decorator before it does anything."""
    info = current.checkpoint.info
    return {"identifier": current.checkpoint.task_identifier, "loaded": info and info.key}


def write(path, data):
    """Write a new file: one that was loaded is a link into the datastore."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def main() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir()
    os.environ["METAFLOW_USER"] = "me"
    # The workers of @parallel are started as `python`.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = str(ROOT)
    for again in ("false", "true"):
        command = [sys.executable, __file__, "run", "--again", again]
        subprocess.run(command, check=True, cwd=ROOT)
    # In a process of its own: Metaflow has read its settings in this one.
    subprocess.run([sys.executable, __file__, "collect"], check=True, cwd=ROOT)


def collect() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    for name in ("mf.checkpoints", "mf.models"):
        shutil.copytree(ROOT / ".metaflow" / name, DATA / name)
    namespace("user:me")
    seen = [
        _seen(task)
        for run in sorted(Flow("Old"), key=lambda run: int(run.id))
        for name in ("start", "keep", "each", "gang")
        for task in run[name]
    ]
    (DATA / "seen.json").write_text(json.dumps(seen, indent=1) + "\n")


def _seen(task):
    """Return what the task was told, and what the old client says of it."""
    internal = ("_task_checkpoints", "_task_latest_checkpoint")
    listed, latest = (task[name].data if name in task else None for name in internal)
    return task["told"].data | {
        "pathspec": task.pathspec,
        "latest": latest and latest["key"],
        "listed_by_client": [each["key"] for each in listed or ()],
        "metadata": {
            datum.name: datum.value for datum in task.metadata if "checkpoint" in datum.name
        },
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["collect"]:
        collect()
    elif sys.argv[1:]:
        Old()
    else:
        main()
