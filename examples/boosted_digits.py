"""Boosted trees for handwritten digits: more of them with each run, none of them grown twice.

python boosted_digits.py run                    grows 40 trees, and crashes now and then
python boosted_digits.py run --trees 60         begins with the 40 trees of the run before
python boosted_digits.py run --crash_chance 1   crashes after each save but the last
"""

import os
import random
from pathlib import Path

from metaflow import FlowSpec, Parameter, checkpoint, current, retry, step

TRAIN = 1400  # The images after these are for validation.
TREES_AT_ONCE = 10


class BoostedDigits(FlowSpec):
    trees = Parameter("trees", default=40)
    crash_chance = Parameter("crash_chance", default=0.2, help="After each save, from 0 to 1.")

    @step
    def start(self):
        self.next(self.grow)

    @retry(times=4, minutes_between_retries=0)
    @checkpoint(load_policy="eager", keep_last=3)
    @step
    def grow(self):
        import joblib
        from sklearn.datasets import load_digits
        from sklearn.ensemble import GradientBoostingClassifier

        images, labels = load_digits(return_X_y=True)
        saved = Path(current.checkpoint.directory, "forest.joblib")
        if current.checkpoint.is_loaded:
            forest, self.accuracies = joblib.load(saved)
            print(
                f"going on from {forest.n_estimators} trees of {current.checkpoint.info.pathspec}"
            )
        else:
            forest = GradientBoostingClassifier(
                n_estimators=0, max_features="sqrt", warm_start=True, random_state=0
            )
            self.accuracies = {}
        while forest.n_estimators < self.trees:
            forest.n_estimators += TREES_AT_ONCE
            forest.fit(images[:TRAIN], labels[:TRAIN])
            accuracy = forest.score(images[TRAIN:], labels[TRAIN:])
            self.accuracies[forest.n_estimators] = accuracy
            joblib.dump((forest, self.accuracies), saved)
            current.checkpoint.save(metadata={"trees": forest.n_estimators, "accuracy": accuracy})
            print(f"{forest.n_estimators} trees: accuracy {accuracy:.4f}")
            if forest.n_estimators < self.trees and random.random() < self.crash_chance:
                os._exit(1)  # No exception, no clean-up: the process is gone.
        self.next(self.end)

    @step
    def end(self):
        for trees, accuracy in self.accuracies.items():
            print(f"{trees:4d} trees: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    BoostedDigits()
