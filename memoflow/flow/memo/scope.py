"""The scope of a step: what its code, environment and options are, whatever its inputs."""

from __future__ import annotations

from typing import Any

from memoflow.fingerprint import Fingerprint, Part
from memoflow.flow import code
from memoflow.flow.memo.options import Options
from memoflow.kinds import memo


def of_step(flow: Any, step: str, options: Options) -> Fingerprint:
    """Return the fingerprint of a step's code, environment and options.

    Raises NoFingerprintError if the code depends on something without a stable digest.
    """
    parts = code.parts_of(flow, step)
    if not options.environment:
        parts = [part for part in parts if part.kind not in ("package", "python")]
    parts.append(Part("option", "key schema", memo.SCHEMA))
    if options.version:
        parts.append(Part("option", "version", options.version, summary=options.version))
    if options.outputs is not None:
        listed = ", ".join(sorted(options.outputs))
        parts.append(Part("option", "outputs", listed, summary=listed))
    return Fingerprint.of(parts)
