"""Environment variables: those that the user's own code asks for, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.tracking.cases import NOTHING, Case

ASKED: dict[str, Callable[[], Any]] = {
    "by item": lambda: os.environ["REGION"],
    "by get": lambda: os.environ.get("REGION"),
    "by getenv": lambda: os.getenv("REGION"),
    "by getenvb": lambda: os.getenvb(b"REGION"),
    "in bytes": lambda: os.environb[b"REGION"],
    "by expandvars": lambda: os.path.expandvars("$REGION/x"),
    "by setdefault": lambda: os.environ.setdefault("REGION", "x"),
    "by pop": lambda: os.environ.pop("REGION"),
}


@pytest.mark.parametrize("how", ASKED)
def test_a_change_of_a_variable_is_a_difference(how: str, case: Case) -> None:
    case.run(ASKED[how])
    os.environ["REGION"] = "a"
    assert case.differs() == NOTHING
    os.environ["OTHER"] = "b"
    assert case.differs() == NOTHING
    os.environ["REGION"] = "b"
    assert case.differs() == "environment REGION"


@pytest.mark.parametrize(
    "ask",
    [lambda: "OTHER" in os.environ, lambda: os.getenv("OTHER"), lambda: os.environ.get("OTHER")],
    ids=["in", "getenv", "get"],
)
def test_a_variable_that_was_not_set_counts(ask: Any, case: Case) -> None:
    case.run(ask)
    assert case.differs() == NOTHING
    os.environ["OTHER"] = "b"
    assert case.differs() == "environment OTHER"


@pytest.mark.parametrize(
    "copy",
    [
        lambda: {**os.environ},
        lambda: dict(os.environ),
        lambda: os.environ.copy(),
        lambda: os.environ | {"X": "1"},
        lambda: list(os.environ.items()),
        lambda: list(os.environ),
    ],
    ids=["unpacking", "dict", "copy", "union", "items", "names"],
)
def test_a_copy_of_all_variables_reads_none(copy: Any, case: Case) -> None:
    case.run(copy)
    assert case.names == {}


def test_a_copy_elsewhere_hides_no_variable(case: Case) -> None:
    def copied() -> dict[str, str]:
        return dict(os.environ)

    def asked() -> str | None:
        return os.getenv("REGION")

    case.run(lambda: ([copied() for _ in range(100)], asked()))
    assert list(case.names) == ["environment REGION"]


def test_a_variable_that_the_code_sets_is_its_own(case: Case) -> None:
    case.run(lambda: (os.environ.update(REGION="b"), os.getenv("REGION")))
    assert case.names == {}


def test_a_variable_that_is_as_it_was_is_not_the_codes_own(case: Case) -> None:
    def act() -> None:
        with mock.patch.dict(os.environ, {"OTHER": "1"}):
            os.getenv("OTHER")
        os.getenv("REGION")

    case.run(act)
    assert list(case.names) == ["environment REGION"]


@pytest.mark.parametrize("name", ["API_KEY", "gh_token", "DB_PASSWORD", "METAFLOW_MEMOFLOW_X"])
def test_results_depend_on_no_credentials(name: str, case: Case) -> None:
    case.run(lambda: os.getenv(name))
    assert case.names == {}


def test_a_value_that_is_no_text_counts(case: Case) -> None:
    os.environb[b"REGION"] = b"\xff"
    case.run(lambda: os.getenv("REGION"))
    assert case.differs() == NOTHING
    os.environb[b"REGION"] = b"\xfe"
    assert case.differs() == "environment REGION"


def test_a_value_cannot_be_told_from_its_digest(case: Case) -> None:
    import hashlib

    from xxhash import xxh3_128_hexdigest

    case.run(lambda: os.getenv("REGION"))
    digest = case.names["environment REGION"]
    value = os.environ["REGION"].encode()
    plain = [xxh3_128_hexdigest(value), hashlib.blake2b(value, digest_size=16).hexdigest()]
    assert not any(each in digest for each in plain)


def test_home_that_a_path_is_expanded_by_is_no_read(case: Case) -> None:
    case.run(lambda: os.path.expanduser("~/x"))
    assert case.names == {}
