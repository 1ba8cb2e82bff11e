"""Tests of attention: the weights that are read, and what is computed of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.inspection.attention import attention_mass, induction_scores, model_induction_scores, share_of_spans
from selector.inspection.effects import explain
from selector.inspection.page import page
from selector.lm.attention import LastAttention, attention_reader
from selector.lm.cache import CachedLanguageModel, ScoreStore
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.testing import ToyLanguageModel, planted_pool, planted_template
from selector.types import Example, Selection

QUERY = Example("q", {"text": "the <plot> is warm"}, "fresh")


@pytest.fixture
def lm(tiny_llama: tuple[Any, Any]) -> HuggingFaceLanguageModel:
    model, tokenizer = tiny_llama
    return HuggingFaceLanguageModel(model, tokenizer, fingerprint="tiny")


def test_the_last_row_is_that_of_a_plain_eager_pass(lm: HuggingFaceLanguageModel, tiny_llama: tuple[Any, Any]) -> None:
    """Guards the two passes (kept prefix, then one token) against one pass, and that scoring is as it was before."""
    model, tokenizer = tiny_llama
    text = "Review: the plot is warm\nSentiment:"
    before = lm.logprobs([text], [" fresh"])[0].logprob
    reader = attention_reader(lm)
    read = reader.of_last_token(text)
    ids = tokenizer(text)["input_ids"]
    whole = reader.of_tokens(ids)
    assert read.weights == pytest.approx(whole[:, :, -1], abs=1e-5)
    assert read.weights.shape == (2, 4, len(ids))
    assert read.weights.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    assert np.triu(whole[0, 0], 1).max() == 0
    assert model.config._attn_implementation == "sdpa"
    assert lm.logprobs([text], [" fresh"])[0].logprob == pytest.approx(before, abs=1e-5)


def test_windows_of_layers_are_filled_with_nothing() -> None:
    """Guards models whose layers keep the last few tokens only: their weights must not move to the text's start."""
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "vocab_size": 400, "max_position_embeddings": 128, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.MistralForCausalLM(transformers.MistralConfig(**shape, **more, sliding_window=5)).eval()

    class Letters:
        all_special_ids = (0,)
        bos_token_id = 0

        def __call__(self, text: str, **_: object) -> dict[str, list[Any]]:
            numbers = [1 + ord(letter) % 300 for letter in text]
            return {"input_ids": numbers, "offset_mapping": [(at, at + 1) for at in range(len(text))]}

    from threading import Lock

    from selector.lm.attention import AttentionReader

    read = AttentionReader(model, Letters(), turn=Lock(), reading=Lock()).of_last_token("abcdefghijklm")
    assert read.weights.shape == (2, 4, 13)
    assert read.weights[:, :, :8].max() == 0
    assert read.weights.sum(axis=-1) == pytest.approx(1, abs=1e-5)


def test_tokens_belong_to_the_stretch_of_their_last_character() -> None:
    """Guards the borders: a token over a border counts once, the first token and tokens of no text not at all."""
    weights = np.array([[[0.4, 0.1, 0.2, 0.3]], [[0.0, 0.5, 0.0, 0.5]]], dtype=np.float32)
    read = LastAttention(weights, np.array([(0, 0), (0, 3), (3, 6), (6, 8)]))
    assert share_of_spans(read, [(0, 5), (5, 8)]) == pytest.approx(np.array([[0.1, 0.5], [0.5, 0.5]]))
    begun = LastAttention(weights, np.array([(0, 2), (2, 3), (3, 6), (6, 8)]))
    assert share_of_spans(begun, [(0, 5), (5, 8)]) == pytest.approx(np.array([[0.1, 0.5], [0.5, 0.5]]))
    assert share_of_spans(begun, []).shape == (2, 0)


def test_shares_of_a_prompt_are_whole(lm: HuggingFaceLanguageModel) -> None:
    """Guards spans that miss or double a part of the prompt: everything adds up to 1 in every layer."""
    engine = InferenceEngine(lm, planted_template(), planted_pool())
    mass = attention_mass(engine, QUERY, Selection.of(2, 7, 4))
    assert mass.demonstrations.shape == (2, 3)
    assert mass.demonstrations.min() > 0
    assert mass.beginning.min() > 0
    assert mass.demonstrations.sum(axis=1) + mass.query + mass.beginning == pytest.approx(1)
    bare = attention_mass(engine, QUERY, Selection.of())
    assert bare.demonstrations.shape == (2, 0)


def test_an_ideal_induction_head_scores_one_and_a_blind_one_little() -> None:
    """Guards the offset of the formula: the token behind the first occurrence, neither that one nor the next."""
    period, start = 6, 1
    size = start + 2 * period
    attention = np.zeros((1, 3, size, size), dtype=np.float32)
    for row in range(size):
        attention[0, 0, row, max(0, row - period + 1)] = 1  # looks behind the first occurrence
        attention[0, 1, row, max(0, row - period)] = 1  # looks at the first occurrence
        attention[0, 2, row, : row + 1] = 1 / (row + 1)  # looks everywhere
    scores = induction_scores(attention, period=period, start=start)[0]
    assert (scores[0], scores[1]) == (1, 0)
    assert scores[2] == pytest.approx(np.mean([1 / (row + 1) for row in range(start + period, size)]))


def test_heads_of_a_model_are_scored(lm: HuggingFaceLanguageModel) -> None:
    """Guards the random sequences: seeded, within the vocabulary, and shares between 0 and 1."""
    reader = attention_reader(lm)
    scores = model_induction_scores(reader, period=8, samples=2)
    assert scores.shape == (2, 4)
    assert 0 <= scores.min() < scores.max() <= 1
    assert np.array_equal(scores, model_induction_scores(reader, period=8, samples=2))
    assert 0 not in reader.ordinary_tokens
    with pytest.raises(UsageError):
        model_induction_scores(reader, period=0)


def test_a_model_that_shows_no_attention_says_so(lm: HuggingFaceLanguageModel, tmp_path: Any) -> None:
    """Guards servers, clusters and toys against a traceback; a score store does not stand in the way."""
    with pytest.raises(UsageError, match="ToyLanguageModel does not show its attention"):
        attention_reader(ToyLanguageModel())
    assert attention_reader(CachedLanguageModel(lm, ScoreStore(tmp_path / "scores.sqlite"))).beginning == 0


def test_the_page_is_whole_and_escapes_texts(lm: HuggingFaceLanguageModel) -> None:
    """Guards the plot: self-contained, one bar for each effect, and a text that holds markup stays text."""
    engine = InferenceEngine(lm, planted_template(), planted_pool())
    found = explain(engine, QUERY, Selection.of(2, 7))
    mass = attention_mass(engine, QUERY, found.selection)
    html = page("A <task>", [found, explain(engine, QUERY, Selection.of())], [mass, mass], np.eye(2))
    assert "&lt;plot&gt;" in html
    assert "A &lt;task&gt;" in html
    assert "<plot>" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("<svg") == 3
    assert html.count("<rect") == 2 * 3 + 2 * 4 + 2 * 2
    assert page("bare", [found]).count("<svg") == 1
