"""Distributions: what is installed under one version, and what that requires."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.fingerprint.distributions import applies
from tests.fingerprint.conftest import Answer, World, why
from tests.fingerprint.test_closure import look_with

HASH = "sha256={:0>43}"


def install(
    site: Path,
    name: str,
    version: str,
    *,
    requires: tuple[str, ...] = (),
    code: str = "def run(): return 1",
    record: str | None = None,
    extra: str = "",
) -> Path:
    """Put a distribution of one module into a site directory, with hashes as pip does."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (site / name).mkdir(exist_ok=True)
    (site / name / "__init__.py").write_text(code)
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    (info / "METADATA").write_text("\n".join(lines) + "\n\nRequires-Dist: a-readme\n")
    digest = HASH.format(len(code) if code != "def run(): return 2" else "two")
    text = f"{name}/__init__.py,{digest},9\n{name}-{version}.dist-info/RECORD,,\n{extra}"
    (info / "RECORD").write_text(text if record is None else record)
    return info


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "site-packages"


@pytest.fixture
def kit(world: World, site: Path) -> Path:
    world.write(main="import kit\ndef f(): return kit.run()")
    return install(site, "kit", "1.0")


def versions(answer: Answer) -> dict[str, str]:
    assert answer.error is None, answer.reason
    return {part.name: part.summary for part in answer.parts if part.kind == "package"}


def test_other_files_under_one_version_count_and_are_told(
    world: World, site: Path, kit: Path
) -> None:
    before = look_with(world, site)
    install(site, "kit", "1.0", code="def run(): return 2")
    after = look_with(world, site)
    assert versions(before) == versions(after) == {"kit": "1.0"}
    assert why(before, after) == ["kit 1.0 was installed again from elsewhere"]


def test_another_version_is_told_by_its_number(world: World, site: Path, kit: Path) -> None:
    before = look_with(world, site)
    for each in kit.iterdir():
        each.unlink()
    kit.rmdir()
    install(site, "kit", "1.1", code="def run(): return 2")
    assert why(before, look_with(world, site)) == ["kit changed: 1.0 -> 1.1"]


@pytest.mark.parametrize(
    "extra",
    [
        f"kit-1.0.dist-info/INSTALLER,{HASH.format('uv')},2\n",
        f"kit-1.0.dist-info/direct_url.json,{HASH.format('url')},2\n",
        f"../../../bin/kit,{HASH.format('shebang')},220\n",
        "kit/__pycache__/__init__.cpython-311.pyc,,\n",
    ],
)
def test_what_an_installer_adds_does_not_count(
    world: World, site: Path, kit: Path, extra: str
) -> None:
    before = look_with(world, site)
    install(site, "kit", "1.0", extra=extra)
    assert look_with(world, site).value == before.value


def test_the_order_of_the_files_does_not_count(world: World, site: Path, kit: Path) -> None:
    first, second = f"kit/__init__.py,{HASH.format(1)},9\n", f"kit/a.py,{HASH.format(2)},9\n"
    install(site, "kit", "1.0", record=first + second)
    before = look_with(world, site)
    install(site, "kit", "1.0", record=(second + first).replace("\n", "\r\n"))
    assert look_with(world, site).value == before.value


def test_the_commit_counts_where_files_have_no_hashes(world: World, site: Path, kit: Path) -> None:
    origin = '{"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "%s"}}'
    values = []
    for commit in ("aaa", "bbb"):
        install(site, "kit", "1.0", record="kit/__init__.py,,\n")
        (kit / "direct_url.json").write_text(origin % commit)
        values.append(look_with(world, site).value)
    assert values[0] != values[1]


def test_a_distribution_of_the_system_counts_by_its_first_file(
    world: World, site: Path, kit: Path
) -> None:
    values = []
    for code in ("def run(): return 1", "def run(): return 2"):
        install(site, "kit", "1.0", code=code)
        (kit / "RECORD").unlink()
        (kit / "top_level.txt").write_text("kit\n")
        values.append(look_with(world, site).value)
    assert values[0] != values[1]


