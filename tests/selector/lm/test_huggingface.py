"""Tests of the transformers language model against plain forward passes."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from selector.data.pool import Pool
from selector.errors import ModelLoadError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.prompting.template import PromptTemplate
from selector.testing import check_language_model, planted_examples, planted_pool
from selector.types import Selection


def plain_logprobs(model: Any, tokenizer: Any, prompt: str, completion: str) -> tuple[float, int]:
    """One prompt at a time, one forward pass, no sharing: what every score must equal."""
    encoded = tokenizer(prompt + completion, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    scored = [at for at, (_, end) in enumerate(offsets) if end > len(prompt)]
    if scored[0] == 0:
        ids, scored = [tokenizer.bos_token_id, *ids], [at + 1 for at in scored]
    with torch.inference_mode():
        # In double precision: a float32 log_softmax over a large vocabulary is off by 1e-5 nats a token.
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logprobs[at - 1, ids[at]]) for at in scored), len(scored)


def plain_scores(model: Any, tokenizer: Any, engine: InferenceEngine, query: Any, selection: Selection) -> list[float]:
    """The three scoring functions, written out by hand from the raw fields."""
    demos = [(engine.pool[index].fields["text"], engine.pool[index].label) for index in selection.indices]
    words = engine.template.verbalizers
    text = query.fields["text"]
    scores = []
    for label in engine.labels:
        shown = "".join(f"Review: {demo}\nSentiment:{words[gold]}\n\n" for demo, gold in demos)
        turned = "".join(f"Sentiment:{words[gold]}\nReview: {demo}\n\n" for demo, gold in demos)
        asked = {
            "direct": (f"{shown}Review: {text}\nSentiment:", words[label]),
            "ppl": (shown, f"Review: {text}\nSentiment:{words[label]}"),
            "channel": (f"{turned}Sentiment:{words[label]}", f"\nReview: {text}"),
        }[engine.scoring]
        total, tokens = plain_logprobs(model, tokenizer, *asked)
        scores.append(total / tokens if engine.scoring == "ppl" else total)
    return scores


def template() -> PromptTemplate:
    """Labels of one and of several tokens."""
    return PromptTemplate(
        template="Review: {text}\nSentiment:{label}",
        verbalizers={"fresh": " good", "rotten": " rather unconvincing"},
    )


@pytest.mark.parametrize("scoring", ["direct", "ppl", "channel"])
@pytest.mark.parametrize("shots", [0, 1, 3])
def test_scores_equal_plain_transformers(tiny_llama: tuple[Any, Any], scoring: str, shots: int) -> None:
    """Guards masks, positions, boundaries and vocabulary reads: fp32, 1e-4 nats, zero to few shot."""
    model, tokenizer = tiny_llama
    engine = InferenceEngine(
        HuggingFaceLanguageModel(model, tokenizer, fingerprint="tiny"), template(), planted_pool(), scoring=scoring
    )
    queries = planted_examples(5, seed=2, prefix="q")
    selections = [Selection.of(*range(number, number + shots)) for number in range(5)]
    expected = [
        plain_scores(model, tokenizer, engine, query, selection)
        for query, selection in zip(queries, selections, strict=True)
    ]
    assert engine.score(queries, selections) == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.bundled
@pytest.mark.parametrize("scoring", ["direct", "ppl", "channel"])
def test_bundled_scores_equal_plain_transformers(bundled_lm: LanguageModel, scoring: str) -> None:
    """Guards the same on real weights and a real tokenizer, where rotary positions and grouped heads matter."""
    assert isinstance(bundled_lm, HuggingFaceLanguageModel)
    model, tokenizer = bundled_lm._model, bundled_lm._tokenizer
    pool = Pool(planted_examples(6))
    engine = InferenceEngine(bundled_lm, template(), pool, scoring=scoring)
    queries = planted_examples(2, seed=2, prefix="q")
    selections = [Selection.of(0, 1), Selection.of(2)]
    expected = [
        plain_scores(model, tokenizer, engine, query, selection)
        for query, selection in zip(queries, selections, strict=True)
    ]
    assert engine.score(queries, selections) == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.parametrize("trees", [True, False])
def test_laws_of_every_language_model(
    tiny_llama: tuple[Any, Any], trees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the laws of `selector.testing`, with prefixes shared and in padded batches."""
    if not trees:
        monkeypatch.setattr("selector.lm.huggingface.why_no_trees", lambda model, plain: "for this test")

    def build() -> HuggingFaceLanguageModel:
        lm = HuggingFaceLanguageModel(*tiny_llama, fingerprint="tiny")
        assert type(lm._scores).__name__ == ("TreeScorer" if trees else "PlainScorer")
        return lm

    assert check_language_model(build, tolerance=1e-4, completions=(" dull", " warm", " and", " and dull")) == {}


@pytest.mark.slow
@pytest.mark.bundled
def test_laws_of_the_bundled_language_model(bundled_lm: LanguageModel) -> None:
    """Guards the same on real weights, a real tokenizer and a long window."""
    assert check_language_model(bundled_lm, tolerance=1e-3) == {}


