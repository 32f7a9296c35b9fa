"""The model card as files: Markdown, and one HTML page with nothing to load."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xraytransfer.export.card import markdown_card, sections, title
from xraytransfer.export.model_writer import write_atomically
from xraytransfer.export.reliability_plot import reliability_svg
from xraytransfer.model_file import describe
from xraytransfer.notice import RESEARCH_NOTICE

__all__ = ["html_card", "write_cards"]

Row = Mapping[str, Any]


def write_cards(model: Path) -> list[Path]:
    """Write ``NAME.md`` and ``NAME.html`` beside a model file, and return their paths.

    Raises
    ------
    ModelFileError
        Not a model file.
    ExportError
        The cards cannot be written.
    """
    document = describe(model).document
    cards = {".md": markdown_card(document), ".html": html_card(document)}
    for suffix, text in cards.items():
        write_atomically(model.with_suffix(suffix), text.encode())
    return [model.with_suffix(suffix) for suffix in cards]


def html_card(document: Row) -> str:
    """Return the card as one HTML page with nothing to load, reliability plots inside."""
    parts = [f"<h1>{html.escape(title(document))}</h1>", f"<p><strong>{html.escape(RESEARCH_NOTICE)}</strong></p>"]
    for section in sections(document):
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
        if section.title == "Calibration":
            parts.append(_plots(document))
        if section.rows:
            head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in section.head)
            body = "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            parts.append(f'<div class="scroll" tabindex="0">{table}</div>')
    return _PAGE.format(title=html.escape(title(document)), style=_STYLE, body="\n".join(parts))


def _plots(document: Row) -> str:
    reliability = (document.get("calibration") or {}).get("reliability") or {}
    figures = []
    for row in document["observations"]:
        curves = reliability.get(row["identifier"])
        if curves:
            svg = reliability_svg(curves, f"Reliability of {row['name']}")
            figures.append(f"<figure>{svg}<figcaption>{html.escape(row['name'])}</figcaption></figure>")
    if not figures:
        return ""
    legend = (
        f"On {html.escape(str(reliability.get('data', '')))}: share of films with the observation against mean "
        "probability, ten bins of equally many films. Filled: calibrated, with 95 % intervals. Open: not calibrated."
    )
    return f'<div class="plots">{"".join(figures)}</div><p>{legend}</p>'


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ccc; vertical-align: top; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; } figure { margin: 0; }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #161616; } th, td { border-color: #444; } }
"""
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>{title}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
)
