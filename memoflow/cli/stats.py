"""stats: time saved by hits, on this machine or by a team, and the sizes of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from memoflow.catalog.figures import MOST_SHOWN, Held, Stats, collect
from memoflow.cli.listing import show_entries
from memoflow.cli.table import count, show_facts, show_table
from memoflow.cli.verb import Answer, CommandContext, Verb, decisions, parsed_by
from memoflow.index import Tally
from memoflow.store import Store
from memoflow.units import day, duration, iso, readable, span

if TYPE_CHECKING:
    from memoflow.flow.memo.team import Team, TeamTally

_SINCE = "30d"


_TALLY = "hits, misses, saved_s and untimed (hits of memoflow 0.1.0, which noted no time)"
_HELD = "objects of name, entries, size_bytes and new_bytes"


@click.command(
    cls=Verb,
    fields={
        "hits, misses": "hits and misses of memoized tasks and functions on this machine",
        "saved_s": "run time of the results that were hit, in seconds",
        "steps": "objects of flow (of a function its module), step, hits, misses and saved_s",
        "entries": "number of entries",
        "size_bytes": "total size of the entries when loaded",
        "stored_bytes": "size of the store, without references",
        "deduplication": "size_bytes by stored_bytes; null for an empty store",
        "kinds, flows": f"{_HELD}; the kind `(notes)` has auxiliary references, a flow without a "
        "name the entries that all flows share",
        "hottest, coldest": f"the {MOST_SHOWN} most and least recently used entries, each "
        "as `entries` of `ls`",
        "team": "null without `--team`; else an object of since (ISO 8601 in UTC), runs, left_out "
        "(further runs of that time, beyond the latest 1,000), hits, misses, saved_s, untimed, "
        "users (objects of user and runs), steps (of flow and step) and tallies (of user, flow and "
        f"step), each with {_TALLY}",
    },
    examples=(
        "memoflow stats",
        "memoflow stats --json",
        "memoflow stats --team",
        "memoflow stats --team --since 7d",
    ),
)
@click.option("--team", is_flag=True, help="Show the hits and misses of all users and machines.")
@click.option(
    "--since",
    metavar="TIME",
    callback=parsed_by(duration),
    help=f"With --team, read the runs of that time: 7d, 12h; default: {_SINCE}.",
)
@click.pass_obj
def stats(asked: CommandContext, *, team: bool, since: timedelta | None) -> Answer:
    """Show time saved by hits, and the size of the store by kind and flow.

    Hits, misses and uses are those of this machine; those of functions are listed by
    module/function. On the same disk, results share their bytes with Metaflow's own files. With
    --team, hits and misses are those of all users: they are read from Metaflow's metadata of the
    latest 1,000 runs, of the flows with results in this store.
    """
    if since is not None and not team:
        raise click.UsageError("--since needs --team: give both")
    of_team: Team | None = None
    if team:
        _, _, teams = decisions()
        of_team = teams.collect(asked.store, since or duration("--since", _SINCE))

    def data() -> dict[str, Any]:
        figures = collect(asked.store)
        return {
            "hits": figures.hits,
            "misses": figures.misses,
            "saved_s": figures.saved_s,
            "steps": [
                {name: value for name, value in each._asdict().items() if name != "last"}
                for each in figures.tallies
            ],
            "entries": len(figures.entries),
            "size_bytes": figures.size_bytes,
            "stored_bytes": figures.stored_bytes,
            "deduplication": figures.deduplication,
            "kinds": [vars(each) for each in figures.by_kind],
            "flows": [vars(each) for each in figures.by_flow],
            "hottest": [each.to_json() for each in figures.hottest],
            "coldest": [each.to_json() for each in figures.coldest],
            "team": None if of_team is None else _team_data(of_team),
        }

    def show() -> None:
        if of_team is None:
            _show(collect(asked.store), asked.store)
        else:
            _show_team(of_team)

    return Answer(data, show)


def _team_data(team: Team) -> dict[str, Any]:
    return {
        "since": iso(team.since),
        "runs": team.runs.total(),
        "left_out": team.left_out,
        **vars(team.total),
        "users": [
            {"user": user, "runs": team.runs[user], **vars(tally)}
            for user, tally in team.by_user.items()
        ],
        "steps": [
            {"flow": flow, "step": step, **vars(tally)}
            for (flow, step), tally in team.by_step.items()
        ],
        "tallies": [
            {"user": user, "flow": flow, "step": step, **vars(tally)}
            for (user, flow, step), tally in team.tallies.items()
        ],
    }


def _show_team(team: Team) -> None:
    total = team.total
    left_out = f", the latest of {team.runs.total() + team.left_out}" if team.left_out else ""
    untimed = f", without {count(total.untimed, 'hit')} of memoflow 0.1.0" if total.untimed else ""
    show_facts(
        [
            ("runs", f"{team.runs.total()} since {day(team.since)}{left_out}"),
            ("hits", _rate(total)),
            ("saved", f"{span(total.saved_s)}{untimed}"),
        ]
    )
    if team.by_user:
        show_table(
            ("user", "runs", "hits", "misses", "saved"),
            [(user, str(team.runs[user]), *_counts(each)) for user, each in team.by_user.items()],
            right="runs hits misses saved",
        )
    if team.by_step:
        show_table(
            ("step", "hits", "misses", "saved"),
            [("/".join(step), *_counts(each)) for step, each in team.by_step.items()],
            right="hits misses saved",
        )


def _counts(of: Tally | TeamTally) -> tuple[str, str, str]:
    return str(of.hits), str(of.misses), span(of.saved_s)


def _rate(of: Stats | TeamTally) -> str:
    tasks = of.hits + of.misses
    return f"{of.hits} of {tasks}" + (f" ({of.hits / tasks:.0%})" if tasks else "")


def _show(figures: Stats, store: Store) -> None:
    ratio = figures.deduplication
    show_facts(
        [
            ("hits", _rate(figures)),
            ("saved", span(figures.saved_s)),
            ("entries", str(len(figures.entries))),
            ("size", readable(figures.size_bytes)),
            ("stored", readable(figures.stored_bytes)),
            ("deduplication", "" if ratio is None else f"{ratio:.2f} times"),
        ]
    )
    if figures.tallies:
        show_table(
            ("step", "hits", "misses", "saved"),
            [(f"{each.flow}/{each.step}", *_counts(each)) for each in figures.tallies],
            right="hits misses saved",
        )
    for column, each_held in (("kind", figures.by_kind), ("flow", figures.by_flow)):
        if each_held:
            show_table((column, "entries", "size", "new when saved"), map(_row, each_held))
    for title, each in (
        ("most recently used", figures.hottest),
        ("least recently used", figures.coldest),
    ):
        if each:
            show_entries(store, each, title=title)


def _row(of: Held) -> tuple[str, ...]:
    name = of.name or "(shared by all)"
    return name, str(of.entries), readable(of.size_bytes), readable(of.new_bytes)
