"""Tests of the warm-up itself: loss, gradients, resuming, adapters, and that something planted is learned."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from policies.warmup_config import WarmUpConfig
from policies.warmup_episodes import TrainingTask
from policies.warmup_evaluation import gains
from policies.warmup_loss import add_gradients, learned_tokens, passes_of, summed_loss
from policies.warmup_model import learning_weights, merged, trainable
from policies.warmup_training import CHECKPOINTS, train_model
from selector.errors import ArtifactError, ShotsmithError
from selector.inference.engine import InferenceEngine
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.lm.tokenising import token_requests
from selector.testing import planted_examples, planted_pool, planted_template
from selector.types import Selection

pytest.importorskip("peft", reason="the extra `warmup` is not installed")


def settings(**changes: Any) -> WarmUpConfig:
    given: dict[str, Any] = {"steps": 6, "batch_size": 3, "shots": 1, "rank": 4, "checkpoint_every": 2}
    return WarmUpConfig(**given | {"precision": "float32", "pass_tokens": 200} | changes)


def planted_task() -> TrainingTask:
    return TrainingTask("planted", planted_examples(60), planted_template())


def prompts() -> list[tuple[str, str]]:
    template, rows = planted_template(), planted_examples(5)
    return [
        (template.prompt(rows[: count + 1], rows[4]), text)
        for count, text in enumerate((" fresh", " rotten", " fresh and funny"))
    ]


@pytest.mark.parametrize("reads_some", [True, False])
def test_the_loss_is_that_of_the_answer_alone(tiny_llama: tuple[Any, Any], reads_some: bool) -> None:
    """Guards against learning the demonstrations or the padding: the loss is what scoring says of the answers."""
    model, tokenizer = tiny_llama
    asked, answers = zip(*prompts(), strict=True)
    requests = token_requests(tokenizer, asked, answers)
    with torch.no_grad():
        loss = float(summed_loss(model, requests, reads_some=reads_some))
    lm = HuggingFaceLanguageModel(model, tokenizer, fingerprint="tiny")
    scores = lm.logprobs(asked, answers)
    assert loss == pytest.approx(-sum(score.logprob for score in scores), abs=1e-3)
    assert learned_tokens(requests) == sum(score.tokens for score in scores)


def test_gradients_do_not_depend_on_how_a_step_is_cut(small: tuple[Any, Any]) -> None:
    """Guards gradient accumulation: one pass of all prompts and one pass for each give the same step."""
    model, tokenizer = small
    requests = token_requests(tokenizer, *zip(*prompts(), strict=True))
    found = []
    for tokens in (1, 10_000):
        own = copy.deepcopy(model)
        loss = add_gradients(own, requests, pass_tokens=tokens)
        found.append((loss, torch.cat([weights.grad.flatten() for weights in own.parameters()])))
    assert len(passes_of(requests, tokens=1)) == 3
    assert len(passes_of(requests, tokens=10_000)) == 1
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_passes_hold_like_lengths_within_their_room() -> None:
    """Guards memory: no pass of several prompts is larger than allowed, and none is lost."""
    requests = token_requests_of_lengths([7, 3, 30, 4, 9, 8])
    passes = passes_of(requests, tokens=20)
    assert sorted(number for own in passes for number in own) == list(range(6))
    for own in passes:
        size = len(own) * max(len(requests[number].tokens) for number in own)
        assert size <= 20 or len(own) == 1


def token_requests_of_lengths(lengths: list[int]) -> list[Any]:
    from selector.lm.prefix_tree import TokenRequest

    return [TokenRequest(tuple(range(length)), length - 1) for length in lengths]


class KilledError(Exception):
    """Stands for a kill between two steps."""


class KillingProgress:
    """Ends the process, so to say, after some steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Any]:
        del description, total

        def advance(steps: int) -> None:
            self._left -= steps
            if self._left < 0:
                raise KilledError

        yield advance


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_killed_run_goes_on_to_the_same_weights(small: tuple[Any, Any], tmp_path: Path, adapter: str) -> None:
    """Guards resuming: weights, moments, prompts and losses of a run that was killed between two checkpoints."""
    model, tokenizer = small
    config = settings(adapter=adapter, learning_rate=1e-2)
    (tmp_path / "whole").mkdir()
    (tmp_path / "torn").mkdir()

    def train(name: str, **more: Any) -> dict[str, torch.Tensor]:
        own = train_model(
            copy.deepcopy(model), tokenizer, [planted_task()], config=config, folder=tmp_path / name, **more
        )
        return {name: weights.detach().clone() for name, weights in learning_weights(own)}

    whole = train("whole")
    untrained = dict(learning_weights(trainable(copy.deepcopy(model), config)))
    assert any(not torch.equal(whole[name], own) for name, own in untrained.items())
    with pytest.raises(KilledError):
        train("torn", progress=KillingProgress(4))  # in the fifth step, behind the checkpoint of the fourth
    (tmp_path / "torn" / CHECKPOINTS / ".step-000000006").mkdir()  # a checkpoint that was not finished
    torn = train("torn")
    assert whole.keys() == torn.keys()
    assert all(torch.equal(whole[name], torn[name]) for name in whole)
    assert any(
        not torch.equal(weights, dict(model.named_parameters()).get(name, weights * 0 + 7))
        for name, weights in whole.items()
    )
    losses = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "torn")]
    assert losses[0] == losses[1]
    assert len(losses[0].splitlines()) == config.steps
    assert [place.name for place in (tmp_path / "torn" / CHECKPOINTS).glob("step-*")] == ["step-000000006"]


