"""The loss of a step: the mean negative log-probability of the learned tokens, over passes of like length.

A step's prompts are cut into passes of few padding tokens, whose gradients add up to that of the whole step: every
learned token weighs the same, however the step is cut. This module knows nothing of tasks.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from selector.lm.prefix_tree import TokenRequest

IGNORED = -100


def passes_of(requests: Sequence[TokenRequest], *, tokens: int) -> list[list[int]]:
    """Cuts prompts into passes of like length.

    Args:
        requests: The prompts.
        tokens: Of a pass with its padding, at most; a longer prompt has a pass of its own.

    Returns:
        Positions of the prompts in each pass, the shortest first.
    """
    passes: list[list[int]] = []
    for at in sorted(range(len(requests)), key=lambda place: len(requests[place].tokens)):
        if passes and (len(passes[-1]) + 1) * len(requests[at].tokens) <= tokens:
            passes[-1].append(at)
        else:
            passes.append([at])
    return passes


def learned_tokens(requests: Sequence[TokenRequest]) -> int:
    """Counts the tokens that are learned.

    Args:
        requests: The prompts.

    Returns:
        The count.
    """
    return sum(len(request.tokens) - request.first for request in requests)


def reads_some_positions(model: Any) -> bool:
    """Tells whether a model can leave out the vocabulary where nothing is learned.

    Args:
        model: A causal model of transformers, without adapters.

    Returns:
        Whether it takes `logits_to_keep`.
    """
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def summed_loss(
    model: Any, requests: Sequence[TokenRequest], *, padding: int = 0, reads_some: bool = False
) -> torch.Tensor:
    """Sums the negative log-probabilities of the learned tokens of one pass.

    Args:
        model: A causal model of transformers, with adapters or without.
        requests: The prompts of the pass.
        padding: The token id of padding; it stands on the right, where no token of a causal model looks.
        reads_some: From `reads_some_positions`.

    Returns:
        A scalar, nats.
    """
    longest = max(len(request.tokens) for request in requests)
    ids = torch.full((len(requests), longest), padding, dtype=torch.long)
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, request in enumerate(requests):
        length = len(request.tokens)
        ids[row, :length] = torch.tensor(request.tokens)
        mask[row, :length] = 1
        targets[row, request.first : length] = ids[row, request.first : length]
    start = min(request.first for request in requests) - 1  # nothing before it is learned
    device = model.device
    options = {"logits_to_keep": torch.arange(start, longest - 1, device=device)} if reads_some else {}
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, **options).logits
    if not reads_some:
        logits = logits[:, start : longest - 1]
    wanted = targets[:, start + 1 :].to(device)  # the token behind each position
    loss: torch.Tensor = cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return loss


def add_gradients(
    model: Any,
    requests: Sequence[TokenRequest],
    *,
    pass_tokens: int,
    bfloat16: bool = False,
    padding: int = 0,
    reads_some: bool = False,
) -> float:
    """Adds the gradients of a step's loss to the weights', pass by pass.

    Args:
        model: The model in training.
        requests: The prompts of the step.
        pass_tokens: Of a pass, padding included.
        bfloat16: Whether products are computed in bfloat16.
        padding: The token id of padding.
        reads_some: From `reads_some_positions`.

    Returns:
        The loss, nats per learned token.
    """
    total, loss = learned_tokens(requests), 0.0
    for numbers in passes_of(requests, tokens=pass_tokens):
        own = [requests[number] for number in numbers]
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            part = summed_loss(model, own, padding=padding, reads_some=reads_some) / total
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    return loss
