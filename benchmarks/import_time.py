"""What memoflow adds to `import metaflow`: with and without it, by turns."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

# The same for both, but for the name of what is hidden: looking for it takes time itself.
HIDE = """
import importlib.metadata, sys
found = importlib.metadata.distributions
importlib.metadata.distributions = lambda **given: (
    one for one in found(**given) if one.metadata["Name"] != {name!r}
)
import metaflow_extensions
"""
WITH = (
    HIDE.format(name="nothing")
    + """
import metaflow
assert hasattr(metaflow, "memoize")
"""
)
WITHOUT = (
    HIDE.format(name="metaflow-memoflow")
    + """
metaflow_extensions.__path__ = []
metaflow_extensions.__spec__.submodule_search_locations = []
import metaflow
assert not hasattr(metaflow, "memoize")
"""
)


def run(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tempfile.gettempdir())
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
