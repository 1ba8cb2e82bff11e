"""Offline Q-learning over the per-corpus problem from stored random episodes (Zhang, Feng & Tan, 2022).

First random episodes are collected, which is all that the language model is asked for; then the Q-network learns from
them, keeps the weights whose choice does best on dev, and goes on after a kill exactly as if it had not stopped. It may
then play further episodes by its own values. It is told a decision problem and does not know where rewards come from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.corpus import CorpusProblem
from envs.dynamics import DecisionConfig, Episode
from policies.checkpoints import latest_checkpoint, steps_of
from policies.episodes import (
    Chooser,
    Mask,
    StoredEpisode,
    append_episodes,
    collect_episodes,
    read_episodes,
    roll_episodes,
    write_episodes,
)
from policies.q_learner import ConservativeQLearner, Losses, restore_learner, save_learner
from policies.replay import Replay, keep_uncertainty, recall_uncertainty
from policies.runs import (
    CORPUS_RUN,
    METRICS_FILE,
    Provenance,
    append_metrics,
    forget_metrics_after,
    open_run,
    run_content,
    save_best,
)
from selector.errors import UsageError
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import STATE_FEATURES
from selector.progress import SILENT, Progress
from selector.strategies.corpus import greedy_set

EPISODES_FILE, ONLINE_FILE, UNCERTAINTY_FILE = "episodes.jsonl", "online.jsonl", "uncertainty.safetensors"
PARITY_STATES = 16
STEPS_AN_EPISODE = 16  # optimiser steps for each online episode
EXPLORATION = (0.5, 0.1)  # share of random choices in the first and the last online episode


@dataclass(frozen=True)
class CorpusTrainingConfig:
    """How a policy for one prompt per task is trained; as published, but for fewer episodes and steps.

    Attributes:
        shots: H, demonstrations in a prompt.
        candidates: K, members of the pool that are offered, at most.
        episodes: Random episodes that are stored; every second is balanced over labels. Published: 2,000.
        online_episodes: Episodes played by the learned values after that.
        reward_queries: Queries by which a prompt is valued, at most.
        steps: Optimiser steps on the stored episodes. Published: 128,000.
        batch_size: Transitions in a step.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        gradient_norm: The longest gradient.
        conservative: Weight of the conservative term.
        target_every: Steps between two copies to the target network.
        hidden: Width of the network.
        dropout: Share of inputs and hidden units dropped in training.
        reward: "accuracy", "probability", "logprob" or "margin".
        token_cost: What a thousand tokens of demonstrations take off a potential.
        dense: Whether every step is rewarded, as published; else the last with all of it, at a fraction of the cost.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        may_stop: Whether the policy may choose fewer demonstrations.
        lm_features: Whether the policy reads the language model, in serving too.
        evaluate_every: Steps between two evaluations on dev.
        copies: Episodes that are played side by side, one language-model batch a step.
        seed: Seeds everything.
    """

    shots: int = 4
    candidates: int = 100
    episodes: int = 200
    online_episodes: int = 0
    reward_queries: int = 100
    steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 3e-4
    weight_decay: float = 1e-3
    gradient_norm: float = 1.0
    conservative: float = 0.2
    target_every: int = 400
    hidden: int = 16
    dropout: float = 0.25
    reward: str = "accuracy"
    token_cost: float = 0.0
    dense: bool = True
    max_per_label: int | None = None
    token_budget: int | None = None
    may_stop: bool = False
    lm_features: bool = False
    evaluate_every: int = 400
    copies: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (
            *("shots", "candidates", "episodes", "reward_queries", "steps", "batch_size"),
            *("target_every", "hidden", "evaluate_every", "copies"),
        )
        if wrong := [name for name in counts if getattr(self, name) < 1]:
            raise UsageError(
                f"{wrong[0]} is {getattr(self, wrong[0])}", expected="at least 1", remedy="Choose another number."
            )
        if self.online_episodes < 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"online_episodes is {self.online_episodes} and dropout {self.dropout}",
                expected="none or more, and a share below 1",
                remedy="Choose other numbers.",
            )

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


def train_corpus_policy(
    problem: CorpusProblem,
    dev: CorpusProblem,
    *,
    out: Path,
    config: CorpusTrainingConfig,
    provenance: Provenance,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Trains a policy, or goes on with one.

    Args:
        problem: The task as it is rewarded.
        dev: The task as the best weights are chosen: the same candidates, valued by other queries.
        out: The run folder.
        config: How to train.
        provenance: What it is trained on, for the artifact.
        resume: Whether to go on with what the folder holds.
        progress: Shows episodes and optimiser steps.

    Returns:
        The run folder.

    Raises:
        ArtifactError: When what the folder holds is damaged.
        UsageError: When the folder holds another run.
        KeyboardInterrupt: When interrupted; episodes and the last checkpoint stay and training can go on from them.
    """
    sizes = _sizes(problem, config)
    content = run_content(config, provenance, sizes, candidates_fingerprint(problem)) | {
        "kind": CORPUS_RUN,
        "candidates": list(problem.candidates.shortlist.indices),
        "features": [*STATE_FEATURES, *problem.features],
    }
    resumed = open_run(out, content, resume=resume)
    place = latest_checkpoint(out / "checkpoints") if resumed else None
    if place is not None and steps_of(place) >= config.total_steps:
        return out
    recall_uncertainty(out / UNCERTAINTY_FILE, problem)
    episodes = collect_episodes(
        problem,
        out / EPISODES_FILE,
        count=config.episodes,
        copies=config.copies,
        seed=config.seed,
        progress=progress,
    )
    replay = Replay(problem, seed=config.seed)
    replay.add(episodes)
    keep_uncertainty(out / UNCERTAINTY_FILE, problem)
    with torch.random.fork_rng(devices=[]), progress.track("train Q-network", config.total_steps) as advance:
        torch.manual_seed(config.seed)
        _Training(problem, dev, replay=replay, learner=_learner(problem, config, sizes), out=out, config=config).run(
            place, advance
        )
    return out


