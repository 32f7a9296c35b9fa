"""Reference: the OpenAPI document and the problems as a page for people."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from typing import Any

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.serve.web.openapi import openapi_document
from xraytransfer.serve.web.problems import PROBLEMS

__all__ = ["reference_page"]


@lru_cache(maxsize=1)
def reference_page() -> str:
    """Return the page as HTML; ``#<reason>`` leads to a problem, as the problem documents' ``type`` says."""
    document = openapi_document()
    operations = [
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    problems = [
        f'<tr id="{reason}"><th scope="row"><code>{reason}</code></th><td>{problem.status}</td>'
        f"<td>{escape(problem.title)}</td></tr>"
        for reason, problem in PROBLEMS.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="dark"><title>Reference · xraytransfer</title>'
        '<link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/page.css"></head>'
        '<body class="reference"><header class="bar"><a class="brand" href="/">xraytransfer</a>'
        '<nav><a href="/openapi.json">OpenAPI 3.1</a></nav></header><main>'
        f"<h1>HTTP reference</h1><p>{escape(RESEARCH_NOTICE)}</p>{''.join(operations)}"
        "<h2>Problems</h2><p>Every refusal is a problem document (RFC 9457) with one of these as its "
        "<code>reason</code>: the same words as in the command line's answers.</p>"
        '<div class="scroll"><table><thead><tr><th scope="col">reason</th><th scope="col">status</th>'
        f'<th scope="col">meaning</th></tr></thead><tbody>{"".join(problems)}</tbody></table></div>'
        "</main></body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<section><h2><code><span class="method">{method.upper()}</span> {escape(path)}</code></h2>',
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>",
    ]
    parameters = "".join(
        f"<dt><code>?{parameter['name']}=</code></dt><dd>{_code(parameter['description'])}</dd>"
        for parameter in operation.get("parameters", ())
    )
    bodies = ", ".join(f"<code>{escape(kind)}</code>" for kind in operation.get("requestBody", {}).get("content", {}))
    answers = ", ".join(f"<code>{status}</code>" for status in operation["responses"])
    rows = parameters
    if bodies:
        rows += f"<dt>body</dt><dd>{bodies}</dd>"
    rows += f"<dt>answers</dt><dd>{answers}</dd>"
    return "".join(parts) + f"<dl>{rows}</dl></section>"


def _code(text: str) -> str:
    """Return escaped text with `backticked` words as code."""
    words = escape(text).split("`")
    return "".join(f"<code>{word}</code>" if place % 2 else word for place, word in enumerate(words))
