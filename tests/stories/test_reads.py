"""By default a memo depends on what the step reads, and on nothing else."""

from __future__ import annotations


def flow(body, *, memoize="@memoize", start="", params=""):
    indent = "\n".join("            " + line for line in body.strip().splitlines())
    begin = (
        "\n".join("            " + line for line in start.strip().splitlines())
        or "            pass"
    )
    head = "\n".join("        " + line for line in params.strip().splitlines())
    return f"""
    import os
    from metaflow import Config, FlowSpec, IncludeFile, Parameter, catch, current, memoize, step

    class F(FlowSpec):
{head}

        @step
        def start(self):
{begin}
            self.next(self.work)

        {memoize}
        @step
        def work(self):
{indent}
            self.next(self.end)

        @step
        def end(self):
            print("answer", getattr(self, "answer", None))

    if __name__ == "__main__":
        F()
    """


def test_a_parameter_that_is_not_read_does_not_matter(project):
    params = 'a = Parameter("a", default=1)\nb = Parameter("b", default=1)'
    project.write("flow.py", flow("self.answer = self.a * 10", params=params))
    project.run()
    assert project.run("--b=2").workers.count("work") == 0
    third = project.run("--a=2")
    assert third.misses == ["miss: parameter a 1 -> 2"]
    assert "answer 20" in third.text


def test_an_absence_is_a_read(project):
    start = 'if os.environ.get("GIVE"):\n    self.extra = 5'
    project.write("flow.py", flow("self.answer = getattr(self, 'extra', 0)", start=start))
    project.run()
    assert project.run().workers.count("work") == 0
    assert "answer 5" in project.run(GIVE="1").text


def test_what_the_step_itself_has_set_is_no_input(project):
    start = "self.answer = os.environ['SEED']"
    project.write("flow.py", flow("self.answer = 'set'\nself.twice = self.answer * 2", start=start))
    project.run(SEED="1")
    assert project.run(SEED="2").workers.count("work") == 0


def test_reads_in_helper_methods_count(project):
    text = flow("self.answer = self.helper()", start="self.x = int(os.environ['X'])")
    text = text.replace(
        "        @step\n        def end",
        "        def helper(self):\n            return self.x + 1\n\n"
        "        @step\n        def end",
    )
    project.write("flow.py", text)
    project.run(X="1")
    assert project.run(X="1").workers.count("work") == 0
    assert "answer 3" in project.run(X="2").text


def test_reads_in_forked_children_count(project):
    body = (
        "from metaflow import parallel_map\n"
        "self.answer = parallel_map(lambda i: self.x + i, [1, 2])"
    )
    project.write("flow.py", flow(body, start="self.x = int(os.environ['X'])"))
    project.run(X="1")
    assert project.run(X="1").workers.count("work") == 0
    assert "answer [3, 4]" in project.run(X="2").text


def test_an_include_file_counts_by_its_content(project):
    params = 'text = IncludeFile("text", default="a.txt")'
    project.write("a.txt", "one")
    project.write("b.txt", "one")
    project.write("flow.py", flow("self.answer = self.text.upper()", params=params))
    project.run()
    assert project.run("--text=b.txt").workers.count("work") == 0
    project.write("a.txt", "two")
    assert "answer TWO" in project.run().text


def test_a_config_counts_by_its_content(project):
    project.write("c.json", '{"lr": 1}')
    params = 'cfg = Config("cfg", default="c.json")'
    project.write("flow.py", flow("self.answer = self.cfg.lr", params=params))
    project.run()
    assert project.run().workers.count("work") == 0
    project.write("c.json", '{"lr": 2}')
    assert "answer 2" in project.run().text


def test_a_class_constant_counts(project):
    project.write("flow.py", flow("self.answer = self.LIMIT", params="LIMIT = 3"))
    project.run()
    project.edit("flow.py", "LIMIT = 3", "LIMIT = 4")
    assert "answer 4" in project.run().text


def test_a_private_class_attribute_counts(project):
    project.write("flow.py", flow("self.answer = self._limit", params="_limit = 3"))
    project.run()
    assert project.run().workers.count("work") == 0
    project.edit("flow.py", "_limit = 3", "_limit = 4")
    assert "answer 4" in project.run().text


def test_a_step_that_reads_its_run_id_never_hits_and_says_why(project):
    project.write("flow.py", flow("self.answer = current.run_id"))
    first = project.run()
    assert any("current.run_id" in line and "never hits" in line for line in first.memo_lines)
    assert project.run().workers.count("work") == 1


