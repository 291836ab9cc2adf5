"""Run a flow with something of memoflow's scheduler timed, from outside the flow's own code.

What a flow's file does to other modules is part of its fingerprint, so the flow must not do it.
    python instrument.py LOG NAME flow.py run ...
writes one JSON list to LOG: for each call of NAME in the scheduler's module the seconds it took and
the files that were opened meanwhile.
"""

import importlib.util
import json
import os
import runpy
import sys
import time

MODULE = "memoflow.flow.memo.scheduler"
log, name, *sys.argv = sys.argv[1:]
calls, opened = [], []


class Patch:
    """Patches the module when it is imported: Metaflow must not be imported before the flow."""

    def find_spec(self, module, path=None, target=None):
        if module != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(module)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda found: (load(found), patch(found))
        return spec


def patch(module):
    inner = getattr(module, name)

    def timed(*arguments, **named):
        if name == "look_up":
            arguments[0].fix_code()  # Once a run, not once a key.
        del opened[:]
        began = time.perf_counter()
        result = inner(*arguments, **named)
        calls.append([time.perf_counter() - began, list(opened)])
        return result

    setattr(module, name, timed)


def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        opened.append(os.fsdecode(arguments[0]))


sys.meta_path.insert(0, Patch())
if name == "look_up":
    sys.addaudithook(hook)
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    with open(log, "w") as file:
        json.dump(calls, file)
