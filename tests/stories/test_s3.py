"""A bucket in place of a disk: the same flows, on machines that share nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import Proxy, Server, serving, silence
from tests.stories import clouds
from tests.stories.clouds import on_another_machine, store_in_a_bucket
from tests.stories.conftest import Project
from tests.stories.world import NOTES, notes, once

SWEEP = """
    from metaflow import FlowSpec, memoize, step
    from notes import note

    class Sweep(FlowSpec):
        @memoize
        @step
        def start(self):
            self.items = [2, 3]
            self.next(self.fit, foreach="items")

        @memoize
        @step
        def fit(self):
            self.square = self.input ** 2
            self.weights = bytes(100_000) + bytes([self.input])
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.total = sum(each.square for each in inputs)
            self.next(self.end)

        @step
        def end(self):
            note(total=self.total)

    if __name__ == "__main__":
        Sweep()
"""

TRAIN = """
    import os
    from metaflow import FlowSpec, checkpoint, current, model, retry, step
    from notes import note, tree

    class Train(FlowSpec):
        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @model
        @step
        def start(self):
            here = current.checkpoint.directory
            if current.retry_count == 0:
                for epoch in range(3):
                    with open(os.path.join(here, "epoch"), "w") as file:
                        file.write(str(epoch))
                    with open(os.path.join(here, "weights"), "wb") as file:
                        file.write(bytes(3_000_000) + bytes([epoch]))
                    current.checkpoint.save(metadata={"epoch": epoch})
                raise RuntimeError("on purpose")
            note(resumed=tree(here)["epoch"], is_loaded=current.checkpoint.is_loaded)
            note(listed=[each["metadata"]["epoch"] for each in current.checkpoint.list()])
            self.net = current.model.save(here, label="net")
            self.next(self.end)

        @model(load="net")
        @step
        def end(self):
            note(loaded=sorted(tree(current.model.loaded["net"])))

    if __name__ == "__main__":
        Train()
"""


@once
def story(project: Project) -> dict[str, object]:
    project.write("flow.py", SWEEP)
    project.write("train.py", TRAIN)
    with serving() as server:
        bucket = server.bucket()
        project.env |= server.environment(bucket)
        first = project.run(**on_another_machine(project, 1))
        second = project.run(**on_another_machine(project, 2))
        client = server.client()
        # As somebody cleans up runs: all that Metaflow kept of this flow goes.
        listed = client.list_objects_v2(Bucket=bucket, Prefix="metaflow/Sweep/")["Contents"]
        for item in listed:
            client.delete_object(Bucket=bucket, Key=item["Key"])
        project.folder.joinpath("notes.jsonl").unlink()
        third = project.run(**on_another_machine(project, 3))
        project.env |= store_in_a_bucket(server)
        project.run(flow="train.py", **on_another_machine(project, 1))
        return {
            "first": first,
            "second": second,
            "third": third,
            "seen": notes(project),
            "names": objects(client, bucket),
        }


@pytest.mark.stress
def test_the_first_machine_runs_every_step(story):
    assert sorted(story["first"]["workers"]) == ["end", "fit", "fit", "join", "start"]


@pytest.mark.stress
def test_a_second_machine_starts_no_worker_of_a_memoized_step(story):
    assert story["second"]["workers"] == ["end"]


@pytest.mark.stress
def test_results_outlive_the_runs_that_they_come_from(story):
    assert story["third"]["workers"] == ["end"]
    assert story["seen"]["total"] == 13


@pytest.mark.stress
def test_a_retry_continues_from_the_last_save_in_the_bucket(story):
    assert (story["seen"]["resumed"], story["seen"]["is_loaded"]) == ("2", True)


@pytest.mark.stress
def test_checkpoints_are_listed_newest_first(story):
    assert story["seen"]["listed"] == [2, 1, 0]


@pytest.mark.stress
def test_a_model_is_loaded_by_reference(story):
    assert story["seen"]["loaded"] == ["epoch", "weights"]


@pytest.mark.stress
def test_the_store_lies_beside_the_flows_in_the_bucket(story):
    folders = {name.split("/")[1] for name in story["names"] if name.startswith("metaflow/")}
    assert {"memoflow", "Sweep"} <= folders


PLAIN = """
    from metaflow import FlowSpec, memoize, step

    class Plain(FlowSpec):
        @memoize
        @step
        def start(self):
            self.x = list(range(500))
            self.next(self.end)

        @step
        def end(self):
            assert self.x[7] == 7

    if __name__ == "__main__":
        Plain()
