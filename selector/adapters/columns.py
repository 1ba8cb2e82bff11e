"""Between the rows of other frameworks and examples: which columns are inputs, and which one is the label.

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
from selector.types import Example, Query

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """The columns of a row that shotsmith reads and writes; others are left alone.

    Attributes:
        inputs: The names of the input columns, at least one.
        label: The name of the column that holds the label.
    """

    inputs: tuple[str, ...]
    label: str = "label"

    def __post_init__(self) -> None:
        if not self.inputs or len({*self.inputs, self.label}) != len(self.inputs) + 1:
            raise UsageError(
                f"the input columns are {list(self.inputs)} and the label column is {self.label!r}",
                expected="at least one input column, all names different",
                remedy="Name the columns again.",
            )

    @classmethod
    def of_pool(cls, pool: Pool, *, label: str = "label") -> Columns:
        """Takes the input columns from the fields of a pool.

        Args:
            pool: The pool; all its members have the fields of the first.
            label: What the label column is called outside.

        Returns:
            The columns.
        """
        return cls(tuple(pool[0].fields), label)

    def query(self, row: Row) -> Query:
        """Makes a query of a row.

        Args:
            row: Holds the input columns; a label in it is not looked at.

        Returns:
            The query; its uid is a hash of its text, so that no member of a pool has it by chance.

        Raises:
            InvalidExampleError: When the row lacks an input column or holds what is not text.
        """
        fields = self._fields(row, "the query")
        digest = hashlib.sha256("\x1f".join(fields.values()).encode("utf-8", "surrogatepass")).hexdigest()
        return Example(f"query-{digest[:16]}", fields)

    def example(self, row: Row, uid: str) -> Example:
        """Makes a labelled example of a row.

        Args:
            row: Holds the input columns and the label column.
            uid: The example's uid.

        Returns:
            The example.

        Raises:
            InvalidExampleError: When the row lacks a column or holds what is not text.
        """
        where = f"row {uid!r}"
        fields = self._fields(row, where)
        if self.label not in row:
            raise _lacking(where, row, [self.label])
        return Example(uid, fields, cell_text(row[self.label], where, self.label))

    def row(self, example: Example) -> dict[str, str]:
        """Makes a row of an example.

        Args:
            example: A labelled example.

        Returns:
            The input columns, then the label column.
        """
        return {**{name: example.fields[name] for name in self.inputs}, self.label: str(example.label)}

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
        if missing := [name for name in self.inputs if name not in row]:
            raise _lacking(where, row, missing)
        return {name: cell_text(row[name], where, name) for name in self.inputs}


def _lacking(where: str, row: Row, missing: list[str]) -> InvalidExampleError:
    return InvalidExampleError(
        f"{where} has the columns {sorted(map(str, row))} and lacks {missing}",
        expected="every input column, and the label column for a demonstration",
        remedy="Add the column, or name the columns that there are.",
    )
