"""External reads: those of a result again, as they are now, and kept files put back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.fingerprint import Part
from memoflow.flow.memo import external_reads
from memoflow.flow.memo.external_reads import ExternalReads
from memoflow.flow.memo.inputs import UndecidedError
from memoflow.kinds import memo
from memoflow.tracking import Paths, matches


@pytest.fixture
def folder(host, tmp_path) -> Path:
    """The folder of the flow's project."""
    made = tmp_path / "project"
    made.mkdir()
    host.session.context.paths = Paths(str(made), str(made), [])
    return made


@pytest.fixture
def entry(host, record, folder) -> Any:
    def entry(**fields: Any) -> memo.MemoEntry:
        found = memo.read(host.store, record(host.memoized(), host.left(x=1), "x"))
        return replace(found, **fields)

    return entry


def reads(host: Any, *, is_here: bool = True, **options: Any) -> ExternalReads:
    return ExternalReads(
        host.memoized(**options),
        host.session.context,
        environment={"MODE": "fast"},
        is_here=is_here,
    )


def test_a_result_that_read_nothing_asks_for_nothing(host, entry):
    assert reads(host).now(entry()) == ()


def test_a_variable_is_that_of_the_step_s_process(host, entry):
    known = Part("environment", "MODE", "sha256:0")
    [now] = reads(host).now(entry(reads=(known,)))
    [again] = reads(host).now(entry(reads=(now,)))
    assert now.digest != known.digest
    assert again == now


def test_a_file_is_asked_for_again(host, entry, folder):
    (folder / "data.csv").write_text("1")
    [now] = reads(host).now(entry(reads=(Part("file", "data.csv", "xxh3:0"),)))
    assert reads(host).now(entry(reads=(now,))) == (now,)
    (folder / "data.csv").write_text("2")
    assert reads(host).now(entry(reads=(now,)))[0].digest != now.digest


@pytest.mark.parametrize("name", ["/data.csv", "../data.csv", "data.parquet"])
def test_files_of_another_machine_cannot_be_asked_for_here(host, entry, name):
    with pytest.raises(UndecidedError, match="on the machine of the task only"):
        reads(host, is_here=False).now(entry(reads=(Part("file", name, "xxh3:0"),)))


def test_code_that_is_packed_for_another_machine_is_the_same_there(host, entry, folder):
    (folder / "lib.py").write_text("x = 1")
    [now] = reads(host, is_here=False).now(entry(reads=(Part("file", "lib.py", "xxh3:0"),)))
    assert now.name == "lib.py"


def test_a_file_that_the_outputs_name_is_missed_if_it_is_gone_or_another(host, entry, folder):
    path = folder / "out.txt"
    path.write_text("1")
    named = entry(named={"out.txt": host.session.context.digests.of_file(str(path))})
    assert reads(host).lost_file(named) is None
    path.write_text("22")
    assert reads(host).lost_file(named) == ("out.txt", True)
    path.unlink()
    assert reads(host).lost_file(named) == ("out.txt", False)
    assert reads(host, is_here=False).lost_file(named) is None


def test_a_kept_file_is_put_back_where_it_is_missing(host, folder, record, entry):
    (folder / "out.txt").write_text("kept")
    digest = host.session.context.digests.of_file(str(folder / "out.txt"))
    files = {"out.txt": (digest, folder / "out.txt")}
    ref = record(host.memoized(), host.left(task="7", x=2), "x", files=files)
    (folder / "out.txt").unlink()
    reads(host, files=("*.txt",)).restore(memo.read(host.store, ref))
    assert (folder / "out.txt").read_text() == "kept"


def test_a_file_that_no_pattern_asks_for_is_not_written(host, folder, entry):
    reads(host, files=("*.csv",)).restore(entry(files={"../evil.txt": "xxh3:0"}))
    assert not (folder.parent / "evil.txt").exists()


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("logs/*", Part("file", "logs/a.txt", "")),
        ("logs", Part("directory", "logs/a", "")),
        ("os.environ", Part("environment", "X", "")),
        ("os.environ['X']", Part("environment", "X", "")),
        ('os.environ["X"]', Part("environment", "X", "")),
        ("Client", Part("client", "Flow('A')", "")),
        ("s3://b/*", Part("s3", "s3://b/k", "")),
    ],
)
def test_a_name_in_ignore_means_reads(pattern, part):
    assert matches(pattern, part)
    assert not matches("other", part)


def test_a_step_with_a_decorator_for_another_machine_runs_there(host):
    memoized: Any = SimpleNamespace(
        decorators=[
            SimpleNamespace(name="kubernetes", attributes={}),
            SimpleNamespace(name="environment", attributes={"vars": {"A": "1"}}),
        ]
    )
    assert external_reads.is_elsewhere(memoized)
    assert external_reads.declared_variables(memoized) == {"A"}
    assert not external_reads.is_elsewhere(host.memoized())
