"""A sweep over classifiers of handwritten digits, with the results of each fit remembered.

python digits.py run          fits every candidate
python digits.py run          fits none: all results come from the store
python digits.py run --more   fits the one candidate that is new
"""

from io import BytesIO

from metaflow import FlowSpec, Parameter, card, current, memoize, step
from metaflow.cards import Image, Markdown, Table

CANDIDATES = [
    {"kind": "logistic", "C": 0.01},
    {"kind": "logistic", "C": 1.0},
    {"kind": "svm", "gamma": 0.0005},
    {"kind": "svm", "gamma": 0.001},
    {"kind": "forest", "n_estimators": 200},
    {"kind": "neighbors", "n_neighbors": 3},
]


def make_model(kind, **settings):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if kind == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, **settings))
    if kind == "svm":
        return SVC(**settings)
    if kind == "neighbors":
        return KNeighborsClassifier(**settings)
    return RandomForestClassifier(random_state=0, **settings)


def train(candidate, images, labels):
    """Return the accuracy in each fold of a twenty-fold cross-validation."""
    from sklearn.model_selection import cross_val_score

    return cross_val_score(make_model(**candidate), images, labels, cv=20).tolist()


class Digits(FlowSpec):
    more = Parameter("more", is_flag=True, default=False, help="Try one candidate more.")

    @step
    def start(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        self.images, self.labels = digits.data, digits.target
        self.grid = CANDIDATES + [{"kind": "svm", "gamma": 0.002}] * self.more
        self.next(self.fit, foreach="grid")

    @memoize
    @step
    def fit(self):
        self.folds = train(self.input, self.images, self.labels)
        self.next(self.join)

    @card(type="blank")
    @step
    def join(self, inputs):
        self.results = sorted(
            (sum(one.folds) / len(one.folds), min(one.folds), max(one.folds), name(one.input))
            for one in inputs
        )
        current.card.append(Markdown("# Digits: accuracy in twenty folds"))
        current.card.append(Image(plot(self.results)))
        current.card.append(
            Table(
                [[name, f"{mean:.4f}"] for mean, _, _, name in reversed(self.results)],
                headers=["candidate", "mean accuracy"],
            )
        )
        self.next(self.end)

    @step
    def end(self):
        mean, _, _, name = self.results[-1]
        print(f"best of {len(self.results)}: {name}, accuracy {mean:.4f}")


def name(candidate):
    kind, *settings = (f"{key}={value}" for key, value in candidate.items())
    return " ".join([kind.removeprefix("kind="), *settings])


def plot(results):
    """Return a PNG with a bar from the worst to the best fold of each candidate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, (mean, low, high, _) in enumerate(results):
        axes.plot([low, high], [row, row], color="#9ecae1", linewidth=8, solid_capstyle="round")
        axes.plot(mean, row, "o", color="#08519c")
    axes.set_yticks(range(len(results)), [label for *_, label in results])
    axes.set_xlabel("accuracy: mean of twenty folds, and from the worst to the best")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    png = BytesIO()
    figure.savefig(png, dpi=110)
    return png.getvalue()


if __name__ == "__main__":
    Digits()
