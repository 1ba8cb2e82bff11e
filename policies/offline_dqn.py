"""Offline Q-learning over the per-corpus problem from stored random episodes (Zhang, Feng & Tan, 2022).

First random episodes are collected; then the Q-network learns from them, keeps the weights whose choice does best on
dev, and goes on after a kill exactly as if it had not stopped. It may then play further episodes, most of which return
to the best prompts so far; see `policies.exploration`. It stops early when dev does not get better, and logs to
TensorBoard and metrics.jsonl. At the end the best prompts of all episodes are judged once more, and the best one is
kept beside the network; see `policies.finalists`. It is told a decision problem and does not know where rewards come
from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.logger import Logger, configure

from envs.corpus import CorpusProblem
from envs.dynamics import Episode
from policies.checkpoint_folder import has_ended, latest_checkpoint, patience_ended
from policies.corpus_config import STEPS_AN_EPISODE, CorpusTrainingConfig
from policies.episodes import (
    Chooser,
    StoredEpisode,
    append_episodes,
    collect_episodes,
    read_episodes,
    roll_episodes,
    write_episodes,
)
from policies.exploration import exploring_chooser, returning_chooser
from policies.finalists import PROMPT_FILE, choose_prompt, write_prompt
from policies.q_learner import ConservativeQLearner, Losses, restore_learner, save_learner
from policies.replay import Replay, keep_uncertainty, recall_uncertainty
from policies.runs import (
    CORPUS_RUN,
    METRICS_FILE,
    Provenance,
    append_metrics,
    forget_metrics_after,
    open_run,
    read_corpus_best,
    run_content,
    save_best,
)
from policies.setting_checks import require_finite
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.learned.corpus_observation import CANDIDATE_FEATURES, LM_FEATURES, STATE_FEATURES
from selector.progress import SILENT, Progress
from selector.strategies.corpus import greedy_set
from selector.types import Selection

EPISODES_FILE, ONLINE_FILE, UNCERTAINTY_FILE = "episodes.jsonl", "online.jsonl", "uncertainty.safetensors"
PARITY_STATES = 16
EXPLORATION = (0.5, 0.1)  # share of random choices in the first and the last online episode


def train_corpus_policy(
    problem: CorpusProblem,
    dev: CorpusProblem,
    *,
    out: Path,
    config: CorpusTrainingConfig,
    provenance: Provenance,
    queries: tuple[int, int] = (1, 1),
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
        queries: How many queries reward and how many judge; the prompt that is kept is the best over all of them.
        resume: Whether to go on with what the folder holds.
        progress: Shows episodes and optimiser steps.

    Returns:
        The run folder.

    Raises:
        ArtifactError: When what the folder holds is damaged.
        UsageError: When the folder holds another run.
        ShotsmithError: When a loss is no longer a number.
        KeyboardInterrupt: When interrupted; episodes and the last checkpoint stay and training can go on from them.
    """
    sizes = _sizes(problem, config)
    content = run_content(config, provenance, sizes, candidates_fingerprint(problem)) | {
        "kind": CORPUS_RUN,
        "candidates": list(problem.candidates.shortlist.indices),
        "features": [*STATE_FEATURES, *CANDIDATE_FEATURES, *(() if problem.uncertainty is None else LM_FEATURES)],
        "label_names": list(problem.candidates.label_names),
    }
    resumed = open_run(out, content, resume=resume)
    place = latest_checkpoint(out / "checkpoints") if resumed else None
    if not has_ended(place, total_steps=config.total_steps, patience=config.patience):
        (out / PROMPT_FILE).unlink(missing_ok=True)  # of a training whose checkpoints are gone
        _train(problem, dev, out=out, config=config, sizes=sizes, place=place, progress=progress)
    if config.finalists and not (out / PROMPT_FILE).is_file():
        _keep_prompt(problem, dev, out=out, config=config, queries=queries, progress=progress)
    return out


def _train(
    problem: CorpusProblem,
    dev: CorpusProblem,
    *,
    out: Path,
    config: CorpusTrainingConfig,
    sizes: CorpusNetworkConfig,
    place: Path | None,
    progress: Progress,
) -> None:
    """Collects what is not collected yet and learns from it, from a checkpoint where there is one."""
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
        learner = _learner(problem, config, sizes)
        _Training(problem, dev, replay=replay, collected=episodes, learner=learner, out=out, config=config).run(
            place, advance
        )


