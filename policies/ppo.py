"""Masked PPO over the per-query problem (Schulman et al., 2017; Huang & Ontanon, 2022, for the masks).

Training goes on after a kill exactly as if it had not stopped, keeps the weights that do best on dev, stops early when
they do not get better, and logs to TensorBoard and metrics.jsonl. It can start from a clone. It is told a decision
problem and does not know where rewards come from.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from envs.dynamics import DecisionProblem, Episode
from envs.rewards import JudgingScorer
from envs.vector import VectorDemoSelection, stacked
from policies.checkpoint_folder import has_ended, latest_checkpoint, patience_ended
from policies.checkpoints import restore_checkpoint, save_checkpoint
from policies.cloning import (
    ORACLE_FILE,
    CloningConfig,
    clone,
    oracle_trajectories,
    rule_trajectories,
    starts_of,
    worth_of,
)
from policies.own_randomness import own_randomness
from policies.pointer import PointerPolicy
from policies.policy_config import PolicyTrainingConfig
from policies.runs import (
    METRICS_FILE,
    WARM_STARTS_FILE,
    Provenance,
    append_metrics,
    forget_metrics_after,
    open_run,
    run_content,
    save_best,
)
from policies.vectorised import MaskedVecEnv
from selector.data.paths import write_whole
from selector.learned.lm_features import PROMPT_FEATURES
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import feature_names
from selector.learned.rollout import greedy_rollout
from selector.progress import SILENT, Progress
from selector.types import Selection

PARITY_QUERIES = 16


def train_policy(
    problem: DecisionProblem,
    dev: DecisionProblem,
    *,
    out: Path,
    config: PolicyTrainingConfig,
    provenance: Provenance,
    resume: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Trains a policy, or goes on with one.

    Args:
        problem: The queries it is rewarded on.
        dev: The queries on which its best weights are chosen; same rules.
        out: The run folder.
        config: How to train.
        provenance: What it is trained on, for the artifact.
        resume: Whether to go on with what the folder holds.
        progress: Shows environment steps.

    Returns:
        The run folder.

    Raises:
        UsageError: When the folder holds another run.
        KeyboardInterrupt: When interrupted; the last checkpoint stays and training can go on from it.
    """
    network = PointerNetworkConfig(
        width=problem.width,
        features=len(feature_names(config.lm_features, config.lm_view)),
        hidden=config.hidden,
        similarity_weight=config.similarity_weight,
        prompt_features=len(PROMPT_FEATURES) if config.lm_features else 0,
    )
    resumed = open_run(out, run_content(config, provenance, network, data_fingerprint(problem, dev)), resume=resume)
    place = latest_checkpoint(out / "checkpoints") if resumed else None
    if has_ended(place, total_steps=config.total_steps, patience=config.patience):
        return out
    with own_randomness():
        model = _learner(problem, config, network)
        if place is None:
            _warm_start(model.policy.network, problem, dev, out=out, config=config, progress=progress)
        model.set_logger(configure(str(out / "tensorboard"), ["tensorboard"]))
        with progress.track(f"train policy, {config.shots} shots", config.played_steps) as advance:
            keeper = _Keeper(dev, out=out, config=config, place=place, advance=advance)
            model.learn(config.total_steps, callback=keeper)
        model.logger.close()
    return out


def evaluate_on(problem: DecisionProblem, network: Any) -> dict[str, float]:
    """Measures greedy choices.

    Args:
        problem: Queries and what their selections are worth.
        network: The policy.

    Returns:
        The mean "potential" of the prompts chosen, and the "accuracy" of their answers where it costs nothing more.
    """
    return _measured(problem, _chosen(problem, network))


def _chosen(problem: DecisionProblem, network: Any) -> list[Selection]:
    config = problem.config
    return greedy_rollout(
        network,
        problem.shortlists,
        size=config.size,
        horizon=config.shots,
        may_stop=config.may_stop,
        constraints=config.constraints,
        reader=problem.reader,
    )


def _measured(problem: DecisionProblem, selections: Sequence[Selection]) -> dict[str, float]:
    numbers = range(len(selections))
    if not isinstance(problem.scorer, JudgingScorer):
        return {"potential": float(problem.scorer.potentials(numbers, selections).mean())}
    worth, right = problem.scorer.judge(numbers, selections)
    return {"potential": float(worth.mean())} | ({} if right is None else {"accuracy": float(right.mean())})


def parity_states(problem: DecisionProblem, selections: Sequence[Selection]) -> list[Episode]:
    """Gives states whose scores tell networks apart, what reads the chosen demonstrations included.

    Args:
        problem: The queries.
        selections: What was chosen for each, in the order chosen.

    Returns:
        For each of the first queries the empty prompt, and the prompt after one, two, ... of its choices in turn.
    """
    states = []
    for query, selection in enumerate(selections[:PARITY_QUERIES]):
        offered = problem.shortlists[query].indices
        places = tuple(offered.index(index) for index in selection.indices)
        deepest = min(len(places), min(problem.config.shots, len(offered)) - 1)  # a full prompt has no next action
        states += [Episode(query), *([Episode(query, places[: 1 + query % deepest])] if deepest > 0 else [])]
    return states


