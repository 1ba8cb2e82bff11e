"""Tests of progress bars."""

from __future__ import annotations

import io

from rich.console import Console

from selector.progress import RichProgress


def test_names_are_shown_as_they_are() -> None:
    """Guards folders such as [/x], which were read as markup and ended the work."""
    told = io.StringIO()
    with RichProgress(Console(file=told, width=100)).track("compare: [/x] [bold]", 2) as advance:
        advance(2)
    assert "compare: [/x] [bold]" in told.getvalue()
