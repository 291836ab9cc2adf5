"""A Trainer goes on, wherever it runs again, from the last checkpoint that it saved."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.standalone import Checkpoint
from tests.integrations.conftest import Attempts
from tests.integrations.examples import run_example

pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
ours = import_module("memoflow.integrations.transformers")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

BATCHES = 5  # in an epoch


class Net(torch.nn.Module):  # type: ignore[misc]
    """A model with a dropout, which draws random numbers, and a death after so many batches."""

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(8, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1)
        )
        self.dies_after = dies_after
        self.steps = 0

    def forward(self, x: Any, labels: Any) -> dict[str, Any]:
        if self.training:
            if self.steps == self.dies_after:
                raise KeyboardInterrupt
            self.steps += 1
        logits = self.layers(x)
        return {"loss": (logits - labels).square().mean(), "logits": logits}

    def weights(self) -> list[float]:
        return [float(each) for values in self.parameters() for each in values.flatten()]


def dataset() -> list[dict[str, Any]]:
    made = torch.linspace(-1, 1, 8 * 8 * BATCHES).view(-1, 8)
    return [{"x": row, "labels": row.sum(dim=0, keepdim=True)} for row in made]


def example(current: CurrentCheckpoint, *, dies_after: int | None = None) -> Net:
    net = Net(dies_after)
    run_example("transformers", current, model=net, dataset=dataset())
    return net


def train(net: Net, callback: Any, **options: Any) -> Any:
    folder = callback._checkpoint.directory
    trainer = transformers.Trainer(
        model=net,
        args=transformers.TrainingArguments(
            folder, num_train_epochs=3, eval_strategy="epoch", save_strategy="epoch",
            logging_strategy="epoch", report_to=[], use_cpu=True, disable_tqdm=True, **options,
        ),
        train_dataset=dataset(), eval_dataset=dataset(), callbacks=[callback],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=callback.resume_from_checkpoint)
    return trainer


def test_the_example_goes_on_where_it_was_killed(attempt: Attempts) -> None:
    current = attempt()
    with pytest.raises(KeyboardInterrupt):
        example(current, dies_after=2 * BATCHES + 1)
    current.finish()
    current.clean_up()
    resumed = example(attempt())
    fresh = example(attempt(of_another_task=True))
    assert (resumed.steps, fresh.steps) == (BATCHES, 3 * BATCHES)
    assert resumed.weights() == fresh.weights()


def test_of_a_save_that_was_cut_short_nothing_is_found(
    attempt: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = attempt()
    backend = current._checkpointer.where.store.backend
    write = backend.write

    def cut_short(name: str, *given: Any, **named: Any) -> Any:
        if name.startswith("refs/"):
            raise KeyboardInterrupt
        return write(name, *given, **named)

    monkeypatch.setattr(backend, "write", cut_short)
    with pytest.raises(KeyboardInterrupt):
        train(Net(), ours.Callback(current, wait=True))
    monkeypatch.setattr(backend, "write", write)
    assert ours.Callback(attempt()).resume_from_checkpoint is None


def test_numbers_that_were_logged_choose_the_checkpoints_to_keep(attempt: Attempts) -> None:
    current = attempt(keep_last=1, keep_best=("eval_loss", 1, "max"))
    train(Net(), ours.Callback(current, wait=True))
    found = current.list()
    assert [each["metadata"]["epoch"] for each in found] == [3, 1]
    assert {"step", "loss", "eval_loss"} <= found[0]["metadata"].keys()


def test_the_best_model_is_there_at_the_end_on_another_machine(attempt: Attempts) -> None:
    options: dict[str, Any] = {
        "load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True
    }  # fmt: skip
    fresh = Net()
    train(fresh, ours.Callback(attempt(of_another_task=True), wait=True), **options)
    current = attempt()
    with pytest.raises(KeyboardInterrupt):
        train(Net(2 * BATCHES + 1), ours.Callback(current, wait=True), **options)
    current.clean_up()
    resumed = Net()
    trainer = train(resumed, ours.Callback(attempt()), **options)
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{BATCHES}")
    assert resumed.weights() == fresh.weights()


def test_a_subprocess_resumes_from_the_last_save_of_its_task(attempt: Attempts) -> None:
    attempt()
    with Checkpoint() as mine, pytest.raises(KeyboardInterrupt):
        train(Net(BATCHES + 1), ours.Callback(mine, wait=True))
    with Checkpoint() as mine:
        resumed = Net()
        train(resumed, ours.Callback(mine, wait=True))
    assert resumed.steps == 2 * BATCHES
