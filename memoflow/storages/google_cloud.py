"""Google Cloud: GCS with the client that Metaflow uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaflow.plugins.gcp.gs_storage_client_factory import get_gs_storage_client
from requests.adapters import HTTPAdapter

from memoflow.backends.gcs import Gcs

_CONNECTIONS = 40  # as many as there are threads


def backend(root: str, config: Mapping[str, Any]) -> Gcs:
    """Return the backend in a bucket: `gs://bucket/folder`."""
    # Not as a URL: a "#" is a part of the name, as in S3.
    bucket, _, prefix = root.removeprefix("gs://").partition("/")
    return Gcs(_client, bucket, prefix)


def _client() -> Any:
    client = get_gs_storage_client()
    session = client._http
    if not session.is_mtls:  # That has an adapter of its own, with certificates.
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return client
