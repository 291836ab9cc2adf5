"""Other flows, parts of configs, and models and checkpoints that are saved again."""

from __future__ import annotations

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Act, Case, World

_FLOW = """
    import os
    from metaflow import FlowSpec, step

    class {name}(FlowSpec):
        @step
        def start(self):
            self.v = int(os.environ["V"])
            self.w = int(os.environ["W"])
            print("made", self.v)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        {name}()
"""


def run(name: str, *, v: int, w: int = 0, tag: str = "prod") -> Act:
    def act(project: Project) -> None:
        project.write(f"{name}.py", _FLOW.format(name=name))
        ran = project.run(f"--tag={tag}", flow=f"{name}.py", V=str(v), W=str(w))
        first = project.folder / f"{name}.id"
        if not first.exists():
            first.write_text(ran.run_id)

    return act


_CLIENT = "from metaflow import Flow, Run, Step, Task, DataArtifact\n"
_TRAIN = r"Train/?\S* .*changed: .*->|Train/"


def asks(name: str, body: str, says: str | None = None, **more: object) -> Case:
    return Case(name, f"{_CLIENT}got = {body}", says, **more)  # type: ignore[arg-type]


# Between two runs `Train` leaves another `v`, and `Steady` the same `v` and another `w`.
CLIENT = [
    asks(
        "latest_value",
        "Flow('Train').latest_successful_run.data.v",
        r"Train/latest_successful_run changed: \d+ -> \d+",
        prepare=run("Train", v=1),
        change=run("Train", v=2),
        restore=run("Train", v=1),
    ),
    asks(
        "the_same_value",
        "Flow('Steady').latest_successful_run.data.v",
        prepare=run("Steady", v=1, w=1),
        change=run("Steady", v=1, w=2),
        restore=run("Steady", v=1, w=1),
    ),
    asks("another_value", "Flow('Steady').latest_successful_run.data.w", "Steady/"),
    asks("latest_run", "Flow('Train').latest_run['start'].task.data.v", "Train/latest_run"),
    asks("artifact", "Flow('Train').latest_successful_run['start'].task['v'].data", _TRAIN),
    asks("steady_step", "Flow('Steady').latest_run['start'].task.data.v"),
    asks("by_id", "Run('Train/' + open('Train.id').read()).data.v"),
    asks("step_by_id", "Step('Train/' + open('Train.id').read() + '/start').task.data.v"),
    asks(
        "artifact_by_path",
        "DataArtifact('Steady/' + open('Steady.id').read() + '/start/1/v').data",
    ),
    asks("tagged", "[run.data.v for run in Flow('Train').runs('prod')][0]", "Train", returns=False),
    asks("of_another_tag", "[run.data.v for run in Flow('Train').runs('dev')]"),
    asks("counted", "len(list(Flow('Steady').runs()))", "Steady", returns=False),
    asks("its_id", "Flow('Steady').latest_run.id", "Steady/latest_run", returns=False),
    asks("all_values", "sorted(run.data.v for run in Flow('Train'))", "Train", returns=False),
    asks("its_log", "Flow('Train').latest_run['start'].task.stdout", "Train", returns=False),
    Case(
        "not_there_yet",
        """
        from metaflow import Flow
        from metaflow.exception import MetaflowNotFound
        try:
            got = Flow("Later").latest_run.data.v
        except MetaflowNotFound:
            got = "none"
        """,
        "Later",
        change=run("Later", v=1),
        returns=False,
    ),
    Case(
        "in_a_helper",
        "import other_flows\ngot = other_flows.value('Train')",
        "Train/latest_successful_run",
        files={
            "other_flows.py": """
                from metaflow import Flow

                def value(name):
                    return Flow(name).latest_successful_run.data.v
            """
        },
    ),
    Case(
        "in_a_fork",
        """
        from metaflow import Flow, parallel_map
        got = parallel_map(lambda name: Flow(name).latest_successful_run.data.v, ["Train"])
        """,
        "Train",
    ),
    Case(
        "in_a_thread",
        """
        from concurrent.futures import ThreadPoolExecutor
        from metaflow import Flow
        with ThreadPoolExecutor() as pool:
            got = pool.submit(lambda: Flow("Train").latest_run.data.v).result()
        """,
        "Train",
    ),
]

