"""Report figures: hits, misses by reason, growth and expiry, for all forms of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from functools import cached_property

from memoflow.catalog import figures
from memoflow.catalog.figures import Stats
from memoflow.dataclass import dataclass
from memoflow.index import Day, MissCost
from memoflow.kinds.decision import Decision, Reason, recall_missed
from memoflow.names import Ref
from memoflow.store import Store

SOON_DAYS = (7, 30)
_MOST_PERIODS = 60
_FEWEST_PERIODS = 5  # or one column is as wide as the chart
_NOT_NOTED = "no reason noted"


@dataclass(frozen=True)
class ReasonCost:
    """The misses for one reason; `step` is the one with most of their run time."""

    words: str
    misses: int
    run_s: float
    step: str
    of_step_s: float


@dataclass(frozen=True)
class Period:
    """A day or week: the bytes that were stored before it, and those new in it."""

    first: date
    before_bytes: int
    new_bytes: int
    saves: int


@dataclass(frozen=True)
class Expiring:
    """The entries of a step and kind that expire: number and bytes, gone by and by `SOON_DAYS`."""

    where: str
    kind: str
    due: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ReportFigures:
    """The figures of a store; `since` bounds hits, misses and growth, None is no bound."""

    store: Store
    stats: Stats
    days: Sequence[Day]
    costs: Sequence[MissCost]
    now: datetime
    since: timedelta | None

    @property
    def began(self) -> float:
        """The first moment that counts, in Unix seconds."""
        return 0.0 if self.since is None else self.now.timestamp() - self.since.total_seconds()

    @property
    def tasks(self) -> int:
        return self.stats.hits + self.stats.misses

    @property
    def missed_s(self) -> float:
        """The run time of all tasks and calls that missed."""
        return sum(each.run_s for each in self.costs)

    @cached_property
    def run_s_by_step(self) -> Mapping[tuple[str, str], float]:
        """The run time of misses, by flow and step."""
        found: Counter[tuple[str, str]] = Counter()
        for each in self.costs:
            found[each.flow, each.step] += each.run_s  # type: ignore[assignment]
        return found

    @cached_property
    def reasons(self) -> list[ReasonCost]:
        """The reasons for misses, the costliest first."""
        by_reason: dict[str, list[MissCost]] = {}
        for each in self.costs:
            by_reason.setdefault(each.reason, []).append(each)
        found = []
        for reason, costs in by_reason.items():
            most = max(costs, key=lambda each: (each.run_s, each.misses))
            total, run_s = sum(each.misses for each in costs), sum(each.run_s for each in costs)
            step = f"{most.flow}/{most.step}"
            found.append(ReasonCost(_words(reason), total, run_s, step, most.run_s))
        return sorted(found, key=lambda each: (-each.run_s, -each.misses, each.words))

    @cached_property
    def last_misses(self) -> Mapping[tuple[str, str], Decision]:
        """The decision on the last miss of each step, where it is known."""
        steps = [(each.flow, each.step) for each in self.stats.tallies]
        return recall_missed(self.store.index, steps)

    @cached_property
    def growth(self) -> tuple[list[Period], int]:
        """The days of the store, or its weeks where it is older, and the days of each."""
        refs = [each.ref for each in self.stats.entries] + self.stats.others
        return _growth(refs, self.now, self.began)

    @property
    def new_bytes(self) -> int:
        """The bytes that were stored since `began`, of those still there."""
        refs = [each.ref for each in self.stats.entries] + self.stats.others
        return sum(ref.new_bytes for ref in refs if ref.created >= self.began)

    @cached_property
    def expiring(self) -> list[Expiring]:
        """The steps with entries that expire soon, those with most bytes first."""
        now = self.now.timestamp()
        ends = (now, *(now + 86400 * days for days in SOON_DAYS))
        found: dict[tuple[str, str], list[list[int]]] = {}
        for each in self.stats.entries:
            expires = each.ref.expires
            if expires is None or expires > ends[-1]:
                continue
            due = found.setdefault((each.where, each.kind), [[0, 0] for _ in ends])
            for counted, end in zip(due, ends, strict=True):
                if expires <= end:
                    counted[0] += 1
                    counted[1] += each.ref.size_bytes
        made = [
            Expiring(where, kind, tuple((number, size) for number, size in due))
            for (where, kind), due in found.items()
        ]
        return sorted(made, key=lambda each: (-each.due[-1][1], each.where, each.kind))

    def due(self, days: int) -> tuple[int, int]:
        """Return the number and bytes of all entries that expire in so many of `SOON_DAYS`."""
        at = 1 + SOON_DAYS.index(days)
        return (
            sum(each.due[at][0] for each in self.expiring),
            sum(each.due[at][1] for each in self.expiring),
        )


def collect(store: Store, *, now: datetime, since: timedelta | None = None) -> ReportFigures:
    """Return the figures of a store, with the hits and misses of this machine."""
    began = 0.0 if since is None else now.timestamp() - since.total_seconds()
    return ReportFigures(
        store,
        figures.collect(store, since=began),
        store.index.days(began),
        store.index.miss_costs(began),
        now,
        since,
    )


def rate(hits: int, tasks: int) -> str:
    """Return a share in percent; 0% and 100% are none and all, not almost."""
    rounded = f"{hits / tasks:.0%}"
    if rounded == "0%" and hits:
        return "< 1%"
    return "> 99%" if rounded == "100%" and hits < tasks else rounded


def _words(reason: str) -> str:
    try:
        return Reason(reason).words if reason else _NOT_NOTED
    except ValueError:
        return reason.replace("_", " ")  # A later memoflow's.


def _growth(refs: Iterable[Ref], now: datetime, began: float) -> tuple[list[Period], int]:
    today = now.date()
    by_day: dict[date, list[int]] = {}
    for ref in refs:
        saved = by_day.setdefault(_day(ref.created, today), [0, 0])
        saved[0] += ref.new_bytes
        saved[1] += 1
    if not by_day:
        return [], 1
    first = max(min(by_day), _day(began, today))
    width = 1 if (today - first).days < _MOST_PERIODS else 7
    last = today - timedelta(days=today.weekday()) if width == 7 else today
    number = (last - first).days // width + 1 + ((last - first).days % width > 0)
    number = min(max(number, _FEWEST_PERIODS), _MOST_PERIODS)
    starts = [last - timedelta(days=width * i) for i in reversed(range(number))]
    total = sum(size for day, (size, _) in by_day.items() if day < starts[0])
    periods = []
    for start in starts:
        within = [start + timedelta(days=i) for i in range(width)]
        size = sum(by_day[day][0] for day in within if day in by_day)
        saves = sum(by_day[day][1] for day in within if day in by_day)
        periods.append(Period(start, total, size, saves))
        total += size
    return periods, width


def _day(seconds: float, today: date) -> date:
    """Return a date of UTC; today's for moments to come, which a wrong clock wrote."""
    try:
        return min(datetime.fromtimestamp(seconds, timezone.utc).date(), today)
    except (OverflowError, ValueError, OSError):
        return today