"""


@pytest.fixture
def plain(project: Project, tmp_path: Path) -> Project:
    project.write("flow.py", PLAIN)
    return project


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, s3_server: Server) -> str:
    """The bucket of a flow that ran once."""
    project = Project(tmp_path_factory.mktemp("filled"))
    project.write("flow.py", PLAIN)
    project.env |= store_in_a_bucket(s3_server)
    assert project.run().workers == ["start", "end"]
    return bucket_of(project)


@pytest.fixture
def ran_once(plain: Project, filled: str, s3_server: Server) -> Project:
    """A project whose flow ran once, on another machine, with a bucket of its own."""
    client = s3_server.client()
    plain.env |= store_in_a_bucket(s3_server)
    for name in objects(client, filled):
        source = {"Bucket": filled, "Key": name}
        client.copy_object(Bucket=bucket_of(plain), Key=name, CopySource=source)
    return plain


def bucket_of(project: Project) -> str:
    return project.env["METAFLOW_MEMOFLOW_ROOT"].split("/")[2]


def objects(client: Any, bucket: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page["Contents"]]


def flip_a_bit(client: Any, bucket: str, name: str) -> None:
    data = client.get_object(Bucket=bucket, Key=name)
    body = bytearray(data["Body"].read())
    body[len(body) // 2] ^= 1
    client.put_object(Bucket=bucket, Key=name, Body=bytes(body), Metadata=data["Metadata"])


@pytest.fixture
def proxy(s3_server: Server) -> Proxy:
    return Proxy(s3_server.url)


@pytest.mark.stress
def test_a_store_in_a_bucket_serves_flows_whose_data_is_on_disk(
    plain: Project, s3_server: Server
) -> None:
    plain.env |= store_in_a_bucket(s3_server)
    assert plain.run().workers == ["start", "end"]
    shutil.rmtree(plain.folder / ".metaflow")
    assert plain.run(**on_another_machine(plain, 2)).workers == ["end"]


@pytest.mark.stress
def test_a_store_on_disk_serves_flows_whose_data_is_in_a_bucket(
    plain: Project, s3_server: Server, tmp_path: Path
) -> None:
    bucket = s3_server.bucket()
    plain.env |= s3_server.environment(bucket)
    plain.env["METAFLOW_MEMOFLOW_ROOT"] = str(tmp_path / "shared")
    assert plain.run().workers == ["start", "end"]
    client = s3_server.client()
    for item in client.list_objects_v2(Bucket=bucket, Prefix="metaflow/Plain/")["Contents"]:
        client.delete_object(Bucket=bucket, Key=item["Key"])
    assert plain.run(**on_another_machine(plain, 2)).workers == ["end"]


@pytest.mark.stress
def test_a_damaged_result_is_never_given_back_to_a_flow_on_disk(
    ran_once: Project, s3_server: Server
) -> None:
    bucket = bucket_of(ran_once)
    ran_once.env["METAFLOW_MEMOFLOW_ROOT"] += "/"
    client = s3_server.client()
    for name in objects(client, bucket):
        if "/blobs/sha1/" in name:
            flip_a_bit(client, bucket, name)
    ran = ran_once.run(**on_another_machine(ran_once, 2))
    assert ran.workers == ["start", "end"]
    assert ran.misses[0].startswith("miss: the bytes of artifact sha1:")
    assert ran_once.run(**on_another_machine(ran_once, 3)).workers == ["end"]


@pytest.mark.stress
def test_a_damaged_result_is_quarantined_and_never_given_back(
    plain: Project, s3_server: Server
) -> None:
    bucket = s3_server.bucket()
    plain.env |= s3_server.environment(bucket)
    plain.env["METAFLOW_DATASTORE_SYSROOT_S3"] += "/"
    plain.run()
    client = s3_server.client()
    for name in objects(client, bucket):
        if "/memoflow/blobs/sha1/" in name:
            flip_a_bit(client, bucket, name)
        elif "/Plain/data/" in name:
            client.delete_object(Bucket=bucket, Key=name)
    ran = plain.run(**on_another_machine(plain, 2))
    assert ran.workers == ["start", "end"]
    assert "damaged" in "".join(ran.misses)
    assert plain.run(**on_another_machine(plain, 3)).workers == ["end"]


def test_a_store_that_may_not_be_written_still_serves_hits(ran_once: Project, proxy: Proxy) -> None:
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method != "GET" and "/store/" in path
        ran = ran_once.run(METAFLOW_S3_ENDPOINT_URL=url, **on_another_machine(ran_once, 2))
    assert ran.workers == ["end"]


def test_a_result_that_may_not_be_stored_costs_one_line(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= store_in_a_bucket(s3_server)
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method != "GET" and "/store/" in path
        ran = plain.run(METAFLOW_S3_ENDPOINT_URL=url)
    assert ran.workers == ["start", "end"]
    assert any("allow it in the policy" in line for line in ran.memo_lines), ran.text


@pytest.mark.stress
def test_on_a_server_that_ignores_conditions_results_are_found(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= store_in_a_bucket(s3_server)
    proxy.ignores_conditions = True
    with proxy.running() as url:
        plain.env["METAFLOW_S3_ENDPOINT_URL"] = url
        assert plain.run().workers == ["start", "end"]
        assert plain.run(**on_another_machine(plain, 2)).workers == ["end"]


@pytest.mark.stress
def test_who_may_not_delete_has_a_store_all_the_same(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= store_in_a_bucket(s3_server)
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method in ("DELETE", "POST") and "uploads" not in path
        plain.env["METAFLOW_S3_ENDPOINT_URL"] = url
        assert plain.run().workers == ["start", "end"]
        assert plain.run(**on_another_machine(plain, 2)).workers == ["end"]


def test_a_store_in_a_missing_bucket_costs_one_line(plain: Project, s3_server: Server) -> None:
    plain.env |= store_in_a_bucket(s3_server)
    plain.env["METAFLOW_MEMOFLOW_ROOT"] = "s3://no-such-bucket/store"
    ran = plain.run()
    assert ran.workers == ["start", "end"]
    assert [line for line in ran.memo_lines if "create the bucket" in line], ran.text


def test_a_checkpoint_that_cannot_be_saved_fails_its_step_with_the_reason(
    project: Project, s3_server: Server, proxy: Proxy
) -> None:
    project.write("flow.py", clouds.SAVES)
    project.env |= store_in_a_bucket(s3_server)
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method == "PUT" and "/store/" in path
        ran = project.run(METAFLOW_S3_ENDPOINT_URL=url, ok=False)
    assert ran.code != 0
    assert "allow it in the policy of the account that runs this" in ran.text


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=pytest.mark.stress if n else ()) for n in range(20)]
)
def test_a_flow_does_not_notice_that_every_fifth_answer_is_torn(
    project: Project, s3_server: Server, seed: int
) -> None:
    project.write("notes.py", NOTES)
    project.write("flow.py", clouds.FLOW)
    project.env |= store_in_a_bucket(s3_server)
    proxy = Proxy(s3_server.url, share=0.2, seed=seed)
    proxy.faults = (*Proxy.TORN, "reset", "lost", "500", "503", "truncated", "flipped")
    with proxy.running() as url:
        project.env["METAFLOW_S3_ENDPOINT_URL"] = url
        first = project.run(**on_another_machine(project, 1))
        assert notes(project)["resumed"] == "2"
        second = project.run(**on_another_machine(project, 2))
    assert sorted(first.workers) == ["end", "fit", "fit", "fit", "join", "start", "train", "train"]
    assert sorted(second.workers) == ["end", "start", "train", "train"], second.text
    assert not [line for line in first.memo_lines + second.memo_lines if " failed:" in line]
    assert sum(proxy.broken.values()) > 10


SPLITS = """
    from metaflow import FlowSpec, memoize, step

    class Splits(FlowSpec):
        @step
        def start(self):
            self.items = list(range(6))
            self.next(self.fit, foreach="items")

        @memoize
        @step
        def fit(self):
            self.square = self.input ** 2
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.total = sum(each.square for each in inputs)
            self.next(self.end)

        @step
        def end(self):
            assert self.total == 55

    if __name__ == "__main__":
        Splits()
