"""Constants: those that cannot be encoded, those that are ignored, and paths of the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from memoflow.fingerprint import Part
from tests.fingerprint.conftest import Answer, World
from tests.fingerprint.test_closure import install, look_with, packages

CLIENT = """
import threading
class Client:
    def __init__(self, url=""):
        self.url, self.lock, self.calls = url, threading.Lock(), [id(self)]
        self.hooks = []
    def on(self, f):
        self.hooks.append(f)
        return f
    def bound(self): return self.lock
class Data:
    def __init__(self, x): self.x = x
"""


@pytest.fixture
def site(world: World) -> Path:
    directory = world.directory.parent / "site-packages"
    install(directory, "The-Kit", "1.0", {"kit/__init__.py": CLIENT})
    return directory


def by_class(answer: Answer) -> set[tuple[str, str]]:
    return {(part.name, part.summary) for part in answer.parts if part.kind == "opaque"}


KIT = "kit.Client of The-Kit 1.0"
PLACES = {
    "a global": ("import kit\nC = kit.Client()\ndef f(): return C", "main.C", KIT),
    "one imported": ("from lib import C\ndef f(): return C", "lib.C", KIT),
    "one of a module": ("import lib\ndef f(): return lib.C.url", "lib.C", KIT),
    "in a dict": ("import kit\nC = {'a': [kit.Client()]}\ndef f(): return C", "main.C", KIT),
    "in a tuple": ("import kit\nC = 1, (kit.Client(),)\ndef f(): return C", "main.C", KIT),
    "of a class": ("import kit\nclass A:\n    c = kit.Client()\ndef f(): return A", "A.c", KIT),
    "a default": ("import kit\ndef f(c=kit.Client()): return c", "f.c", KIT),
    "a default by name": ("import kit\ndef f(*, c=kit.Client()): return c", "f.c", KIT),
    "in a closure": (
        "import kit\ndef make(c):\n    def f(): return c\n    return f\nf = make(kit.Client())",
        "make.f.c", KIT,
    ),
    "of an object": (
        "import kit\nclass A:\n    def __init__(self): self.c = kit.Client()\na = A()\n"
        "def f(): return a", "main.a", KIT,
    ),
    "in a partial": (
        "import kit, functools\ndef g(c): return c\nh = {'h': functools.partial(g, kit.Client())}\n"
        "def f(): return h", "main.h", KIT,
    ),
    "of a bound method": (
        "import kit\nm = [kit.Client().bound]\ndef f(): return m", "main.m", KIT,
    ),
    "in an object of a library": (
        "import kit\nD = kit.Data(kit.Client())\ndef f(): return D", "main.D",
        "kit.Data of The-Kit 1.0",
    ),
    "a lock": (
        "import threading\nL = threading.Lock()\ndef f():\n    with L: pass", "main.L",
        "_thread.lock",
    ),
    "a lock in a list": (
        "import threading\nL = [threading.Lock()]\ndef f(): return L", "main.L", "_thread.lock",
    ),
    "a file": (
        "F = open(__file__)\ndef f(): return F.read()", "main.F", "_io.TextIOWrapper",
    ),
    "a pool": (
        "from concurrent.futures import ThreadPoolExecutor\nP = ThreadPoolExecutor(2)\n"
        "def f(): return P.map(str, [1])", "main.P",
        "concurrent.futures.thread.ThreadPoolExecutor",
    ),
    "a variable of a context": (
        "import contextvars\nV = contextvars.ContextVar('v')\ndef f(): return V.get()", "main.V",
        "_contextvars.ContextVar",
    ),
    "numbers": (
        "import itertools\nN = itertools.count()\ndef f(): return next(N)", "main.N",
        "itertools.count",
    ),
    "a queue": ("import queue\nQ = queue.Queue()\ndef f(): return Q", "main.Q", "queue.Queue"),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_what_a_library_made_and_cannot_be_encoded_counts_by_its_class(
    world: World, site: Path, place: str
) -> None:
    text, name, summary = PLACES[place]
    world.write(main=text, lib="import kit\nC = kit.Client()")
    answers = [look_with(world, site) for _ in range(2)]
    assert answers[0].error is None, answers[0].reason
    assert answers[0].value == answers[1].value
    assert by_class(answers[0]) == {(name, summary)}


def test_nothing_is_said_of_constants_that_can_be_encoded(world: World, site: Path) -> None:
    world.write(main="import kit, re\nC = [kit.Data(1), re.compile('a')]\ndef f(): return C")
    assert by_class(look_with(world, site)) == set()


def test_the_version_that_provides_a_client_counts(world: World, site: Path) -> None:
    world.write(main="import kit\nC = kit.Client()\ndef f(): return C")
    before = look_with(world, site)
    (site / "The_Kit-1.0.dist-info").rename(site / "The_Kit-1.1.dist-info")
    after = look_with(world, site)
    assert before.value != after.value
    assert packages(after) == {"The-Kit": "1.1"}


MADE = """
import kit
URL = 'x'
def make(url): return kit.Client(url + '2')
C = make(URL)
@C.on
def hook(): return 3
class Shout:
    def __call__(self): return 4
