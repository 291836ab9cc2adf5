"""A hit never starts a container: it is decided before a job is submitted."""

from __future__ import annotations

import pytest

from tests.clusters import Batch, Kubernetes
from tests.pods import image
from tests.s3 import CREDENTIALS, serving
from tests.stories.world import once

pytestmark = pytest.mark.stress  # containers and clusters take their time

FLOW = """
    from metaflow import FlowSpec, batch, kubernetes, memoize, step

    class F(FlowSpec):
        DECORATOR
        @memoize
        @step
        def start(self):
            try:
                import pytest  # which the launching machine has, and the container has not
            except ImportError:
                pass
            self.y = 6
            self.next(self.end)

        @step
        def end(self):
            print("y", self.y)

    if __name__ == "__main__":
        F()
"""


# An image that only this machine's configuration names: a task in a container has none.
OUTER = {
    "METAFLOW_KUBERNETES_CONTAINER_IMAGE": "registry.example/ours:7",
    "METAFLOW_BATCH_CONTAINER_IMAGE": "registry.example/ours:7",
}

# Of two clusters that differ in nothing that matters here one will do for every change.
ON_BOTH = pytest.mark.parametrize(
    "world", ["on_kubernetes", pytest.param("on_batch", marks=pytest.mark.stress)]
)


def world(project, kind, decorator):
    project.write("flow.py", FLOW.replace("DECORATOR", decorator))
    ran = {}
    plain = image(project.folder / "image")
    with serving() as server:
        cluster = kind(plain, project.folder / "cluster", dict(CREDENTIALS))
        with cluster.running():
            env = {**server.environment(server.bucket()), **cluster.environment(), **OUTER}
            for name, more in (
                ("first", ()),
                ("second", ()),
                ("refreshed", ("--memo-refresh", "start")),
            ):
                before = len(cluster.jobs)
                done = project.run(*more, ok=False, **env)
                jobs = [
                    [job.image, "" if job.ran is None else job.ran.text]
                    for job in cluster.jobs[before:]
                ]
                ran[name] = {"jobs": jobs, "code": done.code, "text": done.text}
    return ran


@once
def on_kubernetes(project):
    return world(project, Kubernetes, "@kubernetes")


@once
def on_batch(project):
    return world(project, Batch, "@batch")


@ON_BOTH
def test_a_miss_submits_a_job(request, world):
    first = request.getfixturevalue(world)["first"]
    assert first["code"] == 0, first["text"]
    assert len(first["jobs"]) == 1
    assert "y 6" in first["text"]


@ON_BOTH
def test_a_hit_submits_none(request, world):
    second = request.getfixturevalue(world)["second"]
    assert second["code"] == 0, second["text"]
    assert second["jobs"] == []
    assert "[memoize] hit: F/" in second["text"]
    assert "y 6" in second["text"]


@ON_BOTH
def test_a_refresh_asked_for_on_the_command_line_reaches_the_container(request, world):
    third = request.getfixturevalue(world)["refreshed"]
    assert third["code"] == 0, third["text"]
    assert len(third["jobs"]) == 1
    assert "[memoize] miss: refresh requested" in third["text"]