"""


def test_a_server_that_never_answers_is_waited_for_once_a_run(
    project: Project, s3_server: Server
) -> None:
    project.write("flow.py", SPLITS)
    project.env |= store_in_a_bucket(s3_server)
    with silence() as url:
        ran = project.run(METAFLOW_S3_ENDPOINT_URL=url)
    assert ran.workers.count("fit") == 6
    assert [line for line in ran.memo_lines if "no answer within" in line] == ran.memo_lines
    assert len(ran.memo_lines) == 1, ran.text


def test_a_server_that_is_busy_is_waited_for_once_a_run(
    project: Project, s3_server: Server, proxy: Proxy
) -> None:
    """Errors such as 503 are asked again for a while: not by each task."""
    project.write("flow.py", SPLITS)
    project.env |= store_in_a_bucket(s3_server)
    proxy.share, proxy.faults = 1.0, ("503",)
    with proxy.running() as url:
        ran = project.run(METAFLOW_S3_ENDPOINT_URL=url)
    assert ran.workers.count("fit") == 6
    assert len(ran.memo_lines) == 1, ran.text
    assert "it may work later" in ran.memo_lines[0]
    assert proxy.requests.total() <= 100  # the tries of one wait, and of no worker's


@pytest.mark.stress
def test_a_save_to_a_server_that_never_answers_fails_with_the_reason(
    project: Project, s3_server: Server
) -> None:
    project.write("flow.py", clouds.SAVES)
    project.env |= store_in_a_bucket(s3_server)
    with silence() as url:
        ran = project.run(METAFLOW_S3_ENDPOINT_URL=url, ok=False)
    assert ran.code != 0
    assert "no answer within" in ran.text
