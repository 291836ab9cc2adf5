"""memoflow's dependencies in a task, installed where an image lacks them.

A container has Python, what Metaflow installs there, and the code package, with Metaflow and
memoflow in it and nothing that they need. Imported while Metaflow reads its configuration, so
nothing here imports what may be missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from memoflow.errors import UsageError
from memoflow.flow.task import launch_info
from memoflow.log import report

# The lower bounds are those of the distribution. They are all that an environment is asked for: an
# exact version may contradict what else is wanted there, and then nothing can be installed.
TASK = {"tenacity": ">=8.2", "xxhash": ">=3.4"}
HUB = {**TASK, "huggingface_hub": ">=0.30"}

_CONDA_NAMES = {"xxhash": "python-xxhash"}  # conda-forge's xxhash is a library for C.
_HUB_DECORATOR = "huggingface_hub"
_DECORATORS = {"checkpoint", "memoize", "model", _HUB_DECORATOR}

# Where this task has installed packages, for the processes that it starts. Not PYTHONPATH, where
# they would come before those of the image.
_VARIABLE = "MEMOFLOW_PACKAGES"
_PIP = ("pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir")
_PATIENCE_S = 600


def provide(needed: dict[str, str], *, install: bool) -> None:
    """Make packages importable, in a task by installing those that are missing.

    UsageError if they cannot be had; it says what to add to what.
    """
    missing = _missing(needed)
    if not missing:
        return
    if not install:
        raise _lacking(missing, "")
    from metaflow import metaflow_config  # Here, since it asks this module while it is imported.

    if str(metaflow_config.MEMOFLOW_INSTALL).lower() in ("0", "false", "off", "no"):
        raise _lacking(missing, ", and METAFLOW_MEMOFLOW_INSTALL=0 forbids to install them")
    try:
        _use(_installed(missing))
    except (OSError, subprocess.SubprocessError) as error:
        raise _lacking(missing, f", and cannot be installed ({error})") from error
    if _missing(needed):
        raise _lacking(missing, ", and what pip installed cannot be imported")


def use_installed() -> None:
    """Add the packages that the parent task has installed to the import path."""
    for folder in filter(None, os.environ.get(_VARIABLE, "").split(os.pathsep)):
        if folder not in sys.path:
            sys.path.append(folder)


def package_files() -> list[tuple[str, str]]:
    """Return a decorator's files for the code package: versions and settings of this machine."""
    versions = {}
    for package in HUB:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            told = launch_info.version(package)  # This is a task that launches a run.
            if told is not None:
                versions[package] = told
    return launch_info.package_files(versions)


def of_environment(asking: Any) -> dict[str, str]:
    """Return the packages that @pypi, @conda or uv install for a step.

    `asking` is the stack frame that wants to know. Metaflow says neither which step it is nor
    which packager, and what one of them does not know keeps every flow from starting.
    """
    while asking is not None:
        found = asking.f_locals
        if asking.f_code.co_name == "get_environment" and {"environment", "step"} <= set(found):
            names = {deco.name for deco in found["step"].decorators} & _DECORATORS
            if not names:
                return {}
            needed = HUB if _HUB_DECORATOR in names else TASK
            if "pypi" in found["environment"]:
                return dict(needed)
            return {_CONDA_NAMES.get(name, name): bound for name, bound in needed.items()}
        asking = asking.f_back
    return dict(TASK)


def _missing(needed: dict[str, str]) -> dict[str, str]:
    return {name: bound for name, bound in needed.items() if importlib.util.find_spec(name) is None}


def _lacking(missing: dict[str, str], why: str) -> UsageError:
    names = " ".join(sorted(missing))
    pinned = ", ".join(f'"{name}": "{bound}"' for name, bound in sorted(missing.items()))
    return UsageError(
        f"{names} not found here{why}; `pip install {names}` in the image, or give the step "
        f"@pypi(packages={{{pinned}}})"
    )


def _installed(missing: dict[str, str]) -> Path:
    """Return the directory of the installed packages; the first task on a machine fills it."""
    exact = [
        f"{name}=={launch_info.version(name)}" for name in missing if launch_info.version(name)
    ]
    ranges = sorted(f"{name}{bound}" for name, bound in missing.items())
    wanted = sorted(exact) if len(exact) == len(missing) else ranges
    named = hashlib.sha256(" ".join((sys.version, sys.executable, *wanted)).encode()).hexdigest()
    root = _root()
    folder = root / named[:16] / "site-packages"  # By that name code is known to be nobody's own.
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(root / f"{named[:16]}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        report(
            f"[memoflow] installing {' '.join(wanted)}, which this image has not "
            "(METAFLOW_MEMOFLOW_INSTALL=0 turns that off)",
            partial(print, flush=True),
        )
        scratch = Path(tempfile.mkdtemp(prefix=".", dir=root))
        try:
            _pip(wanted, ranges, scratch / "site-packages")
            scratch.rename(folder.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _pip(wanted: list[str], ranges: list[str], target: Path) -> None:
    # Other versions than where the flow was launched are better than none: another Python may
    # not have those.
    for requirements in [wanted, ranges] if wanted != ranges else [ranges]:
        done = subprocess.run(
            [sys.executable, "-m", *_PIP, "--target", str(target), *requirements],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode == 0:
            return
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    raise OSError(lines[-1].strip() if lines else f"pip ended with {done.returncode}")


def _use(folder: Path) -> None:
    known = os.environ.get(_VARIABLE, "").split(os.pathsep)
    os.environ[_VARIABLE] = os.pathsep.join(dict.fromkeys(filter(None, (*known, str(folder)))))
    use_installed()
    importlib.invalidate_caches()


def _root() -> Path:
    named = os.environ.get("METAFLOW_MEMOFLOW_CACHE_DIR")
    home = Path(os.path.abspath(os.path.expanduser(named or "~/.cache")))
    # Whoever can write there can have us run what they like.
    if named or (home.parent.is_dir() and os.access(home.parent, os.W_OK)):
        return home / "memoflow" / "packages"
    from memoflow.index import private_directory  # Here, since most containers have a home.

    private = private_directory()
    return Path(tempfile.mkdtemp()) if private is None else private / "packages"