def data_fingerprint(*problems: DecisionProblem) -> str:
    """Identifies the queries that a run is trained and judged on.

    Args:
        *problems: The problems.

    Returns:
        A sha256 over embeddings and candidates, hexadecimal.
    """
    digest = hashlib.sha256()
    for problem in problems:
        for shortlist in problem.shortlists:
            digest.update(np.array(shortlist.indices, dtype=np.int64).tobytes())
            digest.update(shortlist.query.tobytes())
    return digest.hexdigest()


def _learner(problem: DecisionProblem, config: PolicyTrainingConfig, network: PointerNetworkConfig) -> MaskablePPO:
    return MaskablePPO(
        PointerPolicy,
        MaskedVecEnv(VectorDemoSelection(problem, config.copies)),
        policy_kwargs={"network": network},
        n_steps=config.rollout_steps,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        learning_rate=config.learning_rate,
        ent_coef=config.entropy_coefficient,
        clip_range=config.clip_range,
        gae_lambda=config.gae_lambda,
        gamma=1.0,
        seed=config.seed,
        device="cpu",
    )


def _warm_start(
    network: PointerNetwork,
    problem: DecisionProblem,
    dev: DecisionProblem,
    *,
    out: Path,
    config: PolicyTrainingConfig,
    progress: Progress,
) -> None:
    """Lets the network imitate what the configuration names, on queries drawn by the seed."""
    if config.warm_start == "none":
        return
    count = len(problem.shortlists)
    drawn = np.random.default_rng(config.seed).permutation(count)[: config.warm_start_queries]
    queries = sorted(map(int, drawn))
    cloning = CloningConfig(epochs=config.warm_start_epochs, seed=config.seed)
    if config.warm_start == "oracle":
        trajectories = oracle_trajectories(problem, queries, out / ORACLE_FILE, progress=progress)
        clone(network, problem, trajectories, cloning)
        return
    starts = starts_of(config.warm_start, lm_features=config.lm_features)
    # Nothing has been rewarded yet, so all queries may judge.
    worth = [0.0] * len(starts)
    asked = len(problem.shortlists) + len(dev.shortlists)
    if len(starts) > 1:
        with progress.track("judge warm starts", len(starts)) as advance:
            for number, start in enumerate(starts):
                worth[number] = (worth_of(problem, start) + worth_of(dev, start)) / asked
                advance(1)
        judged = [asdict(start) | {"potential": value} for start, value in zip(starts, worth, strict=True)]
        write_whole(out / WARM_STARTS_FILE, json.dumps(judged, indent=2) + "\n")
    best = starts[int(np.argmax(worth))]
    clone(network, problem, rule_trajectories(problem, queries, best), cloning)


class _Keeper(BaseCallback):
    """Between rollouts: evaluates, keeps the best weights and the newest state; moves the bar."""

    def __init__(
        self,
        dev: DecisionProblem,
        *,
        out: Path,
        config: PolicyTrainingConfig,
        place: Path | None,
        advance: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._dev = dev
        self._out = out
        self._config = config
        self._place = place
        self._advance = advance
        self._best = -np.inf
        self._rollouts = 0
        self._since_best = 0
        self._done_here = False
        self._started = time.monotonic()

    def _on_training_start(self) -> None:
        if self._place is None:
            (self._out / METRICS_FILE).unlink(missing_ok=True)  # left by a kill before the first checkpoint
            return
        extra = restore_checkpoint(self._place, self.model)
        forget_metrics_after(self._out, self.model.num_timesteps)
        self._best, self._rollouts, self._since_best = extra["best"], extra["rollouts"], extra["since_best"]
        self._started -= extra.get("seconds", 0.0)  # older checkpoints do not say
        self._advance(self.model.num_timesteps)
        # The checkpoint was taken behind this boundary's evaluation, which is not repeated.
        self._rollouts -= 1
        self._done_here = True

    def _on_rollout_start(self) -> None:
        self._rollouts += 1
        if self._done_here:
            self._done_here = False
            return
        if (self._rollouts - 1) % self._config.evaluate_every == 0:
            self._evaluate()
        self._checkpoint()

    def _on_step(self) -> bool:
        self._advance(self._config.copies)
        return not self._patience_ended

    @property
    def _patience_ended(self) -> bool:
        return patience_ended(self._config.patience, {"since_best": self._since_best})

    def _on_training_end(self) -> None:
        if self._patience_ended:  # the checkpoint before the last step says so
            return
        self._rollouts += 1
        self._evaluate()
        self._checkpoint()

    def _checkpoint(self) -> None:
        extra = {"best": float(self._best), "rollouts": self._rollouts, "since_best": self._since_best}
        extra |= {"seconds": time.monotonic() - self._started}
        save_checkpoint(self._out / "checkpoints", self.model, extra=extra)

    def _evaluate(self) -> None:
        selections = _chosen(self._dev, self.model.policy.network)
        measured = _measured(self._dev, selections)
        metrics = {f"dev_{name}": value for name, value in measured.items()}
        for name, value in measured.items():
            self.logger.record(f"dev/{name}", value)
        self.logger.dump(self.model.num_timesteps)
        line = {"steps": self.model.num_timesteps, **metrics, "seconds": round(time.monotonic() - self._started, 1)}
        append_metrics(self._out, line)
        self._since_best += 1
        if measured["potential"] > self._best:
            self._best, self._since_best = measured["potential"], 0
            network = cast(PointerNetwork, self.model.policy.network)
            parity = stacked(self._dev.observe_all(parity_states(self._dev, selections)))
            save_best(self._out, network, parity, {**metrics, "steps": line["steps"]})
