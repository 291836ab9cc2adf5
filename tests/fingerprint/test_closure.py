"""Reach: packages, references, proofs and notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fingerprint.conftest import Answer, World, why

WHEEL = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"


def install(site: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Put a distribution into a site directory the way pip does."""
    for old in site.glob(f"{name.replace('-', '_')}-*.dist-info/*"):
        old.unlink()
    for old in site.glob(f"{name.replace('-', '_')}-*.dist-info"):
        old.rmdir()
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(WHEEL.format(name, version))
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
    return str(site)


def packages(answer: Answer) -> dict[str, str]:
    assert answer.error is None, answer.reason
    return {part.name: part.digest for part in answer.parts if part.kind == "package"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "site-packages"


def look_with(world: World, site: Path, **more: object) -> Answer:
    return world.look(path=[str(site)], **more)


def test_the_version_of_a_package_that_is_reached_counts(world: World, site: Path) -> None:
    world.write(main="from lib import g\ndef f(): return g()", lib="import kit\ndef g(): kit.run()")
    install(site, "kit", "1.0", {"kit/__init__.py": "def run(): pass"})
    before = look_with(world, site)
    install(site, "kit", "2.0", {"kit/__init__.py": "def run(): pass"})
    after = look_with(world, site)
    assert packages(before) == {"kit": "1.0"}
    assert why(before, after) == ["kit changed: 1.0 -> 2.0"]


def test_the_version_of_a_package_that_is_not_reached_does_not(world: World, site: Path) -> None:
    world.write(main="import kit\ndef g(): return kit.run()\ndef f(): return 1")
    install(site, "kit", "1.0", {"kit/__init__.py": "def run(): pass"})
    before = look_with(world, site)
    install(site, "kit", "2.0", {"kit/__init__.py": "def run(): pass"})
    assert look_with(world, site).value == before.value


def test_the_code_of_a_package_does_not_count_beside_its_version(world: World, site: Path) -> None:
    world.write(main="import kit\ndef f(): return kit.run()")
    install(site, "kit", "1.0", {"kit/__init__.py": "def run(): return 1"})
    before = look_with(world, site)
    install(site, "kit", "1.0", {"kit/__init__.py": "def run(): return 2"})
    assert look_with(world, site).value == before.value


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import kit\n    return kit.run()",
        "def f():\n    from kit.sub import run\n    return run()",
        "import kit\nclass A(kit.Base): pass\ndef f(): return A()",
        "import kit\nx = kit.Base()\ndef f(): return x",
        "from kit import Base\ndef f(x: int): return isinstance(x, Base)",
        "import kit\n@kit.deco\ndef f(): return 1",
        "import kit\nf = kit.deco(lambda: 1)",
        "from kit import THING as x\ndef f(): return x.y",
    ],
)
def test_ways_to_reach_a_package(world: World, site: Path, text: str) -> None:
    world.write(main=text)
    kit = "class Base: y = 1\nimport functools, threading\ndef run(): return 1\n"
    kit += "class Thing:\n    def __init__(self): self.lock, self.y = threading.Lock(), 1\n"
    kit += "THING = Thing()\ndef deco(f):\n    return functools.wraps(f)(lambda *a: f(*a))\n"
    files = {"kit/__init__.py": kit, "kit/sub.py": "def run(): return 1"}
    install(site, "The-Kit", "1.0", files)
    assert packages(look_with(world, site)) == {"The-Kit": "1.0"}


def test_user_code_behind_a_decorator_of_a_package_counts(world: World, site: Path) -> None:
    kit = "def deco(f):\n    def inner(*a): return f(*a)\n    return inner"
    install(site, "kit", "1.0", {"kit/__init__.py": kit})
    text = "import kit\n@kit.deco\ndef g(): return 1\ndef f(): return g()"
    world.write(main=text)
    before = look_with(world, site)
    world.write(main=text.replace("1", "2"))
    assert look_with(world, site).value != before.value


def test_user_code_registered_with_a_package_counts(world: World, site: Path) -> None:
    kit = "T = {}\ndef register(name):\n    def deco(c):\n        T[name] = c\n"
    kit += "        return c\n    return deco\ndef make(name): return T[name]()"
    install(site, "kit", "1.0", {"kit/__init__.py": kit})
    text = "import kit\n@kit.register('x')\nclass X:\n    def m(self): return 1\n"
    text += "def f(): return kit.make('x').m()"
    world.write(main=text)
    before = look_with(world, site)
    world.write(main=text.replace("1", "2"))
    assert before.error is None, before.reason
    assert look_with(world, site).value != before.value


