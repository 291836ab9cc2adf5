"""Names: a project that is copied elsewhere hits, and a change there is named as it was here."""

from __future__ import annotations

from tests.stories.mutations.harness import Case, World

_ROOT = "HERE = Path(__file__).resolve().parent"


def copied(name: str, body: str, *, changes: bool, head: str = "") -> Case:
    """Return a case of a step that reads `data/<name>.csv` by some name of it."""
    file = f"data/{name}.csv"
    return Case(
        name,
        body.replace("{file}", file),
        rf"file {file.replace('.', '[.]')} changed" if changes else None,
        files={file: "1"},
        then={file: "2"} if changes else {},
        head=head.replace("{file}", file),
    )


def held(name: str, how: str, use: str, *, changes: bool = False) -> Case:
    """Return a case of a step that reads its file by a constant that holds the path."""
    constant = name.upper()
    use = use.replace("X", constant)
    return copied(name, f"open({use}).read()", changes=changes, head=how.replace("X", constant))


COPIES = [
    copied("relative", "open('{file}').read()", changes=True, head=_ROOT),
    copied("absolute", "open(os.path.abspath('{file}')).read()", changes=True),
    copied("beside_the_flow", "(Path(__file__).parent / '{file}').read_text()", changes=False),
    copied("by_the_root", "(HERE / '{file}').read_text()", changes=True),
    copied("by_the_working_directory", "open(os.getcwd() + '/{file}').read()", changes=False),
    copied("globbed", "len(glob.glob(str(HERE / 'data/globbed*.csv')))", changes=False),
    copied(
        "by_a_subprocess",
        "subprocess.check_output(['cat', str(HERE / '{file}')])",
        changes=True,
    ),
    held("text", "X = str(HERE / '{file}')", "X"),
    held("path", "X = HERE / '{file}'", "X", changes=True),
    held("in_a_dict", "X = {'paths': {'train': str(HERE / '{file}')}}", "X['paths']['train']"),
    held("key_of_a_dict", "X = {HERE / '{file}': 1}", "next(iter(X))"),
    held("in_a_tuple", "X = (1, (HERE / '{file}',))", "X[1][0]", changes=True),
    held("in_a_list", "X = [str(HERE / '{file}')]", "X[0]"),
    held("in_a_set", "X = frozenset([HERE / '{file}'])", "next(iter(X))"),
    held(
        "field",
        "import dataclasses\n@dataclasses.dataclass\nclass CX:\n    path: Path\n"
        "X = CX(HERE / '{file}')",
        "X.path",
    ),
    held("field_default", "class X:\n    path = HERE / '{file}'", "X.path", changes=True),
    held("default", "def X(path=str(HERE / '{file}')):\n    return path", "X()"),
    held("keyword_default", "def X(*, path=HERE / '{file}'):\n    return path", "X()"),
    held(
        "closure",
        "def make_X():\n    path = HERE / '{file}'\n    return lambda: path\nX = make_X()",
        "X()",
    ),
    held("partial", "import functools\nX = functools.partial(Path, HERE / '{file}')", "X()"),
    held(
        "named_tuple",
        "import collections\nNX = collections.namedtuple('NX', 'p')\nX = NX(HERE / '{file}')",
        "X.p",
    ),
    held("member", "import enum\nclass X(enum.Enum):\n    P = str(HERE / '{file}')", "X.P.value"),
    held("as_bytes", "X = os.fsencode(HERE / '{file}')", "X"),
    held("with_a_scheme", "X = 'file://' + str(HERE / '{file}')", "X[7:]"),
    held("namespace", "import types\nX = types.SimpleNamespace(p=HERE / '{file}')", "X.p"),
    Case(
        "of_a_module",
        "import paths_module\ngot = open(paths_module.PATHS['x']).read()",
        r"file data/of_module\.csv changed",
        files={
            "data/of_module.csv": "1",
            "paths_module.py": """
                import os

                ROOT = os.path.dirname(os.path.abspath(__file__))
                PATHS = {"x": os.path.join(ROOT, "data", "of_module.csv")}
            """,
        },
        then={"data/of_module.csv": "2"},
    ),
]

WORLDS = [World("copies", COPIES, copied=True)]
