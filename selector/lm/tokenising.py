"""Which tokens of a text are its completion's.

A text is tokenised once, as a whole; every token that reaches beyond the end of the prompt belongs to the completion.
Scoring and training share this, so that what is trained is what is scored. Nothing here knows of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selector.errors import UsageError
from selector.lm.prefix_tree import TokenRequest


def beginning_token(tokenizer: Any) -> int:
    """Finds the token that stands for the beginning of a text.

    Args:
        tokenizer: A tokenizer of transformers.

    Returns:
        Its beginning-of-text token, else its end-of-text or padding token, else 0.
    """
    candidates = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return next((int(token) for token in candidates if token is not None), 0)


def token_requests(tokenizer: Any, prompts: Sequence[str], completions: Sequence[str]) -> list[TokenRequest]:
    """Tokenises completions as they stand behind their prompts.

    Args:
        tokenizer: A fast tokenizer of transformers.
        prompts: P prompts; may be empty.
        completions: P completions, none empty.

    Returns:
        P requests.

    Raises:
        UsageError: When a completion is empty or has no token of its own.
    """
    if not all(completions):
        raise UsageError(
            "an empty completion was asked for",
            expected="a text to score behind the prompt",
            remedy="Give every label a verbalizer, and every query a text.",
        )
    if not prompts:
        return []
    full = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    texts = list(dict.fromkeys(full))
    encoded = tokenizer(texts, return_offsets_mapping=True, return_special_tokens_mask=True)
    row = {text: number for number, text in enumerate(texts)}
    beginning = beginning_token(tokenizer)
    requests = []
    for prompt, text in zip(prompts, full, strict=True):
        number = row[text]
        ids, special = encoded["input_ids"][number], encoded["special_tokens_mask"][number]
        first, length = _completion_tokens(encoded["offset_mapping"][number], special, prompt_length=len(prompt))
        if first == 0:  # nothing stands before the completion, so it is conditioned on the beginning of a text
            requests.append(TokenRequest((beginning, *ids[:length]), 1))
        else:
            requests.append(TokenRequest(tuple(ids[:length]), first))
    return requests


def _completion_tokens(
    offsets: Sequence[tuple[int, int]], special: Sequence[int], *, prompt_length: int
) -> tuple[int, int]:
    """The first token of the completion, and the number of tokens."""
    length = len(offsets)
    while length and special[length - 1]:  # an end-of-text token that the tokenizer appends is not ours
        length -= 1
    first = next((at for at in range(length) if not special[at] and offsets[at][1] > prompt_length), None)
    if first is None:
        raise UsageError(
            "a completion has no token of its own; the tokenizer drops its text",
            expected="a completion of more than blanks",
            remedy="Give every label a verbalizer with a visible character.",
        )
    return first, length
