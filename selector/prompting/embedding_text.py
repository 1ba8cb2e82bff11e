"""The text forms that encoders and BM25 see. They know nothing of prompt templates."""

from __future__ import annotations

from selector.types import Example


def input_text(example: Example) -> str:
    """Joins the input fields of an example.

    Args:
        example: A query or a demonstration; its label is not used.

    Returns:
        The field values, one per line.
    """
    return "\n".join(example.fields.values())


def labelled_text(example: Example) -> str:
    """Joins the input fields and the label: the form in which EPR indexes demonstrations (Rubin et al., 2022).

    Args:
        example: A demonstration.

    Returns:
        The field values and, where known, the label name, one per line.
    """
    return input_text(example) + (f"\n{example.label}" if example.label is not None else "")
