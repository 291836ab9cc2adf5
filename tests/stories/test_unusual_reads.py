"""Ways to read and to set that no flow should need, and some do; none may hit falsely."""

from __future__ import annotations

import textwrap

import pytest

pytestmark = pytest.mark.stress  # a flow for nearly each test: minutes in all


def some_with_others_in_stress(cases):
    """The first three run each time, the others with `-m stress`: each is several whole flows."""
    return [
        pytest.param(case, marks=[pytest.mark.stress] if number > 2 else [])
        for number, case in enumerate(cases)
    ]


FLOW = """
from metaflow import FlowSpec, Parameter, memoize, step
{head}

class F(FlowSpec):
    p = Parameter("p", type=int, default=1)
{members}

    @step
    def start(self):
{start}
        self.next(self.work)

    @memoize
    @step
    def work(self):
{body}
        self.next(self.end)

    @step
    def end(self):
        print("ANSWER", getattr(self, "y", None))

if __name__ == "__main__":
    F()
"""


def flow(body, *, start="self.x = self.p", members="", head=""):
    return FLOW.format(
        head=textwrap.dedent(head),
        members=textwrap.indent(textwrap.dedent(members), " " * 4),
        start=textwrap.indent(textwrap.dedent(start), " " * 8),
        body=textwrap.indent(textwrap.dedent(body), " " * 8),
    )


def answer(ran):
    return ran.text.partition("ANSWER ")[2].partition("\n")[0]


PARAMETER = {
    "a user's __getattr__": {
        "body": "self.y = self.double_x",
        "members": """
            def __getattr__(self, name):
                if name.startswith("double_"):
                    return 2 * getattr(self, name[7:])
                return super().__getattr__(name)
        """,
    },
    "set, deleted, read": {"body": "self.x = 9; del self.x; self.y = self.x"},
    "set, deleted, read later": {"body": "self.x = 9; del self.x; self.y = 0\nself.y += self.x"},
    "set around __setattr__": {"body": "object.__setattr__(self, 'y', 1)"},
    "a property": {
        "body": "self.y = self.twice",
        "members": "@property\ndef twice(self):\n    return 2 * self.x",
    },
    "a computed name": {"body": "self.y = getattr(self, 'xx'[:1])"},
    "a thread": {
        "body": """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor() as pool:
                self.y = pool.submit(lambda: self.x).result()
        """
    },
    "an attribute of its own __init__": {
        "body": "self.y = self.x * self.scale",
        "members": """
            def __init__(self, use_cli=True):
                self.scale = 3
                super().__init__(use_cli)
        """,
    },
}


@pytest.mark.parametrize("how", some_with_others_in_stress(PARAMETER))
def test_a_read_of_an_artifact(project, how):
    project.write("flow.py", flow(**PARAMETER[how]))
    project.run("--p=1")
    again = project.run("--p=1")
    assert again.workers.count("work") == 0, again.text
    memoized = answer(project.run("--p=5"))
    assert memoized == answer(project.run("--p=5", "--memo=off"))


EDITED = {
    "an instance on the class": {
        "head": "class M:\n    def f(self, x): return x + 1",
        "members": "model = M()",
        "body": "self.y = self.model.f(self.x)",
    },
    "functions in a private dictionary": {
        "head": "def f(x): return x + 1",
        "members": "_handlers = {'f': f}",
        "body": "self.y = self._handlers['f'](self.x)",
    },
    "private data by the type": {
        "members": "_add = 1",
        "body": "self.y = type(self)._add + self.x",
    },
    "private data by a class method": {
        "members": "_add = 1\n@classmethod\ndef f(cls): return cls._add",
        "body": "self.y = self.f() + self.x",
    },
    "the parser of an IncludeFile": {
        "head": "from metaflow import IncludeFile",
        "members": "t = IncludeFile('t', default='t.txt', parser=lambda text: int(text) + 1)",
        "body": "self.y = self.t",
    },
}


@pytest.mark.parametrize("what", some_with_others_in_stress(EDITED))
def test_an_edit_of(project, what):
    project.write("t.txt", "5")
    project.write("flow.py", flow(**EDITED[what]))
    first = answer(project.run())
    again = project.run()
    assert again.workers.count("work") == 0, again.text
    text = (project.folder / "flow.py").read_text()
    project.write("flow.py", text.replace("+ 1", "+ 2").replace("_add = 1", "_add = 2"))
    after = answer(project.run())
    assert after != first
    assert after == answer(project.run("--memo=off"))


def test_a_module_state_that_the_step_changes_is_no_edit(project):
    head = "CACHE = {}\ndef f(x):\n    return CACHE.setdefault(x, x * 2)"
    project.write("flow.py", flow("self.y = f(self.x)", head=head))
    project.run()
    assert project.run().workers.count("work") == 0


def test_code_that_is_edited_while_the_step_runs_is_not_recorded(project):
    body = """
        import os, lazy
        if "EDIT" in os.environ:
            with open("lazy.py", "w") as file:
                file.write("def f(x): return x + 2")
        self.y = lazy.f(self.x)
    """
    project.write("lazy.py", "def f(x): return x + 1")
    project.write("flow.py", flow(body))
    first = project.run(EDIT="1")
    assert any("lazy.py was edited while" in line for line in first.memo_lines)
    assert answer(project.run()) == "3"
    project.write("lazy.py", "def f(x): return x + 1")
    assert answer(project.run()) == "2"


def test_what_current_does_not_have(project):
    body = "from metaflow import current\nself.y = current.get('nothing', 7)"
    project.write("flow.py", flow(body))
    project.run()
    second = project.run()
    assert answer(second) == "7"
    assert "failed" not in second.text


def test_current_memo(project):
    body = "from metaflow import current\nself.y = [current.memo.hit, current.memo.origin]"
    project.write("flow.py", flow(body))
    assert answer(project.run()) == "[False, None]"
    assert len(project.run().hits) == 1


def test_an_artifact_called_name(project):
    project.write("flow.py", flow("self.name = 'bob'; self.y = 1"))
    question = "answer = Flow('F').latest_run['work'].task['name'].data"
    project.run()
    assert project.ask(question) == "bob"
    assert len(project.run().hits) == 1
    assert project.ask(question) == "bob"


JOINS = """
from metaflow import FlowSpec, step

class J(FlowSpec):
    @step
    def start(self):
        self.outer = {outer}
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
    project.write("flow.py", JOINS.replace("{outer}", '["a", "b"]'))
    for _ in range(2):
        ran = project.run("--with", "memoize")
        assert project.ask("answer = Flow('J').latest_run.data.keys") == ["a", "b"], ran.text
    assert ran.workers == []


def test_a_foreach_over_a_set_is_not_recorded(project):
    project.write("flow.py", JOINS.replace("{outer}", '{"a", "b"}'))
    ran = project.run("--with", "memoize", PYTHONHASHSEED="0")
    assert any("is a set" in line for line in ran.memo_lines)
