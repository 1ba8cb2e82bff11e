"""The answer in a text that a language model wrote: a number, yes or no, the letter of a choice, or a short text.

Pure functions over strings. The rules are those of Wei et al. (2022) and Kojima et al. (2022): what stands first behind
the last "the answer is" that an answer follows, else what stands last in the text. Which rule found the answer is told,
because the second one guesses. Words for numbers ("twelve") and fractions are not read.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from selector.errors import UnknownNameError, UsageError
from selector.inference.free_text import exact_match
from selector.prompting.template import LETTERS

NUMBER, YES_NO, CHOICE, TEXT = "number", "yes-no", "choice", "text"
KINDS: Final = (NUMBER, YES_NO, CHOICE, TEXT)
MOST_CHOICES: Final = 10  # where it is not known how many there are: later letters are rarely meant as one

# "the answer (arabic numerals) is", "final answer:", and the mark of GSM8K.
_CUE = re.compile(r"\banswer\b[^.\n]{0,40}?(?:\bis\b|:|=)|####", re.IGNORECASE)
# AQuA's rationales end in "Answer D" and "ANSWER:C" too; "answer choices:" announces a list.
_CHOICE_CUE = re.compile(
    r"\b(?:answer|option|choice)\b(?!\s+choices)(?:[^.\n]{0,40}?(?:\bis\b|:|=))?|####", re.IGNORECASE
)
_NUMBER = re.compile(
    r"(?<![\w.])([-\u2212]?)[$£€]?((?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)
_YES_NO = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)
# Elsewhere in a sentence "no" is too common a word.
_SENTENCE_YES_NO = re.compile(r"(?:^|[.!?:\n])\s*(yes\b|no\b|(?:true|false)(?=\s*(?:[.,;!]|$)))", re.IGNORECASE)
_SAYS_YES: Final = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_IN_BRACKETS = re.compile(r"\(([A-Za-z])\)")
_LETTER = re.compile(r"\(([A-Za-z])\)|(?<![\w'])([A-Z])(?![\w'])")
_LONE_LETTER = re.compile(r"\W*([A-Za-z])(?:[).:]|\W*$)")
# "A train", "I think": no letter where a surer one stands; "A because" and the like are one.
_A_WORD = re.compile(r"[AI] (?!(?:and|as|because|but|for|is|not|or|since)\b)[a-z]")
_CLAUSE_END = re.compile(r"\n|\.\s|\.$")
# Periods behind initials and abbreviations ("J. K.", "St. Ives", "vol. 3") end nothing; behind a short word they do
# before a sentence.
_TEXT_END = re.compile(r"\n|(?<=\w{4})\.\s|(?:(?<=\b[a-z]{3})|(?<=\b[A-Z]{2})|(?<=\b[A-Z]{3}))\.\s+(?=[A-Z][a-z])")
_STATED_CHOICE = re.compile(
    r"\s*\b(?:the\s+)?(?:correct\s+)?(?:answer|option)\b(?:\s+is)?(?:\s+option)?\s*[:=]?\s*\(?[A-Z]\)?[\s.]*$",
    re.IGNORECASE,
)


class Extracted(NamedTuple):
    """What was read.

    Attributes:
        value: The answer in canonical form; None where there is none.
        rule: "cue" when it stood behind a cue, "last" when it was what stood last, "none".
    """

    value: str | None
    rule: str


def check_kind(kind: str) -> None:
    """Makes sure that a kind of answer is known.

    Args:
        kind: The name.

    Raises:
        UnknownNameError: When it is not one of `KINDS`.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of answer", kind, known=KINDS)


def canonical_number(text: str) -> str | None:
    """Writes a number in one way only, without rounding it.

    Args:
        text: A text that is one number: "1,234.50", "-$7", "+0.0".

    Returns:
        Digits without thousands separators or needless zeros ("1234.5", "-7", "0"); None when it is no number.
    """
    match = _NUMBER.fullmatch(text.strip().removeprefix("+").removesuffix("%"))
    return _number_of(match) if match else None


def canonical_answer(text: str, kind: str) -> str:
    """Writes a gold answer in the form in which answers are read.

    Args:
        text: The answer as it stands in a data file.
        kind: One of `KINDS`.

    Returns:
        Its canonical form.

    Raises:
        UnknownNameError: When the kind is not known.
        UsageError: When the text is no answer of that kind.
    """
    check_kind(kind)
    stripped = text.strip()
    found: str | None = stripped or None
    if kind == NUMBER:
        found = canonical_number(stripped)
    elif kind == YES_NO:
        found = _SAYS_YES.get(stripped.casefold())
    elif kind == CHOICE:
        letter = stripped.strip("().").upper()
        found = letter if len(letter) == 1 and letter in LETTERS else None
    if found is None:
        raise UsageError(
            f"the answer {text!r} is no {kind}",
            expected={NUMBER: "a number", YES_NO: "yes or no", CHOICE: f"a letter of {LETTERS}"}.get(kind, "a text"),
            remedy="Correct the row or name another kind of answer.",
        )
    return found


