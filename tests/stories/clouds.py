"""Clouds: a flow with all that a store elsewhere is for, and machines that share nothing else."""

from __future__ import annotations

from tests.s3 import Server
from tests.stories.conftest import Project

FLOW = """
    import os
    from metaflow import FlowSpec, checkpoint, current, memoize, retry, step
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
        @step
        def train(self):
            here = current.checkpoint.directory
            if current.retry_count == 0:
                for epoch in range(3):
                    with open(os.path.join(here, "epoch"), "w") as file:
                        file.write(str(epoch))
                    with open(os.path.join(here, "weights"), "wb") as file:
                        file.write(bytes(3_000_000) + bytes([epoch]))
                    current.checkpoint.save()
                raise RuntimeError("on purpose")
            note(resumed=tree(here)["epoch"], total=self.total)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""

SAVES = """
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
"""


def on_another_machine(project: Project, n: int) -> dict[str, str]:
    """Return the variables of a machine that has seen nothing yet."""
    return {
        "METAFLOW_MEMOFLOW_CACHE_DIR": str(project.folder / f".cache-{n}"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(project.folder / f".local-{n}"),
    }


def store_in_a_bucket(server: Server) -> dict[str, str]:
    """Return the variables of flows whose store alone is in a bucket, and their data on disk.

    They cost a third: Metaflow starts processes for what it transfers itself.
    """
    bucket = server.bucket()
    return server.environment(bucket) | {
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_MEMOFLOW_ROOT": f"s3://{bucket}/store",
    }
