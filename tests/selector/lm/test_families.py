"""Exactness of tree scoring for every supported family of decoders, with tiny random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selector.lm.memory import MemoryPlan
from selector.lm.plain_scoring import PlainScorer
from selector.lm.prefix_tree import TokenRequest
from selector.lm.tree_check import why_no_trees
from selector.lm.tree_scoring import TreeScorer

VOCABULARY = 61
SMALL = MemoryPlan(budget=0, chunk_tokens=24, chunk_reads=9, block_rows=7)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
OWN_NAMES = {
    "GPT2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "Gemma2": {"sliding_window": 5, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 4.0},
    "Gemma3": {"sliding_window": 5, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
    "Mistral": {"sliding_window": 5},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
}
FAMILIES = ("Llama", "Qwen2", "Qwen3", "GPT2", "GPTNeoX", "Gemma", "Gemma2", "Gemma3", "OPT", "Mistral", "Phi3")


def tiny(family: str) -> Any:
    """A model of the family with three or four layers."""
    name = f"{family}TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, name)(**SHAPE, **OWN_NAMES.get(family, {}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
        return getattr(transformers, kind)(config).eval()


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny(request.param)


sequences = st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=30), min_size=1, max_size=8)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=sequences, seed=st.integers(0, 9))
def test_any_batch_in_any_order_equals_one_by_one(model: Any, rows: list[list[int]], seed: int) -> None:
    """Guards masks, positions, sliding windows, soft caps and kept prefixes: 1e-4 nats, whatever the batch."""
    assert why_no_trees(model, PlainScorer(model, memory=SMALL, padding=0)) is None
    requests = [TokenRequest(tuple(row), 1 + len(row) // 2) for row in rows]
    expected = [one_by_one(model, request) for request in requests]
    scorer = TreeScorer(model, memory=SMALL)
    assert scorer.logprobs(requests)[0] == pytest.approx(expected, abs=1e-4)
    order = np.random.default_rng(seed).permutation(len(requests))
    assert scorer.logprobs([requests[at] for at in order])[0] == pytest.approx(np.array(expected)[order], abs=1e-4)
    padded, _ = PlainScorer(model, memory=SMALL, padding=0).logprobs(requests)
    assert padded == pytest.approx(expected, abs=1e-4)


def one_by_one(model: Any, request: TokenRequest) -> float:
    """The model's own forward pass over one sequence, nothing shared, nothing padded."""
    with torch.inference_mode():
        logprobs = model(torch.tensor([request.tokens])).logits[0].double().log_softmax(-1)
    return sum(float(logprobs[at - 1, request.tokens[at]]) for at in range(request.first, len(request.tokens)))


def test_bfloat16_stays_close_to_its_own_plain_passes() -> None:
    """Guards the dtype of masks and kept keys."""
    model = tiny("Llama").to(torch.bfloat16)
    requests = [TokenRequest((1, 2, 3, *range(4, 4 + size)), 3) for size in (3, 9, 20)]
    plain = [one_by_one(model, request) for request in requests]
    assert TreeScorer(model, memory=SMALL).logprobs(requests)[0] == pytest.approx(plain, abs=1.0)


