"""Building blocks of the pages: the document, headings with links to them, cards, tables that a phone can show, and figures.

Text from files is escaped here, once; what these functions return is markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import edgeexit
from edgeexit.report.plot.figure import Picture
from edgeexit.report.plot.palette import render_palette_css
from edgeexit.report.plot.svg import NARROW, draw
from edgeexit.report.table import Table

CONTENTS = "<!-- contents -->"
"""Placeholder for the table of contents."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CSS = """
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,
'Segoe UI',Roboto,'DejaVu Sans',sans-serif;overflow-wrap:break-word}main{max-width:1360px;margin:0 auto;padding:26px 28px 64px}
h1{font-size:27px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em}h2{font-size:21px;margin:48px 0 6px;letter-spacing:-.01em}
h3{font-size:16px;margin:34px 0 6px}.sub{color:var(--muted);margin:0 0 4px}.mono{font-family:ui-monospace,Menlo,Consolas,
'DejaVu Sans Mono',monospace;font-size:13px}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:14px;
margin:20px 0 8px}.card{border:1px solid var(--grid);border-radius:10px;padding:12px 16px;min-width:0}.card b{display:block;font-size:24px;
line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums}.card i{font-style:normal;color:var(--muted);font-size:13px;
display:block}.pill{display:inline-block;border-radius:99px;padding:1px 11px;font-size:13px;font-weight:650;border:1.5px solid;
vertical-align:middle;white-space:nowrap;letter-spacing:0}.good{color:var(--good)}.bad{color:var(--bad)}.even{color:var(--warn)}
.doubt{border-left:3px solid var(--warn);padding:2px 0 2px 14px;margin:18px 0}.doubt.bad{border-color:var(--bad);color:var(--ink)}
.said{list-style:none;padding:0;margin:16px 0}.said li{padding:3px 0}.said b{display:inline-block;min-width:6.5em;font-weight:600}
.doubt ul{margin:4px 0;padding-left:18px}.notes{border-color:var(--grid)}
.contents{margin:14px 0 0;font-size:14px}.contents summary{color:var(--muted);cursor:pointer}
.contents ol{list-style:none;margin:6px 0 0;padding:0;columns:260px;column-gap:28px}.contents li{break-inside:avoid;padding:1px 0}
.contents .deep{padding-left:14px}.contents a,.at{color:inherit;text-decoration:none}.contents a:hover{text-decoration:underline}
.at{color:var(--muted);opacity:0;padding-left:.35em;font-weight:400}:hover>.at,.at:focus{opacity:1}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,540px),1fr));gap:30px 36px;margin-top:18px}
figure{margin:0;min-width:0;max-width:720px}figure h3{margin:0 0 4px}figure svg{width:100%;height:auto;display:block}
figure svg.phone{display:none}figcaption{color:var(--muted);font-size:13.5px;max-width:64ch}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}.wide{overflow-x:auto}
th,td{text-align:left;padding:6px 16px 6px 0;border-bottom:1px solid var(--grid);vertical-align:top}th{color:var(--muted);font-weight:550}
td:first-child{color:var(--muted)}.note{color:var(--muted);font-size:13.5px;margin:6px 0 0;max-width:110ch}
footer{margin-top:52px;padding-top:14px;border-top:1px solid var(--grid);color:var(--muted);font-size:13px}
@media(max-width:640px){main{padding:18px 16px 48px}h1{font-size:22px}figure svg.desk{display:none}figure svg.phone{display:block}
.cards{grid-template-columns:1fr}.card b{font-size:21px}thead{display:none}table,tbody,tr,td{display:block;width:auto}
tr{border-bottom:1px solid var(--grid);padding:7px 0}td{display:flex;justify-content:space-between;gap:14px;border:0;padding:1px 0;
text-align:right}td:before{content:attr(data-column);color:var(--muted);text-align:left;flex:none;max-width:46%}
td:first-child{color:var(--ink);font-weight:600;display:block;text-align:left}td:not([data-column=""]):first-child:before{padding-right:.5em}
td:empty{display:none}td{overflow-wrap:anywhere}.bare td{display:block;text-align:left}}
@media print{main{padding:0}figure,table{break-inside:avoid}.contents{display:none}}
"""
_GOOD = frozenset(("FASTER", "valid", "met", "target met", "confirmed", "quiet"))
_BAD = frozenset(("SLOWER", "INVALID", "invalid", "not met", "target not met"))
_UNIT, _NO_BREAK = re.compile(r"(?<=\d) (?=(?:[nµm]?s|[µm]?[JW]|[KMG]iB|B|[kMG]|%|×)(?![\w%]))"), "\N{NO-BREAK SPACE}"
_HEADING = re.compile(r"<h([123])>(.*?)</h\1>", re.DOTALL)
_PILL = re.compile(r"\s*<span.*?</span>")


def render_document(title: str, body: str, footer: str, *, css: str = "") -> str:
    """A whole page; the body's headings get links, and its contents stand where it says."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{render_palette_css()}{_CSS}{css}</style></head><body><main>"
        f"{_insert_contents(body)}<footer>Made by edgeexit {edgeexit.__version__}. {escape(footer)}</footer>"
        "</main></body></html>\n"
    )