def candidates_fingerprint(problem: CorpusProblem) -> str:
    """Identifies the candidates of a run and what is known of them.

    Args:
        problem: The problem.

    Returns:
        A sha256 over positions, embeddings, labels and traits, hexadecimal.
    """
    shortlist, digest = problem.candidates.shortlist, hashlib.sha256()
    for array in (np.array(shortlist.indices), shortlist.query, shortlist.candidates, shortlist.labels):
        digest.update(array.tobytes())
    digest.update(problem.candidates.traits.tobytes())
    return digest.hexdigest()


def _sizes(problem: CorpusProblem, config: CorpusTrainingConfig) -> CorpusNetworkConfig:
    return CorpusNetworkConfig(
        width=problem.width,
        state=len(STATE_FEATURES),
        features=len(problem.features),
        hidden=config.hidden,
        dropout=config.dropout,
    )


def _learner(problem: CorpusProblem, config: CorpusTrainingConfig, sizes: CorpusNetworkConfig) -> ConservativeQLearner:
    network = CorpusQNetwork(sizes)
    network.task.copy_(torch.from_numpy(problem.candidates.shortlist.query))
    return ConservativeQLearner(
        network,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        conservative=config.conservative,
        gradient_norm=config.gradient_norm,
        target_every=config.target_every,
    )


class _Training:
    """Steps, evaluates, keeps the best weights and the newest state, and plays further episodes when they are due."""

    def __init__(
        self,
        problem: CorpusProblem,
        dev: CorpusProblem,
        *,
        replay: Replay,
        learner: ConservativeQLearner,
        out: Path,
        config: CorpusTrainingConfig,
    ) -> None:
        self._problem = problem
        self._dev = dev
        self._replay = replay
        self._learner = learner
        self._out = out
        self._config = config
        self._rng = np.random.default_rng([config.seed, 3])
        self._best = -np.inf
        self._online: list[StoredEpisode] = []
        self._losses: list[Losses] = []
        self._started = time.monotonic()

    def run(self, place: Path | None, advance: Callable[[int], None]) -> None:
        """Trains to the end, from a checkpoint where there is one."""
        if place is None:  # whatever a killed process played and measured is done again
            (self._out / ONLINE_FILE).unlink(missing_ok=True)
            (self._out / METRICS_FILE).unlink(missing_ok=True)
        else:
            self._restore(place)
            advance(self._learner.steps)
        config = self._config
        while self._learner.steps < config.total_steps:
            self._play_what_is_due()
            self._losses.append(self._learner.step(self._replay.batch(self._rng, config.batch_size)))
            if self._learner.steps % config.evaluate_every == 0 or self._learner.steps == config.total_steps:
                self._evaluate()
                extra: dict[str, Any] = {"best": float(self._best), "online": len(self._online)}
                save_learner(self._out / "checkpoints", self._learner, rng=self._rng, extra=extra)
            advance(1)

    def _restore(self, place: Path) -> None:
        extra = restore_learner(place, self._learner, rng=self._rng)
        forget_metrics_after(self._out, self._learner.steps)
        self._best = extra["best"]
        # Episodes that were played behind the checkpoint are played again, to the same end.
        self._online = read_episodes(self._out / ONLINE_FILE)[: extra["online"]]
        write_episodes(self._out / ONLINE_FILE, self._online)
        self._replay.add(self._online)

    def _play_what_is_due(self) -> None:
        config = self._config
        behind = self._learner.steps - config.steps
        if behind < 0:
            return
        due = min((behind // (STEPS_AN_EPISODE * config.copies) + 1) * config.copies, config.online_episodes)
        first = len(self._online)
        if due <= first:
            return
        made = roll_episodes(self._problem, [self._explorer(number) for number in range(first, due)], first=first)
        append_episodes(self._out / ONLINE_FILE, made)
        self._online += made
        self._replay.add(made)

    def _explorer(self, number: int) -> Chooser:
        rng = np.random.default_rng([self._config.seed, 1, number])
        first, last = EXPLORATION
        chance = first + (last - first) * number / max(self._config.online_episodes - 1, 1)

        def choose(episode: Episode, mask: Mask) -> int:
            if rng.random() < chance:
                return int(rng.choice(np.flatnonzero(mask)))
            state = {name: torch.from_numpy(array)[None] for name, array in self._problem.inputs(episode).items()}
            with torch.inference_mode():
                values = self._learner.network(state)[0][0].numpy()
            return int(np.where(mask, values, -np.inf).argmax())

        return choose

    def _evaluate(self) -> None:
        dev, config = self._dev, self._config
        chosen = greedy_set(
            self._learner.network,
            dev.candidates,
            horizon=config.shots,
            may_stop=config.may_stop,
            constraints=dev.config.constraints,
            uncertainty=dev.uncertainty,
        )
        metrics = {"dev_value": float(dev.scorer.potentials([0], [chosen])[0])}
        difference, conservative = np.mean(self._losses, axis=0)
        self._losses.clear()
        line = {
            "steps": self._learner.steps,
            **metrics,
            "difference": float(difference),
            "conservative": float(conservative),
            "seconds": round(time.monotonic() - self._started, 1),
        }
        append_metrics(self._out, line)
        # Of weights that choose equally well, those that have learned longer are kept.
        if metrics["dev_value"] >= self._best:
            self._best = metrics["dev_value"]
            parity = self._replay.some_states(PARITY_STATES)
            save_best(self._out, self._learner.network, parity, {**metrics, "steps": line["steps"]})
