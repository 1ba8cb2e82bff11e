"""Rows of JSONL, CSV, Parquet and the Hugging Face hub to examples.

Every mistake in a file is named with the file, the line and what was expected. This module knows nothing of splits,
prompts or models.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.errors import DataFileError, InvalidExampleError
from selector.types import Example

LONGEST_CELL = 2**31 - 1  # of CSV, characters
MOST_DIGITS = 10  # of a place among choices
Row = tuple[str, Mapping[str, Any]]
"""Where a row stands ("train.jsonl line 3") and its columns."""


@dataclass(frozen=True)
class _Columns:
    inputs: Sequence[str]
    label: str | None
    uid: str | None
    choices: Sequence[str]
    rationale: str | None

    @property
    def wanted(self) -> list[str]:
        named = [name for name in (self.label, self.uid, self.rationale) if name]
        return [*self.inputs, *self.choices, *named]


def rows_of(path: Path, *, suffix: str = "") -> Iterator[Row]:
    """Reads the rows of a local file, one after the other, with all their columns.

    Args:
        path: A .jsonl, .csv or .parquet file.
        suffix: Which of these it is, where its own suffix does not say.

    Yields:
        Where each row stands, and its columns.

    Raises:
        DataFileError: When the file is missing, unreadable or of another format.
    """
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    reader = readers.get(suffix or path.suffix.lower())
    if reader is None:
        raise DataFileError(
            f"{path} ends in {path.suffix!r}", expected=f"one of {', '.join(readers)}", remedy="Convert the file."
        )
    if not path.is_file():
        raise DataFileError(f"there is no file {path}", expected="a data file", remedy="Check the path.")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path} cannot be decoded ({error})", expected="UTF-8 text", remedy="Convert the file to UTF-8."
        ) from error
    except csv.Error as error:
        raise DataFileError(
            f"{path} is not CSV ({error})",
            expected="cells parted by commas",
            remedy="Check its quotes and line breaks.",
        ) from error


def load_examples(
    path: Path,
    *,
    inputs: Sequence[str],
    label: str | None,
    split: str,
    uid: str | None = None,
    choices: Sequence[str] = (),
    rationale: str | None = None,
) -> list[Example]:
    """Reads a local file.

    Args:
        path: A .jsonl, .csv or .parquet file.
        inputs: The columns that become input fields.
        label: The column that becomes the label, or None for rows without label. Where it holds a list of texts, the
            first is the label and the others are its aliases.
        split: Starts the uid of every row that has none of its own ("train-0").
        uid: The column that identifies a row, or None.
        choices: The columns that become the row's choices, each of them a text or a list of texts. The label is then
            one of these texts, or the place of one as a number, from 0.
        rationale: The column that becomes the rationale, or None.

    Returns:
        The examples, in the order of the file.

    Raises:
        DataFileError: When the file is missing, empty, unreadable or of another format.
        InvalidExampleError: When a row lacks a column, a cell is null, or a label is blank.
    """
    columns = _Columns(inputs, label, uid, choices, rationale)
    return _examples(rows_of(path), columns, source=str(path), split=split)


def load_hub_examples(
    name: str,
    *,
    hub_split: str,
    inputs: Sequence[str],
    label: str | None,
    split: str,
    uid: str | None = None,
    choices: Sequence[str] = (),
    rationale: str | None = None,
) -> list[Example]:
    """Reads a split of a Hugging Face hub data set; class numbers become class names.

    Args:
        name: The hub id, with its configuration behind a colon where it has one ("nyu-mll/glue:sst2").
        hub_split: The split's name on the hub.
        inputs: The columns that become input fields.
        label: The column that becomes the label, or None.
        split: Starts the uid of every row that has none of its own.
        uid: The column that identifies a row, or None.
        choices: The columns that become the row's choices; see `load_examples`.
        rationale: The column that becomes the rationale, or None.

    Returns:
        The examples.

    Raises:
        DataFileError: When the hub is out of reach or has no such data set, configuration or split.
    """
    import datasets

    repository, _, configuration = name.partition(":")
    try:
        rows = datasets.load_dataset(repository, configuration or None, split=hub_split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataFileError(
            f"hub data set {name!r}, split {hub_split!r}, cannot be loaded ({str(error).splitlines()[0]})",
            expected="a data set on the Hugging Face hub, and the network",
            remedy="Check the name, or download the rows and name a local file.",
        ) from error
    feature = rows.features.get(label) if label else None
    # Where rows have choices, the number of a class is the place of a choice.
    names = None if choices else getattr(feature, "names", None)

    def named(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        if not (names and label and isinstance(row[label], int)):
            return row
        if not 0 <= row[label] < len(names):  # test splits of benchmarks often hold -1
            raise InvalidExampleError(
                f"{where} has no label ({row[label]})",
                expected=f"a class from 0 to {len(names) - 1}",
                remedy="Choose a labelled split.",
            )
        return {**row, label: names[row[label]]}

    places = ((f"{name} {hub_split} row {number}", row) for number, row in enumerate(rows))
    located = ((where, named(row, where)) for where, row in places)
    return _examples(located, _Columns(inputs, label, uid, choices, rationale), source=name, split=split)


def _examples(rows: Iterable[Row], columns: _Columns, *, source: str, split: str) -> list[Example]:
    examples = []
    for number, (where, row) in enumerate(rows):
        if missing := [column for column in columns.wanted if column not in row]:
            raise InvalidExampleError(
                f"{where} has the columns {sorted(map(str, row))} and lacks {missing}",
                expected=f"the columns {columns.wanted}",
                remedy="Correct the row or [fields] in the task file.",
            )
        uid, rationale = columns.uid, columns.rationale
        choices = tuple(text for column in columns.choices for text in _texts(row[column], where, column))
        label, aliases = _label(row, where, columns.label, choices)
        examples.append(
            Example(
                cell_text(row[uid], where, uid) if uid else f"{split}-{number}",
                {column: cell_text(row[column], where, column) for column in columns.inputs},
                label,
                choices,
                aliases,
                cell_text(row[rationale], where, rationale) if rationale else None,
            )
        )
    if not examples:
        raise DataFileError(f"{source} holds no rows", expected="at least one row", remedy="Check the file.")
    return examples


def _label(
    row: Mapping[str, Any], where: str, column: str | None, choices: Sequence[str]
) -> tuple[str | None, tuple[str, ...]]:
    """The label of a row and its aliases."""
    if column is None:
        return None, ()
    value = row[column]
    if not choices:
        cells = value if isinstance(value, list) and value else [value]
        label, *aliases = (label_text(cell, where, column) for cell in cells)
        return label, tuple(text for text in dict.fromkeys(aliases) if text != label)
    if value in choices:
        return str(value), ()
    place = place_of(value)
    if place is not None and place < len(choices):
        return choices[place], ()
    raise InvalidExampleError(
        f"{where}, column {column!r}, holds {value!r}, and the choices are {list(choices)}",
        expected=f"one of these texts, or a number from 0 to {len(choices) - 1}",
        remedy="Correct the row or [fields] in the task file.",
    )


def place_of(value: Any) -> int | None:
    """Reads a place among choices.

    Args:
        value: A cell: a number, or its text, which is all that CSV has.

    Returns:
        The place, from 0; None where the cell is no whole number.
    """
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < MOST_DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _texts(value: Any, where: str, column: str) -> list[str]:
    """The texts of a cell that holds a list; else the text that it holds."""
    if isinstance(value, list) and value:
        return [cell_text(item, where, column) for item in value]
    return [cell_text(value, where, column)]


def label_text(value: Any, where: str, column: str) -> str:
    """Takes a cell as a label, without the space around it: "pos " beside "pos" would be a class of its own.

    Args:
        value: Text, a number or a truth value.
        where: What holds it, for the message.
        column: Its column, for the message.

    Returns:
        The label.

    Raises:
        InvalidExampleError: When it is missing, blank, something else, or no text that UTF-8 can hold.
    """
    label = cell_text(value, where, column).strip()
    if not label:
        raise InvalidExampleError(
            f"{where}, column {column!r}, is empty", expected="a label", remedy="Correct or drop the row."
        )
    return label


def _require_whole_characters(text: str, where: str, column: str) -> None:
    """JSON can write half of a surrogate pair, which no UTF-8 file, tokenizer or store takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidExampleError(
            f"{where}, column {column!r}, holds half a character ({text[error.start]!a})",
            expected="text that UTF-8 can hold",
            remedy="Correct or drop the row.",
        ) from error


