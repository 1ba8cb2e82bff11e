"""Whether a model's scores come out right when they are computed by prefix trees.

A model whose attention follows rules that a tree pass does not know would give wrong scores without any error. What
can be read from its configuration is refused at once, the rest is found by scoring a few sequences both ways. This
module knows token ids only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from selector.lm.memory import MemoryPlan
from selector.lm.plain_scoring import PlainScorer
from selector.lm.prefix_tree import TokenRequest
from selector.lm.tree_scoring import TreeScorer

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}  # nats
ROPE_OF_LENGTH = ("dynamic", "longrope")  # their angles depend on more than a token's own position
TOKENS = 12  # of the sequences scored both ways
MOST_TOKENS = 128  # they are longer where a window can be crossed by so many
WINDOWED = "sliding_attention"
CHUNKED = "chunked_attention"


def why_no_trees(model: Any, plain: PlainScorer) -> str | None:
    """Scores sequences with common beginnings both ways, as trees and one by one.

    Args:
        model: A causal model of transformers.
        plain: Scores with the same model's own forward pass.

    Returns:
        Why the model must not be scored by trees; None when it may.
    """
    text = model.config.get_text_config()
    if any(kind in ROPE_OF_LENGTH for kind in _rope_kinds(text)):
        return "its rotary embedding changes with the length of the longest sequence"
    chunk = _crossed(text, "attention_chunk_size")
    if chunk and CHUNKED in (getattr(text, "layer_types", None) or [CHUNKED]):
        return f"its attention sees chunks of {chunk} tokens, a window that trees do not know"
    length = _length(text)
    tokens = [(7 * at * at + 3) % int(text.vocab_size) for at in range(length)]
    half = length // 2
    ends = [(at, length) for at in (half, half + 2, half + 3, half + 4)]
    requests = [TokenRequest((*tokens[:half], *tokens[start:end]), half - 1) for start, end in ends]
    expected = np.array([float(plain.logprobs([request])[0][0]) for request in requests])
    few = MemoryPlan(budget=0, chunk_tokens=4, chunk_reads=4, block_rows=3)  # chunks and blocks end within sequences
    scorer = TreeScorer(model, memory=few)
    try:
        found, _ = scorer.logprobs(requests)
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
        return f"its attention takes no tree-shaped mask ({error})"
    if _windows_hidden(text, scorer.windows):
        return f"its attention does not tell its window of {text.sliding_window} tokens"
    difference = float(np.abs(expected - found).max())
    if not difference <= TOLERANCE.get(model.dtype, 0.5):
        return f"tree scores differ by {difference:.3g} nats"
    return None


def _length(text: Any) -> int:
    """How long a sequence must be to cross the window, where that is cheap; longer windows must be told of."""
    window = _crossed(text, "sliding_window")
    return window + TOKENS if window + TOKENS <= MOST_TOKENS else TOKENS


def _windows_hidden(text: Any, told: tuple[int | None, ...]) -> bool:
    """Whether a layer masks a window that it did not pass to its attention function."""
    if not _crossed(text, "sliding_window"):
        return False
    kinds = getattr(text, "layer_types", None)
    # Without kinds of layers the window holds for all of them.
    expected = len(told) if kinds is None else sum(kind == WINDOWED for kind in kinds)
    return sum(size is not None for size in told) < expected


def _crossed(text: Any, name: str) -> int:
    """The size of a window that a text can be longer than; 0 when there is none."""
    size, longest = getattr(text, name, None), getattr(text, "max_position_embeddings", None)
    return size if isinstance(size, int) and (longest is None or size < longest) else 0


def _rope_kinds(text: Any) -> Iterator[str]:
    """The kinds of rotary embedding that a configuration names, also where each kind of layer has one of its own."""
    for name in ("rope_parameters", "rope_scaling"):
        settings = getattr(text, name, None)
        waiting = [settings] if isinstance(settings, Mapping) else []
        while waiting:
            settings = waiting.pop()
            for key, value in settings.items():
                if isinstance(value, Mapping):
                    waiting.append(value)
                elif key in ("rope_type", "type"):
                    yield str(value)
