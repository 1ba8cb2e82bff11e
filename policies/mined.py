"""The file that mining writes and training reads: one JSON line for each query, beside a header.

Lines are appended and synchronised, so that a killed process loses at most the line it was writing; such a torn last
line is no error. This module knows neither language models nor encoders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from selector.data.paths import full_disk_named
from selector.errors import DataFileError, InvalidExampleError
from selector.types import Example

MINED_FILE = "mined.jsonl"
HEADER_FILE = "mining.json"
FORMAT_VERSION = 1


class Candidate(NamedTuple):
    """A demonstration scored one-shot for a query.

    Attributes:
        position: Its position in the pool.
        uid: Its uid.
        score: Log-probability of the query's gold label behind it, nats; higher is better.
    """

    position: int
    uid: str
    score: float


@dataclass(frozen=True, slots=True)
class MinedQuery:
    """A labelled query and its scored candidates.

    Attributes:
        query: The query.
        candidates: Best first; of equal scores the one that recall ranked higher.
    """

    query: Example
    candidates: tuple[Candidate, ...]

    def line(self) -> str:
        """Writes this query as JSON.

        Returns:
            One line, with its newline.
        """
        content = {
            "uid": self.query.uid,
            "label": self.query.label,
            "fields": dict(self.query.fields),
            "candidates": [candidate._asdict() for candidate in self.candidates],
        }
        return json.dumps(content, ensure_ascii=False) + "\n"

    @classmethod
    def of_line(cls, line: str) -> MinedQuery:
        """Reads what `line` wrote.

        Args:
            line: One line.

        Returns:
            The query.

        Raises:
            ValueError: When it is not JSON.
            KeyError: When a key is missing.
            TypeError: When a value has another type.
            InvalidExampleError: When it holds no valid example.
        """
        content = json.loads(line)
        candidates = tuple(
            Candidate(int(entry["position"]), str(entry["uid"]), float(entry["score"]))
            for entry in content["candidates"]
        )
        return cls(Example(content["uid"], content["fields"], content["label"]), candidates)


@dataclass(frozen=True)
class MiningHeader:
    """What the scores of a mined file depend on.

    Attributes:
        pool: Fingerprint of the pool.
        queries: Fingerprint of all labelled queries that might be mined.
        template: Fingerprint of the prompt template.
        lm: Fingerprint of the language model.
        scoring: The engine's scoring function.
        calibration: The engine's calibration.
        recall: The selectors that recall candidates.
        candidates: How many are scored for each query.
        seed: Seeds the order of the queries.
        version: Of the format.
    """

    pool: str
    queries: str
    template: str
    lm: str
    scoring: str
    calibration: str
    recall: tuple[str, ...]
    candidates: int
    seed: int
    version: int = FORMAT_VERSION

    def differences(self, other: MiningHeader) -> list[str]:
        """Names what differs from another header.

        Args:
            other: The other header.

        Returns:
            Attribute names; empty when lines of both may stand in one file.
        """
        return [entry.name for entry in fields(self) if getattr(self, entry.name) != getattr(other, entry.name)]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names what went wrong while something is written.

    Args:
        path: What is being written.

    Yields:
        Nothing.

    Raises:
        DiskFullError: When the disk is full.
        DataFileError: When the path cannot be written for another reason.
    """
    try:
        with full_disk_named(path):
            yield
    except OSError as error:
        raise DataFileError(
            f"{path} cannot be written ({error.strerror or error})",
            expected="a folder that can be written",
            remedy="Choose another --out, or mend its permissions.",
        ) from error


def write_header(folder: Path, header: MiningHeader) -> None:
    """Writes the header so that no reader ever sees half of it.

    Args:
        folder: The folder of the mined file.
        header: The header.

    Raises:
        DiskFullError: When the disk is full.
        DataFileError: When the folder cannot be written.
    """
    path = folder / HEADER_FILE
    scratch = path.with_suffix(".json.part")
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(asdict(header), indent=2) + "\n", encoding="utf-8")
        scratch.replace(path)


