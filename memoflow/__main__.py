"""`python -m memoflow`: the same as the command `memoflow`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command; an interrupt while it starts prints no traceback."""
    # Thousands of entries live until the command ends: looking for garbage among them takes longer
    # than listing them.
    gc.set_threshold(100_000)
    try:
        # Here, or an interrupt during the import would print a traceback.
        from memoflow.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run(prog_name="memoflow")


if __name__ == "__main__":
    main()
