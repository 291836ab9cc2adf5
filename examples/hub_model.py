"""Make the small model that hub_digits.py evaluates: a linear classifier of handwritten digits.

python hub_model.py FOLDER     writes config.json and model.npz, to serve or to push to the Hub
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


def main(folder):
    digits = load_digits()
    # Every other image; hub_digits.py takes the rest.
    images, labels = digits.data[::2] / 16, digits.target[::2]
    model = LogisticRegression(max_iter=500, C=0.1).fit(images, labels)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"pixels": 64, "scale": 16, "classes": 10}))
    np.savez(folder / "model.npz", weights=model.coef_, biases=model.intercept_)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
