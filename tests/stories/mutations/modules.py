"""Modules that are found by name while the step runs, and what is read as modules are loaded."""

from __future__ import annotations

import pickle
import sys
import types
from dataclasses import replace

import numpy as np

from tests.stories.mutations.harness import Act, Case, World


def by_name(name: str, body: str, module: str, **more: object) -> Case:
    """Return a case of a step that finds the code of `module` by a name it computes."""
    path = module.replace(".", "/") + ".py"
    source = "RATE = {0}\n\n\ndef make(x=2):\n    return x * {0}\n"
    files = {path: source.format(1), **dict.fromkeys(_packages(path), "")}
    says = more.pop("says", rf"(code of|file) \S*{path.replace('.', '[.]')}|{path}:\d+")
    return Case(
        name,
        body,
        says,  # type: ignore[arg-type]
        files=files | dict(more.pop("files", {})),  # type: ignore[call-overload]
        then={path: source.format(5)},
        **more,  # type: ignore[arg-type]
    )


def _packages(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join([*parts[: n + 1], "__init__.py"]) for n in range(len(parts))]


def instance_of(module: str, class_: str) -> bytes:
    """Return the pickle of an instance of a class, of a module that is not here."""
    made = types.ModuleType(module)
    sys.modules[module] = made
    try:
        exec(f"class {class_}:\n    pass\n", made.__dict__)
        getattr(made, class_).__module__ = module
        return pickle.dumps(getattr(made, class_)())
    finally:
        del sys.modules[module]


def save_array(value: float) -> Act:
    return lambda project: np.save(project.folder / "weights.npy", np.array([value]))


BY_NAME = [
    by_name(
        "import_module",
        "import importlib\ngot = importlib.import_module('nets.' + 'SMALL'.lower()).make()",
        "nets.small",
    ),
    by_name(
        "dunder_import",
        "__import__('_'.join(['dunder', 'one'])).make()",
        "dunder_one",
    ),
    by_name(
        "run_path",
        "import runpy\ngot = runpy.run_path('scripts/' + 'ran' + '.py')['RATE']",
        "scripts.ran",
    ),
    by_name(
        "run_module",
        "import runpy\ngot = runpy.run_module('ran_' + 'module')['RATE']",
        "ran_module",
    ),
    by_name(
        "from_a_file",
        """
        import importlib.util
        spec = importlib.util.spec_from_file_location("any", "loose/" + "by_file.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        got = module.make()
        """,
        "loose.by_file",
    ),
    by_name(
        "resolved",
        "import pkgutil\ngot = pkgutil.resolve_name('plug.' + 'resolved' + ':make')()",
        "plug.resolved",
    ),
    by_name(
        "executed",
        "names = {}\nexec(open('executed' + '.py').read(), names)\ngot = names['make']()",
        "executed",
        says=r"executed|code of make\(\) changed",  # All that the flow's file has counts then.
    ),
    by_name(
        "compiled",
        """
        names = {}
        path = Path("compiled" + ".py")
        exec(compile(path.read_text(), path, "exec"), names)
        got = names["make"]()
        """,
        "compiled",
        says=r"compiled|code of make\(\) changed",
    ),
    by_name(
        "target",
        """
        import importlib
        config = json.loads(Path("target.json").read_text())
        module, _, function = config.pop("_target_").rpartition(".")
        got = getattr(importlib.import_module(module), function)(**config)
        """,
        "models.deep.net",
        files={"target.json": '{"_target_": "models.deep.net.make", "x": 3}'},
    ),
    by_name(
        "from_another_path",
        """
        sys.path.insert(0, "plugins")
        import importlib
        got = importlib.import_module("plugged" + "_in").make()
        """,
        "plugins.plugged_in",
    ),
    by_name(
        "of_a_helper_of_it",
        "import importlib\ngot = importlib.import_module('outer' + '_one').value()",
        "inner_one",
        files={"outer_one.py": "from inner_one import make\n\n\ndef value():\n    return make()\n"},
    ),
    by_name(
        "loaded_before",
        "import importlib\ngot = importlib.import_module('known' + '_one').make()",
        "known_one",
        head="import known_one",
    ),
    by_name(
        "every_plugin",
        """
        import importlib, pkgutil, all_plugins
        got = [importlib.import_module("all_plugins." + found.name).RATE
               for found in pkgutil.iter_modules(all_plugins.__path__)]
        """,
        "all_plugins.one",
    ),
    by_name("in_sys_modules", "sys.modules['in_' + 'sys'].make()", "in_sys", head="import in_sys"),
    by_name(
        "attribute_by_name",
        "getattr(named_one, 'ma' + 'ke')()",
        "named_one",
        head="import named_one",
    ),
    by_name(
        "evaluated",
        "eval('evaluated_one.' + 'make()')",
        "evaluated_one",
        head="import evaluated_one",
    ),
    by_name(
        "global_by_name",
        "globals()['make_' + 'it']()",
        "global_one",
        head="from global_one import make as make_it",
        says=r"global_one|code of make\(\) changed",
    ),
    Case(
        "unpickled",
        """
        import pickle
        got = pickle.loads(Path("shape.pkl").read_bytes()).area()
        """,
        r"pickled_shapes\.py",
        files={
            "shape.pkl": instance_of("pickled_shapes", "Box"),
            "pickled_shapes.py": "class Box:\n    def area(self):\n        return 1\n",
        },
        then={"pickled_shapes.py": "class Box:\n    def area(self):\n        return 2\n"},
    ),
    by_name(
        "in_a_forked_child",
        """
        import importlib
        from metaflow import parallel_map
        got = parallel_map(lambda n: importlib.import_module("fork" + n).make(), ["_one"])
        """,
        "fork_one",
    ),
    Case(
        "another_plugin",
        "import importlib\ngot = importlib.import_module('choices.' + 'first').X",
        files={
            "choices/__init__.py": "",
            "choices/first.py": "X = 1\n",
            "choices/second.py": "X = 1\n",
        },
        then={"choices/second.py": "X = 2\n"},
    ),
    Case(
        "chosen_by_a_file",
        """
        import importlib
        name = open("which.txt").read().strip()
        got = importlib.import_module("which." + name).X
        """,
        r"file which\.txt changed",
        files={
            "which/__init__.py": "",
            "which/a.py": "X = 1\n",
            "which/b.py": "X = 2\n",
            "which.txt": "a",
        },
        then={"which.txt": "b"},
    ),
]

