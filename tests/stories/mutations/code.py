"""Code and constants: what an edit must and must not change."""

from __future__ import annotations

from tests.stories.mutations.harness import Case, World


def edited(
    name: str,
    source: str,
    body: str,
    before: str,
    after: str,
    says: str | None = "",
    **more: object,
) -> Case:
    """Return a case of a step that uses a module of its own, of which one line is edited."""
    module = f"{name}_code"
    assert before in source, f"{before!r} is not in the source of {name}"
    if says == "":
        says = rf"{module}|{name}|changed"
    return Case(
        name,
        body.replace("code.", f"{module}."),
        says,
        files={f"{module}.py": source},
        then={f"{module}.py": source.replace(before, after)},
        head=f"import {module}",
        **more,  # type: ignore[arg-type]
    )


ORDER = [
    edited(
        "constant",
        "X = {'a': 1, 'b': 2}\n",
        "list(code.X)",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
        r"constant \S*X",
    ),
    edited(
        "nested",
        "X = ([{'a': 1, 'b': 2}], 1)\n",
        "list(code.X[0][0])",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
        r"constant \S*X",
    ),
    edited(
        "class_data",
        "class A:\n    x = {'a': 1, 'b': 2}\n",
        "list(code.A.x)",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
    ),
    edited(
        "of_an_instance",
        "import types\nX = types.SimpleNamespace(d={'a': 1, 'b': 2})\n",
        "list(code.X.d)",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
    ),
    edited(
        "default",
        "def f(x={'a': 1, 'b': 2}):\n    return list(x)\n",
        "code.f()",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
    ),
    edited(
        "ordered",
        "from collections import OrderedDict\nX = OrderedDict([('a', 1), ('b', 2)])\n",
        "list(code.X)",
        "('a', 1), ('b', 2)",
        "('b', 2), ('a', 1)",
        r"constant \S*X",
    ),
    edited(
        "counter",
        "from collections import Counter\nX = Counter(['a', 'b'])\n",
        "list(code.X)",
        "'a', 'b'",
        "'b', 'a'",
        r"constant \S*X",
    ),
    edited(
        "subclass",
        "class D(dict):\n    pass\n\nX = D(a=1, b=2)\n",
        "list(code.X)",
        "a=1, b=2",
        "b=2, a=1",
        r"constant \S*X",
    ),
    edited(
        "read_only",
        "import types\nX = types.MappingProxyType({'a': 1, 'b': 2})\n",
        "list(code.X)",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
        r"constant \S*X",
    ),
    edited(
        "held_by_a_partial",
        "import functools\nX = functools.partial(list, {'a': 1, 'b': 2})\n",
        "code.X()",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
    ),
    edited(
        "of_sets", "X = {'a', 'b', 'c'}\n", "len(code.X)", "'a', 'b', 'c'", "'c', 'b', 'a'", None
    ),
    edited(
        "of_keywords",
        "import functools\nX = functools.partial(dict, a=1, b=2)\n",
        "sum(code.X().values())",
        "a=1, b=2",
        "b=2, a=1",
        None,
    ),
    edited(
        "of_attributes",
        "class A:\n    pass\n\nX = A()\nX.a = 1\nX.b = 2\n",
        "code.X.a + code.X.b",
        "X.a = 1\nX.b = 2",
        "X.b = 2\nX.a = 1",
        None,
    ),
    edited(
        "of_definitions",
        "def f():\n    return 1\n\n\ndef g():\n    return f()\n",
        "code.g()",
        "def f():\n    return 1\n\n\ndef g():\n    return f()\n",
        "def g():\n    return f()\n\n\ndef f():\n    return 1\n",
        None,
    ),
    edited("comment", "def f():\n    return 1\n", "code.f()", "return 1", "return 1  # one", None),
    edited(
        "unused",
        "def f():\n    return 1\n\n\ndef g():\n    return 1\n",
        "code.f()",
        "def g():\n    return 1",
        "def g():\n    return 2",
        None,
    ),
    Case(
        "of_artifacts",
        "list(self.by_order)",
        "by_order",
        files={"order.txt": "a b"},
        then={"order.txt": "b a"},
        leaves="['b', 'a']",
        start="self.by_order = {k: 1 for k in open('order.txt').read().split()}",
    ),
    Case(
        "of_equal_artifacts",
        "len(self.by_set)",
        files={"set.txt": "a b"},
        then={"set.txt": "b a"},
        start="self.by_set = set(open('set.txt').read().split())",
    ),
]

_BY = "def by(x):\n    return x * 2\n\n\n"

