"""What memoflow adds to `import metaflow`: with and without it, by turns."""

import argparse
import statistics
import subprocess
import sys
import time

WITHOUT = """
import os, sys
ours = os.path.join("metaflow_extensions", "memoflow")
sys.path = [p for p in sys.path if not os.path.isdir(os.path.join(p, ours))]
import metaflow
assert not hasattr(metaflow, "memoize")
"""
WITH = """
import os, sys
sys.path = [p for p in sys.path if os.path.isdir(p) or p]
import metaflow
assert hasattr(metaflow, "memoize")
"""


def run(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    run(WITH), run(WITHOUT)
    pairs = [(run(WITH), run(WITHOUT)) for _ in range(given.rounds)]
    ours, plain = zip(*pairs, strict=True)
    added = [one - other for one, other in pairs]
    print(f"with memoflow: median {statistics.median(ours):.0f} ms, min {min(ours):.0f}")
    print(f"without: median {statistics.median(plain):.0f} ms, min {min(plain):.0f}")
    print(
        f"added: {statistics.median(added):.1f} ms by the median, "
        f"{min(ours) - min(plain):.1f} ms by minima, Python {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
