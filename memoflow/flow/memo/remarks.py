"""Remarks: lines in a task's log and card besides hit or miss."""

from __future__ import annotations

from collections.abc import Iterable

from memoflow.flow.memo import hints, uncached
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.store_context import StoreContext
from memoflow.flow.task.process import tell
from memoflow.log import INFO, WARNING
from memoflow.masking import without_passwords


class Remarks:
    """The remarks of one task, in the order in which they were made.

    `run` is the id of its run. With `quiet` the lines for once a run are not printed.
    """

    def __init__(
        self, memoized: MemoizedStep, context: StoreContext, *, run: str, quiet: bool
    ) -> None:
        self.lines: list[str] = []
        self._memoized = memoized
        self._context = context
        self._run = run
        self._quiet = quiet

    def say(self, line: str, level: int = INFO) -> None:
        """Add a line to the task's log and card."""
        line = without_passwords(line)
        self.lines.append(line)
        tell(f"[memoize] {line}", level)

    def say_once(self, kind: str, line: str, level: int = INFO) -> None:
        """Add a line to the card, and to the log of one task of the step in this run."""
        self.lines.append(line)
        self.print_once(kind, line, level=level)

    def print_once(
        self, kind: str, line: str, *, run: str | None = None, level: int = INFO
    ) -> None:
        """Print a line in the log of one task of the step in a run, by default this run."""
        store = self._context.store
        if self._quiet or store is None:
            return
        if uncached.is_news(self._memoized, store, self._run if run is None else run, kind):
            tell(f"[memoize] {line}", level)

    def add_hint(self) -> None:
        """Add the clocks and random generators of the step: to the card, and once to a log."""
        store = self._context.store
        assert store is not None
        try:
            line, kinds = hints.of_step(self._memoized)
            facts = [f"hint:{uncached.step_path(self._memoized)}:{kind}" for kind in kinds]
            # All of them, or the next task says those that were left out.
            news = [store.index.set_if_changed(fact, "said") for fact in facts]
            if any(news):
                self.say(line)
            elif line:
                self.lines.append(line)
        except Exception as error:  # Raised by the user's code; the result is recorded already.
            tell(f"[memoize] no hints: {type(error).__name__}: {error}", WARNING)

    def add_unmatched(self) -> None:
        """Add, once, the names in `ignore=` without a match among the reads of the step."""
        store = self._context.store
        assert store is not None
        for name in uncached.unmatched(self._memoized, store):
            step = self._memoized.step
            self.say_once(
                f"ignore:{name}",
                f'ignore="{name}" matched nothing that {step} reads; remove or correct it',
                WARNING,
            )

    def add_uncertain(self, unseen: Iterable[str]) -> None:
        """Add reads that are not in the key as they are: to the card, and once to a log."""
        lines = {
            f"unseen:{each}": f"not seen: {each}; pass values that decide the result as artifacts "
            "or parameters"
            for each in unseen
        }
        opaque = {part.name: part.summary for part in self._memoized.code.by_class}
        if opaque:
            named = ", ".join(f"{name} ({what})" for name, what in opaque.items())
            lines[f"opaque:{named}"] = (
                f"{self._memoized.step} uses {named}: class and version are in the key, the "
                "contents are not"
            )
        for kind, line in lines.items():
            self.lines.append(line)
            self.print_once(kind, line, run="any")
