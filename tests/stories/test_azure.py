"""Azure in place of a disk: a flow on Azurite, logging in as Metaflow does on Azure's machines."""

from __future__ import annotations

import pytest

pytest.importorskip("azure.identity", reason='pip install "metaflow-memoflow[test-clouds]"')

from tests.azure import missing, serving
from tests.stories.clouds import FLOW, on_another_machine
from tests.stories.conftest import Project
from tests.stories.world import notes, once

pytestmark = [pytest.mark.stress, pytest.mark.skipif(bool(missing()), reason=missing())]


@once
def story(project: Project) -> dict[str, object]:
    project.write("flow.py", FLOW)
    folder = project.folder / ".azurite"
    folder.mkdir()
    with serving(folder, with_login=True) as server:
        container = server.container()
        project.env |= server.environment(container)
        first = project.run(**on_another_machine(project, 1))
        seen = notes(project)
        second = project.run(**on_another_machine(project, 2))
        with server.client() as client:
            there = client.get_container_client(container)
            names = [blob.name for blob in there.list_blobs()]
            # As somebody cleans up runs: all that Metaflow kept of this flow goes.
            for name in names:
                if name.startswith("metaflow/Sweep/"):
                    there.delete_blob(name)
        third = project.run(**on_another_machine(project, 3))
        return {
            "first": first,
            "seen": seen,
            "second": second,
            "third": third,
            "after": notes(project),
            "names": names,
        }


def test_the_first_machine_runs_every_step(story):
    assert sorted(story["first"]["workers"]) == sorted(
        ["start", "fit", "fit", "fit", "join", "train", "train", "end"]
    )


def test_a_second_machine_starts_no_worker_of_a_memoized_step(story):
    assert sorted(story["second"]["workers"]) == ["end", "start", "train", "train"]


def test_results_outlive_the_runs_that_they_come_from(story):
    assert sorted(story["third"]["workers"]) == ["end", "start", "train", "train"]
    assert story["after"]["total"] == 14


def test_a_retry_continues_from_the_last_save_in_the_container(story):
    assert story["seen"]["resumed"] == "2"


def test_the_store_lies_beside_the_flows_in_the_container(story):
    folders = {name.split("/")[1] for name in story["names"] if name.startswith("metaflow/")}
    assert {"memoflow", "Sweep"} <= folders