def test_user_code_wrapped_in_an_object_of_a_package_counts(world: World, site: Path) -> None:
    kit = "import functools, threading\nclass jit:\n    def __init__(self, f):\n"
    kit += "        functools.update_wrapper(self, f)\n        self.lock = threading.Lock()\n"
    kit += "    def __call__(self): return self.__wrapped__()\n"
    install(site, "kit", "1.0", {"kit/__init__.py": kit})
    text = "import kit\n@kit.jit\ndef g(): return 1\ndef f(): return g()"
    world.write(main=text)
    before = look_with(world, site)
    world.write(main=text.replace("1", "2"))
    assert packages(before) == {"kit": "1.0"}
    assert look_with(world, site).value != before.value


def test_a_namespace_package_counts_by_who_provides_the_part(world: World, site: Path) -> None:
    install(site, "ns-a", "1.0", {"ns/a/__init__.py": "def run(): pass"})
    install(site, "ns-b", "2.0", {"ns/b/__init__.py": "def run(): pass"})
    world.write(main="import ns.b\ndef f(): return ns.b.run()")
    assert packages(look_with(world, site)) == {"ns-b": "2.0"}
    world.write(main="def f():\n    from ns.b import run\n    return run()")
    assert packages(look_with(world, site)) == {"ns-b": "2.0"}


def test_a_package_without_metadata_counts_by_its_own_version(world: World, site: Path) -> None:
    site.mkdir(parents=True)
    (site / "kit.py").write_text("__version__ = '3.1'\ndef run(): pass")
    world.write(main="import kit\ndef f(): return kit.run()")
    assert packages(look_with(world, site)) == {"kit": "3.1"}


def test_a_package_without_any_version_counts_by_its_bytes(world: World, site: Path) -> None:
    site.mkdir(parents=True)
    world.write(main="import kit\ndef f(): return kit.run()")
    (site / "kit.py").write_text("def run(): return 1")
    before = look_with(world, site)
    (site / "kit.py").write_text("def run(): return 2")
    assert look_with(world, site).value != before.value


def test_an_editable_install_is_code_of_the_users(world: World, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "kit.py").write_text("def run(): return 1")
    world.write(main="import kit\ndef f(): return kit.run()")
    before = look_with(world, source)
    (source / "kit.py").write_text("def run(): return 2")
    assert packages(before) == {}
    assert look_with(world, source).value != before.value


def test_python_counts_by_its_minor_version(world: World) -> None:
    world.write(main="def f(): return 1")
    (python,) = [part for part in world.look().parts if part.kind == "python"]
    assert python.digest.count(".") == 1


REFERENCES = "of_references([('main', 'Model'), ('builtins', 'dict'), ('numpy', 'ndarray')])"


def test_references_add_the_code_of_classes(world: World) -> None:
    text = "raise SystemExit\nclass B:\n    def m(self): return 1\nclass Model(B): pass"
    before, after = world.both(
        {"main.py": text}, {"main.py": text.replace("1", "2")}, run="", show=REFERENCES
    )
    assert why(before, after) == ["code of B.m() changed (main.py:3)"]
    assert "numpy" in before.names("package")


def test_references_do_not_import(world: World) -> None:
    world.write(main="raise SystemExit('imported')\nclass Model: pass")
    assert world.look(run="", show=REFERENCES).error is None


def test_a_reference_to_nothing_becomes_another_when_it_is_there(world: World) -> None:
    before, after = world.both({}, {"main.py": "class Model: pass"}, run="", show=REFERENCES)
    assert before.value != after.value


EDITED = """
import main
from pathlib import Path
loaded = Path('main.py').read_text()
Path('main.py').write_text(loaded.replace('return 1', 'return 2'))
"""


def test_a_file_edited_after_loading_does_not_lie(world: World) -> None:
    world.write(main="def f(): return 1")
    stale = world.look(run=EDITED)
    fresh = world.look()
    assert stale.value != fresh.value


def test_a_file_edited_after_loading_does_not_lie_about_a_class(world: World) -> None:
    text = "class A:\n    x = 1\n    def m(self): return 1\ndef f(): return A().m()"
    world.write(main=text)
    stale = world.look(run=EDITED)
    assert stale.value != world.look().value


