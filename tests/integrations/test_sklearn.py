"""Estimators go on from their last slice, and end as if nothing had happened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.standalone import Checkpoint
from tests.integrations.conftest import Attempts
from tests.integrations.examples import run_example

ensemble = pytest.importorskip("sklearn.ensemble")
linear_model = pytest.importorskip("sklearn.linear_model")
neural_network = pytest.importorskip("sklearn.neural_network")
clone = pytest.importorskip("sklearn.base").clone
ours = import_module("memoflow.integrations.sklearn")
pytestmark = pytest.mark.integrations

X = np.random.default_rng(1).random((200, 5))
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0.7).astype(int)

boosting = ensemble.GradientBoostingClassifier
histograms = ensemble.HistGradientBoostingClassifier
GROWING = {
    "forest": (ensemble.RandomForestClassifier(25, random_state=0), "n_estimators"),
    "trees": (ensemble.ExtraTreesClassifier(25, random_state=0), "n_estimators"),
    "boosting": (boosting(n_estimators=25, random_state=0), "n_estimators"),
    "histograms": (histograms(max_iter=25, random_state=0), "max_iter"),
}
PASSING = {
    "linear": linear_model.SGDClassifier(random_state=0),
    "network": neural_network.MLPClassifier((8,), random_state=0),
}


def killed_in(saves: int, current: CurrentCheckpoint) -> CurrentCheckpoint:
    """Have a later save killed before it is made."""
    left = iter(range(saves))
    save = current.save

    def dying(*given: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return save(*given, **named)

    current.save = dying  # type: ignore[method-assign]
    return current


def same(one: Any, other: Any) -> bool:
    scores = "decision_function" if hasattr(one, "decision_function") else "predict_proba"
    return np.array_equal(getattr(one, scores)(X), getattr(other, scores)(X))


@pytest.mark.parametrize("kind", GROWING)
def test_a_retry_grows_the_same_estimator(attempt: Attempts, kind: str) -> None:
    estimator, parameter = GROWING[kind]
    current = attempt()
    with pytest.raises(KeyboardInterrupt):
        ours.fit(killed_in(2, current), clone(estimator), X, Y, every=10, parameter=parameter)
    current.finish()
    current = attempt()
    assert [each["metadata"] for each in current.list()] == [{parameter: 20}, {parameter: 10}]
    resumed = ours.fit(current, clone(estimator), X, Y, every=10, parameter=parameter)
    assert resumed.get_params() == estimator.get_params()
    assert same(resumed, clone(estimator).fit(X, Y))
    assert len(current.list()) == 3


@pytest.mark.parametrize("kind", PASSING)
def test_a_retry_makes_the_passes_that_are_left(attempt: Attempts, kind: str) -> None:
    def fit(current: Any) -> Any:
        return ours.partial_fit(
            current, clone(PASSING[kind]), X, Y, passes=7, every=2, wait=True, classes=[0, 1]
        )

    with pytest.raises(KeyboardInterrupt):
        fit(killed_in(2, attempt()))
    plain = clone(PASSING[kind])
    for _ in range(7):
        plain.partial_fit(X, Y, classes=[0, 1])
    assert same(fit(attempt()), plain)


def test_the_example_goes_on_where_it_was_killed(attempt: Attempts) -> None:
    current = attempt()
    with pytest.raises(KeyboardInterrupt):
        run_example("scikit-learn", killed_in(3, current), X=X, y=Y)
    current.finish()
    current = attempt()
    found = run_example("scikit-learn", current, X=X, y=Y)
    plain = ensemble.RandomForestClassifier(200, random_state=0).fit(X, Y)
    assert same(found["forest"], plain)
    assert len(current.list()) == 4


def test_a_whole_estimator_is_fitted_no_more(attempt: Attempts) -> None:
    estimator, _ = GROWING["forest"]
    first = ours.fit(attempt(), clone(estimator), X, Y, every=10, wait=True)
    again = ours.fit(killed_in(0, attempt()), clone(estimator), X, Y, every=10)
    assert same(first, again)


def test_keep_last_is_honoured(attempt: Attempts) -> None:
    current = attempt(keep_last=1)
    ours.fit(current, clone(GROWING["forest"][0]), X, Y, every=10, wait=True)
    assert [each["metadata"] for each in current.list()] == [{"n_estimators": 25}]


def test_another_process_goes_on_from_the_last_save_of_its_task(attempt: Attempts) -> None:
    current = attempt()
    forest = ensemble.RandomForestClassifier(10, random_state=0)
    ours.fit(Checkpoint(), forest, X, Y, every=10)
    ours.fit(Checkpoint(), clone(GROWING["forest"][0]), X, Y, every=10)
    found = [each["metadata"]["n_estimators"] for each in current.list()]
    assert found == [25, 20, 10]
