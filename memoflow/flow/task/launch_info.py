"""Launch information: a file of the code package with settings of the launching machine.

Of all settings Metaflow hands its own alone to a container. Imported while Metaflow reads its
configuration, so nothing here imports Metaflow, or what may be missing, before it is called.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

_FILE = "launched.json"
_PACKAGE = Path(__file__).parents[2]  # memoflow/, as it is in the code package
_PREFIX = "METAFLOW_MEMOFLOW_"

_images: dict[str, str] = {}
_asked: dict[str, str] = {}


def setting(name: str) -> str | None:
    """Return the value of a setting on the launching machine; None outside of a task."""
    return _told().get("settings", {}).get(name)


def version(package: str) -> str | None:
    """Return the version of a package on the launching machine."""
    return _told().get("versions", {}).get(package)


def image(step: str) -> str | None:
    """Return the container image of a step, as launched."""
    return _told().get("images", {}).get(step)


def is_elsewhere() -> bool:
    """Tell whether this process is on another machine than the one that launched the flow."""
    return bool(_told())


def note_image(step: str, decorators: Iterable[Any]) -> None:
    """Record the image that a step's decorators name, for its tasks."""
    for deco in decorators:
        if deco.name in ("batch", "kubernetes"):
            _images[step] = str(deco.attributes["image"])


def note_setting(name: str, value: str) -> None:
    """Record a setting of the command line for the tasks; an empty value clears it."""
    _asked[name] = value


def package_files(versions: dict[str, str]) -> list[tuple[str, str]]:
    """Return the file and its name in the code package, as `add_to_package` does."""
    told = {"versions": versions, "settings": _settings(), "images": _images}
    path = _folder() / _FILE
    path.write_text(json.dumps(told, sort_keys=True))
    return [(str(path), f"memoflow/{_FILE}")]


@cache
def _folder() -> Path:
    # Metaflow reads the file after it was named, in a thread that nobody waits for.
    folder = Path(tempfile.mkdtemp(prefix="memoflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _told() -> dict[str, dict[str, str]]:
    try:
        told: dict[str, dict[str, str]] = json.loads((_PACKAGE / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return told


def _settings() -> dict[str, str]:
    from metaflow.metaflow_config_funcs import config_values

    settings = {
        name.removeprefix("METAFLOW_"): value
        for name, value in config_values()
        if name.startswith(_PREFIX)
    }
    return settings | {name: value for name, value in _asked.items() if value}