_CONFIG = """{{
    "own": {{"k": {n}, "other": 1}},
    "deep": {{"er": {{"k": {n}}}}},
    "still": {{"k": 1, "other": {n}}},
    "tree": {{"a": 1, "b{n}": 1}},
    "handed": {{"x": {n}}},
    "kept": {{"x": {n}}},
    "listed": [1, {n}],
    "same": {{"x": [1, 2], "y": {{"z": 1}}}},
    "ordered": {{{ordered}}},
    {late}
    "text": "x"
}}"""
_BEFORE = _CONFIG.format(n=1, late="", ordered='"a": 1, "b": 2')
_AFTER = _CONFIG.format(n=7, late='"late": 1, "later": 1,', ordered='"b": 2, "a": 1')

CONFIG = [
    Case(
        "own_part",
        "self.cfg.own.k",
        r"config cfg\.own\.k changed: 1 -> 7",
        files={"cfg.json": _BEFORE},
        then={"cfg.json": _AFTER},
        leaves="7",
    ),
    Case(
        "by_subscript",
        "self.cfg['deep']['er']['k']",
        r"config cfg\.deep\.er\.k changed: 1 -> 7",
        leaves="7",
    ),
    Case("other_part", "self.cfg.still.k", leaves="1"),
    Case("top_level", "self.cfg.text", leaves="'x'"),
    Case("whole_and_equal", "self.cfg.same.to_dict()", leaves="{'x': [1, 2], 'y': {'z': 1}}"),
    Case("keys", "sorted(self.cfg.tree)", r"config cfg\.tree", leaves="['a', 'b7']"),
    Case(
        "as_a_dict",
        "len(dict(self.cfg.handed)) + self.cfg.handed['x']",
        r"config cfg\.handed",
        leaves="8",
    ),
    Case("absent", "self.cfg.get('late', 0)", r"config cfg\.late", leaves="1"),
    Case("contained", "'later' in self.cfg", r"config cfg\.later", leaves="True"),
    Case("element", "self.cfg.listed[1]", r"config cfg\.listed", leaves="7"),
    Case("order_of_keys", "list(self.cfg.ordered)", r"config cfg\.ordered", leaves="['b', 'a']"),
    Case(
        "by_a_helper",
        "rate_of(self.cfg)",
        r"config cfg\.own\.k changed: 1 -> 7",
        head="def rate_of(config):\n    return config.own.k",
        leaves="7",
    ),
    Case("handed_on", "json.dumps(self.cfg.kept)", r"config cfg\.kept", leaves="""'{"x": 7}'"""),
    Case(
        "unread_node",
        "node = self.cfg.own\ngot = node.other",
        leaves="1",
    ),
]

_SAVED = """
os.makedirs("weights", exist_ok=True)
Path("weights", "w.txt").write_text("same")
os.makedirs("varied", exist_ok=True)
Path("varied", "w.txt").write_text(os.environ["SAVED"])
self.model = current.model.save("weights", label="m", metadata={"a": 1})
self.varied = current.model.save("varied", label="v")
self.labelled = current.model.save("weights", label="l" + os.environ["SAVED"])
self.described = current.model.save("weights", metadata={"n": os.environ["SAVED"]})
self.point = current.checkpoint.save("weights", name="p", metadata={"a": 1})
self.other_point = current.checkpoint.save("varied", name="o")
"""


def loads(name: str, artifact: str, leaves: str, says: str | None = None, **more: object) -> Case:
    return Case(
        name,
        f"Path(current.model.loaded[{artifact!r}], 'w.txt').read_text()",
        says,
        memo=f'@memoize\n@model(load="{artifact}")',
        leaves=leaves,
        **more,  # type: ignore[arg-type]
    )


SAVED = [
    loads(
        "model_again",
        "model",
        "'same'",
        start=_SAVED,
        head="from metaflow import checkpoint, model",
        env={"SAVED": "1"},
        then_env={"SAVED": "2"},
    ),
    loads("model_of_other_weights", "varied", "'2'", "varied"),
    loads("checkpoint_again", "point", "'same'"),
    loads("checkpoint_of_other_weights", "other_point", "'2'", "other_point"),
    Case("label_again", "self.model['label']", leaves="'m'"),
    Case("other_label", "self.labelled['label']", "labelled", leaves="'l2'"),
    Case("other_metadata", "self.described['metadata']['n']", "described", leaves="'2'"),
    Case("held_in_a_list", "[m['label'] for m in (self.model, self.model)]", leaves="['m', 'm']"),
    Case(
        "loaded_by_hand",
        """
        from metaflow import load_model
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            load_model(self.model, folder)
            got = Path(folder, "w.txt").read_text()
        """,
        leaves="'same'",
    ),
]

WORLDS = [
    World("client", CLIENT),
    World("config", CONFIG, members='cfg = Config("cfg", default="cfg.json")\n'),
    World("saved", SAVED, first="@model\n@checkpoint"),
]
