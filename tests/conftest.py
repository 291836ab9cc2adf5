"""What tests of several rooms share: a clock, and things that break on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memoflow.backends import Backend
from tests.faults import Faulty, SystemFaults
from tests.s3 import Server, serving

# Some tests of `flow` import Metaflow here, where memoflow can be seen twice: installed, and as
# this checkout. Metaflow takes that for a conflict of two extensions, so it is shown one.
os.environ.setdefault("METAFLOW_EXTENSIONS_SEARCH_DIRS", str(Path(__file__).parents[1]))


# Not units: they start flows, servers or many processes, or search long for a counterexample.
NOT_QUICK = (
    "stories",
    "backends/test_exclusive.py",
    "backends/test_s3.py",
    "cli/test_hostile.py",
    "cli/test_terminal.py",
    "fingerprint/test_held_code.py",
    "fingerprint/test_leavings.py",
    "flow/hub",
    "flow/cards",
    "flow/test_signals.py",
    "flow/test_spool.py",
    "flow/test_uploading.py",
    "integrations",
    "objects/test_growing.py",
    "objects/test_sparse.py",
    "objects/test_trees.py",
    "store/test_crashes.py",
    "store/test_leases.py",
    "store/test_series_size.py",
    "store/test_sweep_property.py",
    "test_editors.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark units as `quick`."""
    here = Path(__file__).parent
    others = {here / name for name in NOT_QUICK}
    for item in items:
        is_other = bool(others & {item.path, *item.path.parents}) or _borrows_flows(item)
        is_other |= "s3_server" in getattr(item, "fixturenames", ()) or "a_browser" in item.name
        if not is_other and "stress" not in item.keywords:
            item.add_marker("quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare a run of units the imports of all else."""
    if config.getoption("markexpr") != "quick":
        return None
    return collection_path.relative_to(Path(__file__).parent).as_posix() in NOT_QUICK or None


def _borrows_flows(item: pytest.Item) -> bool:
    """Tell whether the module of a test uses the flows of the stories."""
    names = vars(item.getparent(pytest.Module).obj).values()  # type: ignore[union-attr]
    return any(getattr(it, "__module__", "").startswith("tests.stories.") for it in names)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: stories wait for the processes that they start."""
    return (os.cpu_count() or 1) + 1


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faulty_around() -> Iterator[Callable[[Backend], Faulty]]:
    """Wrap backends; a fault that was planned and never fired fails the test."""
    made: list[Faulty] = []

    def wrap(backend: Backend) -> Faulty:
        made.append(Faulty(backend))
        return made[-1]

    yield wrap
    for faulty in made:
        assert not faulty.pending, f"these faults never fired: {faulty.pending}"


@pytest.fixture
def system_faults() -> Iterator[SystemFaults]:
    with pytest.MonkeyPatch.context() as patch:
        yield SystemFaults(patch)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    with serving() as server:
        yield server