def read_header(folder: Path) -> MiningHeader:
    """Reads the header.

    Args:
        folder: The folder of the mined file.

    Returns:
        The header.

    Raises:
        DataFileError: When it is missing, damaged or of another version.
    """
    path = folder / HEADER_FILE
    try:
        content: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
        values = {entry.name: content[entry.name] for entry in fields(MiningHeader)}
        header = MiningHeader(**{**values, "recall": tuple(values["recall"])})  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            f"mining header {path} is missing or damaged ({type(error).__name__})",
            expected="a folder written by mine",
            remedy="Check the path, or mine again into another folder.",
        ) from error
    if header.version != FORMAT_VERSION:
        raise DataFileError(
            f"{path} has version {header.version}",
            expected=f"version {FORMAT_VERSION}",
            remedy="Use the version of shotsmith that wrote it, or mine again.",
        )
    return header


def read_mined(path: Path) -> tuple[list[MinedQuery], int]:
    """Reads a mined file; a torn last line is left out.

    Args:
        path: The file.

    Returns:
        The queries, and the length in bytes of their lines: where an append has to begin.

    Raises:
        DataFileError: When the file cannot be read, or a line before the last is damaged.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise DataFileError(
            f"mined file {path} cannot be read ({error.strerror or error})",
            expected=f"{MINED_FILE} of a folder written by mine",
            remedy="Check the path, or mine first.",
        ) from error
    queries: list[MinedQuery] = []
    end = 0
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                break
            queries.append(MinedQuery.of_line(line.decode("utf-8")))
        except (ValueError, KeyError, TypeError, InvalidExampleError) as error:
            if number == len(lines):
                break
            raise DataFileError(
                f"line {number} of {path} is damaged ({type(error).__name__})",
                expected="the JSON of one mined query",
                remedy="Delete that line and mine again: the other lines are kept.",
            ) from error
        end += len(line)
    return queries, end


def merged(lines: Sequence[MinedQuery]) -> list[MinedQuery]:
    """Joins lines of the same query, as several rounds of mining make them.

    Args:
        lines: Mined queries, whose scores can be compared.

    Returns:
        One line for each query, in the order of their first ones; candidates by falling score, each once.
    """
    together: dict[str, tuple[Example, dict[int, Candidate]]] = {}
    for line in lines:
        _, candidates = together.setdefault(line.query.uid, (line.query, {}))
        for candidate in line.candidates:
            candidates.setdefault(candidate.position, candidate)
    return [
        MinedQuery(query, tuple(sorted(candidates.values(), key=lambda candidate: -candidate.score)))
        for query, candidates in together.values()
    ]


def append_mined(path: Path, queries: Iterable[MinedQuery]) -> None:
    """Appends queries; they are on the disk when this returns.

    Args:
        path: The file; made when missing.
        queries: What to append.

    Raises:
        DiskFullError: When the disk is full; a torn line may be left, which `read_mined` leaves out.
        DataFileError: When the file cannot be written.
    """
    content = "".join(query.line() for query in queries).encode("utf-8")
    with writing(path), path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def open_mined(folder: Path, header: MiningHeader, *, resume: bool) -> list[MinedQuery]:
    """Makes a folder ready for appending.

    Args:
        folder: The folder; made when missing.
        header: What the lines to come depend on.
        resume: Whether lines that are there are kept; else they are discarded.

    Returns:
        The queries whose lines are kept; a torn last line is cut off.

    Raises:
        DataFileError: When the lines there were made with other settings, or are damaged.
        DiskFullError: When the disk is full.
    """
    path = folder / MINED_FILE
    done: Sequence[MinedQuery] = ()
    end = 0
    if resume and path.exists():
        done, end = read_mined(path)
        if done and (differing := header.differences(read_header(folder))):
            raise DataFileError(
                f"{folder} holds candidates mined with another {', '.join(differing)}",
                expected="the settings with which it was begun",
                remedy="Choose another --out, or pass --no-resume to start afresh.",
            )
    # The old lines go before the new header comes: a header never stands beside lines of other settings.
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(end)
    write_header(folder, header)
    return list(done)
