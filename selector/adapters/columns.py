"""Between the rows of other frameworks and examples: which columns are inputs, and which one is the label.

Where every row has choices of its own, their columns are those of the task; a demonstration comes back with all its
choices as one list.

Input fields always come in the order of the columns, whatever the order in a row, so that queries and demonstrations
are embedded alike. Nothing here knows a framework.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from selector.data.loading import cell_text
from selector.data.pool import Pool
from selector.errors import InvalidExampleError, UsageError
from selector.prompting.template import CHOICES
from selector.types import Example, Query

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """The columns of a row that shotsmith reads and writes; others are left alone.

    Attributes:
        inputs: The names of the input columns, at least one.
        label: The name of the column that holds the label.
        choices: The columns that hold a row's own choices, each of them a text or a list of texts; none where rows
            have none.
    """

    inputs: tuple[str, ...]
    label: str = "label"
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.inputs or len({*self.inputs, self.label}) != len(self.inputs) + 1:
            raise UsageError(
                f"the input columns are {list(self.inputs)} and the label column is {self.label!r}",
                expected="at least one input column, all names different",
                remedy="Name the columns again.",
            )

    @classmethod
    def of_pool(cls, pool: Pool, *, label: str = "label", choices: tuple[str, ...] = ()) -> Columns:
        """Takes the input columns from the fields of a pool.

        Args:
            pool: The pool; all its members have the fields of the first.
            label: What the label column is called outside.
            choices: The columns that hold a row's own choices.

        Returns:
            The columns.
        """
        return cls(tuple(pool[0].fields), label, choices)

    def query(self, row: Row) -> Query:
        """Makes a query of a row.

        Args:
            row: Holds the input columns, and the choice columns where the choices are to be seen; a label in it is
                not looked at.

        Returns:
            The query; its uid is a hash of its text, so that no member of a pool has it by chance.

        Raises:
            InvalidExampleError: When the row lacks an input column or some of the choice columns, or holds what is not
                text.
        """
        where = "the query"
        fields = self._fields(row, where)
        # Most methods choose without a look at the choices, so a row may come without them.
        choices = self._choices(row, where) if any(name in row for name in self.choices) else ()
        text = "\x1f".join((*fields.values(), *choices))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Example(f"query-{digest[:16]}", fields, choices=choices)

    def example(self, row: Row, uid: str) -> Example:
        """Makes a labelled example of a row.

        Args:
            row: Holds the input columns, the choice columns and the label column; where there are choices, the label is
                the text of one or its place, from 0.
            uid: The example's uid.

        Returns:
            The example.

        Raises:
            InvalidExampleError: When the row lacks a column or holds what is not text.
        """
        where = f"row {uid!r}"
        fields = self._fields(row, where)
        choices = self._choices(row, where)
        _require(row, (self.label,), where)
        label = row[self.label]
        if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(choices):
            label = choices[label]
        return Example(uid, fields, cell_text(label, where, self.label), choices)

    def row(self, example: Example) -> dict[str, Any]:
        """Makes a row of an example.

        Args:
            example: A labelled example.

        Returns:
            The input columns, then "choices" as a list where it has some, then the label column.
        """
        choices = {CHOICES: list(example.choices)} if example.choices else {}
        return {**{name: example.fields[name] for name in self.inputs}, **choices, self.label: str(example.label)}

    def pool(self, rows: Iterable[Row]) -> Pool:
        """Makes a pool of rows.

        Args:
            rows: Labelled rows.

        Returns:
            The pool, in the same order.

        Raises:
            EmptyPoolError: When there are none.
            InvalidExampleError: When a row lacks a column or holds what is not text.
        """
        return Pool(self.example(row, f"row-{number}") for number, row in enumerate(rows))

    def _fields(self, row: Row, where: str) -> dict[str, str]:
        _require(row, self.inputs, where)
        return {name: cell_text(row[name], where, name) for name in self.inputs}

    def _choices(self, row: Row, where: str) -> tuple[str, ...]:
        _require(row, self.choices, where)
        cells = {name: row[name] if isinstance(row[name], list | tuple) else [row[name]] for name in self.choices}
        return tuple(cell_text(text, where, name) for name, texts in cells.items() for text in texts)


def _require(row: Row, names: tuple[str, ...], where: str) -> None:
    if missing := [name for name in names if name not in row]:
        raise InvalidExampleError(
            f"{where} has the columns {sorted(map(str, row))} and lacks {missing}",
            expected="every input column, the choice columns all together, and the label column for a demonstration",
            remedy="Add the column, or name the columns that there are.",
        )
