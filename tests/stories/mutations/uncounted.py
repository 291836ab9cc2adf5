"""Files that do not count, those that make a step run each time, and what `ignore=` leaves out."""

from __future__ import annotations

from pathlib import Path

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Act, Case, World


def outside(path: str, text: str | None) -> Act:
    """Return an act that writes a file in the home directory of the world, beside the project."""

    def act(project: Project) -> None:
        file = Path(f"{project.folder}-home") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text)

    return act


def at_home(name: str, path: str, body: str, says: str | None = None) -> Case:
    return Case(
        name,
        body,
        says,
        prepare=outside(path, "1"),
        change=outside(path, "22"),
        restore=outside(path, "1"),
        leaves=None if says else "1",
    )


_LENGTH = "len(Path.home().joinpath({!r}).read_text())"

# The value that they leave is not what a plain run would leave: that is what not counting means.
NOT_COUNTED = [
    at_home("cache_at_home", ".cache/toy/x.txt", _LENGTH.format(".cache/toy/x.txt")),
    at_home(
        "named_cache",
        "named-cache/x.txt",
        "len(open(os.environ['XDG_CACHE_HOME'] + '/x.txt').read())",
    ),
    at_home("hub_cache", "hub/x.txt", "len(open(os.environ['HF_HOME'] + '/x.txt').read())"),
    at_home("settings_at_home", ".toyrc", _LENGTH.format(".toyrc")),
    at_home("config_at_home", ".config/toy.toml", _LENGTH.format(".config/toy.toml")),
    at_home(
        "data_at_home", "data/x.csv", _LENGTH.format("data/x.csv"), r"file \S*data/x\.csv changed"
    ),
    Case(
        "kernel_files",
        """
        for path in ("/proc/self/stat", "/proc/loadavg", "/proc/meminfo", "/etc/passwd"):
            assert Path(path).read_text()
        got = 1
        """,
    ),
    Case("devices", "len(open('/dev/urandom', 'rb').read(4)) + len(open('/dev/null').read())"),
    Case(
        "temporary_files",
        """
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "x").write_text("1")
            got = (len(os.listdir(folder)), Path(folder, "x").read_text())
        """,
    ),
    Case(
        "made_before_read",
        """
        os.makedirs("work_files", exist_ok=True)
        Path("work_files/made.txt").write_text("1")
        got = Path("work_files/made.txt").read_text()
        """,
        then={"work_files/made.txt": "other"},
    ),
    Case(
        "looked_for_then_made",
        """
        if not os.path.exists("made_dir/cache.txt"):
            os.makedirs("made_dir", exist_ok=True)
            Path("made_dir/cache.txt").write_text("1")
        got = 1
        """,
    ),
    Case(
        "appended_only",
        """
        with open("run.log", "a") as log:
            log.write("ran\\n")
        got = 1
        """,
        files={"run.log": "begin\n"},
        then={"run.log": "begin again\n"},
    ),
    Case(
        "logged",
        """
        import logging
        logger = logging.getLogger("toy")
        logger.addHandler(logging.FileHandler("toy.log"))
        logger.warning("ran")
        got = 1
        """,
        files={"toy.log": "begin\n"},
        then={"toy.log": "begin again\n"},
    ),
    Case(
        "overwritten_only",
        "Path('report.html').write_text('<p>')",
        files={"report.html": "old"},
        then={"report.html": "older"},
    ),
    Case(
        "own_folders",
        """
        from metaflow.metaflow_config import DATASTORE_SYSROOT_LOCAL
        root = Path(DATASTORE_SYSROOT_LOCAL, ".metaflow")
        got = sum(1 for path in root.rglob("*.json")) >= 0 and sorted(
            name for name in os.listdir(root) if name == "World")
        """,
    ),
    Case(
        "plotted",
        """
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
        figure, axes = pyplot.subplots()
        axes.plot([1, 2])
        with open("plot.png", "wb") as file:
            figure.savefig(file)
        got = 1
        """,
        needs=("matplotlib",),
    ),
    Case(
        "library_source",
        "import inspect, json.decoder\ngot = len(inspect.getsource(json.decoder)) > 0",
    ),
    Case(
        "warned",
        "import warnings\nwarnings.warn('this shows a line of the flow')\ngot = 1",
        change=lambda project: project.edit("flow.py", "# A remark.", "# Another, longer remark."),
        restore=lambda project: project.edit("flow.py", "# Another, longer remark.", "# A remark."),
        head="# A remark.",
    ),
    Case(
        "traceback_formatted",
        """
        import traceback
        try:
            1 / 0
        except ZeroDivisionError:
            got = len(traceback.format_exc()) > 0
        """,
    ),
    Case("standard_streams", "print('x', file=sys.stderr)\ngot = sys.stdin is not None"),
]
# Beside the project, whose folder a world does not know before it is built.
HOME = {"HOME": "{project}-home", "XDG_CACHE_HOME": "{project}-home/named-cache"}
HOME |= {"HF_HOME": "{project}-home/hub"}

INNER = """
    from metaflow import FlowSpec, step

    class Inner(FlowSpec):
        @step
        def start(self):
            self.v = 3
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Inner()
"""
RUNNER = """
from metaflow import Runner
with Runner("inner_flow.py", show_output=False).run() as running:
    got = running.run.data.v
"""