def _insert_contents(body: str) -> str:
    """Every heading gets an anchor of its own, and the contents list those below the first level."""
    listed, used = list[str](), set[str]()

    def anchored(found: re.Match[str]) -> str:
        level, inner = found.groups()
        words = _PILL.sub("", inner)
        anchor = _make_anchor(words, used)
        if level != "1":
            deep = ' class="deep"' if level == "3" else ""
            listed.append(f'<li{deep}><a href="#{anchor}">{words}</a></li>')
        link = f'<a class="at" href="#{anchor}" aria-label="link to this part">#</a>'
        return f'<h{level} id="{anchor}">{inner}{link}</h{level}>'

    linked = _HEADING.sub(anchored, body)
    contents = f'<details class="contents"><summary>Contents</summary><ol>{"".join(listed)}</ol></details>'
    return linked.replace(CONTENTS, contents if len(listed) > 2 else "", 1)


def _make_anchor(words: str, used: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", re.sub(r"&\w+;", " ", words.lower())).strip("-")[:60] or "part"
    number, anchor = 1, base
    while anchor in used:
        number += 1
        anchor = f"{base}-{number}"
    used.add(anchor)
    return anchor


def render_heading(level: int, words: str, after: str = "") -> str:
    """A heading; `after` is markup beside its words."""
    return f"<h{level}>{escape(words)}{f' {after}' if after else ''}</h{level}>"


def render_pill(words: str) -> str:
    """A short verdict in a frame, in the colour of its kind."""
    kind = "good" if words in _GOOD else "bad" if words in _BAD else "even"
    return f'<span class="pill {kind}">{escape(words)}</span>'


def render_cards(shown: Sequence[tuple[str, str, str]]) -> str:
    """Large figures: what it is, its value, and what belongs to it."""
    each = "".join(
        f'<div class="card"><i>{escape(what)}</i><b>{escape(value)}</b><i>{escape(around)}</i></div>'
        for what, value, around in shown
    )
    return f'<div class="cards">{each}</div>'


def render_box(words: str, entries: Sequence[str], kind: str = "") -> str:
    """A list with a line down its side; nothing for no entries. `words` is markup."""
    if not entries:
        return ""
    listed = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
    return f'<div class="doubt {kind}">{words}<ul>{listed}</ul></div>'


def render_statements(statements: Sequence[tuple[str, str, str]]) -> str:
    """Short judgements one below the other: what it is about, the judgement, and the sentence."""
    each = "".join(
        f"<li><b>{escape(what)}</b> {render_pill(word)} {escape(sentence)}</li>" for what, word, sentence in statements
    )
    return f'<ul class="said">{each}</ul>'


def render_table(shown: Table, level: int = 3) -> str:
    """A table; on a phone each row is a block in which every cell has its column's name before it."""
    if not shown.rows:
        return ""
    head = "".join(f"<th>{escape(c)}</th>" for c in shown.columns)
    rows = "".join(f"<tr>{_render_cells(shown.columns, row)}</tr>" for row in shown.rows)
    headed = f"<thead><tr>{head}</tr></thead>" if any(shown.columns) else ""
    note = f'<p class="note">{escape(shown.note)}</p>' if shown.note else ""
    bare = "" if headed else ' class="bare"'
    mark = render_pill(shown.mark) if shown.mark else ""
    return (
        f'{render_heading(level, shown.title, mark)}<div class="wide"><table{bare}>{headed}<tbody>{rows}</tbody></table></div>'
        f"{note}"
    )


def _render_cells(columns: Sequence[str], row: Sequence[str]) -> str:
    return "".join(
        f'<td data-column="{escape(column)}">{escape(_UNIT.sub(_NO_BREAK, cell))}</td>'
        for column, cell in zip(columns, row, strict=True)
    )


def render_figures(pictures: Sequence[Picture]) -> str:
    """Pictures with their captions, each drawn for a desk and for a phone; the style sheet shows one."""
    return f'<div class="figures">{"".join(map(_render_figure, pictures))}</div>' if pictures else ""


def _render_figure(picture: Picture) -> str:
    desk = draw(picture).replace("<svg ", '<svg class="desk" ', 1)
    phone = draw(picture, NARROW).replace("<svg ", '<svg class="phone" ', 1)
    return f"<figure>{render_heading(3, picture.title)}{desk}{phone}<figcaption>{escape(picture.caption)}</figcaption></figure>"