def test_a_damaged_checkpoint_is_named(small: tuple[Any, Any], tmp_path: Path) -> None:
    """Guards against going on from half a file, and against a traceback."""
    model, tokenizer = small
    train_model(copy.deepcopy(model), tokenizer, [planted_task()], config=settings(), folder=tmp_path, until=2)
    file = next((tmp_path / CHECKPOINTS).glob("*/optimizer.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="damaged"):
        train_model(copy.deepcopy(model), tokenizer, [planted_task()], config=settings(), folder=tmp_path)


def test_a_loss_that_is_no_number_ends_the_run(small: tuple[Any, Any], tmp_path: Path) -> None:
    """Guards against hours of steps on weights that are no numbers."""
    model, tokenizer = small
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ShotsmithError, match="loss of step 0"):
        train_model(model, tokenizer, [planted_task()], config=settings(adapter="full"), folder=tmp_path)


def test_adapters_learn_alone_and_merge_without_a_trace(small: tuple[Any, Any], tmp_path: Path) -> None:
    """Guards LoRA: the base stays as it was, and the merged model answers as the one with adapters."""
    model, tokenizer = small
    before = copy.deepcopy(model.state_dict())
    learner = train_model(model, tokenizer, [planted_task()], config=settings(learning_rate=1e-2), folder=tmp_path)
    base = {name.replace(".base_layer", ""): own for name, own in learner.get_base_model().state_dict().items()}
    assert all(torch.equal(base[name], own) for name, own in before.items())
    requests = token_requests(tokenizer, *zip(*prompts(), strict=True))
    with torch.no_grad():
        adapted = float(summed_loss(learner, requests))
        plain = merged(learner)
        assert float(summed_loss(plain, requests)) == pytest.approx(adapted, abs=1e-3)
    assert plain.state_dict().keys() == before.keys()
    assert any(not torch.equal(own, before[name]) for name, own in plain.state_dict().items())


def test_adapters_start_from_the_seed(small: tuple[Any, Any]) -> None:
    """Guards reproducibility: adapters are random, and the seed alone decides them."""
    model, _ = small
    first, again, other = (
        dict(learning_weights(trainable(copy.deepcopy(model), settings(seed=seed)))) for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_planted_task_is_learned(small: tuple[Any, Any], tmp_path: Path) -> None:
    """Guards the whole: a model that knows nothing learns which words mean which label, on texts it has not seen."""
    model, tokenizer = small
    queries = planted_examples(40, seed=77, prefix="q")
    nothing = [Selection.of()] * len(queries)

    def accuracy(of: Any) -> float:
        lm = HuggingFaceLanguageModel(of, tokenizer, fingerprint="planted")
        return InferenceEngine(lm, planted_template(), planted_pool()).accuracy(queries, nothing)

    assert accuracy(copy.deepcopy(model)) < 0.7
    config = settings(adapter="full", learning_rate=5e-3, steps=60, batch_size=16, shots=0, pass_tokens=1000)
    learner = train_model(model, tokenizer, [planted_task()], config=config, folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.2 * lines[0]["loss"]
    assert accuracy(learner) >= 0.95


def test_the_mean_gain_weighs_tasks_alike() -> None:
    """Guards against a task of many queries that decides the mean alone."""
    found = gains({"many": [0.0] * 90, "few": [0.0] * 10}, {"many": [0.0] * 90, "few": [1.0] * 10})
    assert found["few"].difference.delta == 1
    assert found["mean"].difference.delta == pytest.approx(0.5)
    assert found["mean"].queries == 100
    assert (found["mean"].after.low, found["mean"].after.high) == (0.5, 0.5)  # both tasks are what they are
    assert gains({}, {}) == {}
