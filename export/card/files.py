"""The model card as files: Markdown, and one HTML page that loads nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import ExportError
from xraytransfer.export.card.card import markdown_card, sections, title
from xraytransfer.export.card.external import whose_judgement
from xraytransfer.export.card.plots import reliability_svg, roc_svg
from xraytransfer.export.options import CARDS
from xraytransfer.files import write_bytes
from xraytransfer.model_file import describe

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
    paths = [model.with_suffix(ending) for ending in CARDS]
    for path, text in zip(paths, (markdown_card(document), html_card(document)), strict=True):
        write_bytes(path, text.encode(), error=ExportError)
    return paths


def html_card(document: Row) -> str:
    """Return the card as one HTML page that loads nothing, with ROC curves and reliability plots."""
    parts = [f"<h1>{html.escape(title(document))}</h1>", f"<p><strong>{html.escape(RESEARCH_NOTICE)}</strong></p>"]
    parts += [f"<p>{_text(paragraph)}</p>" for paragraph in whose_judgement(document)]
    measured = False
    for section in sections(document):
        if measured and not section.title.startswith("Metrics"):
            parts.append(_roc_curves(document))
        measured = section.title.startswith("Metrics")
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{_text(paragraph)}</p>" for paragraph in section.paragraphs]
        if section.title == "Calibration":
            parts.append(_reliability(document))
        if section.rows:
            head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in section.head)
            body = "".join(
                "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in section.rows
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            parts.append(f'<div class="scroll" tabindex="0">{table}</div>')
    return _PAGE.format(title=html.escape(title(document)), style=_STYLE, body="\n".join(parts))


def _text(text: str) -> str:
    """Return plain text as HTML: commands in code, intervals never broken over lines."""
    escaped = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\[[-+0-9., ]+\]", r'<span class="interval">\g<0></span>', escaped)


def _roc_curves(document: Row) -> str:
    curves = document.get("roc") or {}
    figures = []
    for row in document["observations"]:
        curve = curves.get(row["identifier"])
        if curve:
            caption = f"{row['name']}: AUROC {curve['auroc']:.3f}, {curve['positives']} of {curve['n']} films"
            figures.append((roc_svg(curve, f"ROC curve of {row['name']}"), caption))
    shown = _plots(figures, f"On {curves.get('data', '')}. Calibration changes no curve: it keeps the order of films.")
    return f"<h2>ROC curves</h2>{shown}" if shown else ""


def _reliability(document: Row) -> str:
    reliability = (document.get("calibration") or {}).get("reliability") or {}
    figures = []
    for row in document["observations"]:
        curves = reliability.get(row["identifier"])
        if curves and curves["calibrated"]["probability"]:  # empty where no film of a site was labelled
            figures.append((reliability_svg(curves, f"Reliability of {row['name']}"), row["name"]))
    legend = (
        f"On {reliability.get('data', '')}: share of films with the observation against mean "
        "probability, ten bins of equally many films. Filled: calibrated, with 95 % intervals. Open: not calibrated."
    )
    return _plots(figures, legend)


def _plots(figures: Sequence[tuple[str, str]], legend: str) -> str:
    """Return plots with their captions side by side, and the legend below them; an empty text without plots."""
    if not figures:
        return ""
    shown = "".join(
        f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>" for svg, caption in figures
    )
    return f'<div class="plots">{shown}</div><p>{html.escape(legend)}</p>'


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
.scroll { overflow-x: auto; } .interval { white-space: nowrap; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ccc; vertical-align: top; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; } figure { margin: 0; }
figure svg { width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #161616; } th, td { border-color: #444; } }
"""
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>{title}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
)
