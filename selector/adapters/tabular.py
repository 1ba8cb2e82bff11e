"""What scikit-learn calls X, as rows of text: texts, mappings, data frames, or an array with a column for each field.

Nothing here knows estimators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selector.errors import UsageError

TEXT = "text"  # what the one field of plain texts is called


def is_text(values: Any) -> bool:
    """Tells whether X holds one text for each sample.

    Args:
        values: X.

    Returns:
        True for a list, series or one-dimensional array that begins with a text.
    """
    return _one_dimensional(values) and len(values) > 0 and isinstance(next(iter(values)), str)


def is_mappings(values: Any) -> bool:
    """Tells whether X holds one mapping of fields for each sample.

    Args:
        values: X.

    Returns:
        True for a list or array that begins with a mapping.
    """
    return _one_dimensional(values) and len(values) > 0 and isinstance(next(iter(values)), Mapping)


def field_names(values: Any) -> tuple[str, ...]:
    """Names the fields of X.

    Args:
        values: X.

    Returns:
        The columns of a data frame, the keys of the first mapping, or "text". The columns of an array, and those of a
        data frame that no template could name, are x0, x1, ...
    """
    if is_text(values):
        return (TEXT,)
    if is_mappings(values):
        return tuple(map(str, next(iter(values))))
    if hasattr(values, "columns"):
        names = [str(name) for name in values.columns]
        free = {column: f"x{column}" for column in range(len(names))}
        while taken := [column for column, name in free.items() if name in names]:
            free |= {column: f"{free[column]}_" for column in taken}
        return tuple(name if name.isidentifier() else free[column] for column, name in enumerate(names))
    return tuple(f"x{column}" for column in range(np.asarray(values).shape[1]))


def records(values: Any, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Makes a row for each sample.

    Args:
        values: X, N samples.
        fields: What the fields are called; the columns of an array and the one field of texts take them in turn.

    Returns:
        N rows.

    Raises:
        UsageError: When X has another number of columns than there are fields.
    """
    if is_text(values):
        _require(1, fields)
        return [{fields[0]: value} for value in values]
    if is_mappings(values):
        return [dict(value) for value in values]
    names = field_names(values)
    if hasattr(values, "columns") and set(names) >= set(fields):
        columns = [np.asarray(values.iloc[:, names.index(name)]) for name in fields]
        return [dict(zip(fields, map(_plain, row), strict=True)) for row in zip(*columns, strict=True)]
    _require(len(names), fields)
    return [dict(zip(fields, map(_plain, row), strict=True)) for row in np.asarray(values)]


def _plain(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell


def _one_dimensional(values: Any) -> bool:
    return hasattr(values, "__len__") and not isinstance(values, str) and getattr(values, "ndim", 1) == 1


def _require(columns: int, fields: Sequence[str]) -> None:
    if columns != len(fields):
        raise UsageError(
            f"X has {columns} columns", expected=f"one for each of the fields {list(fields)}", remedy="Correct X."
        )
