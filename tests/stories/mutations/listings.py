"""Absences and directories: what a step looked for and did not find, and what it listed."""

from __future__ import annotations

import os
from typing import Any

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Case, World


def absent(name: str, body: str, suffix: str = ".txt", **more: Any) -> Case:
    """Return a case of a step that looks for a file, which is there after the change."""
    file = name + suffix
    says = rf"file {name}\{suffix} is there now"
    return Case(name, body.replace("{file}", repr(file)), says, then={file: "1"}, **more)


def listed(name: str, body: str, made: str = "c.csv", **more: Any) -> Case:
    """Return a case of a step that lists a directory `name`, where a file is new then."""
    text = body.replace("{dir}", repr(name))
    new = made.replace(".", "[.]")
    folder, _, last = f"{name}/{new}".rpartition("/")
    return Case(
        name,
        text,
        more.pop("says", rf"directory (?:{folder}\S*: {last}|{name}\S*: {new}) is new"),
        files={f"{name}/a.csv": "1", f"{name}/b.csv": "1", **more.pop("files", {})},
        then=more.pop("then", {f"{name}/{made}": "1"}),
        **more,
    )


def quiet(name: str, body: str, **then: str | None) -> Case:
    """Return a case of a step that lists a directory where what it asked for stays the same."""
    changes = {f"{name}/{file}": content for file, content in then.items()}
    text = body.replace("{dir}", repr(name))
    return Case(name, text, files={f"{name}/a.csv": "1", f"{name}/b.csv": "1"}, then=changes)


def renamed(old: str, new: str) -> Any:
    def act(project: Project) -> None:
        os.rename(project.folder / old, project.folder / new)

    return act


ABSENCES = [
    absent(
        "failed_open",
        """
        try:
            got = open({file}).read()
        except FileNotFoundError:
            got = "default"
        """,
    ),
    absent("exists", "os.path.exists({file})"),
    absent("isfile", "os.path.isfile({file})"),
    absent("path_exists", "Path({file}).exists()"),
    absent("path_is_file", "Path({file}).is_file()"),
    absent("accessible", "os.access({file}, os.R_OK)"),
    absent("lexists", "os.path.lexists({file})"),
    absent(
        "stat_failed",
        """
        got = "none"
        with contextlib.suppress(OSError):
            got = os.stat({file}).st_size
        """,
    ),
    absent(
        "looked_for_in_a_helper",
        "setting_of({file})",
        head="""
        def setting_of(name):
            return open(name).read() if os.path.isfile(name) else "default"
        """,
    ),
    Case(
        "first_of_several",
        """
        found = [name for name in ("local.ini", "default.ini") if os.path.exists(name)]
        got = open(found[0]).read()
        """,
        r"file local\.ini is there now",
        files={"default.ini": "1"},
        then={"local.ini": "2"},
    ),
    Case(
        "parser_of_several",
        """
        import configparser
        parser = configparser.ConfigParser()
        parser.read(["base.cfg", "site.cfg"])
        got = parser["a"]["x"]
        """,
        r"file site\.cfg is there now",
        files={"base.cfg": "[a]\nx = 1\n"},
        then={"site.cfg": "[a]\nx = 2\n"},
    ),
    Case(
        "optional_module",
        """
        try:
            import accelerated
            got = accelerated.SPEED
        except ImportError:
            got = "slow"
        """,
        r"accelerated",
        then={"accelerated.py": "SPEED = 'fast'\n"},
    ),
    Case(
        "spec_of_an_optional_module",
        "import importlib.util\ngot = importlib.util.find_spec('extra_plugin') is not None",
        r"extra_plugin",
        then={"extra_plugin.py": "SPEED = 'fast'\n"},
    ),
    Case(
        "no_match",
        "glob.glob('nothing/*.csv')",
        r"directory nothing\S*: a\.csv is new",
        files={"nothing/keep.txt": ""},
        then={"nothing/a.csv": "1"},
    ),
    Case(
        "no_directory",
        "os.path.isdir('later')",
        r"later is there now",
        change=lambda project: (project.folder / "later").mkdir(),
        restore=lambda project: (project.folder / "later").rmdir(),
    ),
    absent(
        "in_a_fork",
        "from metaflow import parallel_map\ngot = parallel_map(os.path.exists, [{file}])",
    ),
    Case(
        "existence_alone",
        "os.path.exists('big.bin')",
        files={"big.bin": "1"},
        then={"big.bin": "2"},
    ),
    Case(
        "was_there",
        "Path('was.txt').is_file()",
        r"file was\.txt is gone",
        files={"was.txt": "1"},
        then={"was.txt": None},
    ),
    Case(
        "size_alone",
        "os.path.getsize('sized.bin')",
        files={"sized.bin": "1"},
        then={"sized.bin": "2"},
    ),
    Case(
        "other_size",
        "os.path.getsize('grown.bin')",
        r"file grown\.bin",
        files={"grown.bin": "1"},
        then={"grown.bin": "12"},
    ),
    Case(
        "absent_and_still_so",
        "os.path.exists('never.txt')",
        then={"beside_never.txt": "1"},
    ),
]

