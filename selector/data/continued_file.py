"""A JSONL file that grows by a row as soon as the row is made, so that a run that was stopped goes on.

The first line says which run it is. A last line that a kill has torn is dropped. What rows hold is for their owner.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selector.data.paths import full_disk_named
from selector.errors import DataFileError, UsageError


class ContinuedFile:
    """A JSONL file of a run's rows.

    Args:
        path: The file; made with its folder when missing.
        run: What its rows depend on beside what they say themselves; what JSON can write.
        holds: What rows are, for errors: "traces".
        writer: The command that writes them, for errors.
        take: Called with every row that is there; raises ValueError, KeyError, TypeError or AttributeError where it is
            none of these.

    Raises:
        DataFileError: When the file is there and holds something else.
        UsageError: When it holds the rows of another run.
    """

    def __init__(
        self, path: Path, run: Mapping[str, Any], *, holds: str, writer: str, take: Callable[[Any], None]
    ) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        header, content = json.dumps({"run": run}) + "\n", path.read_bytes() if path.is_file() else b""
        if header.encode().startswith(content):  # nothing yet, or no more than a kill has left of the first line
            path.write_text(header, encoding="utf-8")
            return
        whole, newline, _ = content.rpartition(b"\n")
        try:
            first, *rows = (json.loads(line) for line in whole.split(b"\n"))
            there = first["run"]
            for row in rows:
                take(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataFileError(
                f"{path} is no file of {holds} ({error})",
                expected=f"what `{writer}` has written",
                remedy="Choose another --out.",
            ) from error
        if there != json.loads(json.dumps(run)):
            raise UsageError(
                f"{path} holds the {holds} of another run, {there}",
                expected=str(run),
                remedy="Pass the same options and data, or another --out.",
            )
        with path.open("r+b") as file:
            file.truncate(len(whole + newline))

    def append(self, row: Any) -> None:
        """Writes a row at once.

        Args:
            row: What json can write.

        Raises:
            DiskFullError: When there is no room.
        """
        with full_disk_named(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