def test_running_out_of_memory_makes_passes_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the promise that scoring never fails for size: nothing is lost or read twice when a pass is split."""
    model = tiny("Llama")
    requests = [TokenRequest((*range(1, 20), 20 + label), 19) for label in range(5)]
    expected, _ = TreeScorer(model, memory=SMALL).logprobs(requests)
    forward, sizes = model.forward, []

    def scarce(*, input_ids: torch.Tensor, **options: Any) -> Any:
        sizes.append(input_ids.shape[1])
        if input_ids.shape[1] > 6:
            raise torch.OutOfMemoryError("a simulated device is full")
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "forward", scarce)
    found, _ = TreeScorer(model, memory=SMALL).logprobs(requests)
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(sizes) > 6 >= sizes[-1]


def test_an_interrupted_pass_leaves_no_half_written_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against wrong scores after Ctrl-C: prefixes registered for a pass that never finished."""
    model = tiny("Llama")
    requests = [TokenRequest((*range(1, 20), 20), 19)]
    expected, _ = TreeScorer(model, memory=SMALL).logprobs(requests)
    scorer = TreeScorer(model, memory=SMALL)

    def interrupted(**_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scorer.logprobs(requests)
    assert scorer.logprobs(requests)[0] == pytest.approx(expected, abs=1e-4)


def test_rope_that_depends_on_length_is_scored_plainly() -> None:
    """Guards against angles computed for the longest sequence of a pass and used for all."""
    config = transformers.LlamaConfig(
        **SHAPE, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    )
    model = transformers.LlamaForCausalLM(config).eval()
    assert "length" in str(why_no_trees(model, PlainScorer(model, memory=SMALL, padding=0)))


def test_rope_of_one_kind_of_layer_that_depends_on_length_is_scored_plainly() -> None:
    """Guards Gemma 3, whose settings are given for each kind of layer: what stood one level deeper was not seen."""
    kinds = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
    }
    model = tiny("Gemma3")
    model.config.rope_parameters = kinds
    assert "length" in str(why_no_trees(model, PlainScorer(model, memory=SMALL, padding=0)))


LONG = TokenRequest(tuple((5 * at * at + at) % VOCABULARY for at in range(45)), 40)
WINDOWS = {
    "Phimoe": {"sliding_window": 16, "num_local_experts": 2, "num_experts_per_tok": 2},
    "Llama4": {
        "attention_chunk_size": 16,
        "num_local_experts": 2,
        "interleave_moe_layer_step": 2,
        "intermediate_size_mlp": 48,
        "no_rope_layers": [1, 1, 1, 1],
    },
}


def windowed(family: str, **changes: Any) -> Any:
    """A model whose mask hides what its attention function is not told of."""
    name = "Llama4TextConfig" if family == "Llama4" else f"{family}Config"
    config = getattr(transformers, name)(**SHAPE, **(WINDOWS[family] | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{family}ForCausalLM")(config).eval()


@pytest.mark.parametrize("family", WINDOWS)
@pytest.mark.parametrize("size", [16, 100])
def test_windows_that_trees_cannot_see_are_scored_plainly(family: str, size: int) -> None:
    """Guards windows longer than the self-check: it passed, and scores were off by nats behind the window."""
    setting = "sliding_window" if family == "Phimoe" else "attention_chunk_size"
    model = windowed(family, **{setting: size})
    plain = PlainScorer(model, memory=SMALL, padding=0)
    reason = why_no_trees(model, plain)
    assert reason is not None
    assert "window" in reason or "nats" in reason
    assert plain.logprobs([LONG])[0][0] == pytest.approx(one_by_one(model, LONG), abs=1e-4)


@pytest.mark.parametrize("family", ["Mistral", "Phi3", "Gemma3"])
def test_windows_that_attention_is_told_of_are_scored_by_trees(family: str) -> None:
    """Guards speed: a long window alone is no reason to share nothing; and it is respected behind its edge."""
    name = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, name)(**SHAPE, **(OWN_NAMES.get(family, {}) | {"sliding_window": 33}))
    kind = getattr(transformers, f"{family}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config).eval()
    assert why_no_trees(model, PlainScorer(model, memory=SMALL, padding=0)) is None
    assert TreeScorer(model, memory=SMALL).logprobs([LONG])[0][0] == pytest.approx(one_by_one(model, LONG), abs=1e-4)


def test_no_pass_is_larger_than_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the memory plan: chunks were evened out to half as much again as it allows."""
    model = tiny("Llama")
    forward, sizes = model.forward, []

    def watched(*, input_ids: torch.Tensor, **options: Any) -> Any:
        sizes.append(input_ids.shape[1])
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "forward", watched)
    scorer = TreeScorer(model, memory=MemoryPlan(budget=2**20, chunk_tokens=24, chunk_reads=24, block_rows=7))
    for length in range(20, 75, 5):
        scorer.forget()
        scorer.logprobs([TokenRequest(tuple(at % VOCABULARY for at in range(length)), length - 1)])
    assert max(sizes) <= 24