def test_ignore_takes_a_name_out(project):
    memoize = '@memoize(ignore=["current.run_id"])'
    project.write("flow.py", flow("self.answer = len(current.run_id) * 0", memoize=memoize))
    project.run()
    assert project.run().workers.count("work") == 0


def test_current_values_that_are_real_inputs_count(project):
    project.write("flow.py", flow("self.answer = current.username + str(sorted(current.tags))"))
    project.run()
    assert project.run().workers.count("work") == 0
    assert "answer other" in project.run(METAFLOW_USER="other").text
    assert "'blue'" in project.run("--tag", "blue").text


def test_vars_of_self_cannot_be_told_and_never_hits(project):
    project.write("flow.py", flow("self.answer = sorted(n for n in vars(self) if n == 'x')"))
    assert any("never hits" in line for line in project.run().memo_lines)
    assert project.run().workers.count("work") == 1


def test_equal_values_with_other_bytes_hit(project):
    start = "self.x = set(os.environ['WORDS'].split())"
    project.write("flow.py", flow("self.answer = len(self.x)", start=start))
    project.run(WORDS="a b c d e f g", PYTHONHASHSEED="1")
    ran = project.run(WORDS="g f e d c b a", PYTHONHASHSEED="2")
    assert ran.workers.count("work") == 0


def test_an_edited_class_of_an_input_runs_the_step_again(project):
    project.write("model.py", "class Model:\n    def predict(self):\n        return 1\n")
    body = "self.answer = self.model.predict()"
    start = "from model import Model\nself.model = Model()"
    project.write("flow.py", flow(body, start=start))
    project.run()
    assert project.run().workers.count("work") == 0
    project.edit("model.py", "return 1", "return 2")
    assert "answer 2" in project.run().text
    project.edit("model.py", "return 2", "return 1")
    again = project.run()
    assert "answer 1" in again.text
    assert again.workers.count("work") == 0


def test_listed_inputs_alone_decide(project):
    memoize = '@memoize(inputs=["x"])'
    start = "self.x = 1\nself.y = os.environ['Y']"
    body = "self.answer = (self.x, self.y)"
    project.write("flow.py", flow(body, start=start, memoize=memoize))
    first = project.run(Y="1")
    assert any("also reads y" in line for line in first.memo_lines)
    assert project.run(Y="2").workers.count("work") == 0


def test_the_form_first_proposed_works(project):
    project.write(
        "flow.py",
        """
        from metaflow import FlowSpec, memoize, step

        class F(FlowSpec):
            @step
            def start(self):
                self.items = [1, 2]
                self.next(self.work, foreach="items")

            @memoize(next='join', inputs=['input'], outputs=['output'])
            @step
            def work(self):
                self.output = self.input + 1
                self.scratch = "not kept"
                self.next(self.join)

            @step
            def join(self, inputs):
                self.answer = [one.output for one in inputs]
                print("answer", self.answer, [hasattr(one, "scratch") for one in inputs])
                self.next(self.end)

            @step
            def end(self):
                pass

        if __name__ == "__main__":
            F()
        """,
    )
    first = project.run()
    assert any("also sets scratch" in line for line in first.memo_lines)
    second = project.run()
    assert second.workers.count("work") == 0
    assert "answer [2, 3] [False, False]" in second.text


def test_a_step_decorator_of_the_users_counts(project):
    project.write(
        "deco.py",
        """
        from metaflow import user_step_decorator

        @user_step_decorator
        def add(step_name, flow, inputs, attributes):
            yield
            flow.answer = flow.answer + attributes["by"]
        """,
    )
    text = flow("self.answer = 1", memoize="@memoize\n        @add(by=10)")
    project.write("flow.py", "from deco import add\n" + __import__("textwrap").dedent(text))
    assert "answer 11" in project.run().text
    second = project.run()
    assert second.workers.count("work") == 0
    assert "answer 11" in second.text
    project.edit("flow.py", "by=10", "by=20")
    assert "answer 21" in project.run().text
    project.edit("deco.py", "flow.answer + ", "100 + flow.answer + ")
    assert "answer 121" in project.run().text


def test_upstream_that_ran_again_with_equal_results_changes_nothing(project):
    project.write("flow.py", flow("self.answer = self.x + 1", start="self.x = 41  # first"))
    project.run()
    project.edit("flow.py", "41  # first", "40 + 1")
    second = project.run()
    assert second.workers.count("start") == 1
    assert second.workers.count("work") == 0
