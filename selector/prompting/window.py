"""Keeps a prompt that will be continued within the context window. It knows nothing of what the texts mean."""

from __future__ import annotations

from collections.abc import Sequence

from selector.errors import PromptTooLongError
from selector.lm.base import LanguageModel

SEPARATOR = "\n\n"  # behind the opening and every demonstration
BEGINNING = 1  # tokens; some models put one before every text


def fitted_prompt(
    lm: LanguageModel,
    shown: Sequence[str],
    query: str,
    *,
    reserve: int,
    uid: str,
    opening: str = "",
) -> str:
    """Joins demonstrations and a query, without the first demonstrations where the window is short.

    Args:
        lm: Counts tokens.
        shown: Demonstrations as texts, in prompt order.
        query: What the model goes on from; never cut.
        reserve: Tokens that are kept free for what will be written.
        uid: Of the query, for the error.
        opening: Stands before everything and is kept too; may be empty.

    Returns:
        The prompt.

    Raises:
        PromptTooLongError: When the query does not fit even alone.
    """
    for first in range(len(shown) + 1):
        kept = [*([opening] if opening else []), *shown[first:]]
        prompt = "".join(text + SEPARATOR for text in kept) + query
        # A token covers at least one byte, so short texts fit without being counted.
        if len(prompt.encode()) + BEGINNING + reserve <= lm.context_length:
            return prompt
        tokens = lm.count_tokens([prompt])[0] + BEGINNING + reserve
        if tokens <= lm.context_length:
            return prompt
    raise PromptTooLongError(tokens=tokens, context_length=lm.context_length, uid=uid)
