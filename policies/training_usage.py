"""What a training has asked of the language model so far, kept in its folder, over interruptions.

The count is what `Usage` counts: tokens asked, without sharing or cache, whichever process asked them. A killed process
takes its count with it, and the folder then says nothing rather than too little.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from selector.evaluation.results import write_whole
from selector.lm.base import Usage

USAGE_FILE = "lm_usage.json"


@contextmanager
def usage_recorded(folder: Path, usage: Callable[[], Usage], *, marker: str, resume: bool) -> Iterator[None]:
    """Adds to a folder's count what is asked of the language model inside.

    Args:
        folder: The folder of the training; may not exist yet.
        usage: The running count of the language model.
        marker: A file that the folder has from the beginning of its training.
        resume: Whether the training may go on with what the folder holds; else it starts afresh.

    Yields:
        Nothing.

    Raises:
        DiskFullError: When there is no room for the count.
    """
    path = folder / USAGE_FILE
    begun = resume and (folder / marker).is_file()
    earlier = read_usage(folder) if begun else Usage()
    # Whoever is killed inside leaves no count.
    if path.is_file():
        path.unlink()
    before = usage()
    try:
        yield
    finally:
        if earlier is not None and (folder / marker).is_file():
            write_whole(path, json.dumps(asdict(earlier + (usage() - before))) + "\n")


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