EACH_TIME = [
    Case(
        "counts_up",
        """
        n = int(Path("counter.txt").read_text()) + 1
        Path("counter.txt").write_text(str(n))
        got = n > 0
        """,
        files={"counter.txt": "1"},
        never=r"counter\.txt",
    ),
    Case(
        "replaces_its_state",
        """
        state = json.loads(Path("state.json").read_text())
        Path("state.tmp").write_text(json.dumps({"n": state["n"] + 1}))
        os.replace("state.tmp", "state.json")
        got = state["n"] > 0
        """,
        files={"state.json": '{"n": 1}'},
        never=r"state\.json",
    ),
    Case(
        "reads_what_it_appends_to",
        """
        with open("history.txt", "a+") as history:
            history.write("ran\\n")
            history.seek(0)
            got = len(history.read()) > 0
        """,
        files={"history.txt": "begin\n"},
        never=r"history\.txt",
    ),
    Case(
        "in_place",
        """
        with open("in_place.txt", "r+") as handle:
            text = handle.read()
            handle.seek(0)
            handle.write("x")
        got = len(text)
        """,
        files={"in_place.txt": "1234"},
        never=r"in_place\.txt",
    ),
    Case(
        "own_database",
        """
        import sqlite3
        with sqlite3.connect("own.db") as database:
            database.execute("CREATE TABLE IF NOT EXISTS t (x)")
            database.execute("INSERT INTO t VALUES (1)")
            got = len(list(database.execute("SELECT * FROM t"))) > 0
        database.close()
        """,
        files={"own.db": b""},
        never=r"own\.db",
    ),
    Case(
        "deletes_what_it_read",
        """
        path = Path("inbox/mail.txt")
        if path.exists():
            path.read_text()
            path.unlink()
        got = 1
        """,
        files={"inbox/mail.txt": "1"},
        never=r"mail\.txt",
        # The second run finds none, and is kept; the others find mail again.
        change=lambda project: project.write("inbox/mail.txt", "2"),
        restore=lambda project: project.write("inbox/mail.txt", "1"),
    ),
    Case(
        "unknowable",
        RUNNER,
        files={"inner_flow.py": INNER},
        never="Runner",
        leaves="3",
    ),
    Case(
        "unknowable_but_ignored",
        RUNNER,
        memo='@memoize(ignore=["Runner"])',
        leaves="3",
    ),
]

IGNORED = [
    Case(
        "pattern",
        "open('logs/a.txt').read() and 1",
        files={"logs/a.txt": "1"},
        then={"logs/a.txt": "2"},
        memo='@memoize(ignore=["logs/*"])',
    ),
    Case(
        "pattern_deeper",
        "open('traces/deep/a.txt').read() and 1",
        files={"traces/deep/a.txt": "1"},
        then={"traces/deep/a.txt": "2"},
        memo='@memoize(ignore=["traces/**"])',
    ),
    Case(
        "one_file",
        "open('one_file.txt').read() and 1",
        files={"one_file.txt": "1"},
        then={"one_file.txt": "2"},
        memo='@memoize(ignore=["one_file.txt"])',
    ),
    Case(
        "other_suffix",
        "open('mixed/a.csv').read() + open('mixed/a.tmp').read()",
        r"file mixed/a\.csv changed",
        files={"mixed/a.csv": "1", "mixed/a.tmp": "1"},
        then={"mixed/a.csv": "2", "mixed/a.tmp": "2"},
        memo='@memoize(ignore=["mixed/*.tmp"])',
    ),
    Case(
        "variable",
        "len(os.environ['IGNORED_X'])",
        env={"IGNORED_X": "1"},
        then_env={"IGNORED_X": "2"},
        memo="""@memoize(ignore=["os.environ['IGNORED_X']"])""",
    ),
    Case(
        "other_variable",
        "os.environ['IGNORED_Y'] + os.environ['COUNTED_Y']",
        r"environment variable COUNTED_Y changed",
        env={"IGNORED_Y": "1", "COUNTED_Y": "1"},
        then_env={"COUNTED_Y": "2"},
        memo="""@memoize(ignore=["os.environ['IGNORED_Y']"])""",
    ),
    Case(
        "all_variables",
        "len(os.environ['IGNORED_Z'])",
        env={"IGNORED_Z": "1"},
        then_env={"IGNORED_Z": "2"},
        memo='@memoize(ignore=["os.environ"])',
    ),
    Case(
        "global_of_a_module",
        "clients.client['x'] and 1",
        files={"clients.py": "client = {'x': 1}\nother = {'x': 1}\n"},
        then={"clients.py": "client = {'x': 2}\nother = {'x': 1}\n"},
        memo='@memoize(ignore=["clients.client"])',
        head="import clients",
    ),
    Case(
        "another_global",
        "clients_too.client['x'] + clients_too.other['x']",
        r"constant \S*other",
        files={"clients_too.py": "client = {'x': 1}\nother = {'x': 1}\n"},
        then={"clients_too.py": "client = {'x': 1}\nother = {'x': 2}\n"},
        memo='@memoize(ignore=["clients_too.client"])',
        head="import clients_too",
    ),
    Case(
        "directory",
        "len(os.listdir('spool')) * 0",
        files={"spool/a.txt": "1"},
        then={"spool/b.txt": "1"},
        memo='@memoize(ignore=["spool", "spool/*"])',
    ),
    Case(
        "absence",
        "os.path.exists('flags/debug') and 0 or 1",
        then={"flags/debug": ""},
        memo='@memoize(ignore=["flags/*"])',
        leaves="1",
    ),
    Case(
        "matches_nothing",
        "1",
        memo='@memoize(ignore=["no/such/*.file"])',
        told=r"no/such/\*\.file",
    ),
    Case("unknown_name", "1", memo='@memoize(ignore=["lib.typo"])', told=r"lib\.typo"),
]


WORLDS = [
    World("uncounted", NOT_COUNTED, env=HOME),
    World("each_time", EACH_TIME),
    World("ignored", IGNORED),
]
