"""The command line: ``xraytransfer``.

Exit codes: 0 all done, 1 some films refused, 2 wrong usage, 3 nothing could run, 130 interrupted;
75 a `study train` or `study run` that the system stopped, and that may be started again.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from typing import Any

import click

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import MissingExtraError, XrayTransferError

__all__ = ["cli", "main"]

EXIT_REFUSED = 1
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

# command -> (module, attribute, extra that it needs)
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "predict": ("xraytransfer.cli.predict", "predict", "serve"),
    "manifest": ("xraytransfer.cli.archive_commands", "manifest", "remote"),
    "collect": ("xraytransfer.cli.archive_commands", "collect", "parquet"),
    "models": ("xraytransfer.cli.models", "models", "export"),
    "doctor": ("xraytransfer.cli.doctor", "doctor", "all"),
    "study": ("xraytransfer.study.cli", "study", "study"),
    "export": ("xraytransfer.export.cli", "export", "export"),
    "calibrate": ("xraytransfer.export.cli", "calibrate", "calibrate"),
    "serve": ("xraytransfer.serve.cli", "serve", "serve"),
    "spool": ("xraytransfer.serve.spool_cli", "spool", "serve"),
}

_CORE = ("numpy", "onnxruntime", "pydicom", "PIL", "imagecodecs")


class LazyGroup(click.Group):
    """Import a command's module when it is named, so that ``predict`` does not wait for the imports of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None where there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error about a missing package names the pip command that installs it."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if ctx.invoked_subcommand is None or missing in ("", "xraytransfer"):
                raise
            if missing in _CORE:
                cure = f"{sys.executable} -m pip install xraytransfer"
                raise XrayTransferError(f"{missing}, which scoring needs, is not installed; run: {cure}") from error
            raise MissingExtraError(_COMMANDS[ctx.invoked_subcommand][2], missing) from error


@click.group(cls=LazyGroup, epilog=RESEARCH_NOTICE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("xraytransfer"), prog_name="xraytransfer")
def cli() -> None:
    """Score chest radiographs, train and compare networks, export and serve them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="xraytransfer", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and _is_file_here(error.option_name):
            click.echo(
                f"A file here has a name that begins with {error.option_name} and was taken for an option: "
                "write ./* instead of *, or -- before the files.",
                err=True,
            )
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was done is kept", err=True)
        return EXIT_INTERRUPTED
    except XrayTransferError as error:
        click.echo(f"error: {error}", err=True)
        return EXIT_FAILED
    except BrokenPipeError:  # the reader of our output left, as `head` does
        _drop_output()
        return EXIT_REFUSED
    except OSError as error:  # a full disk under a page of text, standard input that cannot be read
        _drop_output()
        click.echo(f"error: {error.filename or 'input or output'}: {error.strerror or error}", err=True)
        return EXIT_FAILED


def _is_file_here(start: str) -> bool:
    """Return whether a name in the current folder begins like this; the shell puts such names in the place of ``*``."""
    try:
        return any(name.startswith(start) for name in os.listdir())
    except OSError:
        return False


def _drop_output() -> None:
    """Flush what can be written and discard the rest, so that Python does not fail when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
