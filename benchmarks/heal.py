"""One flipped bit anywhere in a store of a real flow: noticed, never a wrong value, healed.

Runs a flow, flips one random bit in a random blob, manifest or ref, and runs it twice more: the
answer must be right each time, and the last run must hit again.
"""

import argparse
import collections
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FLOW = """
from metaflow import FlowSpec, memoize, step

class Heal(FlowSpec):
    @memoize
    @step
    def start(self):
        self.numbers = list(range(20000))
        self.text = "answer " * 300
        self.next(self.end)

    @step
    def end(self):
        print("ANSWER", sum(self.numbers), len(self.text))

if __name__ == "__main__":
    Heal()
"""
ANSWER = "ANSWER 199990000 2100"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    choose = random.Random(given.seed)
    came = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "heal.py").write_text(FLOW)
        env = os.environ | {
            "METAFLOW_USER": "bench",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": folder,
            "METAFLOW_MEMOFLOW_CACHE_DIR": f"{folder}/cache",
        }

        def run() -> bool:
            done = subprocess.run(
                [sys.executable, "heal.py", "--no-pylint", "run"],
                cwd=folder,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0 or ANSWER not in done.stdout:
                print(done.stdout[-3000:], done.stderr[-2000:])
                came["wrong or failed"] += 1
            return re.search(r"\[memoize\] hit: ", done.stdout) is not None

        run()
        store = Path(folder, ".metaflow", "memoflow")
        for _ in range(given.times):
            kind = choose.choice(["blobs", "refs"])
            path = choose.choice(sorted(p for p in (store / kind).rglob("*") if p.is_file()))
            data = bytearray(path.read_bytes())
            bit = choose.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
            path.chmod(0o600)
            path.write_bytes(bytes(data))
            hit = run()
            came[f"{kind}: {'used, the value being whole' if hit else 'noticed, ran again'}"] += 1
            came["healed" if run() else "not healed"] += 1
    for what, times in sorted(came.items()):
        print(f"{what}: {times}")
    if came["wrong or failed"] or came["not healed"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
