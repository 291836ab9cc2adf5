"""A reader of our pages: the tables, facts and charts that a browser makes of their HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "wbr", "path"}


@dataclass
class SeenTable:
    heading: str
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    bars: list[dict[str, float]] = field(default_factory=list)  # percents by colour, one per row

    def dicts(self) -> list[dict[str, str]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass
class SeenChart:
    label: str
    paths: dict[str, list[str]] = field(default_factory=dict)  # by colour
    tips: list[str] = field(default_factory=list)

    def heights(self, colour: str) -> list[float]:
        """Return the heights of all columns of a colour, which may be in one path."""
        return [float(n) for n in re.findall(r"v-([\d.]+)h", "".join(self.paths.get(colour, [])))]


class Reader(HTMLParser):
    """What is on a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[SeenTable] = []
        self.charts: list[SeenChart] = []
        self.facts: dict[str, str] = {}
        self.figures: dict[str, str] = {}
        self.notes: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self._text = ""
        self._heading = ""
        self._name = ""
        self._in_figures = False
        self.feed(html)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "path" and self.charts:
            self.charts[-1].paths.setdefault(given["class"], []).append(given["d"])
        if tag in _VOID:
            return
        self._open.append(tag)
        if tag in ("h2", "th", "td", "dt", "dd", "p", "title", "script"):
            self._text = ""
        if tag == "dl":
            self._in_figures = given["class"] == "figures"
        elif tag == "svg":
            self.charts.append(SeenChart(given["aria-label"]))
        elif tag == "table":
            self.tables.append(SeenTable(self._heading))
        elif tag == "tr" and "tbody" in self._open:
            self.tables[-1].rows.append([])
            self.tables[-1].bars.append({})
        elif tag == "i" and "td" in self._open:
            self.tables[-1].bars[-1][given["class"]] = float(given["style"][6:-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        text = self._text.replace("\N{NO-BREAK SPACE}", " ")
        if tag == "h2":
            self._heading = text
        elif tag == "th":
            self.tables[-1].columns.append(text)
        elif tag == "td":
            self.tables[-1].rows[-1].append(text)
        elif tag == "dt":
            self._name = text
        elif tag == "dd":
            (self.figures if self._in_figures else self.facts).setdefault(self._name, text)
        elif tag == "p":
            self.notes.append(text)
        elif tag == "title" and "svg" in self._open:
            self.charts[-1].tips.append(text)
        elif tag == "script":
            self.scripts.append(self._text)

    def table(self, heading: str) -> SeenTable:
        (found,) = (each for each in self.tables if each.heading == heading)
        return found
