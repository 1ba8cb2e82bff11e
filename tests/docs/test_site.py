"""Tests of the documentation site: it builds without a warning, and asks nobody for anything."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selector.data.task_file import KEYS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra `docs` is not installed")
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Guards links, anchors and docstrings, and readers without a network."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert tmp_path / "reference" / "answering.html" in pages
    loaded = r"<(?:script|img|iframe|source)[^>]*\ssrc=\"(?:https?:)?//|<link[^>]*\shref=\"(?:https?:)?//"
    assert not [page.name for page in pages if re.search(loaded, page.read_text(encoding="utf-8"))]
    styles = tmp_path.rglob("*.css")
    assert not [sheet.name for sheet in styles if re.search(r"@import|url\(.?(?:https?:)?//", sheet.read_text())]
    assert (tmp_path / "benchmarks" / "results" / "linear.svg").is_file()
    answering = (tmp_path / "reference" / "answering.html").read_text(encoding="utf-8")
    assert "selector.pipeline.Pipeline.predict" in answering


def test_every_key_of_a_task_file_is_told() -> None:
    """Guards the table of keys against a key that only the code knows."""
    lines = (ROOT / "docs" / "task-file.md").read_text(encoding="utf-8").splitlines()
    rows = [found for line in lines if (found := re.match(r"\| `\[(\w+)\] ([^|]+) \|", line))]
    told = {f"{row[1]} {key}" for row in rows for key in re.findall(r"\w+", row[2])}
    known = {f"{section} {key}" for section, keys in KEYS.items() for key in keys}
    assert known == told - {"labels NAME"}
