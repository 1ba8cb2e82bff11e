"""How a written answer is read and compared, by the name that a task file gives: a text, a number, yes or no, a choice.

Pure functions over texts; no model is called here. A rule reads the answer out of what was written, and folds answers
to what two equal ones have in common. Where the steps are written first, the answer is what stands first behind the
last "answer is" (Wei et al., 2022), else what stands last (Kojima et al., 2022). Numbers in words are not read.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from selector.errors import UnknownNameError

_CUE: Final = re.compile(r"\banswer(?:\s+is)?\b:?|####", re.IGNORECASE)
_NUMBER: Final = re.compile(r"(?<![\w.])-?[$£€]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
_YES_NO: Final = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_LETTER: Final = re.compile(r"\(([A-Z])\)|(?<![\w'])([A-Z])(?![\w'])")
_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION: Final = (
    string.punctuation + "\u2018\u2019\u201c\u201d\u2026\u2013\u2014"
)  # typographic quotes, ellipsis, dashes


@dataclass(frozen=True)
class AnswerRule:
    """One way to read and compare written answers.

    Attributes:
        read: What was written, and the choices of the query, to the answer; empty where there is none.
        folded: An answer, or a gold one, to what it is compared by.
        metric: What the share of right answers is called in tables.
    """

    read: Callable[[str, Sequence[str]], str]
    folded: Callable[[str], str]
    metric: str


def folded_text(text: str) -> str:
    """Folds case and white space, and nothing else: fit for SQL and logical forms.

    Args:
        text: An answer.

    Returns:
        The folded text.
    """
    return " ".join(text.casefold().split())


def folded_words(text: str) -> str:
    """Folds case, punctuation, articles and white space, as SQuAD does (Rajpurkar et al., 2016).

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
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return folded_text(text)
    whole, _, decimals = re.sub(r"[$£€,]", "", found.group()).partition(".")
    number = ".".join(part for part in (whole.lstrip("-0") or "0", decimals.rstrip("0")) if part)
    return f"-{number}" if whole.startswith("-") and number != "0" else number


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
        The first number behind the last cue, else the last number, as `folded_number` writes it.
    """
    del choices
    behind = _NUMBER.search(_behind_cue(text))
    everywhere = _NUMBER.findall(text)
    return folded_number(behind.group() if behind else everywhere[-1]) if everywhere else ""


def read_yes_no(text: str, choices: Sequence[str] = ()) -> str:
    """Finds whether the answer is yes or no.

    Args:
        text: What was written.
        choices: Not looked at.

    Returns:
        "yes" or "no": that behind the last cue, else the first word where it is one of them, else the last of them.
    """
    del choices
    behind, everywhere = _YES_NO.search(_behind_cue(text)), _YES_NO.findall(text)
    first = read_word(text).casefold()
    if behind is None and first in ("yes", "no"):
        return first
    found = behind.group() if behind else everywhere[-1] if everywhere else ""
    return found.casefold()


def read_choice(text: str, choices: Sequence[str] = ()) -> str:
    """Finds which choice is the answer, named by its text or its letter.

    Args:
        text: What was written.
        choices: The choices of the query, lettered from A.

    Returns:
        The text of the choice: that which begins what stands behind the last cue, else that of the first letter there,
        else the one named last, the longer where both end there, else that of the last letter.
    """
    behind = _behind_cue(text)
    begins = [choice for choice in choices if _ends_of(choice, behind, anchor=r"\A")]
    if begins:
        return max(begins, key=len)
    if letters := _lettered(behind, choices):
        return letters[0]
    ends = {choice: found[-1] for choice in choices if (found := _ends_of(choice, text))}
    if ends:
        return max(ends, key=lambda choice: (ends[choice], len(choice)))
    letters = _lettered(text, choices)
    return letters[-1] if letters else ""


def _ends_of(choice: str, text: str, *, anchor: str = r"(?<!\w)(?<!\d[.,])") -> list[int]:
    """Where a choice ends, each time that it stands in a text as whole words and not within a longer number."""
    wanted = _bare(choice)
    pattern = rf"{anchor}{re.escape(wanted)}(?!\w|[.,]\d)"
    return [match.end() for match in re.finditer(pattern, _bare(text))] if wanted else []


def _bare(text: str) -> str:
    """A text as choices are looked for in it: without currencies, and without the period at its end."""
    return re.sub(r"[$£€]", "", folded_text(text)).removesuffix(".").strip()


def _lettered(text: str, choices: Sequence[str]) -> list[str]:
    """The choices whose letters stand in a text, in its order."""
    by_letter = dict(zip(string.ascii_uppercase, choices, strict=False))
    return [by_letter[own] for pair in _LETTER.findall(text) if (own := "".join(pair)) in by_letter]


def _behind_cue(text: str) -> str:
    """What stands behind the last cue; empty without one."""
    cues = list(_CUE.finditer(text))
    return text[cues[-1].end() :].strip() if cues else ""


ANSWER_RULES: Final[Mapping[str, AnswerRule]] = MappingProxyType(
    {
        "text": AnswerRule(read_text, folded_text, "exact match"),
        "words": AnswerRule(read_text, folded_words, "match of words"),
        "word": AnswerRule(read_word, folded_words, "match of word"),
        "number": AnswerRule(read_number, folded_number, "match of number"),
        "yes-no": AnswerRule(read_yes_no, folded_text, "match of yes, no"),
        "choice": AnswerRule(read_choice, folded_text, "match of choice"),
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