HELD = [
    edited(
        "partial",
        "import functools\n" + _BY + "X = functools.partial(by, 3)\n",
        "code.X()",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "partial_of_a_partial",
        "import functools\n" + _BY + "X = functools.partial(functools.partial(by), 3)\n",
        "code.X()",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "vectorized",
        "import numpy as np\n" + _BY + "X = np.vectorize(by)\n",
        "code.X([1, 2]).tolist()",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "frompyfunc",
        "import numpy as np\n" + _BY + "X = np.frompyfunc(by, 1, 1)\n",
        "code.X([1, 2]).tolist()",
        "* 2",
        "* 5",
        "by|frompyfunc",
    ),
    edited(
        "transformer",
        "from sklearn.preprocessing import FunctionTransformer\n"
        + _BY
        + "X = FunctionTransformer(by)\n",
        "code.X.transform([[1]])",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "pipeline",
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        + _BY
        + "X = make_pipeline(FunctionTransformer(by), FunctionTransformer())\n",
        "code.X.fit_transform([[1]])",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "methodcaller",
        "import operator\n\n\nclass A:\n    def by(self):\n        return 2\n\n\n"
        "X = operator.methodcaller('by')\nA0 = A()\n",
        "code.X(code.A0)",
        "return 2",
        "return 5",
        "by",
    ),
    edited(
        "attrgetter",
        "import operator\n\n\nclass A:\n    @property\n    def by(self):\n"
        "        return 2\n\n\nX = operator.attrgetter('by')\nA0 = A()\n",
        "code.X(code.A0)",
        "return 2",
        "return 5",
        "by",
    ),
    edited(
        "bound_method",
        "class A:\n    def by(self):\n        return 2\n\n\nX = A().by\n",
        "code.X()",
        "return 2",
        "return 5",
        "by",
    ),
    edited(
        "cached",
        "import functools\n\n\n@functools.lru_cache\n" + _BY,
        "code.by(2)",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "single_dispatch",
        "import functools\n\n\n@functools.singledispatch\ndef f(x):\n"
        "    return 0\n\n\n@f.register\ndef _(x: int):\n    return x * 2\n",
        "code.f(3)",
        "* 2",
        "* 5",
    ),
    edited(
        "moved_class",
        "class A:\n    def by(self):\n        return 2\n\n\nA.__module__ = 'json'\n",
        "code.A().by()",
        "return 2",
        "return 5",
        "by",
    ),
    edited(
        "moved_function", _BY + "by.__module__ = 'builtins'\n", "code.by(3)", "* 2", "* 5", "by"
    ),
    edited(
        "moved_by_a_decorator",
        "def public(f):\n    f.__module__ = 'numpy'\n    return f\n\n\n@public\n" + _BY,
        "code.by(3)",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "class_made_by_type",
        _BY + "X = type('X', (), {'by': by})\n",
        "code.X.by(3)",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "default_factory",
        "import dataclasses\n\n\ndef by():\n    return 2\n\n\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = dataclasses.field(default_factory=by)\n",
        "code.A().x",
        "return 2",
        "return 5",
        "by",
    ),
    edited(
        "in_a_dict_of_functions",
        _BY + "X = {'by': [by]}\n",
        "code.X['by'][0](3)",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "compiled_pattern_callback",
        "import re\n\n\ndef by(match):\n    return 'a'\n\n\nX = (re.compile('x'), by)\n",
        "code.X[0].sub(code.X[1], 'x')",
        "'a'",
        "'b'",
        "by",
    ),
    edited(
        "chained",
        "import itertools\n" + _BY + "X = (map, by)\n",
        "list(code.X[0](code.X[1], [1]))",
        "* 2",
        "* 5",
        "by",
    ),
    edited(
        "sorting_key",
        "import functools\n\n\ndef by(a, b):\n    return a - b\n\n\nX = functools.cmp_to_key(by)\n",
        "sorted([1, 2], key=code.X)",
        "a - b",
        "b - a",
        "by",
    ),
    edited(
        "weak_method",
        "import weakref\n" + _BY + "X = weakref.ref(by)\n",
        "code.X()(2)",
        "* 2",
        "* 5",
    ),
    edited(
        "module_attribute_hook",
        "def __getattr__(name):\n    return 2\n",
        "code.anything",
        "return 2",
        "return 5",
    ),
    edited(
        "subclass_hook",
        "class B:\n    def __init_subclass__(cls):\n        cls.x = 2\n\n\nclass A(B):\n    pass\n",
        "code.A.x",
        "= 2",
        "= 5",
    ),
]

WORLDS = [
    World("order", ORDER),
    World("held", HELD),
]
