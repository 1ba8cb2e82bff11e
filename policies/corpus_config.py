"""The configuration of training one prompt per task. Knows nothing of networks or language models."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from envs.dynamics import DecisionConfig
from policies.setting_checks import refused

STEPS_AN_EPISODE = 16  # optimiser steps for each online episode


@dataclass(frozen=True)
class CorpusTrainingConfig:
    """How a policy for one prompt per task is trained; as published (Zhang, Feng & Tan, 2022) but cheaper.

    Attributes:
        shots: H, demonstrations in a prompt.
        candidates: K, members of the pool that are offered, at most.
        episodes: Random episodes that are stored; every second is balanced over labels. Published: 2,000.
        online_episodes: Episodes played by the policy after that.
        returning: Share of those that return to one of the best prompts so far and choose one demonstration anew; the
            others follow the learned values, with some random choices.
        reward_queries: Queries by which a prompt is valued, at most.
        steps: Optimiser steps on the stored episodes. Published: 128,000.
        batch_size: Transitions in a step.
        learning_rate: Of AdamW. Published: 3e-4.
        weight_decay: Of AdamW.
        gradient_norm: The longest gradient.
        conservative: Weight of the conservative term; rewards are told in standard deviations of random prompts.
        target_every: Steps between two copies to the target network.
        hidden: Width of the network. Published: 16, for features that do not tell labels by name.
        dropout: Share of inputs and hidden units dropped in training.
        reward: "accuracy", "probability", "logprob" or "margin".
        token_cost: What a thousand tokens of demonstrations take off a potential.
        dense: Whether every step is rewarded, as published; else the last with all of it, at a fraction of the cost.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        may_stop: Whether the policy may choose fewer demonstrations.
        label_names: Whether the policy knows the labels of its task by name; without it they count only as same or
            different, and it can be used with a task of other labels as well.
        lm_features: Whether the policy reads the language model, in serving too.
        evaluate_every: Steps between two evaluations on dev.
        finalists: How many of the prompts that training has valued highest are judged by dev queries too, beside what
            the network chooses, freely and within the label patterns of the best six of them that differ; the best over
            both is what the pool of the training is shown. With 0 the network's own choice is.
        patience: Evaluations without a better one after which training ends, counted from the first online episode on
            where there are any; None for no early end.
        copies: Episodes that are played side by side, one language-model batch a step.
        seed: Seeds everything.
    """

    shots: int = 4
    candidates: int = 100
    episodes: int = 60
    online_episodes: int = 80
    returning: float = 0.75
    reward_queries: int = 50
    steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    gradient_norm: float = 1.0
    conservative: float = 1.0
    target_every: int = 400
    hidden: int = 64
    dropout: float = 0.25
    reward: str = "accuracy"
    token_cost: float = 0.0
    dense: bool = False
    max_per_label: int | None = None
    token_budget: int | None = None
    may_stop: bool = False
    label_names: bool = True
    lm_features: bool = False
    evaluate_every: int = 200
    finalists: int = 20
    patience: int | None = None
    copies: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (
            *("shots", "candidates", "episodes", "reward_queries", "steps", "batch_size"),
            *("target_every", "hidden", "evaluate_every", "patience", "copies"),
        )
        for name in counts:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise refused(name, getattr(self, name), "at least 1")
        allowed = {
            "online_episodes": (self.online_episodes >= 0, "none or more"),
            "finalists": (self.finalists >= 0, "none or more"),
            "dropout": (0 <= self.dropout < 1, "a share from 0 to below 1"),
            "returning": (0 <= self.returning <= 1, "a share from 0 to 1"),
            "learning_rate": (0 < self.learning_rate < inf, "a number above 0"),
            "gradient_norm": (0 < self.gradient_norm < inf, "a number above 0"),
            "weight_decay": (0 <= self.weight_decay < inf, "0 or a number above"),
            "conservative": (0 <= self.conservative < inf, "0 or a number above"),
            "token_cost": (0 <= self.token_cost < inf, "0 or a number above"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (fits, expected) in allowed.items():
            if not fits:
                raise refused(name, getattr(self, name), expected)
        self.decision()  # refuses rules that do not go together

    @property
    def total_steps(self) -> int:
        """Optimiser steps in all, on stored and on further episodes."""
        return self.steps + STEPS_AN_EPISODE * self.online_episodes

    def decision(self) -> DecisionConfig:
        """Gives the rules of the environment.

        Returns:
            The rules.
        """
        return DecisionConfig(
            shots=self.shots,
            size=self.candidates,
            may_stop=self.may_stop,
            dense=self.dense,
            max_per_label=self.max_per_label,
            token_budget=self.token_budget,
        )
