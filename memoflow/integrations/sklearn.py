"""sklearn: estimators fitted in slices, and saved between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memoflow.flow.checkpoint.checkpointer import DEFAULT_NAME
from memoflow.integrations import needed
from memoflow.integrations.found import found_state

with needed("scikit-learn"):
    from sklearn.base import BaseEstimator


def fit(
    checkpoint: Any,
    estimator: BaseEstimator,
    X: Any,
    y: Any = None,
    *,
    every: int,
    parameter: str = "n_estimators",
    name: str = DEFAULT_NAME,
    wait: bool = False,
    **fit_params: Any,
) -> Any:
    """Fit an estimator that grows by `warm_start`, and return it.

        forest = fit(current.checkpoint, RandomForestClassifier(500), X, y, every=50)

    `parameter` is the size to which it grows, by `every` at a time: `n_estimators` of forests and
    gradient boosting, `max_iter` of `HistGradientBoosting*`. It is saved each time, and a retry
    returns the estimator that was saved last, grown to its size. It ends as without an interruption
    if its random state is a number.
    """
    before = estimator.get_params()

    def grow(one: Any, done: int, size: int) -> None:
        one.set_params(**{parameter: size, "warm_start": True}).fit(X, y, **fit_params)

    def save(one: Any, done: int) -> None:
        _save(checkpoint, one, done, parameter, name=name, wait=wait)

    fitted = _in_slices(
        found_state(checkpoint, name), estimator, before[parameter], every, grow, save
    )
    return fitted.set_params(warm_start=before["warm_start"])


def partial_fit(
    checkpoint: Any,
    estimator: BaseEstimator,
    X: Any,
    y: Any = None,
    *,
    passes: int,
    every: int = 1,
    name: str = DEFAULT_NAME,
    wait: bool = False,
    **fit_params: Any,
) -> Any:
    """Fit an estimator by so many passes of its `partial_fit`, and return it.

        model = partial_fit(current.checkpoint, SGDClassifier(), X, y, passes=20, classes=[0, 1])

    It is saved after every so many, and a retry returns the estimator that was saved last, with the
    passes that it lacked.
    """

    def pass_over(one: Any, done: int, upto: int) -> None:
        for _ in range(done, upto):
            one.partial_fit(X, y, **fit_params)

    def save(one: Any, done: int) -> None:
        _save(checkpoint, one, done, "passes", name=name, wait=wait)

    return _in_slices(found_state(checkpoint, name), estimator, passes, every, pass_over, save)


def _in_slices(
    found: Any,
    estimator: Any,
    total: int,
    every: int,
    fit_more: Callable[[Any, int, int], None],
    save: Callable[[Any, int], None],
) -> Any:
    """Return the estimator, or the one in a state that was found, fitted to a total."""
    if every < 1:
        raise ValueError(f"every is a number from 1 on, not {every}")
    one, done = (estimator, 0) if found is None else (found["estimator"], found["done"])
    while done < total:
        upto = min(done + every, total)
        fit_more(one, done, upto)
        done = upto
        save(one, done)
    return one


def _save(checkpoint: Any, one: Any, done: int, unit: str, *, name: str, wait: bool) -> None:
    state = {"estimator": one, "done": done}
    checkpoint.save(state=state, name=name, metadata={unit: done}, wait=wait)
