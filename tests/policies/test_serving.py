"""Tests of `shotsmith serve`: what it refuses before it loads anything, and that it serves and stops."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from policies.cli import app
from policies.cli.serving import TOKEN_VARIABLE, read_token, size_in_bytes
from selector.errors import ExtraMissingError, UsageError

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("text", "size"), [("1MiB", 2**20), ("65536", 65536), (" 2 kib ", 2048), ("7B", 7)])
def test_sizes_are_read(text: str, size: int) -> None:
    """Guards against a limit of another unit."""
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1MB", "lots", "1.5MiB", "9" * 30])
def test_other_sizes_are_refused(text: str) -> None:
    """Guards against a service without a limit by a slip of the pen."""
    with pytest.raises(UsageError, match="--max-body"):
        size_in_bytes(text)


def test_tokens_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against an empty token, which everybody knows, and a file that is passed over."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    file = tmp_path / "token"
    assert read_token(None) == ""
    file.write_text("mine \nmore\n", encoding="utf-8")
    assert read_token(file) == "mine"
    monkeypatch.setenv(TOKEN_VARIABLE, "theirs")
    assert (read_token(None), read_token(file)) == ("theirs", "mine")
    monkeypatch.setenv(TOKEN_VARIABLE, " ")
    file.write_text("\n", encoding="utf-8")
    for given in (None, file, tmp_path / "missing"):
        with pytest.raises(UsageError, match=r"empty|read"):
            read_token(given)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0"], "for anybody"),
        (["--host", "203.0.113.9", "--token-file", "TOKEN"], "cannot be listened on"),
        (["--max-body", "lots"], "size"),
        (["--edits", "TOKEN"], "cannot be read"),
    ],
)
def test_it_refuses_before_it_serves(
    planted_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: str
) -> None:
    """Guards against a service that anybody on the network can use, and errors with a traceback."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    (tmp_path / "token").write_text("mine\n", encoding="utf-8")
    given = [str(tmp_path / "token") if option == "TOKEN" else option for option in options]
    done = CliRunner().invoke(app, ["serve", "bm25", "--task", str(planted_task), "--port", "0", *given])
    assert done.exit_code == 2, done.output
    assert told in done.stderr
    assert "Traceback" not in done.output


def test_unknown_artifacts_are_named(planted_task: Path) -> None:
    """Guards against a service of nothing, and the oracle, which needs gold labels that no client sends."""
    for name in ("no-such-folder", "oracle"):
        done = CliRunner().invoke(app, ["serve", name, "--task", str(planted_task), "--port", "0"])
        assert done.exit_code == 2
        assert name in done.stderr


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, planted_task: Path) -> None:
    """Guards against an ImportError that does not say what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["serve", "bm25", "--task", str(planted_task)])
    assert done.exit_code == 1
    assert "shotsmith[serve]" in done.stderr
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "selector.service.application", raising=False)
    with pytest.raises(ExtraMissingError, match=r"shotsmith\[serve\]"):
        __import__("selector.service.application")


def test_no_web_framework_is_imported_unasked() -> None:
    """Guards every other command, and programs without the extra, against the import of a web framework."""
    code = "import selector.service.answering, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"fastapi", "uvicorn", "prometheus_client", "starlette"} & set(done.stdout.split())
    tree = ast.parse((ROOT / "policies" / "cli" / "serving.py").read_text(encoding="utf-8"))
    imported = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if str(name).startswith("selector.service")]


def test_it_serves_until_it_is_told_to_stop(planted_task: Path, tmp_path: Path) -> None:
    """Guards against a command that does not start, or whose end on SIGTERM is an error; one process for all."""
    command = [sys.executable, "-m", "policies.cli", "serve", "bm25", "--task", str(planted_task), "--port", "0"]
    command += ["--no-lm", "--edits", str(tmp_path / "edits.jsonl")]
    environment = {**os.environ, TOKEN_VARIABLE: "mine", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next((line for line in process.stderr if line.startswith("serving ")), "")
        assert line.startswith("serving bm25 on http://127.0.0.1:"), line
        url = line.split()[-1]
        request = urllib.request.Request(
            f"{url}pool/examples",
            json.dumps({"fields": {"text": "planted"}, "label": "fresh"}).encode(),
            {"content-type": "application/json", "authorization": "Bearer mine"},
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            assert reply.status == 201
        process.send_signal(signal.SIGTERM)
        told = process.stderr.read()
        assert process.wait(20) == 0
    assert told.strip().splitlines()[-1] == "stopped"
    assert "mine" not in told
    assert '"planted"' in (tmp_path / "edits.jsonl").read_text(encoding="utf-8")
