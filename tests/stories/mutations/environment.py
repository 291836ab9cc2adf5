"""Environment variables, read by the user's own code in every way that Python has."""

from __future__ import annotations

from typing import Any

from tests.stories.mutations.harness import Case, World


def variable(
    name: str, body: str, before: str | None = "1", after: str | None = "2", **more: Any
) -> Case:
    """Return a case of a step that reads the variable of its own name in capitals."""
    variable = name.upper()
    text = body.replace("{name}", repr(variable)).replace("NAME", variable)
    says = more.pop("says", rf"environment variable {variable}\b")
    return Case(name, text, says, env={variable: before}, then_env={variable: after}, **more)


READ = [
    variable("subscripted", "os.environ[{name}]"),
    variable("got_with_default", "os.environ.get({name}, '0')"),
    variable("default_at_first", "os.environ.get({name}, '0')", None, "2"),
    variable("unset_then", "os.getenv({name}, 'none')", "1", None),
    variable("getenv", "os.getenv({name})"),
    variable("asked_for", "{name} in os.environ", None, "1"),
    variable("expanded", "os.path.expandvars('$NAME/x')"),
    variable("as_bytes", "os.environb[{name}.encode()]"),
    variable(
        "in_a_helper",
        "import settings_of_env\ngot = settings_of_env.region()",
        files={
            "settings_of_env.py": """
                import os

                def region():
                    return os.getenv("IN_A_HELPER")
            """
        },
    ),
    variable(
        "at_import_in_the_step",
        "import constants_of_env\ngot = constants_of_env.REGION",
        files={
            "constants_of_env.py": "import os\n\nREGION = os.environ['AT_IMPORT_IN_THE_STEP']\n"
        },
        says=r"environment variable AT_IMPORT_IN_THE_STEP|constant \S*REGION",
    ),
    variable(
        "listed_by_prefix", "sorted(v for k, v in os.environ.items() if k.startswith('LISTED_'))"
    ),
    variable("copied_out", "os.environ.copy()[{name}]"),
    variable("as_a_dict", "dict(os.environ)[{name}]"),
    variable("unpacked", "{**os.environ}[{name}]"),
    variable("formatted", "('%(' + {name} + ')s') % os.environ"),
    variable("format_map", "'{NAME}'.format_map(os.environ)"),
    variable("as_default", "os.environ.setdefault({name}, '0')"),
    variable(
        "in_a_thread",
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor() as pool:
            got = pool.submit(os.getenv, {name}).result()
        """,
    ),
    variable(
        "in_a_fork", "from metaflow import parallel_map\ngot = parallel_map(os.getenv, [{name}])"
    ),
    variable(
        "template",
        "import string\ngot = string.Template('$NAME').substitute(os.environ)",
    ),
    variable("imported_alone", "from os import environ as variables\ngot = variables[{name}]"),
    variable("popped", "value = os.environ.pop({name})\nos.environ[{name}] = value\ngot = value"),
    variable("tokenizer", "os.environ[{name}]"),
    variable("monkeys", "os.environ[{name}]"),
    variable("same_value_in_other_words", "int(os.environ[{name}])", "1", "01"),
]

SECRET = "eu-1f0c6c2ab7d94e5f-west"


def login(name: str) -> Case:
    return Case(
        name.lower(),
        f"bool(os.environ[{name!r}])",
        env={name: "one"},
        then_env={name: "two"},
    )


NOT_COUNTED = [
    login("API_KEY"),
    login("GITHUB_TOKEN"),
    login("CLIENT_SECRET"),
    login("DB_PASSWORD"),
    login("AWS_SECRET_ACCESS_KEY"),
    login("GOOGLE_APPLICATION_CREDENTIALS"),
    Case("unread", "len('x')", env={"UNREAD": "1"}, then_env={"UNREAD": "2"}),
    Case(
        "read_by_a_library",
        "import urllib.request\ngot = type(urllib.request.build_opener()).__name__",
        env={"HTTP_PROXY": "http://a:1"},
        then_env={"HTTP_PROXY": "http://b:1"},
    ),
    Case(
        "set_by_the_step",
        "os.environ['OWN_SETTING'] = 'mine'\ngot = os.environ['OWN_SETTING']",
        env={"OWN_SETTING": "1"},
        then_env={"OWN_SETTING": "2"},
    ),
    Case(
        "passed_on_whole",
        "subprocess.run(['true'], env=os.environ.copy(), check=True).returncode",
        env={"PASSED_ON": "1"},
        then_env={"PASSED_ON": "2"},
    ),
    Case(
        # Nobody can see whether a variable is read from this dict later: it may miss, too.
        "passed_on_unpacked",
        "subprocess.run(['true'], env={**os.environ, 'A': '1'}, check=True).returncode",
        env={"PASSED_UNPACKED": "1"},
        then_env={"PASSED_UNPACKED": "2"},
        either=True,
    ),
    Case(
        "other_names_of_a_prefix",
        "sorted(v for k, v in os.environ.items() if k.startswith('PREFIX_A_'))",
        r"environment variable PREFIX_A_Y",
        env={"PREFIX_A_X": "1"},
        then_env={"PREFIX_A_Y": "2"},
    ),
    Case(
        "never_shown",
        "len(os.environ['NEVER_SHOWN'])",
        r"environment variable NEVER_SHOWN changed",
        env={"NEVER_SHOWN": SECRET},
        then_env={"NEVER_SHOWN": SECRET * 2},
    ),
    Case(
        "imports_in_the_step",
        "import pandas, sklearn\ngot = pandas.DataFrame({'x': [1]}).x.tolist()",
        needs=("pandas",),
        env={"SOME_FLAG": "1"},
        then_env={"SOME_FLAG": "2"},
    ),
]

WORLDS = [
    World("environment", READ),
    World("environment_not_counted", NOT_COUNTED),
]
