"""How long a step waits for save(wait=True) and for save(wait=False), in one run on S3.

    python benchmarks/spool.py --rounds 11 --size 64

The server is moto's, in a process of its own on 127.0.0.1; each round saves SIZE MiB of new bytes
in either way, in random order, with all that was on its way uploaded before. The ratio is that of
the times, so it says how much of a save a step gets back; between saves a step would compute.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3

sys.path.insert(0, str(Path(__file__).parents[1]))

from memoflow.backends.s3 import S3
from memoflow.flow.spool import uploading
from memoflow.store import open_store
from tests.spooling import task_of

SERVER = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--size", type=int, default=64, help="MiB")
    given = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            measure(server.stdout.readline().strip(), Path(folder), given.rounds, given.size)
    finally:
        server.communicate(timeout=30)  # The end of its input is its end.


def measure(url: str, folder: Path, rounds: int, size: int) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key="something",
    )
    client.create_bucket(Bucket="bench")
    store = open_store(S3(lambda: client, "bench", "store"), cache_dir=folder / "cache")
    one = task_of(store, folder)
    file = folder / "weights"
    options: Any = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 1):
        for wait in random.sample([True, False], 2):
            file.write_bytes(os.urandom(size << 20))
            began = time.perf_counter()
            one.checkpointer.save(file, **options, wait=wait)
            if number:  # The first asks for the number to begin with.
                took[wait].append(time.perf_counter() - began)
            uploading.drain()
    for wait, seconds in took.items():
        print(
            f"save(wait={wait}) of {size} MiB: min {min(seconds):.3f} s, "
            f"median {statistics.median(seconds):.3f} s"
        )
    ratios = [waited / blocked for waited, blocked in zip(took[True], took[False], strict=True)]
    print(
        f"a step waits 1/{min(took[True]) / min(took[False]):.1f} of the time by minima, "
        f"1/{statistics.median(ratios):.1f} by the median of {rounds} rounds"
    )


if __name__ == "__main__":
    main()
