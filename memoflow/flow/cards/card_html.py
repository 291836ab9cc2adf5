"""Card HTML: what a page of Metaflow's components lacks to stand alone."""

from __future__ import annotations

import re

# Its stylesheet asks Google for a typeface, though it names others to take instead.
_FONT = re.compile(r"""@import\s*(url\([^)]*\)|"[^"]*"|'[^']*')\s*;?""")
# A chart has the width it was drawn with: it shrinks with the page, and scrolls where that ends.
_CHARTS = """
.vega-embed { max-width: 100%; overflow-x: auto; }
.vega-embed svg.marks { max-width: 100%; min-width: 34rem; height: auto; }
"""


def alone(html: str, style: str = "") -> str:
    """Return a page that asks no server for anything, with this style besides."""
    head, end, rest = html.partition("</style>")
    return f"{_FONT.sub('', head)}{_CHARTS}{style}{end}{rest}" if end else html
