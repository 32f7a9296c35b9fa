"""Pages of the site that are not files of docs/: the README, a page for each command and module, and linked files.

MkDocs calls the functions named ``on_``, because mkdocs.yml names this file under `hooks`. Nothing is written into the
working tree.

The documents of the repository link to each other as GitHub needs it. On the site, a link from docs/ to a file outside
of it becomes a link to a page that shows that file.
"""

from __future__ import annotations

import importlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

import xraytransfer
from xraytransfer.cli.entry import cli

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Documents at the top of the repository, and where the site shows them."""
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(?=[)#])")
COLUMNS = 80  # of a help text, as in a terminal


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made for the site."""
    for document, page in DOCUMENTS.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text("utf-8")))
    for page, text in (*_command_pages(), *_module_pages(), *_linked_files(files)):
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's text with links to where the site shows what they name."""
    here = posixpath.dirname(page.file.src_uri)
    source = _source(page.file.src_uri)

    def there(link: re.Match[str]) -> str:
        target = _site_page(_target(source, link[1]))
        return posixpath.relpath(target, here or ".") if target else link[1]

    return LINK.sub(there, markdown)


def _source(page: str) -> str:
    """Return the path in the repository of a page's text; of a page made here, the path as if it stood in docs/."""
    return next((document for document, shown in DOCUMENTS.items() if shown == page), f"docs/{page}")


def _target(source: str, link: str) -> str:
    """Return the path in the repository that a link of a document names."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _site_page(target: str) -> str | None:
    """Return where the site shows a file of the repository; None for what is no file of it."""
    if not (ROOT / target).is_file():
        return None
    if target in DOCUMENTS:
        return DOCUMENTS[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else f"files/{target}.md"


def _linked_files(files: Files) -> Iterator[tuple[str, str]]:
    """Yield a page for each file outside docs/ that a document links to."""
    sources = [file.src_uri for file in files.documentation_pages() if (ROOT / _source(file.src_uri)).is_file()]
    texts = {_source(page): (ROOT / _source(page)).read_text("utf-8") for page in sources}
    targets = {_target(source, link) for source, text in texts.items() for link in LINK.findall(text)}
    for target in sorted(targets):
        page = _site_page(target)
        if page is not None and page.startswith("files/"):
            language = Path(target).suffix.removeprefix(".").replace("mjs", "js")
            yield page, f'# {target}\n\n````{language}\n--8<-- "{target}"\n````\n'


def _command_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each command, with its help text and those of its own commands."""
    top = click.Context(cli, info_name="xraytransfer")
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is not None and not command.hidden:
            yield f"commands/{name}.md", "\n".join(_help(command, name, top, "#"))


def _help(command: click.Command, name: str, parent: click.Context, heading: str) -> Iterator[str]:
    """Yield the help text of a command, and below it those of its own commands, as the terminal shows them."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=COLUMNS, max_content_width=COLUMNS)
    yield f"{heading} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            if child is not None and not child.hidden:
                yield from _help(child, below, context, heading + "#")


def _module_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each module that a public name of the package comes from."""
    modules: dict[str, list[str]] = {}
    for name in xraytransfer.__all__:
        modules.setdefault(xraytransfer._HOMES[name], []).append(name)
    for module, names in modules.items():
        described = (importlib.import_module(f"xraytransfer.{module}").__doc__ or "").partition("\n")[0]
        members = "\n".join(f"::: xraytransfer.{module}.{name}\n" for name in sorted(names))
        yield f"python/{module}.md", f"# xraytransfer.{module}\n\n{described}\n\n{members}"
