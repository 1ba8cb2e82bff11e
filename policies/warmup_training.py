"""The steps of a warm-up: prompts drawn, gradients added up, AdamW, checkpoints.

A step depends on the weights before it, the seed and its number, and on nothing else: a run that was killed goes on to
the same weights. This module knows no task files and no evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.runs import append_metrics, forget_metrics_after
from policies.setting_checks import require_finite
from policies.warmup_checkpoints import restore_state, save_state
from policies.warmup_config import WarmUpConfig
from policies.warmup_episodes import Episode, TrainingTask, draw_episode
from policies.warmup_loss import add_gradients, learned_tokens, reads_some_positions
from policies.warmup_model import learning_weights, trainable
from selector.lm.huggingface import context_length_of
from selector.lm.loading import native_bfloat16
from selector.lm.prefix_tree import TokenRequest
from selector.lm.tokenising import beginning_token, token_requests
from selector.progress import SILENT, Progress

CHECKPOINTS = "checkpoints"


def step_episodes(tasks: Sequence[TrainingTask], tokenizer: Any, *, config: WarmUpConfig, step: int) -> list[Episode]:
    """Draws the prompts of a step.

    Args:
        tasks: Training tasks.
        tokenizer: A fast tokenizer of transformers.
        config: The settings.
        step: The number of the step.

    Returns:
        `batch_size` episodes; the same seed and step give the same.

    Raises:
        UsageError: When the prompts of a task are too long.
    """

    def encode(prompt: str, completion: str) -> TokenRequest:
        return token_requests(tokenizer, [prompt], [completion])[0]

    generator = np.random.default_rng([config.seed, step])
    return [
        draw_episode(
            tasks, shots=config.shots, form=config.form, longest=config.longest, encode=encode, generator=generator
        )
        for _ in range(config.batch_size)
    ]


def train_model(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[TrainingTask],
    *,
    config: WarmUpConfig,
    folder: Path,
    until: int | None = None,
    progress: Progress = SILENT,
) -> Any:
    """Trains, or goes on with what the folder holds.

    Args:
        model: A causal model of transformers in float32, on its device; changed in place.
        tokenizer: Its fast tokenizer.
        tasks: Training tasks.
        config: The settings.
        folder: Where checkpoints/ and metrics.jsonl (loss and learned tokens of every step) go.
        until: Stop behind this many steps, with a checkpoint; None is the end.
        progress: Shows the steps.

    Returns:
        The trained model, with its adapters where there are some.

    Raises:
        ShotsmithError: When the loss is no longer a number.
        ExtraMissingError: When adapters are wanted and the extra "warmup" is not installed.
    """
    config = replace(config, longest=min(config.longest, context_length_of(model.config)))
    reads_some = reads_some_positions(model)
    learner = trainable(model, config)
    weights = [own for _, own in learning_weights(learner)]
    optimizer = torch.optim.AdamW(weights, lr=config.peak, weight_decay=config.weight_decay)
    done = restore_state(folder / CHECKPOINTS, learner, optimizer)
    forget_metrics_after(folder, done)
    how: dict[str, Any] = {"pass_tokens": config.pass_tokens, "bfloat16": _in_bfloat16(config, model.device.type)}
    how |= {"padding": beginning_token(tokenizer), "reads_some": reads_some}
    end = config.steps if until is None else min(until, config.steps)
    with (
        progress.track("warm-up", config.steps) as advance,
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
    ):
        advance(done)
        for step in range(done, end):
            requests = [one.request for one in step_episodes(tasks, tokenizer, config=config, step=step)]
            torch.manual_seed(config.seed * 1_000_003 + step)  # of dropout
            loss = add_gradients(learner, requests, **how)
            require_finite([loss], step=step, rate=config.rate(step))
            _update(optimizer, weights, rate=config.rate(step), clip=config.clip)
            append_metrics(folder, {"steps": step + 1, "loss": loss, "learned_tokens": learned_tokens(requests)})
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == end:
                save_state(folder / CHECKPOINTS, learner, optimizer, steps=step + 1)
            advance(1)
    return learner


def _in_bfloat16(config: WarmUpConfig, device: str) -> bool:
    return config.precision == "bfloat16" or (
        config.precision == "auto" and device == "cuda" and native_bfloat16(device)
    )


def _update(
    optimizer: torch.optim.Optimizer, weights: Sequence[torch.nn.Parameter], *, rate: float, clip: float
) -> None:
    """Takes one step with the gradients that were added up, and forgets them."""
    torch.nn.utils.clip_grad_norm_(weights, clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
