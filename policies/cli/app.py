"""The command line's frame: one line for every error, one exit code for every kind.

Exit code 0 is success, 1 failure, 2 a wrong request, 130 interruption (128 and the number of the signal, as shells have
it). A `ShotsmithError` is printed as the one line it is; only a mistake of our own shows a traceback. Commands live in
the modules beside this one.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from selector.data.paths import DATA_VARIABLE
from selector.errors import DiskFullError, ShotsmithError
from selector.version import __version__

INTERRUPTED = "interrupted; what was finished is kept. Run the same command again to go on."
INTERRUPTED_CODE = 128 + signal.SIGINT


def _fail(line: str, code: int) -> typer.Exit:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(line)}", highlight=False)
    return typer.Exit(code)


@contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Turns what a user can cause into one line on standard error and an exit code.

    Raises:
        typer.Exit: With code 2 for a wrong request, 130 for an interruption and 1 for a failure.
    """
    try:
        yield
    except ShotsmithError as error:
        raise _fail(" ".join([str(error), *getattr(error, "__notes__", ())]), error.exit_code) from error
    except KeyboardInterrupt as error:
        raise _fail(INTERRUPTED, INTERRUPTED_CODE) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader of our output has gone, as `| head` does; there is nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        if error.errno == errno.ENOSPC:
            raise _fail(str(DiskFullError(str(error.filename or "the output folder"))), 1) from error
        if error.filename is None:
            raise
        line = f"{error.filename} cannot be used ({error.strerror}); expected a path that can be. Choose another."
        raise _fail(line, 2 if error.errno in (errno.ENOENT, errno.ENAMETOOLONG) else 1) from error


class _Group(TyperGroup):
    """Commands whose errors are one line."""

    def invoke(self, ctx: Any) -> Any:
        with errors_as_one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Learns which demonstrations to put into a language model's prompt, and in what order.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@contextmanager
def _data_folder_named(folder: Path) -> Iterator[None]:
    """Sets the variable that every command, and every process that one starts, reads."""
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(DATA_VARIABLE)
        if before is not None:
            os.environ[DATA_VARIABLE] = before


@app.callback()
def shotsmith(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help=f"The folder of the data sets that presets read; else {DATA_VARIABLE}."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Holds the options that stand before every command."""
    from policies.cli.configuration import apply_configuration

    folder = apply_configuration(context, data_dir)
    if folder is not None:
        context.with_resource(_data_folder_named(folder.absolute()))


def main() -> None:
    """Runs the command line; the entry point of the command `shotsmith`."""
    # Data loaders fork around tokenizers, which then warn on every fork unless told.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app(prog_name="shotsmith")