DIRECTORIES = [
    listed("listdir", "sorted(os.listdir({dir}))"),
    listed("scandir", "sorted(entry.name for entry in os.scandir({dir}))"),
    listed("globbed", "sorted(glob.glob({dir} + '/*.csv'))"),
    listed("iglobbed", "len(list(glob.iglob(os.path.join({dir}, '*'))))"),
    listed("path_glob", "sorted(map(str, Path({dir}).glob('*.csv')))"),
    listed(
        "rglobbed",
        "sorted(map(str, Path({dir}).rglob('*.csv')))",
        "sub/c.csv",
        files={"rglobbed/sub/z.txt": ""},
    ),
    listed("iterated", "len(list(Path({dir}).iterdir()))"),
    listed(
        "walked",
        "sorted(name for _, _, names in os.walk({dir}) for name in names)",
        "deep/er/c.csv",
        files={"walked/deep/er/z.csv": ""},
    ),
    listed(
        "glob_of_all_below",
        "sorted(glob.glob({dir} + '/**/*.csv', recursive=True))",
        "sub/c.csv",
        files={"glob_of_all_below/sub/z.txt": ""},
    ),
    listed(
        "removed",
        "sorted(os.listdir({dir}))",
        says=r"directory removed\S*: b\.csv is gone",
        then={"removed/b.csv": None},
    ),
    listed(
        "renamed",
        "sorted(glob.glob({dir} + '/*.csv'))",
        says=r"directory renamed\S*: .*(c\.csv is new|b\.csv is gone)",
        then={},
        change=renamed("renamed/b.csv", "renamed/c.csv"),
        restore=renamed("renamed/c.csv", "renamed/b.csv"),
    ),
    listed(
        "read_one_by_one",
        "[open(name).read() for name in sorted(glob.glob({dir} + '/*.csv'))]",
        says=r"file read_one_by_one/b\.csv changed",
        then={"read_one_by_one/b.csv": "2"},
    ),
    listed(
        "in_a_forked_child",
        "from metaflow import parallel_map\ngot = parallel_map(sorted, [os.listdir({dir})])",
    ),
    listed("by_handle", "handle = os.open({dir}, os.O_RDONLY)\ngot = sorted(os.listdir(handle))"),
    listed(
        "copied_tree",
        """
        import shutil, tempfile
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree({dir}, folder + "/copy")
            got = sorted(os.listdir(folder + "/copy"))
        """,
    ),
    listed(
        "labels_by_folder",
        """
        from sklearn.datasets import load_files
        got = sorted(load_files({dir}).target.tolist())
        """,
        "x/c.csv",
        files={"labels_by_folder/x/a.csv": "1", "labels_by_folder/y/a.csv": "1"},
    ),
    listed("counted_by_pattern", "sum(1 for _ in Path('.').glob({dir} + '/*.csv'))"),
    quiet("unread_contents", "sorted(os.listdir({dir}))", **{"a.csv": "2"}),
    quiet("of_another_pattern", "sorted(glob.glob({dir} + '/*.csv'))", **{"c.txt": "1"}),
    quiet("of_another_suffix", "sorted(map(str, Path({dir}).glob('*.csv')))", **{"c.txt": "1"}),
    quiet("deep_of_another", "len(list(Path({dir}).rglob('*.csv')))", **{"sub/c.txt": "1"}),
    quiet("hidden", "sorted(glob.glob({dir} + '/*'))", **{".hidden": "1"}),
    quiet("class_of_names", "sorted(glob.glob({dir} + '/[ab].csv'))", **{"c.csv": "1"}),
    quiet("one_known_name", "open({dir} + '/a.csv').read()", **{"c.csv": "1"}),
    quiet(
        "of_its_own_outputs",
        """
        Path({dir}, "made.csv").write_text("made")
        got = sorted(os.listdir({dir}))
        """,
    ),
]

WORLDS = [
    World("absences", ABSENCES),
    World("directories", DIRECTORIES),
]
