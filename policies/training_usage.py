"""What a training has asked of the language model so far, kept in its folder, over interruptions.

The count is what `Usage` counts: tokens asked, without sharing or cache, whichever process asked them. It is written
whenever progress is made, so a kill loses only what was asked since. A folder that was begun without a count never says
one: nothing rather than too little.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from selector.data.paths import write_whole
from selector.lm.base import Usage
from selector.progress import SILENT, Progress

USAGE_FILE = "lm_usage.json"


class CountingProgress:
    """Shows progress, and counts whenever a bar opens or moves.

    Args:
        shown: Shows it.
        count: Writes the count.
    """

    def __init__(self, shown: Progress, count: Callable[[], None]) -> None:
        self._shown = shown
        self._count = count

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Opens a bar; see `Progress.track`."""
        with self._shown.track(description, total) as advance:
            self._count()

            def counted(steps: int) -> None:
                self._count()
                advance(steps)

            yield counted


@contextmanager
def usage_recorded(
    folder: Path, usage: Callable[[], Usage], *, marker: str, resume: bool, progress: Progress = SILENT
) -> Iterator[Progress]:
    """Adds to a folder's count what is asked of the language model inside.

    Args:
        folder: The folder of the training; may not exist yet.
        usage: The running count of the language model.
        marker: A file that the folder has from the beginning of its training.
        resume: Whether the training may go on with what the folder holds; else it starts afresh, without a count.
        progress: Shows the training.

    Yields:
        What the training has to show its progress with, so that the count survives a kill.

    Raises:
        DiskFullError: When there is no room for the count.
    """
    there = (folder / marker).is_file()
    begun = resume and there
    earlier = read_usage(folder) if begun else Usage()
    before = usage()
    written: Usage | None = None

    def count() -> None:
        nonlocal written
        spent = usage() - before
        # Where nothing was asked, training may have been refused: then the count that stands there goes on to stand.
        if earlier is None or (there and not spent.calls) or not (folder / marker).is_file():
            return
        if spent != written:  # optimiser steps ask nothing
            write_whole(folder / USAGE_FILE, json.dumps(asdict(earlier + spent)) + "\n")
            written = spent

    try:
        yield CountingProgress(progress, count)
    finally:
        count()


def read_usage(folder: Path) -> Usage | None:
    """Reads a folder's count.

    Args:
        folder: The folder.

    Returns:
        What was asked of the language model; None where nobody counted, or the count was lost.
    """
    try:
        return Usage(**json.loads((folder / USAGE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
