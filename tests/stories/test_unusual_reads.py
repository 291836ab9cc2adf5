"""Ways to read and to set that no flow should need, and some do; none may hit falsely."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.stories.conftest import Ran
from tests.stories.world import once, told

pytestmark = pytest.mark.stress  # a minute of flows

FLOW = """
{head}
from metaflow import FlowSpec, IncludeFile, Parameter, memoize, step
from notes import note

class F(FlowSpec):
    p = Parameter("p", type=int, default=1)
{members}

    @step
    def start(self):
        self.x = self.p
        self.next(self.{first})
{steps}

    @step
    def end(self):
        for name in {names}:
            note(**{{name: getattr(self, name)}})

if __name__ == "__main__":
    F()
"""

STEP = """
    @memoize
    @step
    def {name}(self):
{body}
        self.next(self.{then})
"""


def named(how):
    return "".join(letter if letter.isalnum() else "_" for letter in how.lower())


def flow(cases):
    """Return a flow with a memoized step for each case, which sets what it calls {y}."""
    names = [named(how) for how in cases]
    steps = []
    for name, case, then in zip(names, cases.values(), [*names[1:], "end"], strict=True):
        body = textwrap.indent(textwrap.dedent(case["body"]), " " * 8)
        steps.append(STEP.format(name=name, body=body.replace("{y}", "y_" + name), then=then))
    members = "\n".join(textwrap.dedent(case.get("members", "")) for case in cases.values())
    return FLOW.format(
        head="\n".join(textwrap.dedent(case.get("head", "")) for case in cases.values()),
        members=textwrap.indent(members, " " * 4),
        first=names[0],
        steps="\n".join(steps),
        names=["y_" + name for name in names],
    )


# What a step sets, by what it reads in an unusual way, and what that is where the parameter is 5.
PARAMETER = {
    "set, deleted, read": {"body": "self.x = 9; del self.x; self.{y} = self.x", "at 5": 5},
    "set, deleted, read later": {
        "body": "self.x = 9; del self.x; self.{y} = 0\nself.{y} += self.x",
        "at 5": 5,
    },
    "set around __setattr__": {"body": "object.__setattr__(self, '{y}', 1)", "at 5": 1},
    "a property": {
        "body": "self.{y} = self.twice",
        "members": "@property\ndef twice(self):\n    return 2 * self.x",
        "at 5": 10,
    },
    "a computed name": {"body": "self.{y} = getattr(self, 'xx'[:1])", "at 5": 5},
    "a thread": {
        "body": """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor() as pool:
                self.{y} = pool.submit(lambda: self.x).result()
        """,
        "at 5": 5,
    },
}

# These change how every read of their flow goes, so that they have one of their own.
OF_THE_CLASS = {
    "a user's __getattr__": {
        "body": "self.{y} = self.double_x",
        "members": """
            def __getattr__(self, name):
                if name.startswith("double_"):
                    return 2 * getattr(self, name[7:])
                return super().__getattr__(name)
        """,
        "at 5": 10,
    },
    "an attribute of its own __init__": {
        "body": "self.{y} = self.x * self.scale",
        "members": """
            def __init__(self, use_cli=True):
                self.scale = 3
                super().__init__(use_cli)
        """,
        "at 5": 15,
    },
}

OTHERS = {
    "state": {
        "head": "CACHE = {}\ndef f(x):\n    return CACHE.setdefault(x, x * 2)",
        "body": "self.{y} = f(21)",
    },
    "current nothing": {
        "body": "from metaflow import current\nself.{y} = current.get('nothing', 7)"
    },
    "current memo": {
        "body": """
            from metaflow import current
            self.{y} = [current.memo.hit, current.memo.origin]
        """
    },
    "called name": {"body": "self.name = 'bob'; self.{y} = 1"},
}


def reads(project, cases):
    project.write("flow.py", flow(cases))
    runs = (("first", "--p=1"), ("again", "--p=1"), ("other", "--p=5"))
    return {name: told(project, project.run(argument)) for name, argument in runs}


@once
def of_the_class(project):
    return reads(project, OF_THE_CLASS)


@once
def of_artifacts(project):
    ran = reads(project, PARAMETER | OTHERS)
    question = "answer = [run['called_name'].task['name'].data for run in Flow('F')]"
    return ran | {"names": project.ask(question)}


@pytest.mark.parametrize("how", PARAMETER | OF_THE_CLASS)
def test_a_read_of_an_artifact(request, how):
    world = request.getfixturevalue("of_artifacts" if how in PARAMETER else "of_the_class")
    case = (PARAMETER | OF_THE_CLASS)[how]
    assert named(how) not in world["again"]["workers"], world["again"]["text"]
    assert world["other"]["noted"]["y_" + named(how)] == case["at 5"]


def test_a_module_state_that_the_step_changes_is_no_edit(of_artifacts):
    assert "state" not in of_artifacts["again"]["workers"]


def test_what_current_does_not_have(of_artifacts):
    assert of_artifacts["again"]["noted"]["y_current_nothing"] == 7
    assert "failed" not in of_artifacts["again"]["text"]


def test_current_memo(of_artifacts):
    assert of_artifacts["first"]["noted"]["y_current_memo"] == [False, None]
    assert "current_memo" not in of_artifacts["again"]["workers"]


def test_an_artifact_called_name(of_artifacts):
    assert "called_name" not in of_artifacts["again"]["workers"]
    assert of_artifacts["names"] == ["bob"] * 3


# What a step sets before an edit and after it: each adds 1 at first, and 2 then.
EDITED = {
    "an instance on the class": {
        "head": "class M:\n    def f(self, x): return x + 1",
        "members": "model = M()",
        "body": "self.{y} = self.model.f(4)",
        "why": "model",
    },
    "functions in a private dictionary": {
        "head": "def f(x): return x + 1",
        "members": "_handlers = {'f': f}",
        "body": "self.{y} = self._handlers['f'](4)",
        "why": "_handlers",
    },
    "private data by the type": {
        "members": "_add_by_type = 1",
        "body": "self.{y} = type(self)._add_by_type + 4",
        "why": "_add_by_type",
    },
    "private data by a class method": {
        "members": "_add_by_method = 1\n@classmethod\ndef g(cls): return cls._add_by_method",
        "body": "self.{y} = self.g() + 4",
        "why": "_add_by_method",
    },
    "the parser of an IncludeFile": {
        "head": "def parse(text): return int(text) + 1",
        "members": "t = IncludeFile('t', default='t.txt', parser=parse)",
        "body": "self.{y} = self.t",
        "why": "parameter t",
    },
}
NOT_EDITED = {"none of these": {"body": "self.{y} = 4"}}
LAZY = {
    "edited while it runs": {
        "body": """
            import os, lazy
            if "EDIT" in os.environ:
                with open("lazy.py", "w") as file:
                    file.write("def f(x): return x + 2")
            self.{y} = lazy.f(1)
        """
    }
}


@once
def edits(project):
    project.write("t.txt", "4")
    project.write("lazy.py", "def f(x): return x + 1")
    text = flow(EDITED | NOT_EDITED | LAZY)
    project.write("flow.py", text)
    first = told(project, project.run(EDIT="1"))
    again = told(project, project.run())
    project.write("flow.py", re.sub(r"(\+ |_add_by_\w+ = )1", r"\g<1>2", text))
    project.write("lazy.py", "def f(x): return x + 1")
    return {"first": first, "again": again, "edited": told(project, project.run())}


@pytest.mark.parametrize("what", EDITED)
def test_an_edit_of(edits, what):
    assert named(what) not in edits["again"]["workers"], edits["again"]["text"]
    answers = [edits[run]["noted"]["y_" + named(what)] for run in ("first", "again", "edited")]
    assert answers == [5, 5, 6]


@pytest.mark.parametrize("what", EDITED)
def test_an_edit_is_told_from_others(edits, what):
    assert EDITED[what]["why"] in edits["edited"]["misses"][named(what)]


def test_an_edit_of_what_a_step_does_not_reach(edits):
    assert named("none of these") not in edits["edited"]["workers"], edits["edited"]["text"]


def test_code_that_is_edited_while_the_step_runs_is_not_recorded(edits):
    lines = Ran(**{name: edits["first"][name] for name in ("code", "text", "workers")}).memo_lines
    assert any("lazy.py was edited while" in line for line in lines)
    answers = [edits[run]["noted"]["y_edited_while_it_runs"] for run in ("again", "edited")]
    assert answers == [3, 2]


JOINS = """
from metaflow import FlowSpec, step

class J(FlowSpec):
    @step
    def start(self):
        self.outer = ["a", "b"]
        self.next(self.mid, foreach="outer")

    @step
    def mid(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.a = 1
        self.next(self.inner)

    @step
    def right(self):
        self.b = 1
        self.next(self.inner)

    @step
    def inner(self, inputs):
        self.merge_artifacts(inputs)
        self.key = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.keys = sorted(one.key for one in inputs)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    J()
"""


def test_the_item_of_the_outer_foreach_in_an_inner_join(project):
    project.write("flow.py", JOINS)
    ran = [project.run("--with", "memoize") for _ in range(2)]
    assert project.ask("answer = [run.data.keys for run in Flow('J')]") == [["a", "b"]] * 2
    assert ran[1].workers == []


def test_a_foreach_over_a_set_is_not_recorded(project):
    project.write("flow.py", JOINS.replace('["a", "b"]', '{"a"}'))
    ran = project.run("--with", "memoize", PYTHONHASHSEED="0")
    assert any("is a set" in line for line in ran.memo_lines)
