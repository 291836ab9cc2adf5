"""`python -m memoflow`: the same as the command `memoflow`."""

from memoflow.cli.main import main

if __name__ == "__main__":
    main(prog_name="memoflow")
