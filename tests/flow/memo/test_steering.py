"""`--memo-refresh`, the code key, and `current.memo`: what a user sets, and what a task sees."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import pytest
from metaflow.exception import CommandException

from memoflow.errors import NoFingerprintError
from memoflow.flow.memo import code_key
from memoflow.flow.memo.flags import steps_to_refresh
from memoflow.flow.memo.lookup import LookupResult
from memoflow.flow.memo.options import MemoizeOptions
from memoflow.flow.memo.worker import CurrentMemo
from memoflow.kinds import memo
from memoflow.kinds.decision import Decision, Reason
from memoflow.masking import ANY


def test_a_step_alone_or_with_all_after_it_or_all_are_refreshed(host):
    found = [steps_to_refresh((text,), host.graph) for text in ("fit", "fit+", "all")]
    assert found == [{"fit"}, {"fit", "end"}, {"start", "fit", "end"}]


def test_nothing_is_refreshed_by_default(host):
    assert steps_to_refresh((), host.graph) == frozenset()


def test_a_step_that_is_not_there_cannot_be_refreshed(host):
    with pytest.raises(CommandException, match="the steps are start, fit, end"):
        steps_to_refresh(("fitt+",), host.graph)


def fingerprint(host: Any, **options: Any) -> Any:
    return code_key.of_step(type(host.flow), "fit", MemoizeOptions(**options), ANY)


def test_equal_code_and_options_have_one_key(host):
    assert fingerprint(host) == fingerprint(host)


@pytest.mark.parametrize(
    "options",
    [{"version": "2"}, {"outputs": ("y",)}, {"files": ("out/*",)}, {"environment": False}],
)
def test_options_that_decide_the_result_are_in_the_key(host, options):
    assert fingerprint(host).hex != fingerprint(host, **options).hex


def test_options_that_do_not_decide_it_are_not(host):
    assert fingerprint(host).hex == fingerprint(host, audit=0.5, single_flight=False).hex


def test_without_the_environment_no_package_is_in_the_key(host):
    kinds = [
        {part.kind for part in fingerprint(host, environment=on).parts} for on in (True, False)
    ]
    assert "python" in kinds[0]
    assert not {"python", "package"} & kinds[1]


def test_a_module_that_was_edited_since_is_named(tmp_path, monkeypatch):
    path = tmp_path / "helpers_of_fit.py"
    path.write_text("x = 1\n")
    module = ModuleType("helpers_of_fit")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "helpers_of_fit", module)
    os.utime(path, (5e9, 5e9))
    assert code_key.edited_since(4e9) == "helpers_of_fit.py"
    assert code_key.edited_since(6e9) is None


def test_a_hit_has_the_key_and_origin_of_its_result(host, record):
    memoized = host.memoized()
    entry = memo.read(host.store, record(memoized, host.left(x=1), "x"))
    found = CurrentMemo.of(LookupResult.hit(entry, ()), memoized)
    assert found == CurrentMemo(True, str(entry.ref.key), "Train/0/fit/9")


def test_a_miss_has_the_key_of_its_code(host):
    memoized = host.memoized()
    found = CurrentMemo.of(LookupResult(Decision.miss(Reason.FIRST_RUN)), memoized)
    assert found == CurrentMemo(False, str(memoized.code_key), None)


def test_a_step_without_a_fingerprint_has_no_key(host):
    memoized = host.memoized()
    memoized._code = NoFingerprintError("fit", "it holds a socket")
    decision = Decision.miss(Reason.NO_FINGERPRINT)
    assert CurrentMemo.of(LookupResult(decision), memoized).key is None
