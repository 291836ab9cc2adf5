"""A booster goes on from its last save, and ends as if nothing had happened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.standalone import Checkpoint
from tests.integrations.conftest import Attempts
from tests.integrations.examples import run_example

xgboost = pytest.importorskip("xgboost")
ours = import_module("memoflow.integrations.xgboost")
pytestmark = pytest.mark.integrations

PARAMS = {"max_depth": 3, "eta": 0.3, "nthread": 1, "objective": "reg:squarederror"}


def data() -> Any:
    made = np.random.default_rng(1).random((300, 5), dtype=np.float32)
    return xgboost.DMatrix(made, (made[:, 0] * made[:, 1] + made[:, 2]))


class Death(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    """Raises after so many rounds of this process."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.rounds -= 1
        if self.rounds == 0:
            raise KeyboardInterrupt
        return False


def train(checkpoint: Any, *more: Any, rounds: int = 25, every: int = 10, **options: Any) -> Any:
    callback = ours.Callback(checkpoint, every, **options)
    train_on = data()
    return xgboost.train(
        PARAMS, train_on, callback.rounds_left(rounds), xgb_model=callback.xgb_model,
        evals=[(train_on, "train")], verbose_eval=False, callbacks=[*more, callback],
    )  # fmt: skip


def rounds(current: CurrentCheckpoint) -> list[int]:
    return [each["metadata"]["rounds"] for each in current.list()]


@pytest.mark.parametrize("wait", [True, False])
def test_a_retry_ends_with_the_same_model(attempt: Attempts, wait: bool) -> None:
    current = attempt()
    with pytest.raises(KeyboardInterrupt):
        train(current, Death(17), wait=wait)
    current.finish()
    assert rounds(current) == [10]
    current = attempt()
    resumed = train(current, wait=wait)
    plain = xgboost.train(PARAMS, data(), 25)
    assert resumed.num_boosted_rounds() == 25
    assert resumed.save_raw("ubj") == plain.save_raw("ubj")
    assert rounds(current) == [25, 20, 10]


def test_the_example_goes_on_where_it_was_killed(attempt: Attempts) -> None:
    current = attempt()
    with pytest.raises(KeyboardInterrupt):
        train(current, Death(35), rounds=100)
    current.finish()
    found = run_example("xgboost", attempt(), data=data(), params=PARAMS)
    assert found["booster"].save_raw() == xgboost.train(PARAMS, data(), 100).save_raw()


def test_a_retry_after_the_last_round_trains_nothing(attempt: Attempts) -> None:
    first = train(attempt(), wait=True)
    again = train(attempt(), Death(1), wait=True)
    assert again.save_raw() == first.save_raw()


def test_evaluations_choose_the_boosters_to_keep(attempt: Attempts) -> None:
    current = attempt(keep_last=1, keep_best=("train-rmse", 1, "max"))
    train(current, wait=True)
    assert rounds(current) == [25, 10]


def test_another_process_goes_on_from_the_last_save_of_its_task(attempt: Attempts) -> None:
    attempt()
    train(Checkpoint(), rounds=10)
    assert train(Checkpoint(), Death(16)).num_boosted_rounds() == 25