def cell_text(value: Any, where: str, column: str) -> str:
    """Takes a cell as text.

    Args:
        value: Text, a number or a truth value.
        where: What holds it, for the message.
        column: Its column, for the message.

    Returns:
        The text.

    Raises:
        InvalidExampleError: When it is missing, something else, or no text that UTF-8 can hold.
    """
    if isinstance(value, str):
        _require_whole_characters(value, where, column)
        return value
    if isinstance(value, bool | int | float) and value == value:  # noqa: PLR0124 - NaN stands for an empty cell
        return str(value)
    raise InvalidExampleError(
        f"{where}, column {column!r}, holds {value!r}", expected="text or a number", remedy="Correct or drop the row."
    )


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path} line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
                how = "nested too deeply" if isinstance(error, RecursionError) else str(error)
                if isinstance(error, json.JSONDecodeError):
                    how = f"{error.msg} at column {error.colno}"
                raise DataFileError(
                    f"{where} is not JSON ({how})",
                    expected="one JSON object per line",
                    remedy="Correct the line.",
                ) from error
            if not isinstance(row, dict):
                raise DataFileError(
                    f"{where} is a {type(row).__name__}", expected="a JSON object", remedy="Correct the line."
                )
            yield where, row


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(LONGEST_CELL)  # else 131,072 characters
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if None in row or None in row.values():
                raise DataFileError(
                    f"{where} has {'more' if None in row else 'fewer'} cells than the header",
                    expected=f"{len(reader.fieldnames or ())} cells",
                    remedy="Correct the line; cells that hold commas or line breaks need quotes.",
                )
            yield where, row


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataFileError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})",
            expected="an undamaged Parquet file",
            remedy="Write it again.",
        ) from error
    for number, row in enumerate(table.to_pylist()):
        yield f"{path} row {number}", row
