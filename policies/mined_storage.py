"""The folder that mining writes and training reads: a header, and queries as JSON lines or as Parquet files.

Lines are appended and synchronised, so that a killed process loses at most the line it was writing; such a torn last
line is no error. A Parquet file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from policies.mined import FORMAT_VERSION, Candidate, MinedQuery, MiningHeader
from policies.training_usage import USAGE_FILE
from selector.data.paths import full_disk_named
from selector.errors import DataFileError, InvalidExampleError
from selector.types import Example

MINED_FILE, HEADER_FILE, SHARDS = "mined.jsonl", "mining.json", "mined-*.parquet"
STORAGES: Final = ("jsonl", "parquet")


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
        # Headers from before near duplicates could be left out lack the setting.
        content: Mapping[str, object] = {"near_duplicates": None, **json.loads(path.read_text(encoding="utf-8"))}
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


def read_mined(place: Path) -> list[MinedQuery]:
    """Reads mined queries; a torn last line is left out.

    Args:
        place: A folder written by `mine`, or a file of it.

    Returns:
        The queries.

    Raises:
        DataFileError: When there are none to read, or they are damaged.
    """
    if not place.is_dir():
        return _read_shard(place) if place.suffix == ".parquet" else _read_lines(place)[0]
    shards = sorted(place.glob(SHARDS))
    if shards and not (place / MINED_FILE).exists():
        return [query for shard in shards for query in _read_shard(shard)]
    return _read_lines(place / MINED_FILE)[0]


def append_mined(folder: Path, queries: Sequence[MinedQuery], *, storage: str = "jsonl") -> None:
    """Adds queries; they are on the disk when this returns.

    Args:
        folder: The folder.
        queries: What to add.
        storage: One of `STORAGES`.

    Raises:
        DiskFullError: When the disk is full; a torn line may be left, which `read_mined` leaves out.
        DataFileError: When the folder cannot be written.
    """
    if storage == "parquet":
        _write_shard(folder, queries)
        return
    path = folder / MINED_FILE
    with writing(path), path.open("ab") as file:
        file.write("".join(query.line() for query in queries).encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def open_mined(folder: Path, header: MiningHeader, *, resume: bool) -> list[MinedQuery]:
    """Makes a folder ready for more queries.

    Args:
        folder: The folder; made when missing.
        header: What the queries to come depend on.
        resume: Whether queries that are there are kept; else they are discarded.

    Returns:
        The queries that are kept; a torn last line is cut off.

    Raises:
        DataFileError: When those there were made with other settings, or are damaged.
        DiskFullError: When the disk is full.
    """
    path, shards = folder / MINED_FILE, sorted(folder.glob(SHARDS))
    done: list[MinedQuery] = []
    end = 0
    if resume and (shards or path.exists()):
        done, end = _read_lines(path) if path.exists() else (read_mined(folder), 0)
        if done and (differing := header.differences(read_header(folder))):
            raise DataFileError(
                f"{folder} holds candidates mined with another {', '.join(differing)}",
                expected="the settings with which it was begun",
                remedy="Choose another --out, or pass --no-resume to start afresh.",
            )
    # What was there goes before the new header comes: a header never stands beside scores of other settings.
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            (folder / USAGE_FILE).unlink(missing_ok=True)
        if header.storage == "jsonl":
            with path.open("ab") as file:
                file.truncate(end)
        else:
            path.unlink(missing_ok=True)
        if not done:
            for shard in shards:
                shard.unlink()
    write_header(folder, header)
    return done


def _read_lines(path: Path) -> tuple[list[MinedQuery], int]:
    """The queries of a file of lines, and the length in bytes of their lines: where an append has to begin."""
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


def _next_shard(folder: Path) -> int:
    numbers = [int(re.sub(r"\D", "", path.stem)) for path in folder.glob(SHARDS)]
    return max(numbers, default=-1) + 1


def _write_shard(folder: Path, queries: Sequence[MinedQuery]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "uid": query.query.uid,
            "label": query.query.label,
            "fields": list(query.query.fields.items()),
            "candidates": [candidate._asdict() for candidate in query.candidates],
        }
        for query in queries
    ]
    candidate = pa.struct([("position", pa.int64()), ("uid", pa.string()), ("score", pa.float64())])
    schema = pa.schema(
        [
            ("uid", pa.string()),
            ("label", pa.string()),
            ("fields", pa.map_(pa.string(), pa.string())),
            ("candidates", pa.list_(candidate)),
        ]
    )
    # Behind the last one, not as many as there are: where one was deleted, another would be written over.
    path = folder / SHARDS.replace("*", f"{_next_shard(folder):06d}")
    scratch = path.with_suffix(".part")
    with writing(path):
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)


def _read_shard(path: Path) -> list[MinedQuery]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
        return [
            MinedQuery(
                Example(row["uid"], dict(row["fields"]), row["label"]),
                tuple(Candidate(**candidate) for candidate in row["candidates"]),
            )
            for row in rows
        ]
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise DataFileError(
            f"{path} cannot be read ({str(error).splitlines()[0]})",
            expected="a Parquet file written by mine",
            remedy="Check the path, or delete the file and mine again: the others are kept.",
        ) from error
