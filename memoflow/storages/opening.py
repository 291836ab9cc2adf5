"""Opening: backends and stores in datastores of Metaflow's and at addresses people name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any

from memoflow.backends import Backend, Local, first_read
from memoflow.errors import NotFoundError, UsageError, WrongTypeError
from memoflow.store import Store
from memoflow.store import open_store as open_backend
from memoflow.store.open import settings

_ROOT_VARIABLE = "METAFLOW_MEMOFLOW_ROOT"
# The module that opens roots of a type, with its service and the extra of our distribution that it
# needs. Imported when one is opened: what they need takes a while to import, and is there only
# where it is used.
_MODULES = {
    "azure": ("microsoft", "Azure", "metaflow-memoflow[azure]"),
    "gs": ("google_cloud", "Google Cloud", "metaflow-memoflow[gcs]"),
    "s3": ("amazon", "S3", "boto3"),
}


def backend_of(type: str, root: str, config: Mapping[str, Any] | None = None) -> Backend:
    """Return the backend at a root: a directory, or a folder of a bucket.

    `config` is what `@with_artifact_store` was told beside the root. UsageError for a type that
    there is no backend for, or whose packages are not installed.
    """
    kind = check(type, root)
    if kind is None:
        return Local(Path(os.path.expanduser(root)))
    module, service, extra = _MODULES[kind]
    try:
        opened = import_module(f"memoflow.storages.{module}")
    except ImportError as error:
        raise UsageError(
            f"{service} support is not installed: pip install '{extra}' (for {root}; {error})"
        ) from error
    backend: Backend = opened.backend(root, config or {})
    return backend


def configured(*, create: bool = False) -> tuple[str, str]:
    """Return type and root of the datastore that Metaflow is configured to use.

    NotFoundError if that is a local one and there is none here or above; with `create` one is made
    here.
    """
    # Here, since Metaflow takes a while to import, and only some ask for this.
    from metaflow import metaflow_config
    from metaflow.plugins import DATASTORES

    kind = metaflow_config.DEFAULT_DATASTORE
    (storage,) = (each for each in DATASTORES if kind == each.TYPE)
    root = storage.get_datastore_root_from_config(lambda *_: None, create_on_absent=create)
    if root is None:
        raise NotFoundError(
            "there is no .metaflow directory here or above; run this where the flow was run, or "
            "set METAFLOW_DATASTORE_SYSROOT_LOCAL"
            if kind == "local"
            else f"no root is set for the datastore {kind} that Metaflow is configured to use; set "
            f"METAFLOW_DATASTORE_SYSROOT_{kind.upper()}"
        )
    return kind, str(root)


def folder_of(type: str, root: str) -> str:
    """Return the store's folder in a datastore, or METAFLOW_MEMOFLOW_ROOT if that is set."""
    from metaflow import metaflow_config

    named = getattr(metaflow_config, "MEMOFLOW_ROOT", None)  # Its extensions may be turned off.
    if named:
        return str(named) if "://" in named else os.path.abspath(os.path.expanduser(named))
    return f"{root.rstrip('/')}/memoflow"


def check(type: str, root: str) -> str | None:
    """Return the type of a root, None for a directory; UsageError if no backend is for it."""
    scheme = root.partition("://")[0] if "://" in root else None
    if scheme is None and (type == "local" or root.startswith("/")):
        return None
    kind = scheme or type
    if kind not in _MODULES:
        raise UsageError(
            f"{kind} is not supported as the place of a store ({root}): set METAFLOW_MEMOFLOW_ROOT "
            f"to a directory or an address of {', '.join(sorted(_MODULES))}"
        )
    return kind


def open_store(root: str | Path | None = None, *, create: bool = False) -> Store:
    """Return the store in a directory or at an address such as `s3://bucket/folder`.

    By default that of the datastore that Metaflow is configured to use. With `create` a new one is
    made where there is none; else that is a NotFoundError.
    """
    where, backend = find_backend(root, create=create)
    if create:
        return open_backend(backend)
    # Read, since a look whether it is there takes a bucket that does not exist for an empty one.
    if first_read(backend, "format.json", most_bytes=1) is None:
        raise NotFoundError(
            f"there is no memoflow store in {where}; run a flow that has a step with @memoize, "
            "@checkpoint, @model or @huggingface_hub first"
        )
    return open_backend(backend)


def find_backend(root: str | Path | None, *, create: bool = False) -> tuple[str, Backend]:
    """Return the location of a store and its backend; the store need not exist yet.

    With `create`, not even the datastore of Metaflow's that it would lie in.
    """
    if not isinstance(root, (str, os.PathLike, NoneType)):
        raise WrongTypeError(
            "open_store takes a directory, an address such as s3://bucket/folder, or None, not "
            f"{root!r:.100}"
        )
    named = str(root or settings().get(_ROOT_VARIABLE) or "")
    if named and "://" not in named:
        path = Path(os.path.abspath(os.path.expanduser(named)))
        return str(path), Local(path)
    if named:
        return named, backend_of("local", named)
    kind, datastore = configured(create=create)
    folder = folder_of(kind, datastore)
    return folder, backend_of(kind, folder)