def test_what_is_required_counts_however_indirectly(world: World, site: Path) -> None:
    world.write(main="import kit\ndef f(): return kit.run()")
    install(site, "kit", "1.0", requires=("first (>=1)", "absent>2"))
    install(site, "first", "1.0", requires=("Second-One[fast]~=1.0; python_version >= '3'",))
    install(site, "second_one", "1.0", requires=("kit", "third; extra == 'fast'"))
    install(site, "third", "1.0")
    install(site, "other", "1.0")
    before = look_with(world, site)
    assert versions(before) == dict.fromkeys(("kit", "first", "second_one", "third"), "1.0")
    (site / "third-1.0.dist-info").rename(site / "third-1.5.dist-info")
    assert why(before, look_with(world, site)) == ["third changed: 1.0 -> 1.5"]


@pytest.mark.parametrize(
    "requirement",
    [
        "other; extra == 'dev'",
        "other; python_version < '3.0'",
        "other ; sys_platform == 'nowhere' and extra == 'x'",
        "metaflow",
    ],
)
def test_what_is_not_required_here_does_not_count(
    world: World, site: Path, requirement: str
) -> None:
    world.write(main="import kit\ndef f(): return kit.run()")
    install(site, "kit", "1.0", requires=(requirement,))
    install(site, "other", "1.0")
    install(site, "metaflow", "1.0", requires=("other",), code="")
    assert versions(look_with(world, site)) == {"kit": "1.0"}


@pytest.mark.parametrize(
    ("marker", "extras", "expected"),
    [
        ("", (), True),
        ("extra == 'a'", (), False),
        ("extra == 'a'", ("a",), True),
        ("extra == 'A-b'", ("a_b",), True),
        ("extra == 'a' or extra == 'b'", ("b",), True),
        ("python_version >= '3.9' and extra == 'a'", ("a",), True),
        ("python_version < '3.9' and (extra == 'a')", ("a",), False),
        ("python_version < '3.10' or extra == 'a'", (), False),
        ("python_full_version >= '3.10.0'", (), True),
        ("python_version == '3.*'", (), True),
        ("python_version ~= '3.2'", (), True),
        ("python_version != '2.7'", (), True),
        ("python_version not in '2.7, 3.0'", (), True),
        ("'linux' in sys_platform or 'linux' not in sys_platform", (), True),
        ("platform_python_implementation == 'Nothing'", (), False),
        ("platform_release >= '20.9'", (), True),  # it cannot be told
        ("what is this", (), True),
    ],
)
def test_a_marker_is_true_unless_it_is_certainly_not(
    marker: str, extras: tuple[str, ...], expected: bool
) -> None:
    assert applies(marker, frozenset(extras)) is expected


def test_code_of_an_editable_install_counts_as_the_users(world: World, tmp_path: Path) -> None:
    """With the finder that setuptools leaves, which maps names to directories elsewhere."""
    site, source = tmp_path / "site-packages", tmp_path / "src" / "kit"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("def run(): return 1")
    install(site, "kit", "1.0", record=f"__editable___kit.py,{HASH.format(1)},9\n")
    (site / "kit" / "__init__.py").unlink()
    (site / "kit").rmdir()
    finder = "import sys, importlib.util as u\nclass F:\n @staticmethod\n"
    finder += " def find_spec(n, path=None, target=None):\n  if n == 'kit':\n"
    finder += f"   return u.spec_from_file_location(n, {str(source / '__init__.py')!r},"
    finder += f" submodule_search_locations=[{str(source)!r}])\nsys.meta_path.append(F)"
    (site / "__editable___kit.py").write_text(finder)
    world.write(
        main="import kit\ndef f(): return kit.run()",
        late="def f():\n import kit\n return kit.run()",
    )
    for module in ("main", "late"):
        run, show = f"import __editable___kit, {module}", f"of_function({module}.f)"
        (source / "__init__.py").write_text("def run(): return 1")
        before = look_with(world, site, run=run, show=show)
        (source / "__init__.py").write_text("def run(): return 2")
        assert versions(before) == {}
        assert look_with(world, site, run=run, show=show).value != before.value
