"""Tests of the scripts: they start, say what they do, and name a user's mistake in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_every_script_explains_itself(script: str) -> None:
    """Guards scripts against imports and options that no longer exist."""
    done = run(str(SCRIPTS / script), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_script_names_a_mistake_in_one_line() -> None:
    """Guards scripts against tracebacks that the command line does not show."""
    done = run(str(SCRIPTS / "mine.py"), "absent.toml", "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no task file 'absent.toml'")
    assert "Traceback" not in done.stderr
