"""Microsoft: Azure Blob Storage with the endpoint and credentials that Metaflow uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient, ExponentialRetry
from metaflow import metaflow_config
from metaflow.plugins.azure.azure_credential import create_cacheable_azure_credential
from requests.adapters import HTTPAdapter

from memoflow.backends.azure import Azure
from memoflow.errors import BackendDeniedError

_CONNECTIONS = 40  # as many as there are threads
_SECONDS_TO_CONNECT, _SECONDS_TO_READ = 5, 30


def backend(root: str, config: Mapping[str, Any]) -> Azure:
    """Return the backend in a container: `container/folder`, with `azure://` before it or not."""
    container, _, folder = root.removeprefix("azure://").partition("/")
    return Azure(_client, container, folder)


def _client() -> Any:
    endpoint = metaflow_config.AZURE_STORAGE_BLOB_SERVICE_ENDPOINT
    if not endpoint:
        raise BackendDeniedError(
            "cannot reach Azure: METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT is not set; set it "
            "to https://<storage account>.blob.core.windows.net"
        )
    try:
        credential = create_cacheable_azure_credential()
    except ImportError as error:
        raise BackendDeniedError(
            f"cannot log in to Azure: {error}; pip install 'metaflow-memoflow[azure]'"
        ) from error
    # Not Metaflow's own client: that waits for a quarter of a minute before it asks again, and has
    # fewer connections than we have threads. It is the backend that tries more than twice.
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return BlobServiceClient(
        endpoint,
        credential=credential,
        retry_policy=ExponentialRetry(
            initial_backoff=0, increment_base=2, retry_total=1, random_jitter_range=1
        ),
        transport=RequestsTransport(
            session=session,
            session_owner=False,
            connection_timeout=_SECONDS_TO_CONNECT,
            read_timeout=_SECONDS_TO_READ,
        ),
    )
