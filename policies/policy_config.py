"""The configuration of training a policy per query. Knows nothing of networks or language models."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from envs.dynamics import DecisionConfig
from policies.cloning import check_warm_start
from policies.setting_checks import refused
from selector.errors import UsageError
from selector.learned.lm_features import PROMPT_VIEW

_COUNTS: Final = (
    *("shots", "shortlist_size", "total_steps", "copies", "rollout_steps", "epochs", "hidden", "evaluate_every"),
    *("warm_start_epochs", "warm_start_queries", "max_per_label", "token_budget", "patience"),
)
# Advantages are normalised in a minibatch.
_LEAST: Final = {**dict.fromkeys(_COUNTS, 1), "batch_size": 2, "token_cost": 0, "per_label": 0, "seed": 0}


@dataclass(frozen=True)
class PolicyTrainingConfig:
    """How a policy is trained.

    Attributes:
        shots: H, demonstrations in a prompt.
        shortlist_size: K, candidates offered for each query.
        total_steps: Environment steps in all, rounded up to whole rollouts of all copies.
        copies: Environments that step together, one language-model batch a step.
        rollout_steps: Steps of each copy between two updates.
        batch_size: Steps in a minibatch.
        epochs: Passes over a rollout.
        learning_rate: Of Adam.
        entropy_coefficient: Weight of the entropy bonus, which keeps the policy from collapsing.
        clip_range: Of the PPO ratio.
        gae_lambda: Of generalised advantage estimation; the discount is 1.
        reward: "logprob", "probability", "margin" or "accuracy".
        dense: Whether every step is rewarded; else the last with all of it, at a fraction of the cost.
        may_stop: Whether the policy may choose fewer demonstrations.
        token_cost: What a thousand tokens of demonstrations take off a potential.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        lm_features: Whether the policy looks at states with the language model, which serving then needs too.
        lm_view: What the language model is shown for that: "prompt", what is chosen so far, a call for each step; or
            "query", the query alone, one short call for each query.
        per_label: How many of the candidates are the nearest of each label, as far as they go around; with 0 the
            nearest are, whatever their labels.
        warm_start: What is imitated before training: "none", "retriever", "label-vote", "label-evidence" (with
            lm_features), "oracle", or "best-on-dev" for the best of those that follow a rule.
        warm_start_epochs: Passes over what is imitated.
        warm_start_queries: How many queries are imitated at most.
        evaluate_every: Updates between two evaluations on dev.
        patience: Evaluations without a better one after which training ends; None for no early end.
        hidden: Width of the network.
        similarity_weight: How strongly the untrained policy follows the retriever, nats per unit of cosine.
        seed: Seeds everything.
    """

    shots: int = 4
    shortlist_size: int = 32
    total_steps: int = 6144
    copies: int = 16
    rollout_steps: int = 32
    batch_size: int = 128
    epochs: int = 4
    learning_rate: float = 3e-4
    entropy_coefficient: float = 0.01
    clip_range: float = 0.2
    gae_lambda: float = 0.95
    reward: str = "probability"
    dense: bool = False
    may_stop: bool = False
    token_cost: float = 0.0
    max_per_label: int | None = None
    token_budget: int | None = None
    lm_features: bool = False
    lm_view: str = PROMPT_VIEW
    per_label: int = 0
    warm_start: str = "best-on-dev"
    warm_start_epochs: int = 20
    warm_start_queries: int = 128
    evaluate_every: int = 2
    patience: int | None = None
    hidden: int = 64
    similarity_weight: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise refused(name, value, f"{least} or more")
        for name in ("learning_rate", "clip_range"):
            if not 0 < getattr(self, name) < inf:
                raise refused(name, getattr(self, name), "a number above 0")
        for name in ("entropy_coefficient", "similarity_weight"):
            if not 0 <= getattr(self, name) < inf:
                raise refused(name, getattr(self, name), "0 or a number above")
        if not 0 <= self.gae_lambda <= 1:
            raise refused("gae_lambda", self.gae_lambda, "0 to 1")
        if self.copies * self.rollout_steps % self.batch_size:
            raise UsageError(
                f"{self.copies} copies of {self.rollout_steps} steps do not divide into batches of {self.batch_size}",
                expected="copies x rollout_steps to be a multiple of batch_size",
                remedy="Choose other numbers.",
            )
        self.decision()  # refuses rules that do not go together
        check_warm_start(self.warm_start, lm_features=self.lm_features)

    @property
    def played_steps(self) -> int:
        """Environment steps in whole rollouts."""
        rollout = self.copies * self.rollout_steps
        return ceil(self.total_steps / rollout) * rollout

    def decision(self) -> DecisionConfig:
        """Gives the rules of the environment.

        Returns:
            The rules.
        """
        return DecisionConfig(
            shots=self.shots,
            size=self.shortlist_size,
            may_stop=self.may_stop,
            dense=self.dense,
            max_per_label=self.max_per_label,
            token_budget=self.token_budget,
            lm_features=self.lm_features,
            lm_view=self.lm_view,
            per_label=self.per_label,
        )
