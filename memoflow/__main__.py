"""`python -m memoflow`: the same as the command `memoflow`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; whoever interrupts its start sees nothing of it either."""
    try:
        from memoflow.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run(prog_name="memoflow")


if __name__ == "__main__":
    main()
