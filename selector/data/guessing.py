"""What the columns of a data file are for, guessed from their names and values, with the reason for every guess.

Nothing is read or written here: `selector.data.columns` counts, `selector.data.task_writing` makes a task file of it.
A guess errs on the side of leaving a column out: an input that tells the label would make every method look good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from selector.data.columns import MOST_LABELS, Column
from selector.errors import LabelNotFoundError, OneLabelError, UsageError
from selector.prompting.template import RESERVED

LABEL_NAMES: Final = (
    *("label", "labels", "target", "answer", "answers", "class", "category", "gold", "sentiment", "intent", "topic"),
    *("output", "response", "completion", "summary", "translation", "sql", "program", "logical_form", "y"),
)
ANOTHER_WRITING: Final = ("text", "name", "str", "names")
_CHOICE_LISTS: Final = ("choices", "options", "endings", "candidates")
_CHOICE_COLUMN: Final = re.compile(r"(choice|option|ending|candidate|sol)[_ ]?(\d|[a-e])", re.IGNORECASE)
_RATIONALES: Final = ("rationale", "explanation", "reasoning", "solution", "steps", "cot", "chain_of_thought")
_IDENTIFIERS: Final = re.compile(r"|id|idx|index|guid|uid|uuid|key|unnamed: ?\d+|.*[_ ]id", re.IGNORECASE)
_ABOUT_THE_ROW: Final = re.compile(r"split|source|url|link|date|time|timestamp|created.*|updated.*", re.IGNORECASE)


@dataclass(frozen=True)
class Guess:
    """What the columns of a file are for.

    Attributes:
        label: The label column.
        inputs: The input columns, in the order in which a template shows them.
        kind: "labels" (the same for every query), "choices" (of each query's own) or "text" (written).
        choices: The columns of choices, where there are any.
        uid: The column that names a row, or None.
        rationale: The column of the steps before an answer, or None.
        labels: Label to how many rows have it, where labels are the same for every query; the most frequent first.
        reasons: Why, a line for each decision.
    """

    label: str
    inputs: tuple[str, ...]
    kind: str
    choices: tuple[str, ...]
    uid: str | None
    rationale: str | None
    labels: Mapping[str, int]
    reasons: tuple[str, ...]


def guess(columns: Sequence[Column], *, label: str | None = None, inputs: Sequence[str] = ()) -> Guess:
    """Guesses what columns are for.

    Args:
        columns: The columns of a file, each with a cell for every row.
        label: The label column, where it is known.
        inputs: The input columns, where they are known.

    Returns:
        The guess.

    Raises:
        LabelNotFoundError: When no column looks like a label, or the one that was named has gaps or is not there.
        OneLabelError: When every row has the same label.
        UsageError: When no input column is left, or one that was named cannot be an input.
    """
    if label is not None:
        _check_label(label, columns)
    choices, target = _choices(columns, label)
    if target is None:
        target, why = _label(columns, label, inputs)
    else:
        why = f"it points at one of the texts in {', '.join(choices)}"
    kind = "choices" if choices else "labels" if target.closed else "text"
    if len(target.counts) == 1 and not choices:
        raise OneLabelError(target.name, next(iter(target.counts)), rows=len(target.texts))
    reasons = [f"label: {target.name}, because {why}"]
    others = [column for column in columns if column is not target and column.name not in choices]
    uid = next((one.name for one in others if one.unique and not one.gaps and _IDENTIFIERS.fullmatch(one.name)), None)
    rationale = None
    if kind == "text":
        rationale = next((one.name for one in others if one.name.lower() in _RATIONALES and not one.gaps), None)
    shown, left_out = _given_inputs(inputs, others), dict[str, str]()
    if not inputs:
        shown, left_out = _inputs([one for one in others if one.name not in (uid, rationale)], target, kind)
    reasons += [f"left out: {name}, which {reason}" for name, reason in left_out.items()]
    if not shown:
        raise UsageError(
            f"no input column is left beside the label {target.name!r}"
            + "".join(f"; {name!r} {reason}" for name, reason in left_out.items()),
            expected="a column of texts whose name is one word, in every row",
            remedy="Name the input columns: --inputs a,b, or rename them in the file.",
        )
    counts = dict(target.counts.most_common()) if kind == "labels" else {}
    return Guess(target.name, tuple(shown), kind, choices, uid, rationale, counts, tuple(reasons))


def _check_label(label: str, columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    if label not in names:
        raise LabelNotFoundError(f"there is no column {label!r}", columns=names, expected="one of them as the label")
    gaps = columns[names.index(label)].gaps
    if gaps:
        raise LabelNotFoundError(f"the column {label!r} {_gaps(gaps)}", columns=names, expected="a label in every row")


def _choices(columns: Sequence[Column], label: str | None) -> tuple[tuple[str, ...], Column | None]:
    """The columns that hold each row's own choices, and the label that points into them."""
    lists = [one for one in columns if one.lists and one.name.lower() in _CHOICE_LISTS and not one.gaps]
    apart = [one for one in columns if _CHOICE_COLUMN.fullmatch(one.name) and not one.gaps and not one.lists]
    for held in ([lists[0]] if lists else [], apart if len(apart) > 1 else []):
        if not held:
            continue
        rows = zip(*(column.cells for column in held), strict=True)
        options = [[str(item) for cell in row for item in (cell if isinstance(cell, list) else [cell])] for row in rows]
        for column in _by_name([one for one in columns if one not in held and label in (None, one.name)]):
            if min(map(len, options)) > 1 and _points(column, options):
                return tuple(one.name for one in held), column
    return (), None


def _points(column: Column, options: Sequence[Sequence[str]]) -> bool:
    """Whether every cell is the place of one of its row's choices, or the text of one."""
    if column.gaps or column.lists:
        return False
    places = column.places()
    if places is not None:
        return all(0 <= place < len(own) for place, own in zip(places, options, strict=True))
    return all(text in own for text, own in zip(column.texts, options, strict=True))


def _by_name(columns: Sequence[Column]) -> list[Column]:
    """Columns called like a label first, in the order of how usual the name is."""
    known = {name: place for place, name in enumerate(LABEL_NAMES)}
    return sorted(columns, key=lambda one: known.get(one.name.lower(), len(known)))


def _label(columns: Sequence[Column], label: str | None, inputs: Sequence[str]) -> tuple[Column, str]:
    """The label column and why it is one."""
    if label is not None:
        return next(one for one in columns if one.name == label), "you named it"
    able = [one for one in _by_name(columns) if not one.gaps and one.name not in inputs and not _about(one)]
    called = [one for one in able if one.name.lower() in LABEL_NAMES]
    closed = [one for one in able if one.closed]
    by_name = [one for one in called if one.closed]
    if by_name:
        words = _in_words(by_name[0], closed)
        if words is not None:
            return words, f"it says in words what {by_name[0].name} says in numbers"
        return by_name[0], f"of its name and its {_count(by_name[0])}"
    if called:
        one = called[0]
        if len(one.counts) == 1:
            raise OneLabelError(one.name, next(iter(one.counts)), rows=len(one.texts))
        return one, f"of its name; its {len(one.counts):,} values are too many, too long or too rare to choose from"
    if closed:
        fewest = min(closed, key=lambda one: len(one.counts))
        return fewest, f"it has the fewest values that come again: {_count(fewest)}"
    gaps = [one for one in _by_name(columns) if one.gaps and one.name.lower() in LABEL_NAMES][:1]
    raise LabelNotFoundError(
        "no column looks like a label" + "".join(f" ({one.name!r} {_gaps(one.gaps)})" for one in gaps),
        columns=[one.name for one in columns],
        expected=f"one of a usual name, such as label or answer, or at most {MOST_LABELS} short values that repeat",
    )


def _in_words(label: Column, closed: Sequence[Column]) -> Column | None:
    """The column that holds the same labels as words, as label_text does beside label."""
    if not label.numbers:
        return None
    stem = label.name.lower()
    for one in closed:
        tail = one.name.lower().removeprefix(stem).lstrip("_ ")
        if one is not label and not one.numbers and tail in ANOTHER_WRITING and label.tells(one) and one.tells(label):
            return one
    return None


def _count(column: Column) -> str:
    shown = sorted(column.counts, key=lambda text: -column.counts[text])[:4]
    listed = ", ".join(f"{text[:20]} {column.counts[text]:,}" for text in shown)
    return f"{len(column.counts):,} values" + (f" ({listed}{', ...' if len(column.counts) > 4 else ''})")


def _about(column: Column) -> bool:
    return bool(_IDENTIFIERS.fullmatch(column.name) or _ABOUT_THE_ROW.fullmatch(column.name))


def _given_inputs(inputs: Sequence[str], others: Sequence[Column]) -> list[str]:
    known = {one.name: one for one in others}
    for name in inputs:
        if name not in known:
            raise UsageError(
                f"--inputs names {name!r}, which is no column, or the label",
                expected=f"some of {', '.join(known)}",
                remedy="Correct --inputs.",
            )
        reason = _unfit(known[name])
        if reason:
            raise UsageError(
                f"--inputs names {name!r}, which {reason}",
                expected="a column of texts whose name is one word, in every row",
                remedy="Choose another, or correct the file.",
            )
    return list(dict.fromkeys(inputs))


def _unfit(column: Column) -> str:
    """Why a column cannot be an input; empty where it can."""
    if column.gaps:
        return _gaps(column.gaps)
    if column.name in RESERVED:
        return "has a name that templates keep for something else"
    if not column.name.isidentifier():
        return "has a name that no template can hold: rename it to one word"
    if column.lists:
        return "holds lists"
    return ""


def _gaps(rows: int) -> str:
    return f"has neither text, number nor list of them in {rows:,} rows"


def _inputs(others: Sequence[Column], target: Column, kind: str) -> tuple[list[str], dict[str, str]]:
    """The input columns, and why the others are none."""
    left_out: dict[str, str] = {}
    shown: list[Column] = []
    worded = any(not one.numbers and not one.lists for one in others)
    for one in others:
        reason = "may tell the answer" if one.name.lower() in _RATIONALES else _unfit(one)
        if not reason and _about(one):
            reason = "names the row, or tells where it comes from"
        if not reason and len(one.counts) == 1:
            reason = "is the same in every row"
        if not reason and one.numbers and worded:
            reason = "holds numbers"
        if not reason and kind == "labels" and one.closed and (one.tells(target) or target.tells(one)):
            reason = "tells the label"
        if reason:
            left_out[one.name] = reason
        else:
            shown.append(one)
    # A question reads best right before its answer, behind the text that it asks about.
    shown.sort(key=lambda one: one.name.lower() in ("question", "query"))
    return [one.name for one in shown], left_out