C.on(Shout())
def f(): return C  # 5
"""


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (("URL = 'x'", "URL = 'y'"), False),
        (("'2'", "'9'"), False),
        (("return 3", "return 9"), False),
        (("return 4", "return 9"), False),
        (("make(URL)", "make(URL + 'z')"), False),
        (("make(URL)", "make( URL )  # the client"), True),
        (("# 5", "# 9"), True),
    ],
)
def test_what_a_client_was_made_with_and_handed_counts(
    world: World, site: Path, edit: tuple[str, str], same: bool
) -> None:
    world.write(main=MADE)
    before = look_with(world, site)
    world.write(main=MADE.replace(*edit))
    assert before.error is None, before.reason
    assert (look_with(world, site).value == before.value) == same


def test_what_a_client_has_done_does_not_count(world: World, site: Path) -> None:
    world.write(main="import kit\nC = kit.Client()\ndef f(): return C")
    before = look_with(world, site)
    run = "import main; main.C.calls.append(1); main.C.lock.acquire()"
    after = world.look(run=run, path=[str(site)])
    assert before.value == after.value


def test_the_name_of_an_open_file_counts(world: World) -> None:
    text = "F = open('a.txt')\nG = [F]\nF = None\ndef f(): return G"
    world.write({"a.txt": "", "b.txt": ""}, main=text)
    before = world.look()
    world.write(main=text.replace("'a.txt'", "'b.txt'"))
    assert before.value != world.look().value


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("class A:\n    def __reduce__(self): raise TypeError('no')\na = [A()]", "main.a[0]"),
        ("class A:\n    def __fingerprint__(self): raise TypeError('no')\na = A()", "main.a"),
        ("a = {'x': (n for n in [1])}", "main.a['x']"),
        ("import threading\nclass A(threading.local): pass\na = A()", "main.a"),
    ],
)
def test_an_object_of_the_users_that_cannot_be_encoded_is_named(
    world: World, text: str, path: str
) -> None:
    world.write(main=f"{text}\ndef f(): return a")
    assert world.look().error == path


def test_the_same_objects_have_no_fingerprint_as_inputs(world: World, site: Path) -> None:
    world.write(main="import kit\ndef g(c): return c")
    for value, path in (
        ("[kit.Client()]", "value[0].lock"),
        ("main.g.__class__(main.g.__code__, {}, 'g', (kit.Client(),))", "g.c.lock"),
        ("functools.partial(main.g, kit.Client())", "partial arguments[0].lock"),
        ("kit.Client().bound", "method.lock"),
    ):
        run = "import main, kit, functools"
        assert world.look(f"of_value({value})", run, path=[str(site)]).error == path


def test_the_environment_as_a_whole_is_no_constant(world: World) -> None:
    world.write(main="import os\nENV = os.environ\ndef f(): return ENV.get('A')")
    before, after = world.look(), world.look(run="import main, os; os.environ['A'] = '1'")
    assert before.value == after.value
    assert by_class(before) == set()


def ignoring(world: World, *names: str, **more: object) -> Answer:
    return world.look(f"of_function(main.f, ignore=frozenset({list(names)!r}))", **more)


def ignored(answer: Answer) -> set[str]:
    return {part.name for part in answer.parts if part.kind == "ignored"}


LIB = "import os\nRUN = [1]\nclass A:\n    x = [2]\ndef g(): return 3"


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("import lib\ndef f(): return lib.RUN", "lib.RUN", "1"),
        ("from lib import RUN\ndef f(): return RUN", "lib.RUN", "1"),
        ("from lib import RUN as r\ndef f(): return r[0]", "lib.RUN", "1"),
        ("from lib import *\ndef f(): return RUN", "main.RUN", "1"),
        ("def f():\n    import lib\n    return lib.RUN", "lib.RUN", "1"),
        ("def f():\n    from lib import RUN\n    return RUN", "lib.RUN", "1"),
        ("import lib\ndef f(): return lib.A", "A.x", "2"),
        ("import lib\ndef f(): return lib.g()", "lib.g", "3"),
    ],
)
def test_an_ignored_constant_does_not_count_and_is_told(
    world: World, text: str, name: str, number: str
) -> None:
    world.write(main=text, lib=LIB)
    before, plain = ignoring(world, name, "lib.NONE"), world.look()
    world.write(lib=LIB.replace(number, "9"))
    after = ignoring(world, name, "lib.NONE")
    assert before.error is None, before.reason
    assert before.value == after.value
    assert plain.value != world.look().value
    assert ignored(before) == {name}


def test_an_ignored_constant_need_not_have_a_meaning(world: World) -> None:
    world.write(main="G = (n for n in [1])\ndef f(): return next(G)")
    assert ignoring(world, "main.G").error is None


def test_a_fingerprint_says_what_counts_by_class_and_what_is_ignored(world: World) -> None:
    world.write(main="import threading\nL, M = threading.Lock(), 1\ndef f(): return L, M")
    show = "[of_function(main.f, ignore=frozenset(['main.M', 'main.N']))]"
    show = f"[([p.name for p in x.by_class], sorted(x.ignored)) for x in {show}]"
    assert world.look(show).value == [[["main.L"], ["main.M"]]]


PATHS = """
import os, dataclasses, functools
from pathlib import Path, PurePosixPath
HERE = os.path.dirname(os.path.abspath(__file__))
@dataclasses.dataclass
class P:
    path: str = HERE + '/field.csv'
