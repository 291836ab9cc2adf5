"""What @checkpoint and @memoize do together, and what metaflow-checkpoint never did."""

from __future__ import annotations

import pytest

from tests.stories.world import notes, once

KEEP = """
    import os
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import attempt, here, note, tree

    def size(folder):
        return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())

    class Keep(FlowSpec):
        @checkpoint(keep_last=2, load_policy="eager", show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            note(**{"held again": tree(c.directory)})
            saved = []
            for epoch in range(5):
                here(c, state=str(epoch))
                saved.append(c.save(metadata={"epoch": epoch}))
            for epoch in range(3):
                c.save(name="other", metadata={"epoch": epoch})
            note(kept=[r["metadata"]["epoch"] for r in c.list("mfchckpt")],
                 others=[r["metadata"]["epoch"] for r in c.list("other")],
                 newest=attempt(load, saved[-1]), evicted=attempt(load, saved[0]))
            self.next(self.search)

        @checkpoint(show_card=False)
        @step
        def search(self):
            c = current.checkpoint
            for epoch in range(4):
                c.save(write("state", str(epoch)), metadata={
                    "epoch": epoch, "run": {"lr": 0.1, "tags": ["a", "b"]}, "even": epoch % 2 == 0})
            c.save(write("state", "plain"), name="plain")
            def found(**options):
                return [r["metadata"].get("epoch") for r in c.list(**options)]
            note(one=found(metadata={"epoch": 3}), two=found(metadata={"even": True}),
                 both=found(metadata={"even": True, "epoch": 2}),
                 neither=found(metadata={"even": True, "epoch": 1}),
                 absent=found(metadata={"nobody": None}), all=found(metadata={}),
                 nested=found(metadata={"epoch": 1, "run": {"lr": 0.1, "tags": ["a", "b"]}}),
                 named=found(name="plain", metadata={"epoch": 3}),
                 text=found(metadata={"epoch": "3"}))
            self.next(self.unchanged)

        @checkpoint(show_card=False)
        @step
        def unchanged(self):
            c = current.checkpoint
            Path(c.directory, "big").write_bytes(os.urandom(1 << 20))
            first = c.save()
            before = size(".metaflow")
            second = c.save()
            note(grown=size(".metaflow") - before, keys=[first["key"], second["key"]],
                 sizes=[first["size"], second["size"]], listed=len(c.list()))
            (Path(c.directory) / "big").unlink()
            c.load(second, "again")
            c.load(first, "first")
            note(equal=Path("again/big").read_bytes() == Path("first/big").read_bytes())
            self.next(self.end)

        @step
        def end(self):
            pass

    def load(reference):
        current.checkpoint.load(reference, "loaded" + reference["key"][-8:].replace("/", "_"))

    def write(name, text):
        Path(name).write_text(text)
        return name

    if __name__ == "__main__":
        Keep()
"""

LIST = """
    from metaflow import Checkpoint
    answer = [r["metadata"]["epoch"] for r in Checkpoint().list("mfchckpt", task={task!r})]
"""


@once
def keep(project):
    project.write("flow.py", KEEP)
    ran = project.run(ok=False)
    assert ran.code == 0, ran.text
    listed = project.ask(LIST.format(task=f"Keep/{ran.run_id}/start/1"))
    searched = project.ask(f"""
        from metaflow import Checkpoint
        listed = Checkpoint().list(task="Keep/{ran.run_id}/search/2", metadata={{"epoch": 3}})
        answer = [r["metadata"]["epoch"] for r in listed]
    """)
    return notes(project) | {"listed after": listed, "searched after": searched}


def test_keep_last_keeps_the_newest_of_each_name(keep):  # beyond
    assert keep["kept"] == [4, 3]
    assert keep["others"] == [2, 1]


def test_keep_last_holds_after_the_run(keep):  # beyond
    assert keep["listed after"] == [4, 3]


def test_the_newest_loads_with_keep_last(keep):  # beyond
    assert keep["newest"] is None


def test_loading_what_keep_last_let_go_is_an_error(keep):  # beyond
    assert isinstance(keep["evicted"], str)


@pytest.mark.parametrize(
    ("question", "epochs"),
    [
        ("one", [3]),
        ("two", [2, 0]),
        ("both", [2]),
        ("neither", []),
        ("absent", []),
        ("all", [None, 3, 2, 1, 0]),
        ("nested", [1]),
        ("named", []),
        ("text", []),
        ("searched after", [3]),
    ],
)
def test_list_finds_by_the_items_of_the_metadata(keep, question, epochs):  # beyond
    assert keep[question] == epochs