def test_a_model_with_attention_of_its_own_is_scored_plainly(
    tiny_llama: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against wrong scores from a model whose attention knows no tree-shaped mask."""
    tokenizer = tiny_llama[1]
    config = transformers.MptConfig(vocab_size=len(tokenizer), d_model=32, n_layers=2, n_heads=4, max_seq_len=128)
    model = transformers.MptForCausalLM(config).eval()
    lm = HuggingFaceLanguageModel(model, tokenizer, fingerprint="mpt")
    assert "prefixes are not shared" in caplog.text
    prompts, completions = ["the plot is", "the plot is", ""], [" dull", " brilliant and", "the cast"]
    scores = lm.logprobs(prompts, completions)
    for prompt, completion, score in zip(prompts, completions, scores, strict=True):
        total, tokens = plain_logprobs(model, tokenizer, prompt, completion)
        assert score[:2] == (pytest.approx(total, abs=1e-4), tokens)


def test_a_token_across_the_boundary_belongs_to_the_completion(tiny_llama: tuple[Any, Any]) -> None:
    """Guards the documented choice: completions are tokenised as they stand in the full text."""
    model, tokenizer = tiny_llama
    lm = HuggingFaceLanguageModel(model, tokenizer, fingerprint="tiny")
    whole = lm.logprobs(["Review:"], [" the plot"])[0]
    cut = lm.logprobs(["Review: "], ["the plot"])[0]  # " the" is one token in the full text
    assert cut == pytest.approx(whole, abs=1e-5)


def test_bytes_of_one_character_stay_together(tiny_llama: tuple[Any, Any]) -> None:
    """Guards offsets of characters that are several tokens."""
    model, tokenizer = tiny_llama
    lm = HuggingFaceLanguageModel(model, tokenizer, fingerprint="tiny")
    prompt, completion = "plot 😀", " é"
    total, tokens = plain_logprobs(model, tokenizer, prompt, completion)
    assert lm.logprobs([prompt], [completion])[0][:2] == (pytest.approx(total, abs=1e-4), tokens)


def test_usage_counts_what_was_asked_and_what_was_computed(tiny_llama: tuple[Any, Any]) -> None:
    """Guards the cost accounting of comparisons."""
    model, tokenizer = tiny_llama
    lm = HuggingFaceLanguageModel(model, tokenizer, fingerprint="tiny")
    scores = lm.logprobs(["the plot is"] * 2, [" dull", " dull"])
    assert lm.usage.calls == 2
    assert lm.usage.tokens == 2 * scores[0].total_tokens
    assert lm.usage.tokens_computed == scores[0].total_tokens - 1


def test_an_empty_completion_is_refused(tiny_llama: tuple[Any, Any]) -> None:
    """Guards against a completion without tokens, whose score would be 0 and win."""
    lm = HuggingFaceLanguageModel(*tiny_llama, fingerprint="tiny")
    assert lm.logprobs([], []) == []
    with pytest.raises(UsageError, match="empty completion"):
        lm.logprobs(["a"], [""])


def test_generation_is_seeded_and_cut_at_stop_texts(tiny_llama: tuple[Any, Any]) -> None:
    """Guards the probing sets of entropy ordering: same seed, same text; the global generator is left alone."""
    lm = HuggingFaceLanguageModel(*tiny_llama, fingerprint="tiny")
    state = torch.get_rng_state()
    options = {"max_new_tokens": 12, "temperature": 2.0, "top_k": 20}
    first = lm.generate(["the plot is", "the cast"], seed=1, **options)
    assert first == lm.generate(["the plot is", "the cast"], seed=1, **options)
    assert first != lm.generate(["the plot is", "the cast"], seed=2, **options)
    assert torch.equal(state, torch.get_rng_state())
    greedy = lm.generate(["the plot is"], max_new_tokens=8)[0]
    stop = greedy[2:4]
    assert lm.generate(["the plot is"], max_new_tokens=8, stop=[stop])[0] == greedy[: greedy.index(stop)]


def test_a_slow_tokenizer_is_refused(tiny_llama: tuple[Any, Any]) -> None:
    """Guards the boundary rule, which needs character offsets."""

    class Slow:
        is_fast = False

    with pytest.raises(ModelLoadError, match="offsets"):
        HuggingFaceLanguageModel(tiny_llama[0], Slow(), fingerprint="x")


def test_threads_may_score_and_generate_at_once(tiny_llama: tuple[Any, Any]) -> None:
    """Guards a server with worker threads: generation met the attention of another thread's pass and died of it."""
    lm = HuggingFaceLanguageModel(*tiny_llama, fingerprint="tiny")
    prompts = [f"the plot of {number} is" for number in range(6)]
    expected = [score.logprob for score in lm.logprobs(prompts, [" dull"] * 6)]
    texts = lm.generate(prompts[:2], max_new_tokens=6)
    before = lm.usage

    def work(number: int) -> list[Any]:
        if number % 2:
            return lm.generate(prompts[:2], max_new_tokens=6)
        return [score.logprob for score in lm.logprobs(prompts, [" dull"] * 6)]

    with ThreadPoolExecutor(6) as threads:
        for number, found in enumerate(threads.map(work, range(24))):
            assert found == (texts if number % 2 else pytest.approx(expected, abs=1e-4))
    assert (lm.usage - before).calls == 12 * 2 + 12 * 6


def test_greedy_text_is_the_most_probable_whatever_the_files_say(tiny_llama: tuple[Any, Any]) -> None:
    """Guards against penalties on repeated words in generation_config.json: demonstrations are there to be repeated."""
    model, tokenizer = copy.deepcopy(tiny_llama[0]), tiny_llama[1]
    told = model.generation_config
    plain = HuggingFaceLanguageModel(model, tokenizer, fingerprint="plain").generate(["the plot"], max_new_tokens=6)
    model.generation_config = transformers.GenerationConfig(repetition_penalty=50.0, eos_token_id=told.eos_token_id)
    penalised = HuggingFaceLanguageModel(model, tokenizer, fingerprint="plain")
    assert model.generation_config.repetition_penalty in (None, 1.0)
    assert penalised.generate(["the plot"], max_new_tokens=6) == plain
