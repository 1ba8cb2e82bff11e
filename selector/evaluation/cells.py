"""Finished runs of a comparison on the disk, so that an interrupted one goes on where it ended.

A cell is a file with one run and with everything that the run depends on; its name holds a digest of that. A run is
recalled only where all of it is the same. A file is written whole or not at all, so a process may be killed at any
moment. This module knows nothing of pipelines.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from selector.data.paths import write_whole
from selector.data.pool import canonical_example
from selector.evaluation.metered import PHASES, PhaseUsage
from selector.evaluation.runs import QueryOutcome, Row
from selector.lm.base import Usage
from selector.types import Example

FORMAT_VERSION: Final = 2
NOT_CONTENT: Final = ("tensorboard",)  # in the folder of a retriever, and without effect on what it chooses


class CellFolder:
    """The finished runs of a comparison.

    Args:
        folder: Where they lie; made when the first run is kept.
        depends_on: What all runs depend on, such as fingerprints of task and language model; what JSON can write.
        resume: Whether runs that are there may be recalled; else they are deleted.
    """

    def __init__(self, folder: Path, *, depends_on: Mapping[str, Any], resume: bool = True) -> None:
        self.folder = folder
        self._depends_on = dict(depends_on)
        self._made: set[Path] = set()
        self._reused: set[Path] = set()
        if not resume:
            for path in folder.glob("*.json"):
                path.unlink()

    @property
    def reused(self) -> int:
        """How many runs of an earlier call were recalled."""
        return len(self._reused)

    @property
    def finished(self) -> int:
        """How many runs this call has recalled or made."""
        return len(self._reused) + len(self._made)

    def recall(self, run: Mapping[str, Any]) -> Row | None:
        """Reads a run.

        Args:
            run: What this run depends on beside what all do: "method", "orderer", "shots", "seed" and more.

        Returns:
            The run; None where it is not there, is damaged, or depends on anything else.
        """
        wanted = self._key(run)
        path = self._path(wanted)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["depends_on"] != wanted:
                return None
            row = _row(content["run"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if path not in self._made:
            self._reused.add(path)
        return row

    def keep(self, run: Mapping[str, Any], row: Row) -> None:
        """Writes a run; it is on the disk, whole, when this returns.

        Args:
            run: What it depends on; see `recall`.
            row: The run.

        Raises:
            DiskFullError: When there is no room.
        """
        key = self._key(run)
        path = self._path(key)
        write_whole(path, json.dumps({"depends_on": key, "run": _content(row)}, ensure_ascii=False) + "\n")
        self._made.add(path)

    @contextmanager
    def told_on_failure(self) -> Iterator[None]:
        """Adds a note to whatever ends the work early: how many finished runs are kept, and where.

        Yields:
            Nothing.
        """
        try:
            yield
        except BaseException as error:  # noted and raised again, an interruption too
            if self.finished:
                error.add_note(
                    f"{self.finished} finished runs are kept in {self.folder}: run the same command again to go on."
                )
            raise

    def _key(self, run: Mapping[str, Any]) -> dict[str, Any]:
        key: dict[str, Any] = json.loads(
            json.dumps({"format": FORMAT_VERSION, **self._depends_on, **run}, sort_keys=True)
        )
        return key

    def _path(self, key: Mapping[str, Any]) -> Path:
        shown = "-".join(str(key[name]) for name in ("method", "orderer", "shots", "seed") if key[name] is not None)
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.+-]+', '_', shown)[:80]}-{digest[:16]}.json"


def examples_fingerprint(examples: Sequence[Example]) -> str:
    """Identifies queries by all that they say, in their order.

    Args:
        examples: The queries.

    Returns:
        A sha256, hexadecimal.
    """
    content = [canonical_example(example) for example in examples]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Identifies the content of the folder of an artifact or a retriever, wherever it lies.

    Args:
        folder: The folder.

    Returns:
        A sha256 over the names and contents of its files, hexadecimal.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in NOT_CONTENT:
            with path.open("rb") as file:
                digest.update(f"{name.as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _content(row: Row) -> dict[str, Any]:
    return {
        "method": row.method,
        "orderer": row.orderer,
        "shots": row.shots,
        "seed": row.seed,
        "seconds": row.seconds,
        "phases": {name: asdict(getattr(row.phases, name)) for name in PHASES},
        "outcomes": [{**vars(own), "probabilities": dict(own.probabilities)} for own in row.outcomes],
    }


def _row(content: Mapping[str, Any]) -> Row:
    return Row(
        method=content["method"],
        orderer=content["orderer"],
        shots=content["shots"],
        seed=content["seed"],
        outcomes=tuple(
            QueryOutcome(**own | {"demonstrations": tuple(own["demonstrations"])}) for own in content["outcomes"]
        ),
        phases=PhaseUsage(**{name: Usage(**content["phases"][name]) for name in PHASES}),
        seconds=content["seconds"],
    )
