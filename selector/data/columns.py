"""What stands in the columns of a data file: texts, numbers, lists; few values or many; with gaps or without.

This module counts. What a column is for is guessed in `selector.data.guessing`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from selector.data.words import words_of

MOST_LABELS: Final = 100
LONGEST_LABEL: Final = 60  # characters
_NUMBER: Final = re.compile(r"[+-]?\$?\d[\d,]*(?:\.\d+)?%?")
_YES_NO: Final = frozenset(("yes", "no", "true", "false"))


@dataclass(frozen=True)
class Column:
    """One column of a data file.

    Attributes:
        name: Its name.
        cells: Its cells in the order of the rows; None where a row lacks it.
    """

    name: str
    cells: Sequence[Any]

    @cached_property
    def gaps(self) -> int:
        """How many rows lack it, or hold nothing but space, or what is neither text, number nor list of these."""
        return sum(not _is_list(cell) and not _text(cell).strip() for cell in self.cells)

    @cached_property
    def lists(self) -> bool:
        """Whether a cell holds a list of texts."""
        return any(_is_list(cell) for cell in self.cells)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The cells as text; of a list its first text."""
        return tuple(_text(cell[0] if _is_list(cell) else cell) for cell in self.cells)

    @cached_property
    def counts(self) -> Counter[str]:
        """Text to how many rows hold it."""
        return Counter(self.texts)

    @cached_property
    def words(self) -> float:
        """Words in a cell, on average."""
        return sum(len(words_of(text)) for text in self.texts) / max(1, len(self.texts))

    @cached_property
    def numbers(self) -> bool:
        """Whether every cell is a number."""
        return all(_NUMBER.fullmatch(text.strip()) for text in self.counts)

    @cached_property
    def yes_or_no(self) -> bool:
        """Whether every cell is yes or no, true or false."""
        return all(text.strip().lower() in _YES_NO for text in self.counts)

    @cached_property
    def unique(self) -> bool:
        """Whether no two rows hold the same."""
        return len(self.counts) == len(self.texts)

    @cached_property
    def closed(self) -> bool:
        """Whether it holds few, short values that come again: what a label of a closed set looks like."""
        distinct = len(self.counts)
        if self.lists or self.gaps or not 2 <= distinct <= MOST_LABELS or 2 * distinct > len(self.texts):
            return False
        if self.numbers:
            return distinct <= 10 or _in_a_row(self.counts)
        return max(map(len, self.counts)) <= LONGEST_LABEL

    def tells(self, other: Column) -> bool:
        """Tells whether the value of this column settles that of another.

        Args:
            other: A column of the same rows.

        Returns:
            Whether rows that agree here agree there.
        """
        known: dict[str, str] = {}
        return all(
            known.setdefault(mine, theirs) == theirs for mine, theirs in zip(self.texts, other.texts, strict=True)
        )

    def places(self) -> list[int] | None:
        """Reads the cells as places in a list.

        Returns:
            The whole numbers, or None where a cell holds something else.
        """
        if all(isinstance(cell, int) and not isinstance(cell, bool) for cell in self.cells):
            return list(self.cells)
        return None


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Turns rows into columns.

    Args:
        rows: Rows; not every one needs every column.

    Returns:
        The columns, in the order in which their names are met first.
    """
    held = list(rows)
    names = dict.fromkeys(name for row in held for name in row)
    return [Column(name, [row.get(name) for row in held]) for name in names]


def quantile(values: Iterable[int], share: float) -> int:
    """Finds the value below which a share of the values lies.

    Args:
        values: At least one number.
        share: From 0 to 1.

    Returns:
        One of the values.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(_text(item).strip() for item in cell)


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool | int | float) and cell == cell:  # noqa: PLR0124 - NaN stands for an empty cell
        return str(cell)
    return ""


def _in_a_row(texts: Iterable[str]) -> bool:
    """Whether numbers are whole and follow each other, as those of classes do."""
    if not all(text.strip().isdecimal() for text in texts):
        return False
    found = sorted({int(text) for text in texts})
    return found[0] <= 1 and found[-1] - found[0] == len(found) - 1
