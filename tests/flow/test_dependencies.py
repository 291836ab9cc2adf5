"""What memoflow asks of environments that Metaflow makes for a step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("metaflow")

from metaflow.metaflow_config import get_pinned_conda_libs
from metaflow.plugins.datastores.s3_storage import S3Storage
from metaflow.plugins.pypi.conda_environment import CondaEnvironment

from memoflow.flow.task import dependencies

ROOT = Path(__file__).parents[2]
CONDA = {"packages": {}, "libraries": {}, "python": "3.11.7", "disabled": False}
PYPI = {"packages": {"pandas": "2.2.0"}, "python": None, "disabled": False}


class Bucket(S3Storage):
    @classmethod
    def get_datastore_root_from_config(cls, echo, create_on_absent=True):
        return "s3://bucket/metaflow"


class Deco:
    target_platform = "linux-64"

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self.name = name
        self.attributes = attributes


class Step(NamedTuple):
    name: str
    decorators: tuple[Deco, ...]


def packages(*decorators, packager):
    """What Metaflow's own code asks one of its packagers for."""
    environment = CondaEnvironment(None)
    environment.datastore_type, environment.datastore = "s3", Bucket
    environment.logger = print
    step = Step("fit", (Deco("conda", CONDA), *decorators))
    return environment.get_environment(step)[packager]["packages"]


def test_a_pypi_environment_gets_what_a_memoized_step_needs():
    found = packages(Deco("pypi", PYPI), Deco("memoize", {}), packager="pypi")
    assert found.keys() == {"boto3", "requests", "pandas", "tenacity", "xxhash"}


def test_a_conda_environment_gets_it_by_the_names_of_conda():
    found = packages(Deco("checkpoint", {}), packager="conda")
    assert "python-xxhash" in found
    assert "xxhash" not in found


def test_only_steps_with_huggingface_hub_get_its_package():
    hub = packages(Deco("pypi", PYPI), Deco("huggingface_hub", {}), packager="pypi")
    assert hub["huggingface_hub"] == dependencies.HUB["huggingface_hub"]
    other = packages(Deco("pypi", PYPI), Deco("model", {}), packager="pypi")
    assert "huggingface_hub" not in other


def test_a_step_without_our_decorators_gets_nothing():
    assert packages(Deco("pypi", PYPI), packager="pypi").keys() == {"boto3", "requests", "pandas"}


def test_whoever_does_not_say_for_which_step_gets_what_a_task_needs():
    # As uv does, in the container.
    assert {"tenacity", "xxhash"} <= get_pinned_conda_libs(None, "s3").keys()


def test_the_bounds_are_those_of_the_distribution():
    required = dict(
        re.findall(r'^    "([\w-]+)(>=[\d.]+)",$', (ROOT / "pyproject.toml").read_text(), re.M)
    )
    assert dependencies.HUB.items() <= required.items()
