"""Where the answer stands in what a language model writes behind a query, by the wording of the template.

Pure functions over texts; what the answer is compared by belongs to `selector.inference.answers`.
"""

from __future__ import annotations

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
        All of it; behind a rationale, what follows the last text that parts it from the label, where that was written.
        What stands behind the label is left out.
    """
    before, behind = (text.strip() for text in template.around_label)
    answer = written
    if template.rationales:
        parting = before or ("\n" if "\n" in template.around_label[0] else "")
        answer = written.strip().rpartition(parting)[2] if parting else written
    return answer.strip().removesuffix(behind).strip()
