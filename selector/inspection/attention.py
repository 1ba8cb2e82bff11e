"""What attention weights say of demonstrations and of heads. Formulas; the weights come from `selector.lm.attention`.

Attention is where a model looks, not why it answers: influence (`selector.inspection.effects`) is the measure of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.attention import AttentionReader, LastAttention, Weights, attention_reader
from selector.types import Query, Selection

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AttentionMass:
    """Where the last token of a prompt looks, by layer, as means over heads.

    Attributes:
        demonstrations: (layers, k) share of each demonstration, in prompt order.
        query: (layers,) share of the query with the text up to its label.
        beginning: (layers,) share of the first token and of an instruction; much attention rests on a first token that
            means nothing (Xiao et al., 2024).
    """

    demonstrations: Shares
    query: Shares
    beginning: Shares


def share_of_spans(attention: LastAttention, spans: Sequence[tuple[int, int]]) -> Shares:
    """Adds up attention over stretches of a text.

    A token belongs to the stretch that holds its last character; the first token of the text to none.

    Args:
        attention: Of the last token.
        spans: S stretches, characters, end exclusive.

    Returns:
        (layers, S) means over heads.
    """
    ends = attention.spans[:, 1] - 1
    by_layer = attention.weights.astype(np.float64).mean(axis=1)  # (layers, T)
    inside = np.array([(ends >= start) & (ends < end) for start, end in spans], dtype=np.float64)  # (S, T)
    if len(spans):
        inside[:, 0] = 0
    shares: Shares = by_layer @ inside.reshape(len(spans), by_layer.shape[1]).T
    return shares


def attention_mass(engine: InferenceEngine, query: Query, selection: Selection) -> AttentionMass:
    """Reads how much the position before the label looks at each demonstration, in the prompt of direct scoring.

    Args:
        engine: Its language model shows its attention.
        query: The query.
        selection: Demonstrations that fit into the window.

    Returns:
        The shares; with those of the first token and an instruction they sum to 1 in every layer.

    Raises:
        UsageError: When the language model does not show its attention.
    """
    reader = attention_reader(engine.lm)
    shown = [engine.pool[index] for index in selection.indices]
    template = engine.template
    ends = [len(template.context(shown[:count])) for count in range(len(shown) + 1)]
    prompt = template.prompt(shown, query)
    spans = [*pairwise(ends), (ends[-1], len(prompt))]
    shares = share_of_spans(reader.of_last_token(prompt), spans)
    return AttentionMass(shares[:, :-1], shares[:, -1], 1 - shares.sum(axis=1))


def induction_scores(attention: Weights, *, period: int, start: int = 0) -> Shares:
    """Computes the prefix-matching score of heads (Olsson et al., 2022, "In-context Learning and Induction Heads").

    The sequence is random tokens and the same once more. A head's score is its mean attention, from tokens of the
    second half, to the token behind their first occurrence: 1 for an ideal induction head, about 1 / T for one that
    looks everywhere.

    Args:
        attention: (layers, heads, T, T) from row to column, T = start + 2 * period.
        period: Length of the repeated part, tokens.
        start: Tokens that stand before it.

    Returns:
        (layers, heads).
    """
    rows = np.arange(start + period, start + 2 * period)
    scores: Shares = attention[:, :, rows, rows - period + 1].astype(np.float64).mean(axis=-1)
    return scores


def model_induction_scores(reader: AttentionReader, *, period: int = 50, samples: int = 4, seed: int = 0) -> Shares:
    """Scores the heads of a model on repeated random tokens behind its beginning-of-text token.

    Args:
        reader: Reads the model's attention.
        period: Length of the repeated part, tokens.
        samples: Random sequences that are averaged over.
        seed: Seeds them.

    Returns:
        (layers, heads).

    Raises:
        UsageError: When the model does not show its attention, or a setting is less than 1.
    """
    if period < 1 or samples < 1:
        raise UsageError(
            f"{samples} sequences of {period} tokens are asked for", expected="1 or more", remedy="Correct it."
        )
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(samples):
        drawn = [int(token) for token in generator.choice(reader.ordinary_tokens, period)]
        attention = reader.of_tokens([reader.beginning, *drawn, *drawn])
        parts.append(induction_scores(attention, period=period, start=1))
    scores: Shares = np.mean(parts, axis=0)
    return scores
