"""How a language model is warmed up: one frozen record, checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from policies.setting_checks import refused
from selector.errors import UnknownNameError

FORMS: Final = ("direct", "channel")
ADAPTERS: Final = ("lora", "full")
PRECISIONS: Final = ("auto", "float32", "bfloat16")
RATES: Final = {"lora": 3e-4, "full": 1e-5}


@dataclass(frozen=True)
class WarmUpConfig:
    """How weights are changed.

    Attributes:
        form: "direct" trains the answer behind the input, "channel" the input behind the answer (Min et al., 2022).
        instructions: Whether every prompt, of held-out tasks too, begins with its task's instruction (instruction
            tuning).
        shots: Demonstrations in each prompt.
        steps: Optimiser steps.
        batch_size: Prompts of a step.
        adapter: "lora" trains low-rank adapters (Hu et al., 2022), "full" all weights.
        rank: Of the adapters.
        learning_rate: Peak learning rate of AdamW; None is 3e-4 for adapters and 1e-5 for all weights.
        rise: Share of the steps over which the learning rate rises; then it falls linearly to 0.
        weight_decay: Of AdamW.
        clip: The longest gradient, in Euclidean norm.
        longest: The longest prompt and answer together, tokens, and never more than the context window;
            demonstrations are left out from the front.
        pass_tokens: Tokens of a forward pass, padding included; a step has as many passes as it needs.
        precision: Of the products: "float32", "bfloat16", or "auto" for bfloat16 on a GPU that has it. Weights stay in
            float32. On a CPU the backward products of bfloat16 were measured up to ten times slower than float32.
        checkpoint_every: Steps between two checkpoints.
        corpus_rows: Rows that each self-supervised task gets of the corpus, at most.
        seed: Seeds prompts, adapters and dropout.
    """

    form: str = "direct"
    instructions: bool = False
    shots: int = 4
    steps: int = 200
    batch_size: int = 8
    adapter: str = "lora"
    rank: int = 16
    learning_rate: float | None = None
    rise: float = 0.1
    weight_decay: float = 0.0
    clip: float = 1.0
    longest: int = 512
    pass_tokens: int = 1024
    precision: str = "auto"
    checkpoint_every: int = 20
    corpus_rows: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("form", FORMS), ("adapter", ADAPTERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known=known)
        least = {"shots": 0, "corpus_rows": 2, "longest": 8, "seed": 0}
        least |= dict.fromkeys(("steps", "batch_size", "rank", "pass_tokens", "checkpoint_every"), 1)
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise refused(name, getattr(self, name), f"{lowest} or more")
        for name, rate in (("learning_rate", self.peak), ("clip", self.clip)):
            if not 0 < rate < inf:
                raise refused(name, rate, "a number above 0")
        if not 0 <= self.weight_decay < inf:
            raise refused("weight_decay", self.weight_decay, "0 or a number above")
        if not 0 <= self.rise <= 1:
            raise refused("rise", self.rise, "a share from 0 to 1")

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return RATES[self.adapter] if self.learning_rate is None else self.learning_rate

    def rate(self, step: int) -> float:
        """Gives the learning rate of a step: a linear rise and a linear fall.

        Args:
            step: 0 to `steps` - 1.

        Returns:
            The rate; above 0.
        """
        rising = int(self.rise * self.steps)
        if step < rising:
            return self.peak * ((step + 1) / (rising + 1))
        return self.peak * ((self.steps - step) / max(1, self.steps - rising))
