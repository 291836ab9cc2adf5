"""States spread over ranks are one checkpoint, which any number of ranks loads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from tests.gangs import node_of
from tests.integrations.conftest import Attempts
from tests.integrations.examples import run_example
from tests.waiting import PATIENCE_S

torch = pytest.importorskip("torch")
dcp = pytest.importorskip("torch.distributed.checkpoint")
ours = import_module("memoflow.integrations.torch")
pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
]

ROOT = Path(__file__).parents[2]


def run_ranks(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
         "-m", "tests.integrations.ranks", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip


def save(current: CurrentCheckpoint, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    writer = ours.StorageWriter(current, **more)
    dcp.save(state, storage_writer=writer)
    return writer.reference


def load(reference: Any, state: dict[str, Any]) -> dict[str, Any]:
    dcp.load(state, storage_reader=ours.StorageReader(reference))
    return state


def paths(current: CurrentCheckpoint, reference: dict[str, Any]) -> list[str]:
    store = current._checkpointer.where.store
    (ref,) = [ref for ref in store.series(current._checkpointer.series)
              if str(ref.key) == reference["key"]]  # fmt: skip
    return [file.path for file in store.manifest(ref).files]


def parts(current: CurrentCheckpoint) -> int:
    checkpointer = current._checkpointer
    return len(checkpointer.where.store.keys(checkpointer.series / "ranks"))


def test_two_ranks_save_what_any_number_loads(attempt: Attempts) -> None:
    current = attempt()
    ran = run_ranks(2, "save")
    assert ran.returncode == 0, ran.stderr
    (reference,) = current.list()
    assert reference["metadata"] == {"epoch": 3}
    assert paths(current, reference) == [
        "metadata.pickle", "rank-00000.safetensors", "rank-00001.safetensors"
    ]  # fmt: skip
    assert parts(current) == 0
    ran = run_ranks(3, "load", reference["key"])
    assert ran.returncode == 0, ran.stderr
    torch.manual_seed(3)
    made = {"rows": torch.randn(7, 50_000), "columns": torch.randn(300, 7)}
    found = load(reference, {name: torch.zeros_like(each) for name, each in made.items()})
    assert all(torch.equal(found[name], each) for name, each in made.items())


def test_ranks_killed_in_a_save_leave_no_checkpoint(attempt: Attempts) -> None:
    current = attempt()
    ran = run_ranks(2, "die")
    assert ran.returncode != 0
    assert current.list() == []
    assert parts(current) == 1
    assert attempt().info is None


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.complex64,
     torch.complex128, torch.float8_e4m3fn],
    ids=str,
)  # fmt: skip
def test_a_tensor_of_any_dtype_comes_back(attempt: Attempts, dtype: Any) -> None:
    current = attempt()
    made = (torch.randn(40, 30) * 3).to(dtype)
    saved = {"all": made, "view": made[3:, ::2], "turned": made.t(), "one": made[0, 0], "n": 5}
    reference = save(current, saved)
    found = load(reference, {**{name: torch.zeros_like(each) for name, each in saved.items()
                                if name != "n"}, "n": 0})  # fmt: skip
    assert found["n"] == 5
    for name in ("all", "view", "turned", "one"):
        assert torch.equal(found[name].to(torch.complex128), saved[name].to(torch.complex128))


def test_a_retry_loads_the_last_checkpoint_and_no_file_of_it_before(attempt: Attempts) -> None:
    current = attempt(keep_last=2)
    for epoch in range(4):
        save(current, {"w": torch.full((1000, 100), epoch)}, metadata={"epoch": epoch})
    current = attempt(keep_last=2)
    assert [each["metadata"]["epoch"] for each in current.list()] == [3, 2]
    assert list(Path(current.directory).iterdir()) == []
    found = load(current.info, {"w": torch.zeros(1000, 100, dtype=torch.int64)})
    assert (found["w"] == 3).all()


def test_a_tensor_that_did_not_change_is_stored_once(attempt: Attempts) -> None:
    current = attempt()
    state = {"frozen": torch.randn(1_000_000), "head": torch.randn(1000)}

    def size() -> int:
        backend = current._checkpointer.where.store.backend
        return sum(found.size_bytes for found in backend.list(""))

    save(current, state)
    before = size()
    state["head"] = torch.randn(1000)
    save(current, state)
    assert size() - before < 100_000


def test_only_the_rows_that_a_plan_asks_for_are_read(
    attempt: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = attempt()
    reference = save(current, {"w": torch.arange(1_000_000.0).view(1000, 1000), "other": 1})
    asked: list[int] = []
    store = current._checkpointer.where.store
    as_ever = store.read_ranges

    def counted(manifest: Any, path: str, ranges: Any) -> Any:
        asked.extend(length for _, length in ranges)
        return as_ever(manifest, path, ranges)

    monkeypatch.setattr(store, "read_ranges", counted)

    class Half(dcp.DefaultLoadPlanner):
        """The plan of a rank with some of the rows and columns."""

        def create_local_plan(self) -> Any:
            plan = super().create_local_plan()
            size = torch.Size([10, 20])
            plan.items = [
                replace(each, storage_offsets=torch.Size([500, 7]), lengths=size)
                for each in plan.items
            ]
            return plan

        def resolve_tensor(self, item: Any) -> Any:
            return found

    found = torch.zeros(10, 20)
    wanted = {"w": torch.zeros(1000, 1000)}
    dcp.load(wanted, storage_reader=ours.StorageReader(reference), planner=Half())
    assert torch.equal(found, torch.arange(1_000_000.0).view(1000, 1000)[500:510, 7:27])
    assert asked == [10 * 1000 * 4]


def test_an_asynchronous_save_has_what_was_there_at_its_call(attempt: Attempts) -> None:
    current = attempt()
    state = {"w": torch.ones(100_000)}
    writer = ours.StorageWriter(current)
    distributed = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        saving = dcp.async_save(state, storage_writer=writer)
        state["w"].zero_()
        saving.result()
    finally:
        distributed.destroy_process_group()
    assert (load(writer.reference, {"w": torch.zeros(100_000)})["w"] == 1).all()


def test_a_checkpoint_of_files_is_refused(attempt: Attempts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    reference = attempt().save(tmp_path / "file")
    with pytest.raises(CheckpointException, match="checkpoint of files"):
        ours.StorageReader(reference)


def test_ranks_with_different_checkpoints_are_refused(attempt: Attempts) -> None:
    current = attempt()
    reader = ours.StorageReader(save(current, {"w": torch.ones(3)}))
    other = ours.StorageReader(save(current, {"w": torch.ones(3)}))
    plans = [each.prepare_local_plan(dcp.LoadPlan([])) for each in (reader, other)]
    with pytest.raises(CheckpointException, match="all ranks load one checkpoint"):
        reader.prepare_global_plan(plans)


def test_the_states_of_a_gang_are_loaded_by_another_number_of_nodes(tmp_path: Path) -> None:
    def state_of(node: int) -> dict[str, Any]:
        return {
            "model": {"a.w": torch.full((300, 400), float(node)), "b": torch.tensor(node)},
            "opt": {"state": {0: {"m": torch.full((70, 70), node)}}, "groups": [{"lr": 0.1}]},
            "sizes": np.arange(100) + node,
            "node": node,
        }

    for node in range(3):
        reference = node_of(tmp_path, node).save(state=state_of(node), gang=True)
    store = node_of(tmp_path, 0)._checkpointer.where
    wanted = {"node-1": state_of(7), "node-2": {"model": state_of(7)["model"]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memoflow.integrations.torch.reading.current_store", lambda: store)
        found = load(reference, wanted)
    assert found["node-1"]["node"] == 1
    assert found["node-1"]["opt"]["groups"] == [{"lr": 0.1}]
    assert (found["node-1"]["sizes"] == np.arange(100) + 1).all()
    assert (found["node-1"]["opt"]["state"][0]["m"] == 1).all()
    for node in (1, 2):
        assert (found[f"node-{node}"]["model"]["a.w"] == node).all()
        assert found[f"node-{node}"]["model"]["b"] == node


def test_a_state_of_one_task_is_loaded_under_its_own_names(attempt: Attempts) -> None:
    reference = attempt().save(state={"w": torch.arange(4000).view(20, 200), "epoch": 3})
    found = load(reference, {"w": torch.zeros(20, 200, dtype=torch.int64), "epoch": 0})
    assert found["epoch"] == 3
    assert torch.equal(found["w"], torch.arange(4000).view(20, 200))


def test_the_example_goes_on_where_it_was_killed(attempt: Attempts) -> None:
    def run(current: CurrentCheckpoint, *, dies_in: int | None = None) -> list[Any]:
        torch.manual_seed(1)
        net = torch.nn.Linear(30, 3)
        epochs: list[int] = []

        def train_one_epoch(net: Any, optimizer: Any) -> None:
            if len(epochs) == dies_in:
                raise KeyboardInterrupt
            epochs.append(1)
            loss = net(torch.linspace(-1, 1, 300).view(10, 30)).square().sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        run_example(
            "torch.distributed.checkpoint", current, net=net, optimizer=optimizer,
            train_one_epoch=train_one_epoch,
        )  # fmt: skip
        return [len(epochs), *net.parameters()]

    with pytest.raises(KeyboardInterrupt):
        run(attempt(), dies_in=2)
    resumed = run(attempt())
    fresh = run(attempt(of_another_task=True))
    assert (resumed[0], fresh[0]) == (1, 3)
    assert all(torch.equal(*pair) for pair in zip(resumed[1:], fresh[1:], strict=True))
