"""The template of those who give none: one line for each field, and one for the label."""

from __future__ import annotations

from collections.abc import Sequence

from selector.prompting.template import LABEL, PromptTemplate


def verbalized(template: str, labels: Sequence[str]) -> PromptTemplate:
    """Makes a template whose labels stand for themselves behind a space.

    Args:
        template: One example, with `{label}` exactly once.
        labels: The labels.

    Returns:
        The template.

    Raises:
        TemplateError: When it lacks its label or an input field.
    """
    return PromptTemplate(template=template, verbalizers={label: f" {label}" for label in labels})


def plain_template(fields: Sequence[str], labels: Sequence[str]) -> PromptTemplate:
    """Makes a template of lines such as "text: ..." and "label: ...".

    Args:
        fields: The input fields.
        labels: The labels.

    Returns:
        The template.

    Raises:
        TemplateError: When a field's name is no plain name.
    """
    return verbalized("\n".join(f"{name}: {{{name}}}" for name in fields) + f"\n{LABEL}:{{{LABEL}}}", labels)
