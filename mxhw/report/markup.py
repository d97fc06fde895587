"""What all pages share: a style, escaped text, tables, and a document that loads nothing from anywhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from mxhw.files import write_text

__all__ = ["escape", "table", "write_page"]

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 85ch; }
p.lead { color: #555; margin-top: 0; max-width: 75ch; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { padding: .28rem .8rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
th { font-weight: 600; border-bottom: 2px solid #888; }
code, pre { background: #f4f4f2; border-radius: 4px; padding: .1rem .35rem; }
pre { padding: .7rem 1rem; overflow-x: auto; }
.yes { color: #1b7f4b; font-weight: 600; }
.no { color: #b3261e; font-weight: 600; }
.scroll { overflow-x: auto; }
"""


def escape(text: str) -> str:
    """Return `text` fit for an element or a quoted attribute; everything that comes from a model passes here."""
    return html.escape(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts, escaped; cells that say yes or no are coloured."""

    def cell(text: str) -> str:
        kind = f" class='{text}'" if text in ("yes", "no") else ""
        return f"<td{kind}>{escape(text)}</td>"

    body = "".join(f"<tr>{''.join(cell(text) for text in row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>{body}</table></div>"


def write_page(path: Path, title: str, parts: Iterable[str], *, style: str = "", script: str = "") -> None:
    """Write the page in one step: `parts` are HTML, `title` is text; `style` is added to the shared one."""
    behaviour = f"<script>{script}</script>" if script else ""
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}{style}</style></head>"
        f"<body>{''.join(parts)}{behaviour}</body></html>"
    )
    write_text(path, page)
