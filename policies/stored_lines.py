"""Files of JSON lines that survive a kill: appended to the disk at once, read up to a torn last line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from selector.data.paths import full_disk_named
from selector.errors import ArtifactError

T = TypeVar("T")


def append_lines(path: Path, rows: Iterable[Any]) -> None:
    """Adds rows; they are on the disk when this returns.

    Args:
        path: The file; made when missing.
        rows: What JSON can write.

    Raises:
        DiskFullError: When there is no room.
    """
    with full_disk_named(path), path.open("ab") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path, parse: Callable[[Any], T], *, of: str) -> list[T]:
    """Reads rows, and cuts off a last line that a kill has torn.

    Args:
        path: The file; a missing one holds none.
        parse: Makes what is wanted of a row; raises ValueError, KeyError or TypeError where it cannot.
        of: What a row is, for the error.

    Returns:
        One for each line.

    Raises:
        ArtifactError: When a line is damaged.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    found: list[T] = []
    end = 0
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            found.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"line {number} of {path} is damaged ({type(error).__name__})",
                expected=f"the JSON of {of}",
                remedy="Delete that line and train again: the other lines are kept.",
            ) from error
        end += len(line)
    if lines and end < path.stat().st_size:
        with path.open("ab") as file:
            file.truncate(end)
    return found
