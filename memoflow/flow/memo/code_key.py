"""Code key: the fingerprint of a step's code, environment and options, without its inputs."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from memoflow.fingerprint import Fingerprint, Part
from memoflow.fingerprint.modules import OURS
from memoflow.flow import code
from memoflow.flow.memo.options import MemoizeOptions
from memoflow.kinds import memo
from memoflow.masking import Mask


def of_step(flow: Any, step: str, options: MemoizeOptions, mask: Mask) -> Fingerprint:
    """Return the fingerprint of a step's code, environment and options.

    Raises NoFingerprintError if the code depends on something without a stable digest.
    """
    parts = code.parts_of(flow, step, ignore=options.ignore, mask=mask)
    if not options.environment:
        parts = [part for part in parts if part.kind not in ("package", "python")]
    parts.append(Part("option", "key schema", memo.SCHEMA))
    if options.version:
        parts.append(Part("option", "version", options.version, summary=options.version))
    for name, listed in (("outputs", options.outputs), ("files", options.files or None)):
        if listed is not None:
            text = ", ".join(sorted(listed))
            parts.append(Part("option", name, text, summary=text))
    return Fingerprint.of(parts)


def edited_since(moment: float) -> str | None:
    """Return the file of a loaded module of the user's that was written after a moment.

    The code key was computed from the files of what a step imports in its body, and the step
    loaded them later; likewise the classes of what it read.
    """
    libraries = (sys.prefix, sys.base_prefix)
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        is_ours = name.partition(".")[0] in OURS  # Wherever they lie.
        if isinstance(path, str) and not is_ours and not path.startswith(libraries):
            with contextlib.suppress(OSError):
                # Less than the moment by as much as the clock of a file system is coarse.
                if os.stat(path).st_mtime > moment - 0.02:
                    return os.path.basename(path)
    return None
