"""xgboost: boosters saved between two rounds, and the rest of the rounds for a retry."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from memoflow.flow.checkpoint.checkpointer import DEFAULT_NAME
from memoflow.integrations import needed
from memoflow.integrations.found import found_state

with needed("xgboost"):
    from xgboost import Booster, collective
    from xgboost.callback import TrainingCallback

_BOOSTER = "booster"


class BoosterCallback(TrainingCallback):
    """Saves the booster every so many rounds, and the last one; imported as `Callback`.

        callback = Callback(current.checkpoint)
        xgboost.train(params, data, callback.rounds_left(100), xgb_model=callback.xgb_model,
                      callbacks=[callback])

    `checkpoint` is `current.checkpoint`, or a `memoflow.Checkpoint` in another process. The
    metadata of a save are its rounds and the values of the evaluations in the last one. The model
    is the same as without an interruption if rounds draw no random numbers: none of `subsample`,
    `colsample_*` or `dart`. xgboost starts its other callbacks anew, `EarlyStopping` among them.
    """

    def __init__(
        self, checkpoint: Any, every: int = 10, *, name: str = DEFAULT_NAME, wait: bool = False
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every is a number of rounds from 1 on, not {every}")
        self._checkpoint = checkpoint
        self._every = every
        self._name = name
        self._wait = wait
        self._saved_rounds = 0
        self._logged: dict[str, float] = {}

    @cached_property
    def xgb_model(self) -> Booster | None:
        """The booster that the load policy found, to go on from; None if it found none."""
        state = found_state(self._checkpoint, self._name)
        if state is None:
            return None
        found = Booster()
        found.load_model(bytearray(state[_BOOSTER]))
        self._saved_rounds = found.num_boosted_rounds()
        return found

    def rounds_left(self, total: int) -> int:
        """Return the rounds that `xgb_model` lacks of so many."""
        return max(0, total - (self.xgb_model.num_boosted_rounds() if self.xgb_model else 0))

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._logged = {
            f"{data}-{metric}": values[-1][0] if isinstance(values[-1], tuple) else values[-1]
            for data, metrics in evals_log.items()
            for metric, values in metrics.items()
        }
        if model.num_boosted_rounds() % self._every == 0:
            self._save(model)
        return False

    def after_training(self, model: Any) -> Any:
        if model.num_boosted_rounds() > self._saved_rounds:
            self._save(model)
        return model

    def _save(self, model: Any) -> None:
        rounds = model.num_boosted_rounds()
        self._saved_rounds = rounds
        if collective.get_rank() == 0:
            self._checkpoint.save(
                state={_BOOSTER: bytes(model.save_raw("ubj"))},
                name=self._name,
                metadata={**self._logged, "rounds": rounds},
                wait=self._wait,
            )


Callback = BoosterCallback
