"""The report as one HTML page: sections of sentences, figures and tables."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from xraytransfer.study.analysis.table import Table

__all__ = ["Picture", "ReportSection", "page_html", "page_markdown"]


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes
    ----------
    file : str
        Name with ending, ``.svg`` or ``.png``.
    data : bytes
        Content of the file.
    caption : str
        Description of the figure, also used as its alternative text.
    """

    file: str
    data: bytes
    caption: str


@dataclass(frozen=True)
class ReportSection:
    """A part of the report.

    Attributes
    ----------
    slug, title : str
        Anchor and heading.
    sentences : sequence of str
        Shown as a list.
    pictures : sequence of Picture
        Shown below the sentences.
    tables : sequence of Table
        Shown below the pictures.
    folded : bool
        Whether the tables are folded away in HTML.
    """

    slug: str
    title: str
    sentences: Sequence[str]
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folded: bool = False


def page_html(title: str, notice: str, sections: Sequence[ReportSection]) -> str:
    """Return the whole page with its figures inside; a browser that opens it fetches nothing else."""
    links = "".join(f'<a href="#{s.slug}">{html.escape(s.title)}</a>' for s in sections)
    body = []
    for section in sections:
        body.append(f'<section id="{section.slug}"><h2>{html.escape(section.title)}</h2>')
        if section.sentences:
            body.append("<ul>" + "".join(f"<li>{_without_breaks(s)}</li>" for s in section.sentences) + "</ul>")
        for picture in section.pictures:
            kind = "image/svg+xml" if picture.file.endswith(".svg") else "image/png"
            data = base64.b64encode(picture.data).decode()
            caption = html.escape(picture.caption)
            body.append(
                f'<figure><img alt="{caption}" src="data:{kind};base64,{data}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
        tables = "".join(table.html() for table in section.tables)
        body.append(f"<details><summary>Tables</summary>{tables}</details>" if section.folded else tables)
        body.append("</section>")
    return PAGE.format(title=html.escape(title), notice=html.escape(notice), links=links, body="\n".join(body))


def page_markdown(title: str, notice: str, sections: Sequence[ReportSection]) -> str:
    """Return the report as Markdown, with its figures in files beside it."""
    parts = [f"# {title}\n", f"{notice}\n"]
    for section in sections:
        parts.append(f"## {section.title}\n")
        if section.sentences:
            parts.append("\n".join(f"- {sentence}" for sentence in section.sentences) + "\n")
        parts += [f"![{p.caption}](figures/{p.file})\n\n*{p.caption}*\n" for p in section.pictures]
        parts += [table.markdown() for table in section.tables]
    return "\n".join(parts)


def _without_breaks(sentence: str) -> str:
    """Escape a sentence, keep ``p = .03`` and ``95 %`` on one line, and print ``**words**`` at its start in bold."""
    escaped = html.escape(sentence).replace(" = ", "&nbsp;=&nbsp;").replace(" &lt; ", "&nbsp;&lt;&nbsp;")
    return re.sub(r"^\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped.replace(" %", "&nbsp;%"))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 62rem;
  margin: 0 auto; padding: 1.5rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }}
h2 {{ font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 1px solid #ddd; padding-top: 1rem; }}
.notice {{ background: #fff6dd; border-left: 4px solid #e69f00; padding: .6rem .9rem; }}
nav {{ display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0; font-size: .9rem; }}
a {{ color: #00558a; }}
li {{ margin: .25rem 0; max-width: 50rem; }}
figure {{ margin: 1rem 0; }}
figure img {{ max-width: 100%; height: auto; }}
figcaption, .note {{ color: #555; font-size: .85rem; max-width: 50rem; }}
/* wide tables may use the margin to the right of the text; what is wider still scrolls */
.table {{ overflow-x: auto; margin: 1rem 0 .25rem; width: max-content;
  max-width: min(calc(100vw - 3rem), calc(50vw + 29rem)); }}
table {{ border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .3rem; }}
th, td {{ padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }}
td:not(.n) {{ white-space: normal; min-width: 5.5rem; overflow-wrap: normal; }}
th {{ vertical-align: bottom; white-space: normal; border-bottom: 2px solid #999; }}
td:last-child:not(.n) {{ min-width: 11rem; overflow-wrap: anywhere; }}
.n {{ text-align: right; }}
summary {{ cursor: pointer; }}
@media print {{ nav {{ display: none; }} body {{ max-width: none; }} figure {{ break-inside: avoid; }}
  .table {{ width: auto; max-width: 100%; }} table {{ font-size: .6rem; }} td {{ white-space: normal; }} }}
</style></head><body>
<h1>{title}</h1>
<p class="notice">{notice}</p>
<nav>{links}</nav>
{body}
</body></html>
"""
