"""Reads where a causal model of transformers looks.

Only plain ("eager") attention tells its weights, so the model is switched to it for the while. The last token's weights
cost one token beside a normal pass: the tokens before it go through a kept prefix. This module knows nothing of
demonstrations; `selector.inspection` says what the weights mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from selector.errors import UsageError
from selector.lm.base import LanguageModel
from selector.lm.tokenising import beginning_token

Weights = npt.NDArray[np.float32]


class LastAttention(NamedTuple):
    """The attention of the last token of a text.

    Attributes:
        weights: (layers, heads, T); the last axis sums to 1.
        spans: (T, 2) where each token stands in the text, characters; a token of its own has an empty span.
    """

    weights: Weights
    spans: npt.NDArray[np.int64]


class AttentionReader:
    """Reads the attention of one model.

    Args:
        model: A causal model of transformers.
        tokenizer: Its fast tokenizer.
        turn: Held while the model works.
        reading: Held while the tokenizer works.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        turn: AbstractContextManager[Any],
        reading: AbstractContextManager[Any],
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._turn = turn
        self._reading = reading

    @property
    def ordinary_tokens(self) -> npt.NDArray[np.int64]:
        """The ids of the vocabulary without special tokens, ascending."""
        special = set(self._tokenizer.all_special_ids)
        size = int(self._model.config.get_text_config().vocab_size)
        return np.array([token for token in range(min(size, len(self._tokenizer))) if token not in special])

    @property
    def beginning(self) -> int:
        """The token that stands for the beginning of a text."""
        return beginning_token(self._tokenizer)

    def of_last_token(self, text: str) -> LastAttention:
        """Reads where the last token of a text looks: the position from which the next token is predicted.

        Args:
            text: Not empty.

        Returns:
            Weights and where the tokens stand.

        Raises:
            UsageError: When the text is empty or the model does not give its attention.
        """
        with self._reading:
            encoded = self._tokenizer(text, return_offsets_mapping=True)
        ids = torch.tensor([encoded["input_ids"]], device=self._model.device)
        length = ids.shape[1]
        if length < 2:
            raise UsageError("a text of fewer than two tokens is looked into", expected="a prompt", remedy="Write one.")
        with self._turn, torch.inference_mode():
            kept = self._model(ids[:, :-1], use_cache=True).past_key_values
            with self._eager():
                output = self._model(ids[:, -1:], past_key_values=kept, use_cache=True, output_attentions=True)
        given = self._given(output)
        weights = np.zeros((len(given), given[0].shape[1], length), dtype=np.float32)
        for layer, own in enumerate(given):
            seen = own[0, :, 0].float().cpu().numpy()  # (heads, T), or less where the layer's window is shorter
            weights[layer, :, length - seen.shape[-1] :] = seen
        return LastAttention(weights, np.array(encoded["offset_mapping"], dtype=np.int64))

    def of_tokens(self, tokens: Sequence[int]) -> Weights:
        """Reads where every token of a sequence looks.

        Args:
            tokens: T token ids.

        Returns:
            (layers, heads, T, T), from row to column.

        Raises:
            UsageError: When the model does not give its attention.
        """
        ids = torch.tensor([list(tokens)], device=self._model.device)
        with self._turn, torch.inference_mode(), self._eager():
            output = self._model(ids, use_cache=False, output_attentions=True)
        read: Weights = np.stack([own[0].float().cpu().numpy() for own in self._given(output)])
        return read

    @contextmanager
    def _eager(self) -> Iterator[None]:
        before = self._model.config._attn_implementation
        try:
            self._model.set_attn_implementation("eager")
        except ValueError as error:
            raise _silent(type(self._model).__name__) from error
        try:
            yield
        finally:
            self._model.set_attn_implementation(before)

    def _given(self, output: Any) -> Sequence[torch.Tensor]:
        given = getattr(output, "attentions", None)
        if not given or any(own is None for own in given):
            raise _silent(type(self._model).__name__)
        attentions: Sequence[torch.Tensor] = given
        return attentions


def attention_reader(lm: LanguageModel) -> AttentionReader:
    """Finds the attention of a language model, behind a score store too.

    Args:
        lm: The language model.

    Returns:
        Its reader.

    Raises:
        UsageError: When the model runs elsewhere, or is of a kind without attention.
    """
    own = getattr(lm, "behind", lm)
    read = getattr(own, "attention_reader", None)
    if read is None:
        raise _silent(type(own).__name__)
    reader: AttentionReader = read()
    return reader


def _silent(name: str) -> UsageError:
    return UsageError(
        f"{name} does not show its attention",
        expected="a model of transformers with softmax attention, loaded in this process",
        remedy="Set [lm] model to a local model without server or cluster, or pass --no-attention.",
    )
