"""Amazon: S3 with the credentials, role, endpoint and encryption that Metaflow uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from metaflow import metaflow_config
from metaflow.plugins.aws.aws_client import get_aws_client

from memoflow.backends.s3 import S3

# Where nothing else is said: as many connections as there are threads, and no long silence. It is
# the backend that tries more than twice, since botocore does not see all that breaks.
_CONFIG = Config(
    max_pool_connections=40,
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 2, "mode": "standard"},
)


def backend(root: str, config: Mapping[str, Any]) -> S3:
    """Return the backend in a bucket.

    `config` may have `client_params`, `session_vars` and `role_arn`, which go to boto3; by default
    they are what METAFLOW_S3_ENDPOINT_URL and METAFLOW_DATATOOLS_CLIENT_PARAMS say.
    """
    # Not as a URL: Metaflow takes a "#" for a part of the name.
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    encryption = metaflow_config.S3_SERVER_SIDE_ENCRYPTION
    return S3(
        lambda: _client(config),
        bucket,
        prefix,
        encryption={"ServerSideEncryption": encryption} if encryption else None,
    )


def _client(config: Mapping[str, Any]) -> Any:
    params = dict(config.get("client_params") or metaflow_config.DATATOOLS_CLIENT_PARAMS or {})
    given = params.get("config")
    if isinstance(given, Mapping):
        given = Config(**given)
    params["config"] = _CONFIG if given is None else _CONFIG.merge(given)
    return get_aws_client(
        "s3",
        role_arn=config.get("role_arn"),
        session_vars=config.get("session_vars") or metaflow_config.DATATOOLS_SESSION_VARS,
        client_params=params,
    )