def _keep_prompt(
    problem: CorpusProblem,
    dev: CorpusProblem,
    *,
    out: Path,
    config: CorpusTrainingConfig,
    queries: tuple[int, int],
    progress: Progress,
) -> None:
    recall_uncertainty(out / UNCERTAINTY_FILE, problem)
    with torch.random.fork_rng(devices=[]):  # a network is made with random weights first
        best = read_corpus_best(out).network
    prompt = choose_prompt(
        problem,
        dev,
        random=read_episodes(out / EPISODES_FILE),
        online=read_episodes(out / ONLINE_FILE),
        policy=lambda pattern: _own_choice(best, dev, config, pattern=pattern),
        finalists=config.finalists,
        queries=queries,
        progress=progress,
    )
    write_prompt(out, prompt)


def _own_choice(
    network: CorpusQNetwork, problem: CorpusProblem, config: CorpusTrainingConfig, *, pattern: Sequence[str] = ()
) -> Selection:
    """What the network chooses among the candidates of the training."""
    return greedy_set(
        network,
        problem.candidates,
        horizon=config.shots,
        may_stop=config.may_stop,
        constraints=problem.config.constraints,
        uncertainty=problem.uncertainty,
        pattern=pattern,
    )


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
        state=len(STATE_FEATURES) + len(problem.candidates.label_names),
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
        collected: Sequence[StoredEpisode],
        learner: ConservativeQLearner,
        out: Path,
        config: CorpusTrainingConfig,
    ) -> None:
        self._problem = problem
        self._dev = dev
        self._replay = replay
        self._collected = collected
        self._learner = learner
        self._out = out
        self._config = config
        self._rng = np.random.default_rng([config.seed, 3])
        self._kept: dict[str, Any] = {"best": -float("inf"), "since_best": 0}
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
        config, logger = self._config, configure(str(self._out / "tensorboard"), ["tensorboard"])
        while self._learner.steps < config.total_steps and not patience_ended(config.patience, self._kept):
            self._play_what_is_due()
            self._losses.append(self._learner.step(self._replay.batch(self._rng, config.batch_size)))
            require_finite(self._losses[-1], step=self._learner.steps, rate=config.learning_rate)
            if self._learner.steps % config.evaluate_every == 0 or self._learner.steps == config.total_steps:
                self._evaluate(logger)
                extra = self._kept | {"online": len(self._online), "seconds": time.monotonic() - self._started}
                keep_uncertainty(self._out / UNCERTAINTY_FILE, self._problem)  # of further episodes' states too
                save_learner(self._out / "checkpoints", self._learner, rng=self._rng, extra=extra)
            advance(1)
        logger.close()

    def _restore(self, place: Path) -> None:
        extra = restore_learner(place, self._learner, rng=self._rng)
        forget_metrics_after(self._out, self._learner.steps)
        self._kept = {name: extra[name] for name in self._kept}
        self._started -= extra.get("seconds", 0.0)  # older checkpoints do not say
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
        known = [*self._collected, *self._online]
        made = roll_episodes(
            self._problem, [self._explorer(number, known) for number in range(first, due)], first=first
        )
        append_episodes(self._out / ONLINE_FILE, made)
        self._online += made
        self._replay.add(made)

    def _explorer(self, number: int, known: Sequence[StoredEpisode]) -> Chooser:
        rng = np.random.default_rng([self._config.seed, 1, number])
        if rng.random() < self._config.returning:
            return returning_chooser(self._values, known=known, stop=self._problem.config.size, rng=rng)
        first, last = EXPLORATION
        chance = first + (last - first) * number / max(self._config.online_episodes - 1, 1)
        return exploring_chooser(self._values, chance=chance, rng=rng)

    def _values(self, episode: Episode) -> npt.NDArray[np.float32]:
        state = {name: torch.from_numpy(array)[None] for name, array in self._problem.inputs(episode).items()}
        with torch.inference_mode():
            values: npt.NDArray[np.float32] = self._learner.network(state)[0][0].numpy()
        return values

    def _evaluate(self, logger: Logger) -> None:
        dev, config = self._dev, self._config
        chosen = _own_choice(self._learner.network, dev, config)
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
        for name in ("dev_value", "difference", "conservative"):
            logger.record(name.replace("_", "/"), line[name])
        logger.dump(self._learner.steps)
        better = metrics["dev_value"] > self._kept["best"]
        waits = config.online_episodes > 0 and self._learner.steps <= config.steps  # further episodes are still to come
        since = 0 if better or waits else self._kept["since_best"] + 1
        # Of weights that choose equally well, those that have learned longer are kept.
        if metrics["dev_value"] >= self._kept["best"]:
            self._kept["best"] = metrics["dev_value"]
            parity = self._replay.some_states(PARITY_STATES)
            save_best(self._out, self._learner.network, parity, {**metrics, "steps": line["steps"]})
        self._kept["since_best"] = since
