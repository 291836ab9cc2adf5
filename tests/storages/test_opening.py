"""Opening: which backend a root gets, and what is said where there can be none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from memoflow.errors import UsageError
from memoflow.storages import backend_of
from tests.s3 import Server

_OPEN = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # As if it were not installed.
from memoflow.storages import backend_of
backend = backend_of({type!r}, {root!r})
print(repr(backend))
backend.read("a")
"""


def opened(type: str, root: str, *blocked: str, **env: str) -> list[str]:
    """Return the lines of a process that opens a root and reads there."""
    done = subprocess.run(
        [sys.executable, "-c", _OPEN.format(type=type, root=root, blocked=blocked)],
        env=os.environ | {"METAFLOW_USER": "tester"} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout + done.stderr).splitlines()


def test_a_type_without_backend_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ftp is not supported .* azure, gs, s3"):
        backend_of("ftp", "host/folder")


@pytest.mark.parametrize(
    ("type", "root", "blocked", "service", "extra"),
    [
        (
            "azure",
            "container/folder",
            "azure.storage.blob",
            "Azure",
            "metaflow-memoflow[azure]",
        ),
        (
            "gs",
            "gs://bucket/folder",
            "google.cloud.storage",
            "Google Cloud",
            "metaflow-memoflow[gcs]",
        ),
        ("s3", "s3://bucket/folder", "botocore", "S3", "boto3"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(
    type: str, root: str, blocked: str, service: str, extra: str
) -> None:
    last = opened(type, root, blocked)[-1]
    wanted = f"{service} support is not installed: pip install '{extra}' (for {root}; "
    assert last.startswith(f"memoflow.errors.UsageError: {wanted}")


@pytest.mark.parametrize("root", ["container/some/folder", "azure://container/some/folder"])
def test_a_root_in_azure_is_a_container_and_a_folder(root: str) -> None:
    pytest.importorskip("azure.storage.blob")
    assert opened("azure", root)[0] == "Azure('azure://container/some/folder/')"


def test_azure_without_an_endpoint_says_what_to_set() -> None:
    pytest.importorskip("azure.storage.blob")
    assert "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT is not set" in opened("azure", "c/f")[-1]


def test_azure_without_a_login_package_says_what_to_install() -> None:
    pytest.importorskip("azure.storage.blob")
    last = opened(
        "azure",
        "container/folder",
        "azure.identity",
        METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT="https://127.0.0.1:9",
    )[-1]
    assert last.startswith("memoflow.errors.BackendDeniedError")
    assert last.endswith("pip install 'metaflow-memoflow[azure]'")


def test_a_root_in_gcs_is_a_bucket_and_a_folder() -> None:
    pytest.importorskip("google.cloud.storage")
    assert opened("gs", "gs://bucket/some/folder")[0] == "Gcs('gs://bucket/some/folder/')"


def test_gcs_without_credentials_says_what_to_give() -> None:
    pytest.importorskip("google.cloud.storage")
    lines = opened(
        "gs",
        "gs://bucket/folder",
        HOME="/nonexistent",
        CLOUDSDK_CONFIG="/nonexistent",
        NO_GCE_CHECK="true",
    )
    assert "give Google credentials" in lines[-1]


def test_a_bucket_that_does_not_exist_is_not_called_an_empty_one(s3_server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "memoflow", "--root", "s3://no-such-bucket/store", "ls"],
        env=os.environ | {"METAFLOW_USER": "tester"} | s3_server.environment("no-such-bucket"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "bucket does not exist; create the bucket, or name another" in done.stderr
