"""Subprocesses: the files that their arguments name, and those that they read by themselves."""

from __future__ import annotations

from tests.stories.mutations.files import of_file
from tests.stories.mutations.harness import Case, World

_RUN = "subprocess.run({}, capture_output=True, text=True, check=True).stdout"


def run(*command: str) -> str:
    """Return an expression: what a command prints; "python" is the interpreter of the step."""
    words = ["sys.executable" if word == "python" else repr(word) for word in command]
    return _RUN.format("[" + ", ".join(words) + "]")


def script(name: str, files: dict[str, str], changed: str, after: str, *command: str) -> Case:
    """Return a case of a step that runs a command, of whose files one changes."""
    return Case(
        name,
        run(*command),
        rf"(file|code of) \S*{changed.replace('.', '[.]')}",
        files=files,
        then={changed: after},
    )


_TRAIN = "import sys\nfrom {helper} import rate\nprint(rate() * int(open('{data}').read()))\n"


def training(name: str, changed: str) -> Case:
    files = {
        f"{name}_train.py": _TRAIN.format(helper=f"{name}_lib", data=f"{name}.dat"),
        f"{name}_lib.py": "def rate():\n    return 2\n",
        f"{name}.dat": "3",
    }
    then = {".dat": "4", "_lib.py": "def rate():\n    return 3\n", "_train.py": "print(9)\n"}
    return script(name, files, name + changed, then[changed], "python", f"{name}_train.py")


ARGUMENTS = [
    of_file("cat", run("cat", "cat.csv"), suffix=".csv"),
    of_file(
        "counted",
        "subprocess.check_output('wc -c < counted.csv', shell=True)",
        after="22",
        suffix=".csv",
    ),
    of_file("shell_line", run("sh", "-c", "cat shell_line.txt | tr 1 x")),
    of_file("system", "os.system('cp system.txt copy.txt')\ngot = open('copy.txt').read()"),
    of_file("popened", "with os.popen('cat popened.txt') as pipe:\n    got = pipe.read()"),
    of_file(
        "standard_input",
        """
        with open("standard_input.txt") as handle:
            got = subprocess.run(["cat"], stdin=handle, capture_output=True).stdout
        """,
    ),
    of_file(
        "inside_an_option",
        run("grep", "-c", "--file=inside_an_option.txt", "lines.txt"),
        files={"lines.txt": "1\n12\n2\n"},
    ),
    Case(
        "in_another_directory",
        "subprocess.run(['cat', 'data.csv'], cwd='work', capture_output=True).stdout",
        r"file work/data\.csv changed",
        files={"work/data.csv": "1"},
        then={"work/data.csv": "2"},
    ),
    of_file("path_argument", "subprocess.check_output(['cat', Path({file})])"),
    of_file("absolute", "subprocess.check_output(['cat', os.path.abspath({file})])"),
    Case(
        "quoted",
        "subprocess.getoutput('cat \"quoted name.txt\"')",
        r"file quoted name\.txt changed",
        files={"quoted name.txt": "1"},
        then={"quoted name.txt": "2"},
    ),
    training("script", "_train.py"),
    training("script_helper", "_lib.py"),
    training("script_data", ".dat"),
    script(
        "bash",
        {"go.sh": "echo one\n"},
        "go.sh",
        "echo two\n",
        "bash",
        "go.sh",
    ),
    script(
        "bash_data",
        {"of_data.sh": "cat $(echo bash_data).txt\n", "bash_data.txt": "1"},
        "bash_data.txt",
        "2",
        "bash",
        "of_data.sh",
    ),
    script(
        "as_a_module",
        {"jobs/__init__.py": "", "jobs/fit.py": "print(1)\n"},
        "jobs/fit.py",
        "print(2)\n",
        "python",
        "-m",
        "jobs.fit",
    ),
    script(
        "one_liner",
        {"one_liner_lib.py": "X = 1\n"},
        "one_liner_lib.py",
        "X = 2\n",
        "python",
        "-c",
        "import one_liner_lib; print(one_liner_lib.X)",
    ),
    of_file("shell_variable", "subprocess.getoutput('F=shell_variable; cat $F.txt')"),
    of_file(
        "child_of_a_thread",
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor() as pool:
            got = pool.submit(subprocess.check_output, ["cat", {file}]).result()
    """,
    ),
    Case(
        "own_output",
        """
        subprocess.run(["sort", "unsorted.txt", "-o", "sorted.txt"], check=True)
        got = open("sorted.txt").read()
        """,
        r"file unsorted\.txt changed",
        files={"unsorted.txt": "2\n1\n"},
        then={"unsorted.txt": "3\n1\n"},
    ),
    Case(
        "file_beside",
        run("cat", "argued.txt"),
        files={"argued.txt": "1", "not_argued.txt": "1"},
        then={"not_argued.txt": "2"},
    ),
    Case("no_files", run("echo", "hello"), files={"hello.txt": "1"}, then={"hello.txt": "2"}),
]
WORLDS = [World("subprocesses", ARGUMENTS)]
