"""Problems: questions with a gold answer and, where known, the reasoning that leads to it.

Reads them from JSONL or makes them of examples. This module knows nothing of prompts or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.data.loading import rows_of
from selector.data.pool import Pool, normalised_text
from selector.errors import DataFileError, InvalidExampleError, UsageError
from selector.prompting.embedding_text import input_text
from selector.prompting.reasoning.answers import (
    CHOICE,
    KINDS,
    MOST_CHOICES,
    NUMBER,
    TEXT,
    YES_NO,
    canonical_answer,
    canonical_number,
)
from selector.prompting.template import LETTERS, PromptTemplate
from selector.types import Example


@dataclass(frozen=True, slots=True)
class Problem:
    """One question.

    Attributes:
        uid: Identifies it.
        question: Its text; choices, where it has some, stand in it as "(A) ... (B) ...".
        answer: The gold answer in canonical form; None where it is not known.
        rationale: The reasoning that leads to it; may be empty.
        parts: Simpler questions with their answers, in the order in which they are answered; may be empty.
        choices: How many choices there are; 0 where the answer is not chosen.
        aliases: Other texts that are as right as the answer.
        answer_rule: How an answer that is a text is compared; see `selector.inference.answers`.
    """

    uid: str
    question: str
    answer: str | None = None
    rationale: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    choices: int = 0
    aliases: tuple[str, ...] = ()
    answer_rule: str = TEXT

    def __post_init__(self) -> None:
        if not self.uid or not self.question.strip():
            raise InvalidExampleError(
                f"problem {self.uid!r} has the question {self.question!r}",
                expected="a uid and a question",
                remedy="Correct the row.",
            )

    def example(self) -> Example:
        """Gives what selectors and encoders see of it.

        Returns:
            The question alone as a field, and the answer as label: no reasoning of a query can leak into a choice.
        """
        return Example(self.uid, {"question": self.question}, self.answer)


def problem_pool(problems: Sequence[Problem]) -> Pool:
    """Makes the pool from which selectors choose.

    Args:
        problems: Answered problems.

    Returns:
        The pool, in the same order.

    Raises:
        EmptyPoolError: When there are none.
        InvalidExampleError: When one has no answer, or two have the same uid.
    """
    return Pool(problem.example() for problem in problems)


def same_question(one: Problem, other: Problem) -> bool:
    """Tells whether one problem would give the other away; the pool's rule for duplicates.

    Args:
        one: A problem.
        other: Another.

    Returns:
        Whether uid or normalised question are the same.
    """
    return one.uid == other.uid or normalised_text({"": one.question}) == normalised_text({"": other.question})


def problems_of(examples: Iterable[Example], kind: str, *, answer_rule: str = TEXT) -> list[Problem]:
    """Makes problems of a task's examples.

    Args:
        examples: Their fields are the question, with their choices where they have some.
        kind: The kind of answer.
        answer_rule: How the task compares answers that are texts.

    Returns:
        The problems.

    Raises:
        InvalidExampleError: When an example has too many choices.
        UsageError: When a label is no answer of that kind.
    """
    made = []
    for example in examples:
        answer, choices = example.label, example.choices
        if kind == CHOICE and answer in choices[: len(LETTERS)]:
            answer = LETTERS[choices.index(answer)]
        made.append(
            Problem(
                uid=example.uid,
                question=_with_choices(input_text(example), choices, f"example {example.uid!r}"),
                answer=None if answer is None else canonical_answer(answer, kind),
                rationale=example.rationale or "",
                choices=len(choices) or (MOST_CHOICES if kind == CHOICE else 0),
                aliases=example.aliases if kind == TEXT else (),
                answer_rule=answer_rule if kind == TEXT else TEXT,
            )
        )
    return made


def kind_of(template: PromptTemplate) -> str:
    """Tells the kind of a task's answers.

    Args:
        template: The task's template.

    Returns:
        That of its answer rule; text where labels are closed or the rule is of no kind.
    """
    if template.multiple_choice:
        return CHOICE
    return template.answer_rule if template.answer_rule in KINDS else TEXT


def load_problems(path: Path, *, kind: str = "", split: str = "problem") -> tuple[list[Problem], str]:
    """Reads a JSONL file with the columns question, answer, and perhaps choices, rationale and parts.

    Args:
        path: The file. "choices" is a list of texts, "answer" then a number from 0 or a letter; "parts" is a list of
            pairs of a simpler question and its answer.
        kind: The kind of answer; empty tells it from the answers.
        split: Starts the uid of every row ("problem-0").

    Returns:
        The problems and the kind of their answers.

    Raises:
        DataFileError: When the file is missing, empty or not JSONL.
        InvalidExampleError: When a row lacks its question, or a column is not what it should be.
        UsageError: When an answer is not of the kind, or the kind cannot be told.
    """
    rows = _rows(path)
    kind = kind or infer_kind(rows, path)
    return [_problem(row, f"{split}-{number}", kind, where) for number, (where, row) in enumerate(rows)], kind


def infer_kind(rows: Sequence[tuple[str, Mapping[str, Any]]], path: Path) -> str:
    """Tells the kind of answers from the rows of a file.

    Args:
        rows: Where each stands, and its columns.
        path: The file, for the error.

    Returns:
        One of the kinds: choice where rows have choices, yes-no or number where all answers are, else text.

    Raises:
        UsageError: When no row has an answer.
    """
    if any(row.get("choices") for _, row in rows):
        return CHOICE
    answers = [str(row["answer"]) for _, row in rows if row.get("answer") is not None]
    if not answers:
        raise UsageError(
            f"{path} has no answers, and no kind of answer is named",
            expected="a kind",
            remedy=f"Name one of {NUMBER}, {YES_NO}, {CHOICE}, {TEXT}.",
        )
    if all(answer.strip().casefold() in ("yes", "no", "true", "false") for answer in answers):
        return YES_NO
    return NUMBER if all(canonical_number(answer) is not None for answer in answers) else TEXT


def _rows(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    rows = list(rows_of(path, suffix=".jsonl"))
    for where, row in rows:
        if not isinstance(row.get("question"), str):
            raise InvalidExampleError(
                f"{where} has no text 'question'", expected="question and answer", remedy="Correct the row."
            )
    if not rows:
        raise DataFileError(f"{path} holds no rows", expected="at least one row", remedy="Check the file.")
    return rows


def _problem(row: Mapping[str, Any], uid: str, kind: str, where: str) -> Problem:
    choices, parts, rationale = row.get("choices") or [], row.get("parts") or [], row.get("rationale") or ""
    fits = isinstance(choices, list) and isinstance(parts, list)
    fits = fits and all(isinstance(part, list) and [type(text) for text in part] == [str, str] for part in parts)
    if not fits or not isinstance(rationale, str):
        raise InvalidExampleError(
            f"{where} has the choices {choices!r}, parts {parts!r} and rationale {rationale!r}",
            expected="a list of texts, a list of pairs of texts, and a text",
            remedy="Correct the row.",
        )
    question, answer = _with_choices(str(row["question"]).strip(), choices, where), row.get("answer")
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        answer = LETTERS[answer]
    gold = None if answer is None else canonical_answer(str(answer), kind)
    if kind == CHOICE and gold is not None and LETTERS.index(gold) >= (len(choices) or MOST_CHOICES):
        raise InvalidExampleError(
            f"{where} has the answer {gold} and {len(choices) or 'no'} choices",
            expected=f"a letter up to {LETTERS[(len(choices) or MOST_CHOICES) - 1]}",
            remedy="Correct the row, or list its choices.",
        )
    return Problem(
        uid=str(row.get("uid") or uid),
        question=question,
        answer=gold,
        rationale=rationale.strip(),
        parts=tuple((first, second) for first, second in parts),
        choices=len(choices) or (MOST_CHOICES if kind == CHOICE else 0),
    )


def _with_choices(question: str, choices: Sequence[object], where: str) -> str:
    if len(choices) > len(LETTERS):
        raise InvalidExampleError(
            f"{where} has {len(choices)} choices", expected=f"at most {len(LETTERS)}", remedy="Correct the row."
        )
    listed = " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return f"{question}\nAnswer choices: {listed}" if choices else question
