"""Fits demonstrations into the context window. It knows nothing of how requests are worded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from selector.errors import PromptTooLongError
from selector.lm.base import LanguageModel
from selector.types import Query, Selection

logger = logging.getLogger(__name__)


def fitted_selection(
    query: Query,
    selection: Selection,
    *,
    lm: LanguageModel,
    reserve: int,
    texts: Callable[[Query, Selection], Sequence[str]],
) -> Selection:
    """Drops whole demonstrations from the front until everything that is asked fits.

    Args:
        query: The query.
        selection: Its demonstrations.
        lm: Counts tokens.
        reserve: Tokens that are kept free for what will be written.
        texts: Gives the texts that are asked, each as a whole.

    Returns:
        A suffix of the selection.

    Raises:
        PromptTooLongError: When the query does not fit even without demonstrations.
    """
    window, fitted = lm.context_length, selection
    while True:
        asked = texts(query, fitted)
        # A token covers at least one byte, so short texts fit without being counted.
        if max(len(text.encode()) for text in asked) + 8 + reserve <= window:
            return fitted
        tokens = max(lm.count_tokens(asked)) + 1 + reserve  # one for a beginning-of-text token
        if tokens <= window:
            return fitted
        if not fitted.indices:
            raise PromptTooLongError(tokens=tokens, context_length=window, uid=query.uid)
        logger.info("query %s: a demonstration is dropped, %d tokens exceed %d", query.uid, tokens, window)
        fitted = Selection(fitted.indices[1:], fitted.scores[1:])
