"""What a training has asked of the language model so far, kept in its folder, over interruptions.

The count is what `Usage` counts: tokens asked, without sharing or cache, whichever process asked them. It is written
whenever progress is made, so a kill loses only what was asked since. Where nobody shows progress through it, a killed
process takes its count with it, and the folder then says nothing rather than too little.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from selector.evaluation.results import write_whole
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
    folder: Path, usage: Callable[[], Usage], *, marker: str, resume: bool, progress: Progress | None = None
) -> Iterator[Progress]:
    """Adds to a folder's count what is asked of the language model inside.

    Args:
        folder: The folder of the training; may not exist yet.
        usage: The running count of the language model.
        marker: A file that the folder has from the beginning of its training.
        resume: Whether the training may go on with what the folder holds; else it starts afresh.
        progress: Shows the training; None where it does not show itself through what is given here.

    Yields:
        What the training has to show its progress with, so that the count survives a kill.

    Raises:
        DiskFullError: When there is no room for the count.
    """
    path = folder / USAGE_FILE
    begun = resume and (folder / marker).is_file()
    earlier = read_usage(folder) if begun else Usage()
    # A count of before is too little as soon as something is asked that nobody adds.
    if path.is_file() and not (begun and progress is not None):
        path.unlink()
    before = usage()
    written: Usage | None = None

    def count() -> None:
        nonlocal written
        if earlier is None or not (folder / marker).is_file():
            return
        whole = earlier + (usage() - before)
        if whole != written:  # optimiser steps ask nothing
            write_whole(path, json.dumps(asdict(whole)) + "\n")
            written = whole

    try:
        yield CountingProgress(SILENT if progress is None else progress, count)
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
