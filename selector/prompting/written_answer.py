"""Where the answer stands in what a language model writes behind a query, by the wording of the template.

Pure functions over texts; what the answer is compared by belongs to `selector.inference.answers`.
"""

from __future__ import annotations

import re

from selector.prompting.template import PromptTemplate


def answer_ends(template: PromptTemplate) -> tuple[str, ...]:
    """Gives the texts that end a free-text answer: what stands behind `{label}`, and the separator.

    A full stop behind it ends an answer only before white space, for it stands in numbers too. Where a rationale is
    written first, what stands behind the label may well stand in it, and ends nothing.

    Args:
        template: The template.

    Returns:
        Stop texts, all different.
    """
    behind = "" if template.rationales else template.around_label[1]
    ends = (". ", ".\n") if behind == "." else (behind,)
    return tuple(dict.fromkeys(text for text in (*ends, template.separator) if text))


def answer_in(template: PromptTemplate, written: str) -> str:
    """Takes the answer out of what was written.

    Args:
        template: The template.
        written: What was written behind a query, up to where it ended.

    Returns:
        All of it; behind a rationale, what follows the last text that parts it from the label, where that was written
        and something follows. What stands behind the label is left out.
    """
    before, behind = template.around_label
    answers = [written]
    if template.rationales:
        answers = [written[found.end() :] for found in reversed(_partings(before, written))] + answers
    bare = (answer.strip().removesuffix(behind.strip()).strip() for answer in answers)
    return next((answer for answer in bare if answer), "")


def _partings(before: str, written: str) -> list[re.Match[str]]:
    """Where the text that parts a rationale from its label stands as a whole: " is" is no part of "Paris"."""
    bare = before.strip()
    if not bare:
        return list(re.finditer(r"\n", written.rstrip())) if "\n" in before else []
    starts = r"(?<!\w)" if bare[0].isalnum() else ""
    ends = r"(?!\w)" if bare[-1].isalnum() else r"(?=\s)"
    return list(re.finditer(starts + re.escape(bare) + ends, written))
