"""Sessions that people and CI share: `nox -l` lists them, `nox -s quick` runs one."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "quick"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# The first with all that is needed of it, and the newest that pip finds.
METAFLOWS = ["2.19.23", "newest"]
# Real flows, of each decorator one.
SMOKE = [
    "tests/stories/test_sweep.py",
    "tests/stories/test_checkpoint_tasks.py",
    "tests/stories/test_hub_example.py",
    "tests/flow/host",
]


def _ours(session: nox.Session, *extras: str) -> None:
    session.install("-e", f".[{','.join(extras)}]")


@nox.session
def quick(session: nox.Session) -> None:
    """Run the units: no flow, no other process's speed."""
    _ours(session, "test")
    session.run("pytest", "-m", "quick", "-n", "auto", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests but the soak runs."""
    _ours(session, "test")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Run the soak runs, with the clouds' emulators."""
    _ours(session, "test", "test-clouds")
    session.run("pytest", "-m", "stress", *session.posargs)


@nox.session
def torch(session: nox.Session) -> None:
    """Run the tests that need torch, and those of readers in C++ and Rust."""
    _ours(session, "test", "test-torch")
    session.install("polars", "pyarrow")
    session.run("pytest", "-m", "torch", *session.posargs)
    session.run("pytest", "tests/functions/test_native_readers.py")


@nox.session
def integrations(session: nox.Session) -> None:
    """Run the tests with libraries that train."""
    _ours(session, "test", "test-integrations")
    session.run("pytest", "-m", "integrations", *session.posargs)


@nox.session(python=PYTHONS)
def versions(session: nox.Session) -> None:
    """Run the units on each supported Python."""
    _ours(session, "test")
    session.run("pytest", "-m", "quick", "-n", "auto", *session.posargs)


@nox.session
@nox.parametrize("metaflow", METAFLOWS)
def metaflow(session: nox.Session, metaflow: str) -> None:
    """Run real flows on the lowest and on the newest Metaflow."""
    _ours(session, "test")
    session.install("-U", "metaflow" if metaflow == "newest" else f"metaflow=={metaflow}")
    session.run("pytest", "-n", "auto", *(session.posargs or SMOKE))


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run real flows on the lowest version of each dependency."""
    session.install("--resolution", "lowest-direct", "-e", ".")
    # What tests need is of no user's concern: as new as can be.
    session.install("-c", _constraints(session), "-e", ".[test]")
    session.run("pytest", "-n", "auto", *(session.posargs or SMOKE))


def _constraints(session: nox.Session) -> str:
    """Return a file that holds each dependency at the version which is installed."""
    frozen = session.run("uv", "pip", "freeze", "--exclude-editable", silent=True)
    path = f"{session.create_tmp()}/lowest.txt"
    names = {line.split("==")[0].lower().replace("_", "-") for line in _dependencies()}
    with open(path, "w") as file:
        for line in str(frozen).splitlines():
            if line.split("==")[0].lower().replace("_", "-") in names:
                file.write(f"{line}\n")
    return path


def _dependencies() -> list[str]:
    project = nox.project.load_toml("pyproject.toml")["project"]
    return [line.replace(">=", "==") for line in project["dependencies"]]


@nox.session
def lint(session: nox.Session) -> None:
    """Run the linters and the type checker."""
    _ours(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site; a broken link is an error."""
    _ours(session, "docs")
    session.env["NO_MKDOCS_2_WARNING"] = "1"  # An opinion of the theme's authors.
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the lines that the units run."""
    _ours(session, "test", "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-m", "quick", "-n", "auto", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def build(session: nox.Session) -> None:
    """Build the distributions and check their metadata."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", "dist/*")
