"""S3: the prefix, client and server of a `metaflow.S3`."""

from __future__ import annotations

from types import FrameType
from typing import Any

from metaflow import FlowSpec
from metaflow.metaflow_config import DATATOOLS_CLIENT_PARAMS
from metaflow.plugins.datastores import s3_storage
from metaflow.plugins.datatools.s3.s3 import S3Client


def url_of(s3: Any, key: Any = None) -> str:
    """Return the URL of a key; Metaflow's own error for a key that it does not take."""
    url: str = s3._url(key)
    return url


def is_of_own_run(s3: Any) -> bool:
    """Tell whether it was made with `run=self`, so that its prefix is that of the run."""
    return isinstance(s3._run, FlowSpec)


def is_datastore(caller: FrameType) -> bool:
    """Tell whether a frame is that of Metaflow's datastore, which loads artifacts by this class."""
    return bool(caller.f_globals.get("__name__") == s3_storage.__name__)


def has_own_client(s3: Any) -> bool:
    """Tell whether it was given a client that is not Metaflow's."""
    return type(s3._s3_client) is not S3Client


def other_endpoint(s3: Any) -> str | None:
    """Return the server that it was told to ask; None if that is the configured one."""
    endpoint: str | None = (s3._s3_client_params or {}).get("endpoint_url")
    return None if endpoint in (None, usual_endpoint()) else endpoint


def usual_endpoint() -> str | None:
    """Return the server that Metaflow is configured to ask, None for Amazon's."""
    endpoint: str | None = DATATOOLS_CLIENT_PARAMS.get("endpoint_url")
    return endpoint
