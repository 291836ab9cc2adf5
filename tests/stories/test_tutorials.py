"""Metaflow's own tutorials leave with memoize what they leave without it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import metaflow
import pytest

from tests.stories.world import once

TUTORIALS = Path(metaflow.__file__).parent / "tutorials"
FLOWS = {
    "hello": ("00-helloworld/helloworld.py", "HelloFlow"),
    "playlist": ("01-playlist/playlist.py", "PlayListFlow"),
    "stats": ("02-statistics/stats.py", "MovieStatsFlow"),
    "redux": ("03-playlist-redux/playlist.py", "PlayListFlow"),
}

# Chance shuffles playlists and picks the bonus: of these what is left is the same set of choices.
_ANSWER = """
# A set of texts makes the statistics, in another order in each process.
def of(run):
    data = run.data
    names = {name: getattr(data, name) for name in data._artifacts if name != "name"}
    for shuffled in ("playlist", "movies"):
        if shuffled in names:
            names[shuffled] = sorted(names[shuffled])
    if "bonus" in names:
        names["bonus"] = len(names["bonus"])
    if "genre_stats" in names:
        names["genre_stats"] = dict(sorted(names["genre_stats"].items()))
    return json.dumps(names, sort_keys=True, default=str)

answer = of(Run("{run}"))
"""


@once
def tutorials(project):
    """All run plainly, cold, warm, and again after one movie of another year and gross is there."""
    for file, _ in FLOWS.values():
        shutil.copytree(TUTORIALS / Path(file).parent, project.folder / Path(file).parent)
    runs = {}

    def all_of(name, *arguments):
        runs[name] = {}
        for flow, (file, class_) in FLOWS.items():
            ran = project.run(*arguments, flow=file, ok=False)
            left = project.ask(_ANSWER.replace("{run}", f"{class_}/{ran.run_id}"))
            runs[name][flow] = vars(ran) | {"left": left, "id": ran.run_id}

    movies = project.folder / "02-statistics/movies.csv"
    all_of("plain")
    all_of("cold", "--with", "memoize")
    all_of("warm", "--with", "memoize")
    before = movies.read_text()
    head, _, rest = before.partition("\n")
    fields = dict.fromkeys(head.split(","), "0")
    fields |= {
        "movie_title": "Trial",
        "title_year": "2001",
        "genres": "Sci-Fi",
        "gross": "999999999",
    }
    movies.write_text("\n".join([head, ",".join(fields[name] for name in head.split(",")), rest]))
    all_of("after", "--with", "memoize")
    all_of("plain after")
    movies.write_text(before)
    all_of("back", "--with", "memoize")
    return runs


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("run", ["cold", "warm", "after", "back"])
def test_a_tutorial_runs(tutorials, flow, run):
    assert tutorials[run][flow]["code"] == 0, tutorials[run][flow]["text"]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("run", ["cold", "warm", "back"])
def test_a_tutorial_leaves_what_it_leaves_without_memoize(tutorials, flow, run):
    assert tutorials[run][flow]["left"] == tutorials["plain"][flow]["left"]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_tutorial_follows_what_another_left_since(tutorials, flow):
    assert tutorials["after"][flow]["left"] == tutorials["plain after"][flow]["left"]


def test_the_movie_that_was_added_matters(tutorials):
    assert tutorials["plain"]["redux"]["left"] != tutorials["plain after"]["redux"]["left"]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_tutorial_starts_no_worker_when_it_is_warm(tutorials, flow):
    # It prints which run it found, and there is another one by then.
    asks = ["start"] if flow == "redux" else []
    assert tutorials["warm"][flow]["workers"] == asks, tutorials["warm"][flow]["text"]


def test_the_step_that_asks_the_client_says_what_changed(tutorials):
    text = tutorials["after"]["redux"]["text"]
    new = tutorials["after"]["stats"]["id"]
    said = rf"MovieStatsFlow/latest_successful_run changed: \d+ -> {new}"
    assert re.search(said, text), text
