"""The command that serves: serve."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from policies.cli.answering import ForceOption
from policies.cli.app import app
from policies.cli.options import NoCacheOption, SeedOption, TaskOption
from selector.errors import ExtraMissingError, UsageError
from selector.workspace import Workspace

TOKEN_VARIABLE: Final = "SHOTSMITH_TOKEN"  # noqa: S105  # the name of a variable
UNITS: Final = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
QueryEncoderOption = Annotated[
    str,
    typer.Option(
        help="How queries are embedded: torch; bfloat16, for processors that multiply it; onnx or onnx-int8, by ONNX "
        "Runtime (the extra onnx). The pool is embedded by torch."
    ),
]
EditsOption = Annotated[Path | None, typer.Option("--edits", help="Keeps edits of the pool; else they end with it.")]


def size_in_bytes(text: str) -> int:
    """Reads a size.

    Args:
        text: A number with or without a unit: B, KiB, MiB, GiB.

    Returns:
        Bytes.

    Raises:
        UsageError: When it is no such size, or 0.
    """
    match = re.fullmatch(r"(\d{1,9})\s*([A-Za-z]*)", text.strip())
    size = int(match[1]) * UNITS.get(match[2].upper(), 0) if match else 0
    if not size:
        raise UsageError(f"the size is {text!r}", expected="a size such as 1MiB or 65536", remedy="Correct --max-body.")
    return size


def read_token(file: Path | None) -> str:
    """Reads the token that clients must show.

    Args:
        file: Holds it on its first line; None takes the environment variable SHOTSMITH_TOKEN.

    Returns:
        The token; empty where there is none.

    Raises:
        UsageError: When the file is missing or empty, or the variable is set and empty.
    """
    if file is None:
        token = os.environ.get(TOKEN_VARIABLE)
        where = f"the variable {TOKEN_VARIABLE}"
    else:
        where = f"the token file {file}"
        try:
            token = (file.read_text(encoding="utf-8").splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where} cannot be read", expected="a text file", remedy="Check --token-file.") from error
    if token is not None and not token.strip():
        raise UsageError(f"{where} is empty", expected="a token", remedy="Write one, or leave it out.")
    return (token or "").strip()


def _leave_cores_to_onnx() -> None:
    """One thread for all other products: they are small, and threads that wait for more spin on the encoder's cores."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(limits=1, user_api="blas")


@app.command()
def serve(
    artifact: Annotated[str, typer.Argument(help="The folder of a policy or retriever, or the name of a method.")],
    task: TaskOption,
    host: Annotated[
        str, typer.Option(help="The address to listen on; beyond loopback a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"Holds the token of clients; else {TOKEN_VARIABLE}, else none.")
    ] = None,
    edits: EditsOption = None,
    queue: Annotated[int, typer.Option(min=1, max=100_000, help="Requests that may wait; more get 429.")] = 256,
    max_body: Annotated[str, typer.Option("--max-body", help="The longest request, such as 1MiB.")] = "1MiB",
    no_lm: Annotated[bool, typer.Option("--no-lm", help="Never load the language model.")] = False,
    query_encoder: QueryEncoderOption = "torch",
    seed: SeedOption = 0,
    force: ForceOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Serve selections, orders, predictions and a page over HTTP, until interrupted."""
    try:
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ExtraMissingError(package="uvicorn", extra="serve") from error
    from selector.service.answering import Answerer
    from selector.service.application import Service
    from selector.service.guard import check_token, is_loopback
    from selector.service.journal import EditJournal
    from selector.service.limits import ServiceLimits
    from selector.service.server import ServiceServer, listening_socket

    limits = ServiceLimits(queue=queue, body=size_in_bytes(max_body))
    token, loopback = read_token(token_file), is_loopback(host)
    check_token(token)  # before the models are loaded
    if not (token or loopback):
        raise UsageError(
            f"the service would listen on {host} for anybody",
            expected="a token, or a loopback address",
            remedy=f"Pass --token-file or set {TOKEN_VARIABLE}, or leave --host out.",
        )
    with listening_socket(host, port) as listener:  # refused before the models are loaded
        workspace = Workspace.open(task, use_store=not no_cache)
        journal = None if edits is None else EditJournal(edits, workspace.task.pool)
        answerer = Answerer(
            workspace,
            artifact,
            journal=journal,
            with_lm=not no_lm,
            force=force,
            seed=seed,
            query_encoder=query_encoder,
        )
        if no_lm and query_encoder.startswith("onnx"):
            _leave_cores_to_onnx()
        service = Service(answerer, limits=limits, token=token, loopback_only=loopback)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"serving {answerer.methods[0]} on http://{shown}:{listener.getsockname()[1]}/", err=True)
        ServiceServer(service).run(sockets=[listener])
    typer.echo("stopped", err=True)
