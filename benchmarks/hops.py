"""How many functions and modules one decision of the scheduler passes, from its hook to its answer.

    python hops.py
    python hops.py --list       each function that a further hit and a miss enter, and how often

Runs a foreach of five trivial splits, then once more, where all hit, then with one item that is
new, under `sys.setprofile`. Counted are functions of memoflow's, and calls from one of its modules
into another. Comprehensions count as calls, but not as functions.

A decision is everything between the call of `scheduler.prepare`, by which Metaflow's runtime asks
for a task's command line, and its return, by which the runtime has its answer: the inputs and their
digests, the search for a result, the check of its files, and the record of the task that does not
run. One hit is the decision on a task of a run under way. The first decision of a run also opens
the store and fingerprints the code, which serves the whole run, so it is apart. The card of a hit
is made in a thread, after the answer, and is apart, too.
"""

import argparse
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

FLOW = """
from metaflow import FlowSpec, Parameter, memoize, step

class Trivial(FlowSpec):
    first = Parameter("first", type=int)

    @step
    def start(self):
        self.items = list(range(self.first, self.first + 5))
        self.next(self.work, foreach="items")

    @memoize
    @step
    def work(self):
        self.value = self.input + 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Trivial()
"""
SCHEDULER = "memoflow.flow.memo.scheduler"
CARDS = "memoflow.flow.memo.card"


class Profile:
    """Counts calls of memoflow's functions in each decision; patches the scheduler on import."""

    def __init__(self) -> None:
        self.decisions: list[dict] = []
        self.cards: list[dict] = []

    def find_spec(self, module, path=None, target=None):
        if module != SCHEDULER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(module)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda found: (load(found), self.patch(found))
        return spec

    def patch(self, scheduler) -> None:
        from memoflow.flow.memo.card import CardFiles

        scheduler.prepare = counted(scheduler.prepare, SCHEDULER, self.decisions)
        CardFiles.quietly = counted(CardFiles.quietly, CARDS, self.cards)


def counted(function, inside: str, found: list[dict]):
    """Return a function with a profile of each call, from inside a module of memoflow's."""

    def profiled(*arguments):
        entered: Counter[str] = Counter()
        stack, changes = [inside], 0

        def note(frame, event, argument):
            nonlocal changes
            if event not in ("call", "return"):
                return
            module = frame.f_globals.get("__name__", "")
            if not module.startswith("memoflow."):
                return
            if event == "return":
                stack.pop()
                return
            changes += module != stack[-1]
            stack.append(module)
            if frame.f_code.co_name != "<module>":
                entered[f"{module}:{frame.f_code.co_qualname}"] += 1

        sys.setprofile(note)
        try:
            function(*arguments)
        finally:
            sys.setprofile(None)
        found.append({"changes": changes, "entered": entered})

    return profiled


def profile(log: str, *arguments: str) -> None:
    """Run a flow in this process, and write what its decisions entered to a file."""
    found = Profile()
    sys.meta_path.insert(0, found)
    sys.argv = list(arguments)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        Path(log).write_text(json.dumps([found.decisions, found.cards]))


def profiles(folder: Path, first: int) -> tuple[list[dict], list[dict]]:
    """Run the flow over the five items from `first`; return the decisions and the cards."""
    log = folder / "log"
    flags = ["--no-pylint", "run", f"--first={first}", "--max-workers=1"]
    command = [sys.executable, __file__, "--log", str(log), "trivial.py", *flags]
    environment = os.environ | {
        "METAFLOW_USER": "bench",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        "METAFLOW_MEMOFLOW_CACHE_DIR": f"{folder}/cache",
    }
    subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    decisions, cards = json.loads(log.read_text())
    return decisions, cards


def show(what: str, decision: dict, *, is_listed: bool) -> None:
    entered = decision["entered"]
    functions = [name for name in entered if not name.endswith(">")]
    modules = {name.partition(":")[0] for name in entered}
    print(
        f"{what}: {len(functions)} functions of {len(modules)} modules, "
        f"{sum(entered.values())} calls, {decision['changes']} of them into another module"
    )
    for name, times in sorted(entered.items(), key=lambda each: -each[1]) if is_listed else ():
        print(f"  {times:4} {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="each function, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "trivial.py").write_text(FLOW)
        profiles(folder, 0)
        (first, *hits), cards = profiles(folder, 0)
        (*_, miss), _ = profiles(folder, 1)
    show("first hit of a run", first, is_listed=False)
    show("further hit", hits[len(hits) // 2], is_listed=given.list)
    show("its card, after the decision", cards[len(cards) // 2], is_listed=False)
    show("miss", miss, is_listed=given.list)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--log"]:
        profile(*sys.argv[2:])
    else:
        main()
