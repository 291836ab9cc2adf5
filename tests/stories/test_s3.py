"""A bucket in place of a disk: the same flows, on machines that share nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.s3 import Proxy, Server, serving
from tests.stories.clouds import on_another_machine
from tests.stories.conftest import Project
from tests.stories.world import notes, once

FLOW = """
    import os
    from metaflow import FlowSpec, checkpoint, current, memoize, model, retry, step
    from notes import note, tree

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.items = [1, 2, 3]
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
            self.next(self.train)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @model
        @step
        def train(self):
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
            loaded = current.model.loaded["net"]
            note(loaded=sorted(tree(loaded)), total=self.total)
            self.next_is = None

    if __name__ == "__main__":
        Sweep()
"""
FLOW = FLOW.replace("            self.next_is = None\n", "")


@once
def story(project: Project) -> dict[str, object]:
    project.write("flow.py", FLOW)
    with serving() as server:
        bucket = server.bucket()
        project.env |= server.environment(bucket)
        first = project.run(**on_another_machine(project, 1))
        seen = notes(project)
        second = project.run(**on_another_machine(project, 2))
        client = server.client()
        # As somebody cleans up runs: all that Metaflow kept of this flow goes.
        listed = client.list_objects_v2(Bucket=bucket, Prefix="metaflow/Sweep/")["Contents"]
        for item in listed:
            client.delete_object(Bucket=bucket, Key=item["Key"])
        third = project.run(**on_another_machine(project, 3))
        names = [
            item["Key"]
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for item in page["Contents"]
        ]
        return {
            "first": first,
            "seen": seen,
            "second": second,
            "third": third,
            "after": notes(project),
            "names": names,
        }


@pytest.mark.stress
def test_the_first_machine_runs_every_step(story):
    assert sorted(story["first"]["workers"]) == sorted(
        ["start", "fit", "fit", "fit", "join", "train", "train", "end"]
    )


@pytest.mark.stress
def test_a_second_machine_starts_no_worker_of_a_memoized_step(story):
    assert sorted(story["second"]["workers"]) == ["end", "start", "train", "train"]


@pytest.mark.stress
def test_results_outlive_the_runs_that_they_come_from(story):
    assert sorted(story["third"]["workers"]) == ["end", "start", "train", "train"]
    assert story["after"]["total"] == 14


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
            self.x = 1
            self.next(self.end)

        @step
        def end(self):
            assert self.x == 1

    if __name__ == "__main__":
        Plain()
"""


@pytest.fixture
def plain(project: Project, tmp_path: Path) -> Project:
    project.write("flow.py", PLAIN)
    return project


@pytest.fixture
def proxy(s3_server: Server) -> Proxy:
    return Proxy(s3_server.url)


def test_a_store_in_a_bucket_serves_flows_whose_data_is_on_disk(
    plain: Project, s3_server: Server
) -> None:
    plain.env |= s3_server.environment(s3_server.bucket())
    plain.env |= {
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_MEMOFLOW_ROOT": f"s3://{s3_server.bucket()}/store",
    }
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
def test_a_damaged_result_is_set_aside_and_never_given_back(
    plain: Project, s3_server: Server
) -> None:
    bucket = s3_server.bucket()
    plain.env |= s3_server.environment(bucket)
    plain.env["METAFLOW_DATASTORE_SYSROOT_S3"] += "/"
    plain.edit("flow.py", "self.x = 1", "self.x = list(range(500))")
    plain.edit("flow.py", "assert self.x == 1", "assert self.x[7] == 7")
    plain.run()
    client = s3_server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page["Contents"]:
            if "/memoflow/blobs/sha1/" in item["Key"]:
                data = client.get_object(Bucket=bucket, Key=item["Key"])
                body = bytearray(data["Body"].read())
                body[len(body) // 2] ^= 1
                client.put_object(
                    Bucket=bucket, Key=item["Key"], Body=bytes(body), Metadata=data["Metadata"]
                )
            elif "/Plain/data/" in item["Key"]:
                client.delete_object(Bucket=bucket, Key=item["Key"])
    ran = plain.run(**on_another_machine(plain, 2))
    assert ran.workers == ["start", "end"]
    assert "damaged" in "".join(ran.misses)
    assert plain.run(**on_another_machine(plain, 3)).workers == ["end"]


@pytest.mark.stress
def test_a_store_that_may_not_be_written_still_serves_hits(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= s3_server.environment(s3_server.bucket())
    plain.run()
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method != "GET" and "/memoflow/" in path
        ran = plain.run(METAFLOW_S3_ENDPOINT_URL=url, **on_another_machine(plain, 2))
    assert ran.workers == ["end"]


def test_a_result_that_may_not_be_stored_costs_one_line(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= s3_server.environment(s3_server.bucket())
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method != "GET" and "/memoflow/" in path
        ran = plain.run(METAFLOW_S3_ENDPOINT_URL=url)
    assert ran.workers == ["start", "end"]
    assert any("allow it in the policy" in line for line in ran.memo_lines), ran.text


@pytest.mark.stress
def test_on_a_server_that_ignores_conditions_results_are_found(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= s3_server.environment(s3_server.bucket())
    proxy.ignores_conditions = True
    with proxy.running() as url:
        plain.env["METAFLOW_S3_ENDPOINT_URL"] = url
        assert plain.run().workers == ["start", "end"]
        assert plain.run(**on_another_machine(plain, 2)).workers == ["end"]


@pytest.mark.stress
def test_who_may_not_delete_has_a_store_all_the_same(
    plain: Project, s3_server: Server, proxy: Proxy
) -> None:
    plain.env |= s3_server.environment(s3_server.bucket())
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method in ("DELETE", "POST") and "uploads" not in path
        plain.env["METAFLOW_S3_ENDPOINT_URL"] = url
        assert plain.run().workers == ["start", "end"]
        assert plain.run(**on_another_machine(plain, 2)).workers == ["end"]


@pytest.mark.stress
def test_a_store_in_a_missing_bucket_costs_one_line(plain: Project, s3_server: Server) -> None:
    plain.env |= s3_server.environment(s3_server.bucket())
    plain.env["METAFLOW_MEMOFLOW_ROOT"] = "s3://no-such-bucket/store"
    ran = plain.run()
    assert ran.workers == ["start", "end"]
    assert [line for line in ran.memo_lines if "create the bucket" in line], ran.text


@pytest.mark.stress
def test_a_checkpoint_that_cannot_be_saved_fails_its_step_with_the_reason(
    project: Project, s3_server: Server, proxy: Proxy
) -> None:
    project.write(
        "flow.py",
        """
        from metaflow import FlowSpec, checkpoint, current, step

        class Saves(FlowSpec):
            @checkpoint
            @step
            def start(self):
                current.checkpoint.save(__file__)
                self.next(self.end)

            @step
            def end(self):
                pass

        if __name__ == "__main__":
            Saves()
        """,
    )
    project.env |= s3_server.environment(s3_server.bucket())
    with proxy.running() as url:
        proxy.refuses = lambda method, path: method == "PUT" and "/memoflow/" in path
        ran = project.run(METAFLOW_S3_ENDPOINT_URL=url, ok=False)
    assert ran.code != 0
    assert "allow it in the policy of who runs this" in ran.text