def test_an_unchanged_save_adds_no_bytes(keep):  # beyond
    assert keep["grown"] < 16 * 1024


def test_an_unchanged_save_is_a_checkpoint_of_its_own(keep):  # beyond
    assert keep["keys"][0] != keep["keys"][1]
    assert keep["listed"] == 2


def test_an_unchanged_save_is_as_large_and_as_whole(keep):  # beyond
    assert keep["sizes"] == [1 << 20, 1 << 20]
    assert keep["equal"]


TTL = """
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import attempt, here, note, tree

    class Ttl(FlowSpec):
        @checkpoint(ttl="0.01s", load_policy="eager", show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            note(held=tree(c.directory))
            for epoch in range(3):
                here(c, state=str(epoch))
                c.save(metadata={"epoch": epoch})
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Ttl()
"""


@once
def ttl(project):
    project.write("flow.py", TTL)
    ran = project.run(ok=False)
    assert ran.code == 0, ran.text
    task = f"Ttl/{ran.run_id}/start/1"
    done = project.python("-m", "memoflow", "gc", "--yes")
    assert done.returncode == 0, done.stdout
    listed = project.ask(LIST.format(task=task))
    project.run()
    return listed, notes(project)


def test_the_newest_of_a_series_outlives_its_ttl_and_no_other_does(ttl):  # beyond
    listed, _ = ttl
    assert listed == [2]


def test_eager_loads_what_outlived_its_ttl(ttl):  # beyond
    _, seen = ttl
    assert seen["held"] == {"state": "2"}


OPTIONS = """
    from metaflow import FlowSpec, checkpoint, step

    class Options(FlowSpec):
        @checkpoint({option})
        @step
        def start(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Options()
"""


@pytest.mark.parametrize("option", ["keep_last=0", "ttl='soon'", "on_code_change='shrug'"])
def test_an_option_that_cannot_be_stops_the_run_before_it_starts(project, option):
    project.write("flow.py", OPTIONS.format(option=option))
    ran = project.run(ok=False)
    assert ran.code != 0
    assert ran.workers == []
    assert option.partition("=")[0] in ran.text


CODE = """
    import os
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import here, note, tree
    import training

    class Evolving(FlowSpec):
        @checkpoint(load_policy="eager", show_card=False)
        @step
        def start(self):
            keep("default")
            self.next(self.loads)

        @checkpoint(load_policy="eager", on_code_change="load", show_card=False)
        @step
        def loads(self):
            keep("load")
            self.next(self.skips)

        @checkpoint(load_policy="eager", on_code_change="skip", show_card=False)
        @step
        def skips(self):
            keep("skip")
            self.next(self.end)

        @step
        def end(self):
            pass

    def keep(name):
        c = current.checkpoint
        note(**{f"{name} {os.environ['RUN']}": [c.is_loaded, tree(c.directory)]})
        if os.environ["RUN"] == "first":
            here(c, state=training.step(name))
            c.save()

    if __name__ == "__main__":
        Evolving()
"""

TRAINING = """
    def step(name):
        return name.upper()
"""


@once
def evolving(project):
    project.write("flow.py", CODE)
    project.write("training.py", TRAINING)
    texts = {}
    first = project.run(ok=False, RUN="first")
    assert first.code == 0, first.text
    project.edit("training.py", "return", "# The same code.\n    return")
    texts["same"] = project.run(RUN="same").text
    project.edit("training.py", "name.upper()", "name.upper() + '!'")
    texts["changed"] = project.run(RUN="changed").text
    return texts, notes(project)


def lines(text, step):
    return [line for line in text.splitlines() if f"/{step}/" in line and "code" in line.lower()]


@pytest.mark.parametrize("name", ["default", "load", "skip"])
def test_the_same_code_is_loaded(evolving, name):  # beyond
    _, seen = evolving
    assert seen[f"{name} same"] == [True, {"state": name.upper()}]


@pytest.mark.parametrize("step", ["start", "loads", "skips"])
def test_nothing_is_said_of_the_same_code(evolving, step):  # beyond
    texts, _ = evolving
    assert lines(texts["same"], step) == []


def test_a_checkpoint_of_changed_code_is_loaded_with_a_warning(evolving):  # bug 25
    texts, seen = evolving
    assert seen["default changed"][0] is True
    assert any("changed" in line for line in lines(texts["changed"], "start"))


def test_the_warning_names_what_changed(evolving):  # bug 25
    texts, _ = evolving
    assert any("training" in line for line in texts["changed"].splitlines() if "/start/" in line)