def test_a_file_edited_after_loading_does_not_lie_about_what_it_did(world: World) -> None:
    world.write(main="import random\nrandom.seed(1)\ndef f(): return random.random()")
    run = EDITED.replace("return 1", "seed(1)").replace("return 2", "seed(2)")
    # As if the process were older than the edit.
    run += "\nimport memoflow.fingerprint.source as s\ns._LOADED -= 100"
    stale = world.look(run=run)
    assert stale.value != world.look().value


def test_an_edit_after_a_first_look_does_not_matter_to_the_process(world: World) -> None:
    world.write(main="def f(): return 1")
    run = "import main\nfirst = of_function(main.f)\nopen('main.py', 'w').write('# other')"
    assert world.look("of_function(main.f) == first", run=run).value is True


def test_without_source_the_bytecode_counts(world: World) -> None:
    look = {"run": "exec('N = 1\\ndef f(): return g() + N\\ndef g(): return 1')"}
    show = "of_function(f)"
    first = world.look(show, **look)
    assert first.error is None
    assert first.value == world.look(show, **look).value
    for old, new in (("N = 1", "N = 2"), ("return 1", "return 2"), ("+ N", "- N")):
        assert world.look(show, run=look["run"].replace(old, new)).value != first.value


def test_without_source_docstrings_and_lines_do_not_count(world: World) -> None:
    plain = "def f(x):\n    if x:\n        return 1\n    return [i for i in x if i]"
    dressed = plain.replace("(x):", "(x):\n    'Say why.'\n\n").replace("1", "1\n\n")
    looks = [world.look("of_function(f)", run=f"exec({text!r})") for text in (plain, dressed)]
    assert looks[0].error is None
    assert looks[0].value == looks[1].value


def test_without_source_a_lambda_counts_with_its_closure(world: World) -> None:
    text = "def make(n): return lambda: n\nf = make({})"
    values = {
        world.look("of_function(f)", run=f"exec({text.format(n)!r})").value for n in (1, 2, 2)
    }
    assert len(values) == 2


def test_without_source_imports_in_a_function_count(world: World) -> None:
    text = "def f():\n    from lib import g\n    return g()"
    before, after = world.both(
        {"lib.py": "def g(): return 1"},
        {"lib.py": "def g(): return 2"},
        show="of_function(f)",
        run=f"exec({text!r})",
    )
    assert before.value != after.value


EXPLAINED = """
import json
N = 2
def helper(x): return x + N
def caller(x): return helper(x)
class Model:
    rate = 0.1
    def fit(self): return 1
def f(): return caller(1), Model().fit()
"""


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("return x + N", "return x - N", "code of helper() changed (main.py:4)"),
        ("N = 2", "N = 3", "constant main.N changed: 2 -> 3 (main.py:3)"),
        ("return 1", "return 2", "code of Model.fit() changed (main.py:8)"),
        ("rate = 0.1", "rate = 0.2", "constant Model.rate changed: 0.1 -> 0.2 (main.py:7)"),
        ("x): return helper(x)", "x): return x", "helper() is gone (main.py:4)"),
        ("class Model:", "class Model(Exception):", "code of class Model changed (main.py:6)"),
    ],
)
def test_an_edit_is_explained_where_it_was_made(
    world: World, old: str, new: str, line: str
) -> None:
    before, after = world.both({"main.py": EXPLAINED}, {"main.py": EXPLAINED.replace(old, new)})
    lines = why(before, after)
    assert line in lines
    assert len(lines) == (1 if "gone" not in line else 3)


def test_code_that_merely_calls_changed_code_is_not_named(world: World) -> None:
    before, after = world.both(
        {"main.py": EXPLAINED}, {"main.py": EXPLAINED.replace("x + N", "x * N")}
    )
    assert not any("caller" in line or "f()" in line for line in why(before, after))


def test_new_code_is_named(world: World) -> None:
    text = EXPLAINED.replace("caller(1),", "caller(1), json, new(),") + "def new(): return 1\n"
    before, after = world.both({"main.py": EXPLAINED}, {"main.py": text})
    assert why(before, after) == [
        "code of f() changed (main.py:9)",
        "new() is new (main.py:10)",
    ]


def test_another_meaning_of_a_name_is_told(world: World) -> None:
    text = "def a(): return 1\ndef b(): return 2\ng, h = a, b\ndef f(): return g() - h()"
    before, after = world.both(
        {"main.py": text}, {"main.py": text.replace("g, h = a, b", "g, h = b, a")}
    )
    assert why(before, after) == [
        "g in f() is main.b, was main.a (main.py:4)",
        "h in f() is main.a, was main.b (main.py:4)",
    ]
