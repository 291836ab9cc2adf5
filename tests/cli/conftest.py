"""A shelf: a store that holds one or two of everything, and the command to ask it with."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from memoflow.cli.main import main
from memoflow.cli.verb import CommandContext
from memoflow.fingerprint import Fingerprint, Part, of_argument
from memoflow.fingerprint.outline import outline, summary
from memoflow.kinds import checkpoint, gang, hub, memo, model, state
from memoflow.kinds.about import About
from memoflow.state import snapshot
from memoflow.store import Payload, Store, open_store

CODE = (Part("code", "train()", "xxh3:" + "1" * 32, "train.py:4"),)
SCOPE = memo.code_key("Sweep", "fit", Fingerprint.of(CODE))
INFO = {"type": "<class 'int'>", "size": 9, "encoding": "gzip+pickle-v4"}  # as Metaflow has it
SERIES = checkpoint.series("Train", "fit", "scope", "identity")


@dataclass
class Shelf:
    """A store in a directory, and where else there is room."""

    root: Path
    folder: Path
    store: Store

    def run(self, *words: str) -> Result:
        """Run `memoflow` as in a process of its own."""
        self.store.close()
        return CliRunner().invoke(main, ["--root", str(self.root), *words])

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def refused(self, *words: str) -> str:
        """Run a verb that is to end with exit code 2; return what it said."""
        done = self.run(*words)
        assert done.exit_code == 2, done.output
        return done.output

    def keys(self, kind: str) -> list[str]:
        return [each["key"] for each in self.json("ls", "--kind", kind)["entries"]]

    def record(
        self,
        number: int,
        *,
        refers_to: tuple[str, ...] = (),
        flow: str = "Sweep",
        origin: str | None = None,
    ) -> str:
        """Record a result of a memoized step for an input of this number."""
        content = b"pickle %d" % number
        packed = self.folder / "packed"
        packed.write_bytes(gzip.compress(content, 3, mtime=1))
        sha1 = hashlib.sha1(content).hexdigest()
        made = memo.Result(
            origin or f"{flow}/1/fit/{number}",
            2.5,
            {"score": (memo.Artifact(sha1, INFO, {}), packed)},
            {},
            (Part("input", "x", f"xxh3:{number:032x}", summary=str(number)),),
            refers_to=refers_to,
        )
        scope = memo.code_key(flow, "fit", Fingerprint.of(CODE))
        key = str(memo.record(self.store, scope, CODE, made).key)
        packed.unlink()
        return key

    def record_inputs(self, inputs: dict[str, Any]) -> str:
        """Record a result of a memoized step for inputs of these names."""
        parts = tuple(
            Part(
                "input",
                name,
                of_argument(value),
                summary=summary(value),
                outline=outline(value, name),
            )
            for name, value in inputs.items()
        )
        made = memo.Result("Sweep/1/fit/1", 2.5, {}, {}, parts)
        scope = memo.code_key("Sweep", "fit", Fingerprint.of(CODE))
        return str(memo.record(self.store, scope, CODE, made).key)

    def checkpoint(self, text: str, *, task: str = "Train/1/fit/3") -> str:
        tree = self.folder / "saved"
        tree.mkdir(exist_ok=True)
        (tree / "weights.txt").write_text(text)
        about = About("checkpoint", task, 0, "epoch", metadata={"loss": float("nan")})
        saved = checkpoint.save(
            self.store, SERIES, Payload(tree=tree), about, token=checkpoint.new_token()
        )
        return str(saved.ref.key)

    def state(self, value: Any, *, nodes: int = 0) -> str:
        """Save a state; as a gang of so many nodes, each the same."""
        files = state.files_of(snapshot(value))
        folders = [gang.folder_of(node) for node in range(nodes)] or [""]
        return self.state_of_files(
            {folder + name: data for folder in folders for name, data in files.items()}, nodes
        )

    def state_of_files(self, files: dict[str, Any], nodes: int = 0) -> str:
        about = About(
            "checkpoint", "Train/1/fit/3", 0, "epoch", storage_format=state.FORMAT, nodes=nodes
        )
        saved = checkpoint.save(
            self.store, SERIES, Payload(files=files), about, token=checkpoint.new_token()
        )
        return str(saved.ref.key)

    def model(self, files: dict[str, str]) -> str:
        tree = self.folder / "model"
        for path, text in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        about = About("model", "Train/1/fit/3", 0, uuid="9f2c", label="best", storage_format="tar")
        key = model.key("Train", "fit", "9f2c")
        return str(model.save(self.store, key, tree, about).ref.key)

    def snapshot(self) -> str:
        wanted = hub.Wanted.of("org/name")
        about = About(
            "hub",
            "Get/1/start/1",
            0,
            repo_id="org/name",
            repo_type="model",
            revision="main",
            commit="c" * 40,
        )
        key = hub.key(("flow", "Get"), wanted, about.commit)
        return str(hub.save(self.store, key, {"config.json": b"{}"}, about).ref.key)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setenv("METAFLOW_MEMOFLOW_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "room"
    folder.mkdir()
    root = tmp_path / "store"
    return Shelf(root, folder, open_store(root))


@pytest.fixture
def shelf(empty: Shelf) -> Shelf:
    """Two results, two checkpoints of one task, a model and a snapshot."""
    empty.record(1)
    empty.record(2)
    empty.checkpoint("one")
    empty.checkpoint("two")
    empty.model({"weights.bin": "w" * 2000, "sub/config.json": "{}"})
    empty.snapshot()
    return empty


@dataclass
class Given(CommandContext):
    """Asks the store that a test made, wherever that is."""

    given: Store | None = None

    @property
    def store(self) -> Store:  # type: ignore[override]
        assert self.given is not None
        return self.given


def ask(store: Store, *words: str) -> Result:
    """Run `memoflow` on a store that is not in a directory."""
    return CliRunner().invoke(main, list(words), obj=Given(given=store))
