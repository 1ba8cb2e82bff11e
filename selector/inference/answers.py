"""How a written answer is read and compared, by the name that a task file gives: a text, a number, yes or no, a choice.

Pure functions over texts; no model is called here. A rule reads the answer out of what was written, and folds answers
to what two equal ones have in common. Numbers, yes and no, and letters are found as they are in reasoning.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from selector.errors import UnknownNameError
from selector.inference.free_text import folded_text
from selector.prompting.reasoning.answers import (
    CHOICE,
    NUMBER,
    YES_NO,
    canonical_number,
    extract_answer,
)
from selector.prompting.template import LETTERS

_CUE: Final = re.compile(r"\banswer(?:\s+is)?\b:?|####", re.IGNORECASE)
_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")
_TYPOGRAPHIC: Final = "\u2018\u2019\u201c\u201d\u2026\u2013\u2014"  # quotes, ellipsis, dashes
_PUNCTUATION: Final = string.punctuation + _TYPOGRAPHIC


@dataclass(frozen=True)
class AnswerRule:
    """One way to read and compare written answers.

    Attributes:
        read: What was written, and the choices of the query, to the answer; empty where there is none.
        folded: An answer, or a gold one, to what it is compared by.
        metric: What the share of right answers is called in tables.
        searches: Whether it finds the answer among other text; else it reads what it is given from the start.
    """

    read: Callable[[str, Sequence[str]], str]
    folded: Callable[[str], str]
    metric: str
    searches: bool = False


def folded_words(text: str) -> str:
    """Folds case, punctuation, articles and white space, as TriviaQA does (Joshi et al., 2017).

    Punctuation becomes a space, where SQuAD (Rajpurkar et al., 2016) deletes it: "U.S." is not "US" here.

    Args:
        text: An answer.

    Returns:
        The folded text; that of `folded_text` where nothing would be left.
    """
    bare = "".join(" " if mark in _PUNCTUATION else mark for mark in text.casefold())
    return " ".join(_ARTICLE.sub(" ", bare).split()) or folded_text(text)


def folded_number(text: str) -> str:
    """Writes a number in one way only, without rounding it.

    Args:
        text: An answer such as "$1,000.50".

    Returns:
        "1000.5"; a text that is no number as `folded_text` folds it.
    """
    return canonical_number(text) or folded_text(text)


def folded_yes_no(text: str) -> str:
    """Writes yes and no in one way only.

    Args:
        text: An answer such as "True".

    Returns:
        "yes" or "no"; another text as `folded_text` folds it.
    """
    folded = folded_text(text)
    return {"true": "yes", "false": "no"}.get(folded, folded)


def read_text(text: str, choices: Sequence[str] = ()) -> str:
    """Takes everything that was written.

    Args:
        text: What was written.
        choices: Not looked at.

    Returns:
        The text without the space around it.
    """
    del choices
    return text.strip()


def read_word(text: str, choices: Sequence[str] = ()) -> str:
    """Takes the first word that was written.

    Args:
        text: What was written.
        choices: Not looked at.

    Returns:
        The word without the punctuation around it.
    """
    del choices
    return next((bare for word in text.split() if (bare := word.strip(_PUNCTUATION))), "")


def read_number(text: str, choices: Sequence[str] = ()) -> str:
    """Finds the number that is the answer.

    Args:
        text: What was written.
        choices: Not looked at.

    Returns:
        The number as `extract_answer` finds and writes it.
    """
    del choices
    return extract_answer(text, NUMBER).value or ""


def read_yes_no(text: str, choices: Sequence[str] = ()) -> str:
    """Finds whether the answer is yes or no.

    Args:
        text: What was written.
        choices: Not looked at.

    Returns:
        "yes" or "no", as `extract_answer` finds it.
    """
    del choices
    return extract_answer(text, YES_NO).value or ""


def read_choice(text: str, choices: Sequence[str] = ()) -> str:
    """Finds which choice is the answer, named by its text or its letter.

    Args:
        text: What was written.
        choices: The choices of the query, lettered from A.

    Returns:
        The text of the choice: that which begins what stands behind the last cue, else that of the letter there, else
        the one named last, the longer where both end there, else that of the letter that `extract_answer` finds.
    """
    cues = list(_CUE.finditer(text))
    behind = text[cues[-1].end() :].strip() if cues else ""
    begins = [choice for choice in choices if _ends_of(choice, behind, anchor=r"\A")]
    if begins:
        return max(begins, key=len)
    letter, rule = extract_answer(text, CHOICE, choices=len(choices))
    ends = {choice: found[-1] for choice in choices if (found := _ends_of(choice, text))}
    if ends and rule != "cue":
        return max(ends, key=lambda choice: (ends[choice], len(choice)))
    return choices[LETTERS.index(letter)] if letter else ""


def _ends_of(choice: str, text: str, *, anchor: str = r"(?<!\w)(?<!\d[.,])") -> list[int]:
    """Where a choice ends, each time that it stands in a text as whole words and not within a longer number."""
    wanted = _bare(choice)
    pattern = rf"{anchor}{re.escape(wanted)}(?!\w|[.,]\d)"
    return [match.end() for match in re.finditer(pattern, _bare(text))] if wanted else []


def _bare(text: str) -> str:
    """A text as choices are looked for in it: without currencies, and without the period at its end."""
    return re.sub(r"[$£€]", "", folded_text(text)).removesuffix(".").strip()


ANSWER_RULES: Final[Mapping[str, AnswerRule]] = MappingProxyType(
    {
        "text": AnswerRule(read_text, folded_text, "exact match"),
        "words": AnswerRule(read_text, folded_words, "match of words"),
        "word": AnswerRule(read_word, folded_words, "match of word"),
        "number": AnswerRule(read_number, folded_number, "match of number", searches=True),
        "yes-no": AnswerRule(read_yes_no, folded_yes_no, "match of yes, no", searches=True),
        "choice": AnswerRule(read_choice, folded_text, "match of choice", searches=True),
    }
)


def answer_rule(name: str) -> AnswerRule:
    """Finds a rule.

    Args:
        name: One of `ANSWER_RULES`.

    Returns:
        The rule.

    Raises:
        UnknownNameError: When there is none of that name.
    """
    if name not in ANSWER_RULES:
        raise UnknownNameError("answer rule", name, known=tuple(ANSWER_RULES))
    return ANSWER_RULES[name]
