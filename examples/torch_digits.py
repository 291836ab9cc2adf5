"""A training of handwritten digits that is killed in the middle, and resumed where it was.

python torch_digits.py run              is killed after epoch 12; @retry goes on with epoch 13
python torch_digits.py run --kill_at 0  is never killed, and comes to the very same net
"""

import os
import signal
from itertools import pairwise
from pathlib import Path

from metaflow import FlowSpec, Parameter, card, checkpoint, current, model, retry, step
from metaflow.cards import Markdown, VegaChart

TRAIN = 1400  # The images after these are for validation.


class Training:
    """A net, its optimizer and how far they have come: all that decides the rest of a training."""

    def __init__(self, seed):
        import torch

        torch.manual_seed(seed)
        self.net = make_net()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=2e-3)
        self.history = []

    @property
    def epoch(self):
        return len(self.history)

    def run_epoch(self, images, labels, attempt):
        import torch
        from torch.nn.functional import cross_entropy

        self.net.train()
        losses = []
        for batch in torch.randperm(TRAIN).split(64):
            loss = cross_entropy(self.net(images[batch]), labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "loss": sum(losses) / len(losses),
                "accuracy": accuracy(self.net, images[TRAIN:], labels[TRAIN:]),
                "attempt": attempt,
            }
        )

    def save(self, path):
        import torch

        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),  # It orders the batches and drops units out.
            "history": self.history,
        }
        torch.save(state, path)

    def load(self, path):
        import torch

        state = torch.load(path)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.history = state["history"]


def make_net():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 10),
    )


def accuracy(net, images, labels):
    import torch

    net.eval()
    with torch.no_grad():
        return (net(images).argmax(1) == labels).float().mean().item()


def load_images():
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(digits.target)


class TorchDigits(FlowSpec):
    epochs = Parameter("epochs", default=30)
    kill_at = Parameter("kill_at", default=12, help="The epoch to be killed after; 0 for none.")
    seed = Parameter("seed", default=0)

    @step
    def start(self):
        self.next(self.train)

    @card(type="blank")
    @retry(times=2, minutes_between_retries=0)
    @checkpoint
    @model
    @step
    def train(self):
        import torch

        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)  # Enough for a net this small.
        images, labels = load_images()
        training = Training(self.seed)
        state = Path(current.checkpoint.directory, "state.pt")
        if current.checkpoint.is_loaded:
            training.load(state)
            print(f"resumed after epoch {training.epoch}")
        while training.epoch < self.epochs:
            training.run_epoch(images, labels, current.retry_count)
            training.save(state)
            latest = training.history[-1]
            current.checkpoint.save(metadata={"epoch": training.epoch, "loss": latest["loss"]})
            print(f"epoch {training.epoch}: loss {latest['loss']:.4f}")
            if current.retry_count == 0 and training.epoch == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)  # As when memory runs out.

        self.history = training.history
        net = Path(current.checkpoint.directory, "net.pt")
        torch.save(training.net.state_dict(), net)
        self.net = current.model.save(net, label="digits", metadata=self.history[-1])
        current.card.append(Markdown("# Digits: the dashed line is where it was resumed"))
        for chart in charts(self.history):
            current.card.append(chart)
        self.next(self.evaluate)

    @model(load="net")
    @step
    def evaluate(self):
        import torch

        images, labels = load_images()
        net = make_net()
        net.load_state_dict(torch.load(Path(current.model.loaded["net"], "net.pt")))
        self.accuracy = accuracy(net, images[TRAIN:], labels[TRAIN:])
        self.next(self.end)

    @step
    def end(self):
        attempts = len({each["attempt"] for each in self.history})
        print(f"{len(self.history)} epochs in {attempts} attempts, accuracy {self.accuracy:.4f}")


def charts(history):
    """Return a chart each of the loss and the accuracy, with a mark where an attempt took over."""
    resumed = [
        {"epoch": (before["epoch"] + after["epoch"]) / 2, "what": "resumed from the checkpoint"}
        for before, after in pairwise(history)
        if before["attempt"] != after["attempt"]
    ]
    for measure, scale in (("loss", {"type": "log"}), ("accuracy", {"zero": False})):
        x = {"field": "epoch", "type": "quantitative", "axis": {"grid": False}}
        axis = {"tickCount": 5, "minExtent": 40}  # The charts below each other, to the pixel.
        y = {"field": measure, "type": "quantitative", "scale": scale, "axis": axis}
        color = {"field": "attempt", "type": "nominal", "scale": {"range": ["#9ecae1", "#08519c"]}}
        mark = {
            "data": {"values": resumed},
            "mark": {"type": "rule", "color": "#e6550d", "strokeDash": [4, 3]},
            "encoding": {"x": x, "tooltip": {"field": "what", "type": "nominal"}},
        }
        line = {"mark": {"type": "line", "color": "#cccccc"}, "encoding": {"x": x, "y": y}}
        points = {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "tooltip": True},
            "encoding": {"x": x, "y": y, "color": color},
        }
        yield VegaChart(
            {
                "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
                "data": {"values": history},
                "width": 760,
                "height": 220,
                "layer": [mark, line, points],
            }
        )


if __name__ == "__main__":
    TorchDigits()