def test_load_says_nothing_of_changed_code(evolving):  # beyond
    texts, seen = evolving
    assert seen["load changed"][0] is True
    assert lines(texts["changed"], "loads") == []


def test_skip_loads_no_checkpoint_of_changed_code_and_says_so(evolving):  # beyond
    texts, seen = evolving
    assert seen["skip changed"] == [False, {}]
    assert any("changed" in line for line in lines(texts["changed"], "skips"))


MEMOIZED = """
    from pathlib import Path
    from metaflow import (
        FlowSpec, checkpoint, current, delete_model, load_model, memoize, model, step)
    from notes import attempt, here, note, tree

    class Memoized(FlowSpec):
        @step
        def start(self):
            self.next(self.train, self.fit)

        @memoize
        @checkpoint(keep_last=1, ttl="0.01s", show_card=False)
        @step
        def train(self):
            here(current.checkpoint, state="first")
            first = current.checkpoint.save()
            self.best = {"deep": [first["key"]]}
            self.next(self.join)

        @memoize
        @model
        @step
        def fit(self):
            Path("net").write_text("net")
            self.net = current.model.save("net")
            self.next(self.join)

        @step
        def join(self, inputs):
            self.merge_artifacts(inputs)
            load_model(self.best["deep"][0], f"{current.run_id}/best")
            load_model(self.net, f"{current.run_id}/net")
            note(best=tree(f"{current.run_id}/best"), net=tree(f"{current.run_id}/net"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Memoized()
"""

# Saves a newer one into the series of `train`, which keeps only one.
NEWER = """
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import here

    class Memoized(FlowSpec):
        @step
        def start(self):
            self.next(self.train)

        @checkpoint(keep_last=1, ttl="0.01s", show_card=False)
        @step
        def train(self):
            here(current.checkpoint, state="newer")
            current.checkpoint.save()
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Memoized()
"""


@once
def memoized(project):
    project.write("flow.py", MEMOIZED)
    project.write("newer.py", NEWER)
    first = project.run(ok=False)
    assert first.code == 0, first.text
    project.run(flow="newer.py")
    tidied = project.python("-m", "memoflow", "gc", "--yes")
    assert tidied.returncode == 0, tidied.stdout
    hit = project.run(ok=False)
    seen = notes(project)
    delete = """
        from metaflow import delete_model
        run = Flow("Memoized")[{run!r}]
        answer = [delete_model(run["fit"].task.data.net),
                  delete_model(run["train"].task.data.best["deep"][0])]
    """
    deleted = project.ask(delete.format(run=first.run_id))
    (project.folder / "notes.jsonl").unlink()
    miss = project.run(ok=False)
    again = project.run(ok=False)
    return {
        "hit": hit,
        "seen": seen,
        "deleted": deleted,
        "miss": miss,
        "seen after": notes(project),
        "again": again,
    }


def test_a_step_that_saves_a_checkpoint_or_model_can_be_a_hit(memoized):  # beyond
    assert memoized["hit"]["workers"].count("train") == 0
    assert memoized["hit"]["workers"].count("fit") == 0


def test_an_entry_keeps_its_checkpoint_from_keep_last_and_ttl(memoized):  # beyond
    assert memoized["hit"]["code"] == 0, memoized["hit"]["text"]
    assert memoized["seen"]["best"] == {"state": "first"}


def test_an_entry_keeps_its_model(memoized):  # beyond
    assert memoized["seen"]["net"] == {"net": "net"}


def test_what_an_entry_refers_to_can_be_deleted_by_name(memoized):  # beyond
    assert memoized["deleted"] == [True, True]


@pytest.mark.parametrize("step", ["train", "fit"])
def test_a_dead_reference_is_a_miss(memoized, step):  # beyond
    assert memoized["miss"]["workers"].count(step) == 1


@pytest.mark.parametrize(("step", "kind"), [("train", "checkpoint"), ("fit", "model")])
def test_the_miss_says_what_is_gone(memoized, step, kind):  # beyond
    said = [line for line in memoized["miss"]["text"].splitlines() if f"/{step}/" in line]
    assert any("miss: " in line and f"{kind}/Memoized/{step}" in line for line in said), said


def test_after_the_miss_the_reference_lives(memoized):  # beyond
    assert memoized["miss"]["code"] == 0, memoized["miss"]["text"]
    assert memoized["seen after"]["net"] == {"net": "net"}
    assert memoized["seen after"]["best"] == {"state": "first"}


@pytest.mark.parametrize("step", ["train", "fit"])
def test_after_the_miss_there_is_a_hit_again(memoized, step):  # beyond
    assert memoized["again"]["workers"].count(step) == 0
