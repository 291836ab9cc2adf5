"""Metaflow's private names and patches stay in flow/host; a release of it breaks one room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.host.private_names import of_metaflow, uses

ROOT = Path(__file__).parents[3]
HOST = ROOT / "memoflow/flow/host"
MODULES = [
    path
    for package in ("memoflow", "metaflow_extensions")
    for path in sorted((ROOT / package).rglob("*.py"))
    if HOST not in path.parents
]

# Names that Metaflow has, too, of objects that are not its own.
OF_OTHERS = {
    ("memoflow/backends/azure.py", "_blob"): "a backend's own",
    ("memoflow/backends/gcs.py", "_blob"): "a backend's own",
    ("memoflow/backends/gcs.py", "_connection"): "of Google's client",
    ("memoflow/fingerprint/tables.py", "_metadata"): "of pandas",
    ("memoflow/fingerprint/tables.py", "_name"): "of pandas",
    ("memoflow/flow/memo/artifacts.py", "_meta"): "the end of a file's name",
    ("memoflow/kinds/memo_fields.py", "_foreach_num_splits"): "a key of our files",
    ("memoflow/kinds/memo_fields.py", "_foreach_values"): "a key of our files",
    ("memoflow/kinds/memo_fields.py", "_foreach_var"): "a key of our files",
    ("memoflow/kinds/memo_fields.py", "_transition"): "a key of our files",
    ("memoflow/kinds/memo_fields.py", "_unbounded_foreach"): "a key of our files",
    ("memoflow/objects/tree.py", "_add"): "a tree's own",
    ("memoflow/tracking/hooks.py", "_data"): "of os.environ",
}


def found() -> dict[tuple[str, str], list[int]]:
    lines: dict[tuple[str, str], list[int]] = {}
    for path in MODULES:
        for line, name in uses(path.read_text()):
            lines.setdefault((str(path.relative_to(ROOT)), name), []).append(line)
    return lines


def test_no_module_outside_host_uses_a_private_name_of_metaflows_or_patches_it() -> None:
    assert {use: lines for use, lines in found().items() if use not in OF_OTHERS} == {}


def test_each_name_that_is_let_through_is_still_used() -> None:
    assert OF_OTHERS.keys() - found().keys() == set()


def test_the_names_that_the_product_once_reached_for_are_known_as_metaflows() -> None:
    once = {
        "_NAME", "_NON_PARAMETERS", "_artifacts", "_attempt", "_current_namespace", "_datastore",
        "_flow_name", "_flow_state", "_foreach_stack", "_get_parameters", "_graph", "_info",
        "_init_foreach", "_lazy_load", "_metaflow", "_namespace_check", "_objects", "_parser",
        "_run", "_s3_client", "_sha", "_storage_impl", "_transition", "_update_env", "_url",
        "_vendor",
    }  # fmt: skip
    assert once - of_metaflow() == set()


@pytest.mark.parametrize(
    "text",
    [
        "flow._datastore",
        "self._flow._datastore._objects",
        "getattr(flow, '_datastore', None)",
        "setattr(flow, '_graph', None)",
        "hasattr(flow, '_graph')",
        "getattr(flow, f'_{name}')",
        "getattr(flow, '_data' + 'store')",
        "vars(flow)['_datastore']",
        "flow.__dict__['_datastore']",
        "operator.attrgetter('_datastore._objects')(flow)",
        "object.__getattribute__(flow, '_datastore')",
        "NAME = '_datastore'\ngetattr(flow, NAME)",
        "from metaflow._vendor import click",
        "import metaflow._vendor.click",
        "import_module('metaflow._vendor.click')",
        "from metaflow.client.core import _metadata",
        "from metaflow.client import core\ncore._metadata('local')",
        "from metaflow.client import core\ncore.current_namespace = None",
        "from metaflow import FlowSpec\nsetattr(FlowSpec, 'next', None)",
        "from metaflow import FlowSpec\nFlowSpec.next = None",
        "import metaflow\nmetaflow.FlowSpec.next = None",
        "from metaflow import FlowSpec\ndel FlowSpec.next",
        "from metaflow.client import core\ncore.get_namespace.__code__ = code",
        "from metaflow import FlowSpec\nclass F(FlowSpec):\n def f(self): self._datastore",
        "class Own:\n def f(self): self._datastore = 1\ndef g(flow): return flow._datastore",
        "def f(self):\n flow = self.flow\n return flow._datastore",
        "for cls in flows:\n cls._graph",
        "def f(cls): return cls._graph",
        "class Own:\n def f(self):\n  def g(self): return self._graph",
    ],
)
def test_it_is_seen(text: str) -> None:
    assert uses(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "class Own:\n def f(self): return self._datastore",
        "class Own:\n def f(self):\n  watch = self\n  def g(): return watch._flow",
        "class Own:\n def same(self, other: Own): return self._graph == other._graph",
        "frame._replace(index=1)",
        "thing._of_nobody_elses",
        "flow.__dict__",
        "'it says _datastore in a sentence'",
        "from metaflow import FlowSpec\nclass F(FlowSpec):\n _graph = 1\n def f(self): self._graph",
        "from metaflow import FlowSpec\nFlowSpec.next",
        "getattr(flow, name)",
    ],
)
def test_it_is_none_of_metaflows(text: str) -> None:
    assert uses(text) == []
