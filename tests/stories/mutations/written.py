"""Files that a step writes: kept and put back, or missed when they are gone."""

from __future__ import annotations

import shutil

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Act, Case, World


def removed(*paths: str) -> Act:
    def act(project: Project) -> None:
        for path in paths:
            place = project.folder / path
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    return act


def gone(name: str, body: str, path: str) -> Case:
    """Return a case of a step whose output names a file that it wrote, and that is removed."""
    says = rf"{path.replace('.', '[.]')}.* gone"
    # What is made again is the result from then on, so it is not as before.
    return Case(name, body, says, change=removed(path), returns=False)


def written(path: str, text: str) -> Act:
    return lambda project: project.write(path, text)


def reads_behind(name: str, path: str) -> Case:
    """Return a case of a step that tells what is in a file when its turn comes, each time."""
    return Case(
        name,
        f"Path({path!r}).read_text() if os.path.exists({path!r}) else 'gone'",
        memo="",
        leaves="'made'",
    )


_MAKE = """
os.makedirs(os.path.dirname({path!r}), exist_ok=True)
Path({path!r}).write_text("made")
got = {got}
"""


def make(path: str, got: str = "1") -> str:
    return _MAKE.format(path=path, got=got)


# Each is followed by a step that is not memoized, and looks at what was put back.
RESTORED = [
    Case(
        "missing",
        make("out/missing.csv"),
        memo='@memoize(files=["out/missing.csv"])',
        change=removed("out/missing.csv"),
    ),
    reads_behind("missing_seen", "out/missing.csv"),
    Case(
        "different",
        make("out/different.csv"),
        memo='@memoize(files=["out/diff*.csv"])',
        change=written("out/different.csv", "spoilt"),
    ),
    reads_behind("different_seen", "out/different.csv"),
    Case(
        "with_its_directory",
        make("tables/deep/kept.csv"),
        memo='@memoize(files=["tables/**/*.csv"])',
        change=removed("tables"),
    ),
    reads_behind("with_its_directory_seen", "tables/deep/kept.csv"),
    Case(
        "named_by_the_output",
        make("out/named.csv", "Path('out/named.csv')"),
        memo='@memoize(files=["out/named.csv"])',
        change=removed("out/named.csv"),
    ),
    reads_behind("named_by_the_output_seen", "out/named.csv"),
    Case(
        "executable",
        make("bin/tool.sh") + "os.chmod('bin/tool.sh', 0o755)\n",
        memo='@memoize(files=["bin/*"])',
        change=removed("bin/tool.sh"),
    ),
    Case(
        "executable_seen",
        "os.access('bin/tool.sh', os.X_OK)",
        memo="",
        leaves="True",
    ),
    Case(
        "of_a_subprocess",
        "subprocess.run('mkdir -p sub; printf made > sub/out.txt', shell=True).returncode",
        memo='@memoize(files=["sub/out.txt"])',
        change=removed("sub"),
    ),
    reads_behind("of_a_subprocess_seen", "sub/out.txt"),
    Case(
        "left_alone",
        make("out/alone.csv"),
        memo='@memoize(files=["out/alone.csv"])',
        change=written("out/beside.txt", "mine"),
    ),
    Case(
        "left_alone_seen", "open('out/beside.txt').read()", memo="", files={"out/beside.txt": "x"}
    ),
    Case("of_nothing", "1", memo='@memoize(files=["none/*.csv"])', told=r"none/\*\.csv"),
]

GONE = [
    gone("by_text", make("made/by_text.txt", "'made/by_text.txt'"), "made/by_text.txt"),
    gone("by_path", make("made/by_path.txt", "Path('made/by_path.txt')"), "made/by_path.txt"),
    gone("in_a_list", make("made/in_list.txt", "[1, 'made/in_list.txt']"), "made/in_list.txt"),
    gone(
        "in_a_dict",
        make("made/in_dict.txt", "{'model': Path('made/in_dict.txt')}"),
        "made/in_dict.txt",
    ),
    gone("nested", make("made/nested.txt", "{'a': [('x', 'made/nested.txt')]}"), "made/nested.txt"),
    gone(
        "absolute",
        make(
            "made/absolute.txt",
            "os.path.abspath('made/absolute.txt') and str(Path('made/absolute.txt').resolve())",
        ),
        "made/absolute.txt",
    ),
    gone("directory", make("made_tree/x.txt", "'made_tree'"), "made_tree"),
    gone(
        "by_a_subprocess",
        "subprocess.run(['sh', '-c', 'echo 1 > child.txt'], check=True)\ngot = 'child.txt'",
        "child.txt",
    ),
    Case(
        "not_its_own",
        "'given.txt'",
        files={"given.txt": "1"},
        change=removed("given.txt"),
        restore=written("given.txt", "1"),
    ),
    Case(
        "not_named",
        make("made/not_named.txt"),
        change=removed("made/not_named.txt"),
    ),
    Case(
        "gone_at_once",
        """
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.txt")
            path.write_text("1")
        got = len(str(path)) > 0
        self.temporary_path = str(path)
        """,
    ),
    Case(
        "made_again",
        make("made/model.txt", "'made/model.txt'"),
        r"made/model\.txt.* gone",
        change=removed("made/model.txt"),
        returns=False,
    ),
    Case("reads_what_was_made_again", "open(self.of_made_again).read()", leaves="'made'"),
]

WORLDS = [
    World("restored", RESTORED),
    World("gone", GONE),
]