def extract_answer(text: str, kind: str, *, cued: bool = False, choices: int = MOST_CHOICES) -> Extracted:
    """Reads the answer in a text.

    Args:
        text: What was written.
        kind: One of `KINDS`.
        cued: Whether the text begins right behind a cue, which stood in the prompt.
        choices: How many letters may be answered.

    Returns:
        The answer and the rule that found it.

    Raises:
        UnknownNameError: When the kind is not known.
    """
    check_kind(kind)
    for behind in [text] if cued else _behind_cues(text, kind):
        line = behind.lstrip(" \t\n:=*")
        clause = (_TEXT_END if kind == TEXT else _CLAUSE_END).split(line)[0]
        value = _first(clause, kind, choices)
        if value is not None:
            return Extracted(value, "cue")
    value = _last(text, kind, choices)
    return Extracted(value, "none" if value is None else "last")


def same_answer(found: str | None, gold: str, kind: str) -> bool:
    """Compares an answer with the gold one.

    Args:
        found: The answer; None is never right.
        gold: The gold answer.
        kind: One of `KINDS`.

    Returns:
        Whether they are the same; texts without regard to case and white space.
    """
    if found is None:
        return False
    return exact_match(found, gold) if kind == TEXT else canonical_answer(found, kind) == canonical_answer(gold, kind)


def shown_answer(answer: str, kind: str) -> str:
    """Writes an answer as it stands in a demonstration.

    Args:
        answer: In canonical form.
        kind: One of `KINDS`.

    Returns:
        The text; a letter in brackets.
    """
    return f"({answer})" if kind == CHOICE else answer


def without_stated_choice(rationale: str) -> str:
    """Takes the closing "Answer D" from a rationale, which the demonstration states itself.

    Args:
        rationale: As it stands in the data.

    Returns:
        The rationale; as it is where nothing else would be left.
    """
    return _STATED_CHOICE.sub("", rationale).rstrip() or rationale


def _behind_cues(text: str, kind: str) -> list[str]:
    """What stands behind each cue, the last cue first; of choices, which are weighed one by one, behind the last."""
    if kind == CHOICE:
        return [text[cue.end() :] for cue in list(_CHOICE_CUE.finditer(text))[-1:]]
    return [text[cue.end() :] for cue in reversed(list(_CUE.finditer(text)))]


def _number_of(match: re.Match[str]) -> str:
    whole, _, fraction = match[2].replace(",", "").partition(".")
    digits = whole.lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    plain = f"{digits}.{fraction}" if fraction else digits
    return f"-{plain}" if match[1] and plain != "0" else plain


def _first(clause: str, kind: str, choices: int) -> str | None:
    """The answer that stands first; of an equation its right-hand side, unless the left is a number by itself."""
    if kind == NUMBER:
        left, _, right = clause.rpartition("=")
        found = (canonical_number(left) and _NUMBER.search(left)) or _NUMBER.search(right) or _NUMBER.search(clause)
        return _number_of(found) if found else None
    if kind == YES_NO:
        said = _YES_NO.search(clause)
        return _SAYS_YES[said[1].casefold()] if said else None
    if kind == CHOICE:
        marked = list(_LETTER.finditer(clause))
        surer = [match for match in marked if not _A_WORD.match(clause, match.start())]
        letters = [(match[1] or match[2]).upper() for match in (*surer, *marked)]
        lone = _LONE_LETTER.match(clause)
        known = [letter for letter in [*letters, *([lone[1].upper()] if lone else [])] if letter in LETTERS[:choices]]
        return known[0] if known else None
    return clause.strip(" \"'*").removesuffix(".").strip(" \"'*") or None


def _last(text: str, kind: str, choices: int) -> str | None:
    """The answer that stands last, where no cue announces one."""
    if kind == NUMBER:
        numbers = list(_NUMBER.finditer(text))
        return _number_of(numbers[-1]) if numbers else None
    if kind == YES_NO:
        said = _SENTENCE_YES_NO.findall(text)
        return _SAYS_YES[said[-1].casefold()] if said else None
    if kind == CHOICE:
        known = [letter for found in _IN_BRACKETS.findall(text) if (letter := found.upper()) in LETTERS[:choices]]
        lone = _LONE_LETTER.match(text)
        if not known and lone and lone[1].upper() in LETTERS[:choices]:
            known = [lone[1].upper()]
        return known[-1] if known else None
    lines = [line.strip(" \"'*.") for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), None)
