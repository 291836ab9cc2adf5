"""Frame: the document around the parts of a page, and its style, light and dark."""

from __future__ import annotations

from collections.abc import Iterable

from memoflow.page.parts import Html, joined, text

# A foreach has thousands of cards, which travel to the bucket and back.
MOST_BYTES = 30_000


def page(heading: str, parts: Iterable[Html], *, subject: str, script: str = "") -> str:
    """Return a page that asks no server; `subject` is for the tab, `script` no text of users'."""
    added = f"<script>{script}</script>" if script else ""
    tab = text(subject, 100).replace("<wbr>", "")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{tab}</title><style>{_STYLE}</style>{added}</head>"
        f"\n<body><main><h1>{text(heading)}</h1>\n{joined(parts)}</main></body></html>\n"
    )


def room_left(parts: Iterable[Html]) -> int:
    """Return the bytes that a card has left for more parts."""
    return MOST_BYTES - _ROOM_FOR_FRAME - sum(len(part.encode()) for part in parts)


# Colours as in Metaflow's own cards, and in the dark by the same few variables.
_STYLE = """
:root{--ink:#333;--soft:#666;--line:#e3e3e3;--paper:#fff;--band:#f6f6f6;--whole:#9ecae1;
--new:#08519c;--load:#d9480f;--best:#2b8a3e;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--soft:#a0a0a0;--line:#3a3a3a;--paper:#1c1c1e;
--band:#262629;--whole:#47718f;--new:#7ab8e6;--load:#ff8f4d;--best:#69db7c}}
body{margin:0;background:var(--paper);color:var(--ink);
font:14px/1.5 Roboto,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px}
h1{font-size:26px;font-weight:500;margin:0 0 12px}
h2{font-size:18px;font-weight:500;margin:32px 0 8px}
p,dt,dd,h1,h2{overflow-wrap:anywhere}
dl,dd{margin:0}
dt,th,figcaption,.up,.along,.figures dd+dd{color:var(--soft)}
.facts{display:grid;grid-template-columns:fit-content(40%) minmax(0,1fr);gap:4px 20px;margin:16px 0;
padding:12px 16px;background:var(--band);border-radius:6px}
.facts dd,td:last-child,td:first-child{font-family:"Roboto Mono",ui-monospace,Menlo,Consolas,
monospace;font-size:12px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px}
.figures div{padding:10px 16px;background:var(--band);border-radius:6px}
.figures dd{font-size:22px}
.figures dd+dd{font-size:12px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px}
.broad{min-width:912px}
th{text-align:left;font-weight:500}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top;
white-space:nowrap}
.long{white-space:normal}
.bar{display:flex;min-width:90px;height:14px;margin-top:3px;background:var(--band)}
.all{user-select:all;-webkit-user-select:all}
.legend{margin:8px 0;font-size:12px}
.legend span{display:inline-block;margin-right:16px}
.legend i{display:inline-block;width:10px;height:10px;margin-right:6px}
.whole{fill:var(--whole);background:var(--whole)}
.new{fill:var(--new);background:var(--new)}
.load{background:var(--load)}
path.load{fill:none;stroke:var(--load);stroke-width:2;stroke-linecap:round}
path.dot{fill:none;stroke:var(--load);stroke-width:9;stroke-linecap:round}
.best{background:var(--best)}
.last{background:var(--load)}
path.curve{fill:none;stroke:var(--new);stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
path.point{stroke:var(--new);stroke-width:5;stroke-linecap:round}
path.best{stroke:var(--best);stroke-width:14;stroke-linecap:round}
path.last{stroke:var(--load);stroke-width:8;stroke-linecap:round}
.grid{fill:none;stroke:var(--line)}
path{vector-effect:non-scaling-stroke}
figure{margin:12px 0 20px}
.plot{display:grid;grid-template-columns:64px minmax(0,1fr);gap:8px 12px;margin-top:16px;
font-size:12px}
.up,.along{display:flex;justify-content:space-between;white-space:nowrap}
.up{flex-direction:column;text-align:right;margin:-9px 0}
.along{grid-column:2}
.along span{display:flex;width:0;justify-content:center}
.along span:first-child{justify-content:start}
.along span:last-child{justify-content:end}
svg{display:block;width:100%;height:180px;overflow:visible}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:0 24px}
.curves svg{height:110px}
figcaption{font-size:12px;text-align:center}
.badge{display:inline-block;margin:0 10px 0 0;padding:2px 12px;border-radius:12px;color:#fff;
font-weight:500}
.hit{fill:#2b8a3e;background:#2b8a3e}.miss{fill:#b35900;background:#b35900}
.audit,.shadow{background:#1864ab}
.why{display:inline;font-size:16px}
.notes{margin:16px 0;padding:10px 16px 10px 32px;background:var(--band);border-radius:6px;
overflow-wrap:anywhere}
@media(max-width:600px){main{padding:16px}th,td{padding-right:8px}}
"""

# With the longest subject, and the script of a card that is written anew while its task runs.
_ROOM_FOR_FRAME = len(_STYLE) + 1500