# Their flow's module, and what it imports, read all these before any step runs.
AT_IMPORT = [
    Case(
        "of_the_flow",
        "CONFIG['k']",
        r"file at\.json changed|constant \S*CONFIG",
        files={"at.json": '{"k": 1}'},
        then={"at.json": '{"k": 2}'},
        head="CONFIG = json.load(open('at.json'))",
    ),
    Case(
        "of_a_helper",
        "settings_module.RATE",
        r"file settings\.ini changed|constant \S*RATE",
        files={
            "settings.ini": "1",
            "settings_module.py": """
                from pathlib import Path

                RATE = int((Path(__file__).parent / "settings.ini").read_text())
            """,
        },
        then={"settings.ini": "2"},
        head="import settings_module",
    ),
    Case(
        "of_the_environment",
        "REGION_AT_IMPORT",
        r"environment variable AT_IMPORT|constant \S*REGION_AT_IMPORT",
        env={"AT_IMPORT": "1"},
        then_env={"AT_IMPORT": "2"},
        head="REGION_AT_IMPORT = os.environ['AT_IMPORT']",
    ),
    Case(
        "of_a_directory",
        "len(PLUGINS)",
        r"directory at_import\S*: b\.csv is new|constant \S*PLUGINS",
        files={"at_import/a.csv": "1"},
        then={"at_import/b.csv": "1"},
        head="PLUGINS = sorted(glob.glob('at_import/*.csv'))",
    ),
    Case(
        "of_a_default",
        "scaled(2)",
        r"file scale\.txt changed|default|scaled\(\)",
        files={"scale.txt": "1"},
        then={"scale.txt": "3"},
        head="def scaled(x, by=float(open('scale.txt').read())):\n    return x * by",
    ),
    Case(
        "of_a_class",
        "Limits.high",
        r"file high\.txt changed|Limits|high",
        files={"high.txt": "1"},
        then={"high.txt": "2"},
        head="class Limits:\n    high = int(open('high.txt').read())",
    ),
    Case(
        "of_an_absence",
        "DEBUG",
        r"file debug\.flag is there now|constant \S*DEBUG",
        then={"debug.flag": ""},
        head="DEBUG = os.path.exists('debug.flag')",
    ),
    Case(
        "of_a_package",
        "wrapped.value()",
        r"file wrapped/rate\.txt changed|constant \S*_RATE",
        files={
            "wrapped/__init__.py": "from wrapped.inner import value\n",
            "wrapped/inner.py": """
                import pathlib

                _RATE = {"rate": pathlib.Path(__file__).with_name("rate.txt").read_text()}


                def value():
                    return _RATE["rate"]
            """,
            "wrapped/rate.txt": "1",
        },
        then={"wrapped/rate.txt": "2"},
        head="import wrapped",
    ),
    Case(
        "of_a_library_object",
        "MODEL['w'].tolist()",
        r"file weights\.npy changed|constant \S*MODEL",
        files={"weights.npy": b""},
        prepare=save_array(1),
        change=save_array(2),
        restore=save_array(1),
        head="import numpy\nMODEL = {'w': numpy.load('weights.npy')}",
    ),
    Case(
        "kept_by_a_cache",
        "cached_table('cached.json')['k']",
        r"file cached\.json changed",
        files={"cached.json": '{"k": 1}'},
        then={"cached.json": '{"k": 2}'},
        head="""
        import functools

        @functools.lru_cache
        def cached_table(name):
            return json.load(open(name))

        cached_table("cached.json")
        """,
    ),
    Case(
        "held_by_a_closure",
        "lookup()",
        r"file lookup\.txt changed|lookup|constant",
        files={"lookup.txt": "1"},
        then={"lookup.txt": "2"},
        head="""
        def make_lookup():
            table = Path("lookup.txt").read_text()
            return lambda: table

        lookup = make_lookup()
        """,
    ),
]


# A read at import is one of every step of the flow: a line may name any of them.
ANY = "|".join(case.says for case in AT_IMPORT if case.says)
AT_IMPORT = [replace(case, says=ANY) for case in AT_IMPORT]

WORLDS = [
    World("modules", BY_NAME),
    World("at_import", AT_IMPORT),
]
