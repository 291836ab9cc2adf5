"""A Trainer of lightning saves to the store, and finds its checkpoints by their paths."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from memoflow.errors import BackendUnavailableError
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from tests.integrations.conftest import Attempts
from tests.integrations.examples import run_example

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("lightning")
ours = import_module("memoflow.integrations.lightning")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

BATCHES = 4  # in an epoch
LOSSES = [5.0, 2.0, 3.0, 4.0]  # of the epochs


class Module(lightning.LightningModule):  # type: ignore[misc]
    """A model, and a death after so many batches."""

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
        self.dies_after = dies_after
        self.steps = 0

    def training_step(self, batch: Any, index: int) -> Any:
        if self.steps == self.dies_after:
            raise RuntimeError("killed")
        self.steps += 1
        if index == BATCHES - 1:
            self.log("loss", LOSSES[self.current_epoch])
        return self.layers(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.linspace(-1, 1, 64 * BATCHES).view(-1, 8), 8)

    def weights(self) -> list[float]:
        return [float(each) for values in self.parameters() for each in values.flatten()]


def fit(
    current: CurrentCheckpoint, folder: Path, module: Module, *, ckpt_path: Any = "own",
    epochs: int = 4, wait: bool = True, **options: Any,
) -> Any:  # fmt: skip
    io = ours.CheckpointIO(current, wait=wait)
    saves = lightning.pytorch.callbacks.ModelCheckpoint(folder, filename="{epoch}", **options)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, callbacks=[saves], plugins=[io],
        logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, ckpt_path=io.ckpt_path if ckpt_path == "own" else ckpt_path)
    return trainer


def names(current: CurrentCheckpoint) -> list[str]:
    return sorted(each["name"] for each in current.list())


@pytest.mark.parametrize("ckpt_path", ["own", "last"])
@pytest.mark.parametrize("wait", [True, False])
def test_a_retry_ends_as_if_nothing_had_happened(
    attempt: Attempts, tmp_path: Path, wait: bool, ckpt_path: str
) -> None:
    current, folder = attempt(), tmp_path / "saves"
    with pytest.raises(RuntimeError, match="killed"):
        fit(current, folder, Module(2 * BATCHES + 1), save_last=True, wait=wait)
    current.finish()
    shutil.rmtree(folder)  # The next attempt is on another machine.
    resumed, fresh = Module(), Module()
    fit(attempt(), folder, resumed, ckpt_path=ckpt_path, save_last=True, wait=wait)
    fit(attempt(of_another_task=True), tmp_path / "other", fresh)
    assert resumed.steps == 2 * BATCHES
    assert resumed.weights() == fresh.weights()


def test_the_example_resumes(
    attempt: Attempts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="killed"):
        run_example("lightning", attempt(), module=Module(2 * BATCHES + 1))
    resumed, fresh = Module(), Module()
    run_example("lightning", attempt(), module=resumed)
    run_example("lightning", attempt(of_another_task=True), module=fresh)
    assert (resumed.steps, fresh.steps) == (BATCHES, 3 * BATCHES)
    assert resumed.weights() == fresh.weights()


@pytest.mark.parametrize("wait", [True, False])
def test_what_lightning_lets_go_is_deleted(attempt: Attempts, tmp_path: Path, wait: bool) -> None:
    current, folder = attempt(), tmp_path / "saves"
    trainer = fit(
        current, folder, Module(), monitor="loss", save_top_k=2, save_last=True, wait=wait
    )
    assert names(current) == ["epoch=1.ckpt", "epoch=2.ckpt", "last.ckpt"]
    assert sorted(path.name for path in folder.iterdir()) == names(current)
    best = trainer.checkpoint_callback.best_model_path
    assert Path(best).name == "epoch=1.ckpt"
    assert trainer.strategy.load_checkpoint(best)["epoch"] == 1
    (reference,) = current.list(name="epoch=1.ckpt")
    assert reference["metadata"] == {"path": best, "epoch": 1, "step": 2 * BATCHES, "loss": 2.0}


def test_a_top_k_goes_on_over_attempts_on_several_machines(
    attempt: Attempts, tmp_path: Path
) -> None:
    current, folder = attempt(), tmp_path / "saves"
    with pytest.raises(RuntimeError, match="killed"):
        fit(current, folder, Module(2 * BATCHES + 1), monitor="loss", save_top_k=2)
    shutil.rmtree(folder)
    trainer = fit(attempt(), folder, Module(), monitor="loss", save_top_k=2)
    assert names(current) == ["epoch=1.ckpt", "epoch=2.ckpt"]
    assert trainer.strategy.load_checkpoint(folder / "epoch=1.ckpt")["epoch"] == 1


def test_a_save_before_a_removal_that_cannot_be_stored_keeps_what_was_there(
    attempt: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, path = attempt(), tmp_path / "a.ckpt"
    io = ours.CheckpointIO(current, wait=False)
    io.save_checkpoint({"epoch": 0}, path)
    current.finish()
    backend = current._checkpointer.where.store.backend
    write = backend.write

    def fails(name: str, *given: Any, **named: Any) -> Any:
        if name.startswith("refs/"):
            raise BackendUnavailableError("write failed on purpose")
        return write(name, *given, **named)

    monkeypatch.setattr(backend, "write", fails)
    io.save_checkpoint({"epoch": 1}, tmp_path / "b.ckpt")
    io.remove_checkpoint(path)
    with pytest.raises(CheckpointException, match="on purpose"):
        io.teardown()
    monkeypatch.setattr(backend, "write", write)
    assert names(attempt()) == ["a.ckpt", "b.ckpt"]
    io.teardown()
    assert names(current) == ["b.ckpt"]


def test_keep_last_counts_the_saves_at_each_path(attempt: Attempts, tmp_path: Path) -> None:
    current = attempt(keep_last=1)
    io = ours.CheckpointIO(current)
    for epoch in range(3):
        for name in ("a.ckpt", "b.ckpt"):
            io.save_checkpoint({"epoch": epoch}, tmp_path / name)
    assert names(current) == ["a.ckpt", "b.ckpt"]
    assert io.load_checkpoint(tmp_path / "a.ckpt") == {"epoch": 2}


def test_files_of_torch_are_loaded_and_left_alone(attempt: Attempts, tmp_path: Path) -> None:
    path = tmp_path / "plain.ckpt"
    torch.save({"epoch": 7}, path)
    io = ours.CheckpointIO(attempt())
    assert io.load_checkpoint(path) == {"epoch": 7}
    io.remove_checkpoint(path)
    assert not path.exists()


def test_a_bucket_as_a_path_is_refused(attempt: Attempts) -> None:
    with pytest.raises(CheckpointException, match="a folder of this machine"):
        ours.CheckpointIO(attempt()).save_checkpoint({}, "s3://bucket/last.ckpt")
