"""Distributions: upgraded, installed again under one version, and what they depend on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Act, Case, World

# The folder's name makes of these what `pip install --target` would make of wheels.
SITE = "vendor/site-packages"


def installed(
    name: str,
    version: str = "1.0",
    *,
    value: int = 1,
    requires: Sequence[str] = (),
    record: str = "",
    commit: str = "",
    installer: str = "pip",
) -> Act:
    """Return an act that installs a distribution of one module, and removes what was there."""

    def act(project: Project) -> None:
        site = project.folder / SITE
        for old in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        package, info = site / name, site / f"{name}-{version}.dist-info"
        package.mkdir(parents=True, exist_ok=True)
        info.mkdir()
        (package / "__init__.py").write_text(
            f"VALUE = {value}\n\n\ndef value():\n    return VALUE\n"
        )
        (package / "table.txt").write_text(str(value))
        needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        (info / "METADATA").write_text(metadata)
        (info / "INSTALLER").write_text(installer)
        lines = [f"{name}/__init__.py,sha256={record or version},40"]
        (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,", ""]))
        if commit:
            url = {
                "url": "https://example.org/x.git",
                "vcs_info": {"vcs": "git", "commit_id": commit},
            }
            (info / "direct_url.json").write_text(json.dumps(url))

    return act


def after(*acts: Act) -> Act:
    def act(project: Project) -> None:
        for one in acts:
            one(project)

    return act


def of(name: str, before: Act, then: Act, says: str | None = "", body: str = "") -> Case:
    """Return a case of a step that reaches the distribution of its own name, `toy_` before it."""
    if says == "":
        says = f"toy.{name}"
    return Case(
        name,
        body or f"import toy_{name}\ngot = toy_{name}.value()",
        says,
        prepare=before,
        change=then,
        restore=before,
    )


def chain(name: str, below: str, *, version: str) -> Act:
    """Return an act that installs a distribution, one that it needs, and one that this needs."""
    return after(
        installed(f"toy_{name}", requires=[f"toy_{name}_middle (>=0.1)"]),
        installed(f"toy_{name}_middle", requires=[f"toy-{name.replace('_', '-')}-below>=0.1"]),
        installed(f"toy_{name}_{below}", version),
    )


DISTRIBUTIONS = [
    of("upgraded", installed("toy_upgraded"), installed("toy_upgraded", "2.0", value=2)),
    of(
        "installed_again",
        installed("toy_installed_again", record="a"),
        installed("toy_installed_again", record="b", value=2),
    ),
    of(
        "of_a_commit",
        installed("toy_of_a_commit", record="a", commit="1" * 40),
        installed("toy_of_a_commit", record="a", commit="2" * 40, value=2),
    ),
    of(
        "needing",
        after(installed("toy_needing", requires=["toy_needed"]), installed("toy_needed")),
        installed("toy_needed", "2.0"),
        "toy.needed",
    ),
    of(
        "far",
        chain("far", "below", version="1.0"),
        chain("far", "below", version="2.0"),
        "toy.far.below",
    ),
    of(
        "needed_elsewhere",
        after(
            installed("toy_needed_elsewhere", requires=['toy_windows; sys_platform == "nowhere"']),
            installed("toy_windows"),
        ),
        installed("toy_windows", "2.0"),
        None,
    ),
    of(
        "needing_itself",
        installed("toy_needing_itself", requires=["toy_needing_itself", "toy_never_installed"]),
        installed("toy_needing_itself", "2.0", requires=["toy_needing_itself"]),
    ),
    of(
        "beside",
        after(installed("toy_beside"), installed("toy_unreached")),
        installed("toy_unreached", "2.0"),
        None,
    ),
    of(
        "of_another_installer",
        installed("toy_of_another_installer"),
        installed("toy_of_another_installer", installer="uv"),
        None,
    ),
    Case(
        "data_of_a_distribution",
        "import pkgutil\ngot = pkgutil.get_data('toy_data', 'table.txt')",
        prepare=installed("toy_data", record="a"),
        change=lambda project: project.write(f"{SITE}/toy_data/table.txt", "5"),
        restore=lambda project: project.write(f"{SITE}/toy_data/table.txt", "1"),
        leaves="b'1'",
    ),
    of(
        "by_name",
        installed("toy_by_name"),
        installed("toy_by_name", "2.0", value=2),
        body="import importlib\ngot = importlib.import_module('toy_' + 'by_name').value()",
    ),
    of(
        "behind_a_module",
        installed("toy_behind_a_module"),
        installed("toy_behind_a_module", "2.0", value=2),
        body="import of_toy\ngot = of_toy.value()",
    ),
]

WORLDS = [
    World(
        "distributions",
        [
            *DISTRIBUTIONS,
            Case(
                "module_behind",
                "1",
                files={"of_toy.py": "from toy_behind_a_module import value\n"},
            ),
        ],
        env={"PYTHONPATH": "{project}/.spy:{project}/" + SITE},
    )
]
