"""The rows of the bundled data sets. Knows the carriers' file formats; knows nothing of splits or prompts."""

from __future__ import annotations

import bz2
import csv
from pathlib import Path
from typing import Final

from selector.data.assets import find_bundled
from selector.errors import DataFileError, UnknownNameError
from selector.types import Example

BUNDLED_DATA: Final = ("rotten-tomatoes", "bbc-news")


def load_bundled(name: str) -> list[Example]:
    """Reads a bundled data set.

    Args:
        name: "rotten-tomatoes" (4,866 review snippets, labels fresh and rotten) or "bbc-news" (articles, five topics).

    Returns:
        Its examples with the field "text", in a fixed order.

    Raises:
        UnknownNameError: When no data set is bundled under that name.
        BundledPackageMissingError: When its carrier is not installed.
        DataFileError: When the carrier's file is damaged.
    """
    readers = {"rotten-tomatoes": _rotten_tomatoes, "bbc-news": _bbc_news}
    if name not in readers:
        raise UnknownNameError("bundled data set", name, known=BUNDLED_DATA)
    path = find_bundled(name)
    try:
        return readers[name](path)
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise DataFileError(
            f"the bundled data set {name!r} at {path} cannot be read ({error})",
            expected="the file as its package installs it",
            remedy="Install its package again.",
        ) from error


def _rotten_tomatoes(path: Path) -> list[Example]:
    with bz2.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in ("fresh", "rotten")]
    return [
        Example(f"rotten-tomatoes-{number}", {"text": row["text"].strip()}, row["category"])
        for number, row in enumerate(rows)
    ]


def _bbc_news(folder: Path) -> list[Example]:
    return [
        Example(f"bbc-news-{file.parent.name}-{file.stem}", {"text": _article(file)}, file.parent.name)
        for file in sorted(folder.glob("*/*.txt"))
    ]


def _article(file: Path) -> str:
    # The carrier's files are Latin-1 here and there; a byte that is not UTF-8 is read as Latin-1.
    content = file.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return " ".join(text.split())