class A:
    x = [HERE + '/class.csv']
    def __init__(self): self.at = Path(HERE, 'attribute.csv')
class Mine(type(Path())): pass
C = CONSTANT
def f(x={'d': HERE + '/default.csv'}, y=HERE): return C, P, A
"""
CONSTANTS = (
    "HERE",
    "HERE + '/data.csv'",
    "Path(HERE)",
    "PurePosixPath(HERE) / 'x'",
    "Mine(HERE) / 'x'",
    "{'a': HERE}",
    "{HERE: 1, Path(HERE): 2}",
    "[HERE] * 20",
    "['x'] * 20 + [HERE]",
    "(1, (HERE, Path(HERE)))",
    "{HERE, 'b'}",
    "P(HERE + '/x')",
    "A()",
    "[P(Path(HERE)), {'k': A()}]",
    "functools.partial(os.path.join, HERE, x=HERE)",
    "'sqlite:///' + HERE + '/db.sqlite'",
    "f'--data={HERE}/x --out={HERE}/y'",
    "f'file://{HERE}/x'",
    "os.path.realpath(HERE)",
)


@pytest.mark.parametrize("constant", CONSTANTS)
def test_paths_of_the_project_count_as_they_are_in_it(
    world: World, tmp_path: Path, constant: str
) -> None:
    world.write(main=PATHS.replace("CONSTANT", constant))
    before = world.look()
    assert before.error is None, before.reason
    world.move(tmp_path / "other" / "deeper")
    assert world.look().value == before.value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("HERE + '/a'", "HERE + '/b'"),
        ("HERE + '/a'", "HERE + '/a/'"),
        ("HERE", "HERE + '2'"),
        ("HERE", "'.'"),
        ("HERE + '/a'", "'a'"),
        ("HERE + '/a'", "Path(HERE + '/a')"),
        ("Path(HERE)", "PurePosixPath(HERE)"),
        ("HERE + '/a'", "os.path.dirname(HERE) + '/a'"),
        ("'x' + HERE", "'y' + HERE"),
        ("[HERE, '']", "['', HERE]"),
    ],
)
def test_other_paths_are_other_values(world: World, before: str, after: str) -> None:
    one, other = world.both(
        {"main.py": PATHS.replace("CONSTANT", before)},
        {"main.py": PATHS.replace("CONSTANT", after)},
        show="[p for p in of_function(main.f).parts if p.name == 'main.C'][0].digest",
    )
    assert one.value != other.value


@pytest.mark.parametrize("constant", ["HERE + '2/x'", "'/mnt' + HERE", "os.path.dirname(HERE)"])
def test_paths_outside_of_the_project_count_as_a_whole(
    world: World, tmp_path: Path, constant: str
) -> None:
    world.write(main=PATHS.replace("CONSTANT", constant))
    before = world.look()
    world.move(tmp_path / "other" / "deeper")
    assert world.look().value != before.value


def repository(directory: Path) -> None:
    subprocess.run(["git", "init", "-q", str(directory)], check=True)


@pytest.mark.parametrize("marked", [True, False])
def test_it_does_not_matter_how_far_up_the_root_is_found(
    world: World, tmp_path: Path, marked: bool
) -> None:
    # As in a pod, which has the files of the flow and not the repository that they are from.
    world.write(main=PATHS.replace("CONSTANT", "HERE + '/data.csv'"))
    before = world.look()
    above = tmp_path / "other"
    above.mkdir()
    if marked:
        repository(above)
    world.move(above / "deeper")
    assert world.look().value == before.value


def test_paths_elsewhere_in_the_repository_are_relative_too(world: World, tmp_path: Path) -> None:
    text = PATHS.replace("CONSTANT", "[os.path.dirname(HERE) + '/data']")
    answers = []
    for name in ("one", "two"):
        repository(tmp_path / name)
        (tmp_path / name / "flows").mkdir()
        (tmp_path / name / "flows" / "main.py").write_text(text)
        world.directory = tmp_path / name / "flows"
        answers.append(world.look())
    assert answers[0].value == answers[1].value


def test_a_part_is_told_by_the_path_as_it_is(world: World) -> None:
    world.write(main="import os\nC = os.path.dirname(__file__)\ndef f(): return C")
    (part,) = (each for each in world.look().parts if each.kind == "constant")
    assert isinstance(part, Part)
    assert str(world.directory)[:30] in part.summary
