"""Templates as pieces: literal text and the name of the field behind it. What the names mean is not known here."""

from __future__ import annotations

import string
from collections.abc import Mapping

from selector.errors import TemplateError

Pieces = tuple[tuple[str, str | None], ...]


def parse_template(text: str) -> Pieces:
    """Splits a template into literal text and field names.

    Args:
        text: The template; `{name}` is a field, `{{` and `}}` are literal braces.

    Returns:
        Pairs of literal text and the name of the field behind it (None at the end).

    Raises:
        TemplateError: When braces do not match, or a field has a conversion or format.
    """
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(
            f"template {text!r} cannot be read ({error})",
            expected="fields in braces, literal braces doubled",
            remedy="Correct the template.",
        ) from error
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise TemplateError(
                f"template {text!r} holds the field {{{name}}} with a form that is not plain",
                expected="plain names such as {text}",
                remedy="Correct the template.",
            )
    return tuple((literal, name) for literal, name, _, _ in parsed)


def render(pieces: Pieces, values: Mapping[str, str]) -> str:
    """Fills a parsed template in a single pass.

    Args:
        pieces: From `parse_template`.
        values: Field name to text; inserted as they are.

    Returns:
        The text.
    """
    return "".join(literal + (values[name] if name is not None else "") for literal, name in pieces)
