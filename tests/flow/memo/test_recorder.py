"""The recorder: the result of a task that ran, or the reason why it cannot be found again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.fingerprint import Part
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo.recorder import Recorder
from memoflow.flow.memo.step_reads import Left, StepReads
from memoflow.flow.memo.uncached import Uncached
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.names import Ref
from tests.flow.memo.conftest import GOES_ON
from tests.said import kept_in

NOTHING = StepReads((), (), (), {}, (), (), lambda path, state: True)


@pytest.fixture
def recorded(host) -> Any:
    """Record a task that read and set these names; return what came of it."""

    def recorded(
        *reads: str,
        sets: Any = None,
        besides: StepReads = NOTHING,
        left: Left | None = None,
        blind: Any = (),
        seen: Any = None,
        **options: Any,
    ) -> Ref | Uncached:
        started = host.left(x=1, z=2)
        output = host.output()
        TaskArtifacts(output).bind_all_of(started)
        output.save_artifacts(iter((sets or {"y": 3}).items()))
        memoized = host.memoized(**options)
        memoized.fix_code()
        recorder = Recorder(
            memoized,
            host.session.context,
            host.inputs(memoized, started),
            output=output,
            datastores=[started],
            seen=seen,
            say=kept_in(host.said),
        )
        watch: Any = SimpleNamespace(
            reads=dict.fromkeys(reads),
            writes=set(sets or {"y"}),
            blind=dict.fromkeys(blind),
            refs=set(),
        )
        left = left or Left(run_time_s=2.0, next_step=GOES_ON)
        return recorder.record(watch, besides, left, "Train/1/fit/2")

    return recorded


def entry(host: Any, found: Ref | Uncached) -> MemoEntry:
    assert isinstance(found, Ref)
    return memo.read(host.store, found)


def test_a_result_has_its_inputs_outputs_and_next_step(host, recorded):
    found = entry(host, recorded("x"))
    assert [part.name for part in found.inputs] == ["x"]
    assert found.artifacts.keys() == {"y"}
    assert (found.origin, found.run_time_s, found.next_step) == ("Train/1/fit/2", 2.0, GOES_ON)


def test_an_artifact_that_the_step_left_as_it_was_is_no_output(host, recorded):
    assert entry(host, recorded("x", sets={"y": 3, "z": 5})).artifacts.keys() == {"y", "z"}
    assert entry(host, recorded("x", sets={"y": 4})).artifacts.keys() == {"y"}


def test_ignored_reads_decide_nothing(host, recorded):
    found = recorded("x", "current.run_id", ignore=frozenset(["current.run_id"]))
    assert [part.name for part in entry(host, found).inputs] == ["x"]


def test_a_read_that_each_run_has_anew_is_why_nothing_is_kept(recorded):
    found = recorded("x", "current.run_id")
    assert found.kind == "reads"
    assert "current.run_id" in found.text


def test_reads_that_cannot_be_told_are_why_nothing_is_kept(recorded):
    assert recorded("x", blind=["vars(self)"]).kind == "blind"


def test_a_file_that_the_step_changed_while_it_ran_is_not_kept_this_time(recorded):
    changed = StepReads((), (), (), {}, ("data.csv changed",), (), NOTHING.has_made)
    found = recorded("x", besides=changed)
    assert (found.text, found.lasts) == ("data.csv changed", False)


def test_too_fast_a_step_is_not_kept(recorded):
    found = recorded("x", min_time=timedelta(hours=1), min_time_text="1h")
    assert found.kind == "min_time"


def test_outputs_too_many_to_look_through_are_not_kept(recorded):
    left = Left(2.0, GOES_ON, all_looked_at=False)
    assert recorded("x", left=left).kind == "outputs"


def test_external_reads_and_references_are_recorded(host, recorded):
    part = Part("environment", "MODE", "sha256:0")
    besides = StepReads((part,), (), (), {}, (), (), NOTHING.has_made)
    left = Left(2.0, GOES_ON, refers_to=frozenset(["model/Train/fit/1"]))
    found = entry(host, recorded("x", besides=besides, left=left))
    assert found.reads == (part,)
    assert found.refers_to == ("model/Train/fit/1",)


def test_listed_inputs_decide_alone_and_others_are_said(host, recorded):
    found = entry(host, recorded("x", "z", inputs=("x",)))
    assert [part.name for part in found.inputs] == ["x"]
    assert "fit also reads z, which inputs=[...] does not list" in host.said[0]


def test_listed_outputs_alone_are_kept_and_others_are_said(host, recorded):
    found = entry(host, recorded("x", sets={"y": 3, "w": 4}, outputs=("y", "v")))
    assert found.artifacts.keys() == {"y"}
    assert host.said[0].startswith("fit also sets w, which outputs=[...] does not list")
    assert host.said[1] == "fit did not set v, which outputs=[...] lists"


def test_files_that_the_step_wrote_are_kept_on_request(host, recorded):
    path = Path(host.session.context.paths.base, "kept_by_recorder.txt")
    path.write_text("kept")
    try:
        found = entry(host, recorded("x", files=("kept_by_recorder.*", "absent.*")))
    finally:
        path.unlink()
    assert list(found.files) == ["kept_by_recorder.txt"]
    assert host.said == ['files="absent.*" matched no file that fit wrote']


def test_a_file_that_the_step_did_not_write_is_not_kept(host, recorded):
    path = Path(host.session.context.paths.base, "read_by_recorder.txt")
    path.write_text("of others")
    besides = StepReads((), (), (), {}, (), (), lambda path, state: False)
    try:
        found = entry(host, recorded("x", files=("read_by_recorder.*",), besides=besides))
    finally:
        path.unlink()
    assert dict(found.files) == {}


def test_a_result_expires_with_its_ttl(host, recorded):
    assert entry(host, recorded("x")).ref.expires is None
    assert entry(host, recorded("x", ttl=timedelta(hours=1))).ref.expires is not None
