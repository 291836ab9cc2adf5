"""Supported: the check of Metaflow's version, and the owner of the names of checkpoints.

Imported while Metaflow loads its extensions, by whatever version of it: so it imports nothing of
Metaflow's but its number.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable

from memoflow.log import log

OLDEST = (2, 19, 23)
NAMES = frozenset({"checkpoint", "model", "huggingface_hub"})
_OTHER = "metaflow_extensions.obcheckpoint"
# So that processes which this one starts do not say it again.
_SAID = "MEMOFLOW_SAID_UNSUPPORTED"


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, as far as it has any."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def is_supported() -> bool:
    """Return whether memoflow can work with this Metaflow; if not, say so, once."""
    try:
        from metaflow.version import metaflow_version
    except ImportError:
        return True  # One that is built anew: nobody can tell.
    if numbers(metaflow_version) >= OLDEST or not numbers(metaflow_version):
        return True
    if _SAID not in os.environ:
        os.environ[_SAID] = "1"
        needed = ".".join(map(str, OLDEST))
        log.warning(
            f"memoflow needs Metaflow {needed} or later, and {metaflow_version} is installed: it "
            f'does nothing; upgrade with pip install "metaflow>={needed}"'
        )
    return False


def is_beside() -> bool:
    """Return whether metaflow-checkpoint is installed as well."""
    try:
        return importlib.util.find_spec(_OTHER) is not None
    except (ImportError, ValueError):
        return False


def has_checkpoints(setting: object) -> bool:
    """Return whether memoflow has the names of checkpoints, by METAFLOW_MEMOFLOW_CHECKPOINT."""
    return str(setting).strip().lower() not in ("0", "false", "no", "off")


def beside(decorators: Iterable[str]) -> str | None:
    """Return the line about the owner of these decorators; None if there is no doubt."""
    used = sorted(NAMES & set(decorators))
    if not used or not is_beside():
        return None
    named = ", ".join(f"@{name}" for name in used)
    return (
        f"memoflow: {named} {'is' if len(used) == 1 else 'are'} memoflow's, though "
        "metaflow-checkpoint is installed; METAFLOW_MEMOFLOW_CHECKPOINT=0 leaves the names to it"
    )
