"""Where shotsmith keeps what can be made again: converted models and scores. Nothing here is ever the only copy."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

VARIABLE = "SHOTSMITH_CACHE"


def cache_folder() -> Path:
    """Finds the cache folder.

    Returns:
        The folder named by the environment variable SHOTSMITH_CACHE, else the user's cache folder; it may not exist.
    """
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("shotsmith")


def score_store_path() -> Path:
    """Finds the score store.

    Returns:
        The path of the SQLite file that all processes of the user share; it may not exist.
    """
    return cache_folder() / "scores.sqlite"
