"""Where shotsmith keeps what can be made again, where the user keeps data sets, and what a full disk is called.

Converted models and scores stand in the cache folder; nothing there is ever the only copy.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident

import platformdirs
from safetensors import SafetensorError

from selector.errors import DiskFullError, UsageError

VARIABLE = "SHOTSMITH_CACHE"
DATA_VARIABLE = "SHOTSMITH_DATA"
LIMIT_VARIABLE = "SHOTSMITH_STORE_MIB"
STORE_MIB = 4096  # some 35 million scores


def cache_folder() -> Path:
    """Finds the cache folder.

    Returns:
        The folder named by the environment variable SHOTSMITH_CACHE, else the user's cache folder; it may not exist.
    """
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("shotsmith")


def data_folder() -> Path | None:
    """Finds the folder of data sets that tasks name with "data:".

    Returns:
        The folder named by the environment variable SHOTSMITH_DATA; None where it is not set.
    """
    chosen = os.environ.get(DATA_VARIABLE)
    return Path(chosen).expanduser() if chosen else None


def score_store_path() -> Path:
    """Finds the score store.

    Returns:
        The path of the SQLite file that all processes of the user share; it may not exist.
    """
    return cache_folder() / "scores.sqlite"


def score_store_limit() -> int:
    """Tells how large the score store may become.

    Returns:
        Bytes: the environment variable SHOTSMITH_STORE_MIB in MiB, else 4 GiB.

    Raises:
        UsageError: When the variable is no whole number.
    """
    chosen = os.environ.get(LIMIT_VARIABLE, str(STORE_MIB))
    if not chosen.isdecimal():
        raise UsageError(
            f"the environment variable {LIMIT_VARIABLE} is {chosen!r}",
            expected="a whole number of MiB",
            remedy="Correct or unset it.",
        )
    return int(chosen) * 2**20


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turns every way in which libraries say that the disk is full into one error.

    Args:
        path: What is being written.

    Yields:
        Nothing.

    Raises:
        DiskFullError: When there is no room.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # safetensors and torch wrap what the system says into errors of their own, as text.
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise DiskFullError(str(path)) from error
        raise


def write_whole(path: Path, text: str) -> Path:
    """Writes a text file whole or not at all.

    Args:
        path: The file; its folder is made when missing.
        text: Its content.

    Returns:
        The path.

    Raises:
        DiskFullError: When there is no room; what stood there before stays.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.new")  # another process may write it too
    with full_disk_named(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
    return path
