"""Evaluate a model of the Hub on handwritten digits.

python hub_model.py digits                                makes a small model
python ../tests/hubs.py memoflow/digits=digits            serves it as a Hub would, until stopped
python hub_digits.py run                                  downloads it, once, and evaluates it
python hub_digits.py run                                  asks which commit is newest, no more
"""

import json
import os
from pathlib import Path

from metaflow import FlowSpec, current, huggingface_hub, step

# Without this line the flow asks the real Hub.
os.environ.setdefault("HF_ENDPOINT", "http://127.0.0.1:8765")

REPO = "memoflow/digits"  # there, a repository of yours to which you pushed the folder


class HubDigits(FlowSpec):
    @huggingface_hub(load=[REPO], cache_scope="flow")
    @step
    def start(self):
        import numpy as np
        from sklearn.datasets import load_digits

        folder = Path(current.huggingface_hub.loaded[REPO])
        config = json.loads((folder / "config.json").read_text())
        with np.load(folder / "model.npz") as model:
            weights, biases = model["weights"], model["biases"]
        digits = load_digits()
        images, labels = digits.data[1::2] / config["scale"], digits.target[1::2]
        found = (images @ weights.T + biases).argmax(axis=1)
        self.accuracy = float((found == labels).mean())
        self.commit = current.huggingface_hub.loaded.info[REPO]["metadata"]["commit"]
        self.next(self.end)

    @step
    def end(self):
        print(f"{REPO} at {self.commit[:12]}: accuracy {self.accuracy:.3f}")


if __name__ == "__main__":
    HubDigits()
