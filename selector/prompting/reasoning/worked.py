"""Problems taken apart by hand, for methods that need such demonstrations and data that has none.

Written for this library; no row of a data set is among them. They serve where the demonstrations given have no parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from selector.prompting.reasoning.answers import CHOICE, NUMBER, TEXT, YES_NO, check_kind
from selector.prompting.reasoning.problems import Problem

_NUMBERS = (
    Problem(
        "worked-number-1",
        "A baker fills 6 trays with 12 rolls each and sells 50 rolls. How many rolls are left?",
        "22",
        parts=(
            ("How many rolls does the baker fill in all?", "6 trays of 12 rolls are 6 * 12 = 72 rolls."),
            ("How many of them are left when 50 are sold?", "72 - 50 = 22 rolls."),
        ),
    ),
    Problem(
        "worked-number-2",
        "Nora is 4 years older than Tim, and Tim is twice as old as Lea, who is 7. How old is Nora?",
        "18",
        parts=(
            ("How old is Tim?", "Twice as old as Lea is 2 * 7 = 14 years."),
            ("How old is someone who is 4 years older than Tim?", "14 + 4 = 18 years."),
        ),
    ),
)
_YES_NO = (
    Problem(
        "worked-yes-no-1",
        "Could a newborn blue whale fit into a bathtub?",
        "no",
        parts=(
            ("How long is a newborn blue whale?", "About 7 metres."),
            ("How long is a bathtub?", "Less than 2 metres."),
        ),
    ),
    Problem(
        "worked-yes-no-2",
        "Was the bicycle known when the Eiffel Tower was opened?",
        "yes",
        parts=(
            ("When was the Eiffel Tower opened?", "In 1889."),
            ("When was the bicycle invented?", "Early in the 19th century, before 1889."),
        ),
    ),
)
_CHOICES = (
    Problem(
        "worked-choice-1",
        "A car drives 150 km in 2 hours. How far does it drive in 5 hours at the same speed?\n"
        "Answer choices: (A) 300 km (B) 350 km (C) 375 km (D) 400 km (E) 450 km",
        "C",
        parts=(
            ("How fast is the car?", "150 km / 2 hours = 75 km per hour."),
            ("How far is 5 hours at that speed?", "75 * 5 = 375 km, which is choice (C)."),
        ),
        choices=5,
    ),
    Problem(
        "worked-choice-2",
        "A shirt of $40 is sold at a discount of 15%. What does it cost?\n"
        "Answer choices: (A) $34 (B) $25 (C) $36 (D) $35 (E) $38",
        "A",
        parts=(
            ("How much is the discount?", "15% of $40 is $6."),
            ("What is left of the price?", "$40 - $6 = $34, which is choice (A)."),
        ),
        choices=5,
    ),
)
_TEXTS = (
    Problem(
        "worked-text-1",
        "In which country was the composer of the opera Carmen born?",
        "France",
        parts=(
            ("Who composed the opera Carmen?", "Georges Bizet."),
            ("In which country was Georges Bizet born?", "In France."),
        ),
    ),
    Problem(
        "worked-text-2",
        "Which sea does the river that flows through Vienna reach?",
        "the Black Sea",
        parts=(
            ("Which river flows through Vienna?", "The Danube."),
            ("Which sea does the Danube reach?", "The Black Sea."),
        ),
    ),
)
WORKED: Final[Mapping[str, tuple[Problem, ...]]] = MappingProxyType(
    {NUMBER: _NUMBERS, YES_NO: _YES_NO, CHOICE: _CHOICES, TEXT: _TEXTS}
)


def worked_demonstrations(problems: Sequence[Problem], kind: str, shots: int) -> list[Problem]:
    """Finds problems that are shown taken apart.

    Args:
        problems: Demonstrations; the first of those with parts and answers are taken.
        kind: The kind of answer.
        shots: The most demonstrations.

    Returns:
        The given ones that have parts; where none has, those of this module.

    Raises:
        UnknownNameError: When the kind is not known.
    """
    check_kind(kind)
    given = [problem for problem in problems if problem.parts and problem.answer is not None]
    return (given or list(WORKED[kind]))[:shots]
