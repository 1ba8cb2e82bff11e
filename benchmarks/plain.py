"""What one would write without an engine: padded batches through transformers, logits at the last positions only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch


def first_token_seconds(model: Any, tokenizer: Any, prompts: Sequence[str], *, batch: int = 16) -> float:
    """Reads the distribution behind each prompt: all labels, but only the first token of each.

    Args:
        model: A causal model of transformers.
        tokenizer: Its tokenizer.
        prompts: The prompts, in the order in which they came.
        batch: Prompts in a padded batch.

    Returns:
        Seconds.
    """
    return _seconds(model, tokenizer, list(prompts), batch=batch)


def every_label_seconds(
    model: Any, tokenizer: Any, prompts: Sequence[str], labels: Sequence[str], *, batch: int = 16
) -> float:
    """Scores every token of every label: one row for each label of each prompt, as exact as the engine.

    Args:
        model: A causal model of transformers.
        tokenizer: Its tokenizer.
        prompts: The prompts, in the order in which they came.
        labels: The completions.
        batch: Rows in a padded batch.

    Returns:
        Seconds.
    """
    return _seconds(model, tokenizer, [prompt + label for prompt in prompts for label in labels], batch=batch, last=4)


def _seconds(model: Any, tokenizer: Any, texts: list[str], *, batch: int, last: int = 1) -> float:
    tokenizer.padding_side = "left"  # so that the last position is the end of every text
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    start = time.perf_counter()
    with torch.inference_mode():
        for at in range(0, len(texts), batch):
            inputs = tokenizer(texts[at : at + batch], return_tensors="pt", padding=True)
            positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                position_ids=positions,
                logits_to_keep=last,
                use_cache=False,
            ).logits.float().log_softmax(-1)
    return time.perf_counter() - start
