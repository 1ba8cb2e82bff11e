"""Warm starts: the pointer policy learns to imitate before it is rewarded.

It imitates the retriever's ranking (the k most similar, the most similar next to the query) or that ranking behind the
label that its candidates vote for, which cost nothing; behind the label for which that vote and the language model's
own opinion of the query speak together; or greedy trajectories of a language-model oracle, which scores every remaining
candidate at every step. The loss is the cross-entropy over valid actions (behaviour cloning; Pomerleau,
1991). Where the oracle tells what a trajectory was worth the value head learns it too, so that the first updates of PPO
do not undo what was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from envs.dynamics import DecisionProblem, Episode
from envs.vector import stacked
from policies.stored_lines import append_lines, whole_lines
from selector.errors import UnknownNameError, UsageError
from selector.learned.network import PointerNetwork
from selector.learned.observation import FEATURES, Observation, candidate_features
from selector.learned.shortlist import Shortlist
from selector.progress import SILENT, Progress

BEST_ON_DEV: Final = "best-on-dev"
EVIDENCE: Final = "label-evidence"
RULES: Final = ("retriever", "label-vote", EVIDENCE)
WARM_STARTS: Final = ("none", *RULES, BEST_ON_DEV, "oracle")
OPINIONS: Final = (0.5, 1.0, 2.0, 4.0)  # what the language model's opinion may weigh; that of the vote weighs 1
DOUBT: Final = 0.1  # is added to the share of a label in the vote, which else would outweigh any opinion
ORACLE_FILE: Final = "oracle.jsonl"
CHUNK: Final = 32  # queries whose candidates are scored in one batch; what a kill can lose


@dataclass(frozen=True)
class Trajectory:
    """What is imitated for one query.

    Attributes:
        query: The number of the query.
        actions: The actions in order; STOP where the trajectory ends by it.
        potentials: What the prompt was worth before each action and after the last; empty where it is not known.
    """

    query: int
    actions: tuple[int, ...]
    potentials: tuple[float, ...] = ()


@dataclass(frozen=True)
class Start:
    """A rule that can be imitated.

    Attributes:
        rule: One of `RULES`.
        opinion: What the language model's opinion weighs beside the vote.
    """

    rule: str
    opinion: float = 0.0


@dataclass(frozen=True)
class CloningConfig:
    """How imitation is trained.

    Attributes:
        epochs: Passes over the states of all trajectories.
        batch_size: States in a minibatch.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        smoothing: Share of the target that all valid actions get alike: a clone without doubts explores nothing.
        value_weight: Weight of the squared error of the value head.
        seed: Seeds the order of states.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    smoothing: float = 0.3
    value_weight: float = 0.5
    seed: int = 0


def check_warm_start(name: str, *, lm_features: bool) -> None:
    """Makes sure that a warm start exists, and that the policy will see what it goes by.

    Args:
        name: Its name.
        lm_features: Whether the policy sees what the language model says.

    Raises:
        UnknownNameError: When there is none of that name.
        UsageError: When it goes by the language model and the policy does not see it.
    """
    if name not in WARM_STARTS:
        raise UnknownNameError("warm start", name, known=WARM_STARTS)
    if name == EVIDENCE and not lm_features:
        raise UsageError(
            f"the warm start {name} goes by the language model, and the policy does not see it",
            expected="language-model features",
            remedy="Pass --lm-features, or choose another warm start.",
        )


def starts_of(name: str, *, lm_features: bool) -> tuple[Start, ...]:
    """Lists the rules among which a warm start chooses.

    Args:
        name: The warm start; neither "none" nor "oracle".
        lm_features: Whether the policy sees what the language model says.

    Returns:
        One or more rules.
    """
    evidence = tuple(Start(EVIDENCE, opinion) for opinion in OPINIONS)
    if name == BEST_ON_DEV:
        return (Start("retriever"), Start("label-vote"), *(evidence if lm_features else ()))
    return evidence if name == EVIDENCE else (Start(name),)


def rule_trajectories(problem: DecisionProblem, queries: Sequence[int], start: Start) -> list[Trajectory]:
    """Follows a rule: the candidates it prefers that the constraints allow, the best last.

    Args:
        problem: The problem.
        queries: N query numbers.
        start: "retriever" prefers the most similar; "label-vote" those with the label that the shortlist votes for by
            similarity (the largest `label_share` of an observation), the most similar of them first; "label-evidence"
            adds to the logarithm of that share what the language model thinks of the label behind the empty prompt.

    Returns:
        N trajectories of unknown worth.
    """
    beginnings = [Episode(query) for query in queries]
    observed = problem.observe_all(beginnings) if start.rule == EVIDENCE else [None] * len(beginnings)
    trajectories = []
    for query, seen in zip(queries, observed, strict=True):
        preferred = _preferred(problem.shortlists[query], start, seen)
        taken: list[int] = []
        while len(taken) < problem.config.shots:
            mask = problem.mask(Episode(query, tuple(taken)))[:-1]
            # Shortlists are sorted, the most similar first.
            valid = preferred[mask[preferred]]
            if not len(valid):
                break
            taken.append(int(valid[0]))
        # What fits in one order fits in any.
        actions = [*reversed(taken), *_stop_behind(problem, query, taken)]
        trajectories.append(Trajectory(query, tuple(actions)))
    return trajectories


def worth_of(problem: DecisionProblem, start: Start) -> float:
    """Measures a rule by what its prompts are worth.

    Args:
        problem: Queries, and what their selections are worth.
        start: The rule.

    Returns:
        The sum of the potentials over all queries.
    """
    queries = range(len(problem.shortlists))
    followed = [Episode(one.query, _chosen(problem, one)) for one in rule_trajectories(problem, queries, start)]
    return float(problem.scorer.potentials(queries, [problem.selection(episode) for episode in followed]).sum())


def _chosen(problem: DecisionProblem, trajectory: Trajectory) -> tuple[int, ...]:
    return tuple(action for action in trajectory.actions if action < problem.config.size)


def _preferred(shortlist: Shortlist, start: Start, seen: Observation | None) -> npt.NDArray[np.intp]:
    """Places of a shortlist, those with the favoured label first, each part in the order of similarity."""
    if start.rule == "retriever":
        return np.arange(len(shortlist))
    favour = candidate_features(shortlist, ())[:, FEATURES.index("label_share")]
    if seen is not None:
        agreement = seen["features"].reshape(-1, len(FEATURES) + 1)[: len(shortlist), len(FEATURES)]
        favour = np.log(favour + DOUBT) + start.opinion * np.log(agreement + 1e-6)
    return np.argsort(shortlist.labels != shortlist.labels[favour.argmax()], kind="stable")


def oracle_trajectories(
    problem: DecisionProblem, queries: Sequence[int], path: Path, *, progress: Progress = SILENT
) -> list[Trajectory]:
    """Appends the candidate that is worth most at every step; one batch scores all that remain for a chunk of queries.

    Args:
        problem: The problem.
        queries: N query numbers.
        path: A file of JSON lines; trajectories that it holds are kept, new ones are added chunk by chunk.
        progress: Shows queries.

    Returns:
        N trajectories.

    Raises:
        ArtifactError: When the file is damaged.
        DiskFullError: When the disk is full.
    """
    done = {trajectory.query: trajectory for trajectory in whole_lines(path, _trajectory, of="a trajectory")}
    missing = [query for query in queries if query not in done]
    with progress.track("oracle trajectories", len(queries)) as advance:
        advance(len(queries) - len(missing))
        for start in range(0, len(missing), CHUNK):
            made = _greedy(problem, missing[start : start + CHUNK])
            append_lines(path, map(asdict, made))
            done |= {one.query: one for one in made}
            advance(len(made))
    return [done[query] for query in queries]


def clone(
    network: PointerNetwork, problem: DecisionProblem, trajectories: Sequence[Trajectory], config: CloningConfig
) -> list[float]:
    """Trains a network to act as trajectories do, and to know what they are worth.

    Args:
        network: The network; trained in place.
        problem: The problem of the trajectories.
        trajectories: What to imitate.
        config: How.

    Returns:
        The mean cross-entropy of each epoch, nats.
    """
    steps = [step for trajectory in trajectories for step in _steps(problem, trajectory)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    rng = np.random.default_rng(config.seed)
    losses = []
    for _ in range(config.epochs):
        total = 0.0
        order = rng.permutation(len(steps))
        for start in range(0, len(order), config.batch_size):
            batch = [steps[at] for at in order[start : start + config.batch_size]]
            states = stacked(problem.observe_all([episode for episode, _, _ in batch]))
            logits, values = network({name: torch.from_numpy(array) for name, array in states.items()})
            actions = torch.tensor([action for _, action, _ in batch])
            imitation = smoothed_cross_entropy(logits, actions, torch.from_numpy(states["mask"]), config.smoothing)
            returns = torch.tensor([worth for _, _, worth in batch])
            known = ~returns.isnan()
            loss = imitation
            if known.any():
                loss = loss + config.value_weight * mse_loss(values[known], returns[known])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(imitation.detach()) * len(batch)
        losses.append(total / max(len(steps), 1))
    return losses


def smoothed_cross_entropy(logits: Tensor, actions: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Measures how unlikely actions are among the valid ones, with label smoothing (Szegedy et al., 2016).

    Args:
        logits: (B, K + 1) scores of all actions.
        actions: (B,) the valid actions that should be taken.
        mask: (B, K + 1), 1 where an action is valid.
        smoothing: The share of the target that is spread over all valid actions.

    Returns:
        The mean over the batch, nats.
    """
    logprobs = logits.masked_fill(mask == 0, -torch.inf).log_softmax(dim=-1)
    taken = logprobs.gather(1, actions[:, None]).squeeze(1)
    alike = logprobs.masked_fill(mask == 0, 0.0).sum(dim=-1) / mask.sum(dim=-1)
    return -((1 - smoothing) * taken + smoothing * alike).mean()


def _stop_behind(problem: DecisionProblem, query: int, taken: Sequence[int]) -> list[int]:
    """STOP, where an episode does not end with what was taken."""
    full = len(taken) == min(problem.config.shots, len(problem.shortlists[query]))
    return [] if full else [problem.config.size]


def _greedy(problem: DecisionProblem, queries: Sequence[int]) -> list[Trajectory]:
    stop = problem.config.size
    running = {episode.query: Trajectory(episode.query, (), (episode.potential,)) for episode in problem.start(queries)}
    ended: dict[int, Trajectory] = {}
    while running:
        options = [
            (one, int(action))
            for one in running.values()
            for action in np.flatnonzero(problem.mask(Episode(one.query, one.actions))[:-1])
        ]
        behind = [problem.selection(Episode(one.query, (*one.actions, action))) for one, action in options]
        values = problem.scorer.potentials([one.query for one, _ in options], behind) if options else ()
        best: dict[int, tuple[int, float]] = {}
        for (one, action), value in zip(options, values, strict=True):
            if one.query not in best or value > best[one.query][1]:
                best[one.query] = (action, float(value))
        for one in list(running.values()):
            now = one.potentials[-1]
            action, value = best.get(one.query, (stop, now))
            if problem.config.may_stop and value <= now:
                action, value = stop, now
            moved = Trajectory(one.query, (*one.actions, action), (*one.potentials, value))
            running[one.query] = moved
            if action == stop or not _stop_behind(problem, one.query, moved.actions):
                ended[one.query] = running.pop(one.query)
    return [ended[query] for query in queries]


def _steps(problem: DecisionProblem, trajectory: Trajectory) -> list[tuple[Episode, int, float]]:
    """Each state of a trajectory, the action taken, and the rewards that follow; nan where they are not known."""
    steps = []
    for at, action in enumerate(trajectory.actions):
        worth = float("nan")
        if trajectory.potentials:
            # Dense rewards have paid for what stands in the prompt; terminal ones pay for all of it at the end.
            paid = trajectory.potentials[at if problem.config.dense else 0]
            worth = trajectory.potentials[-1] - paid
        steps.append((Episode(trajectory.query, trajectory.actions[:at]), action, worth))
    return steps


def _trajectory(row: Any) -> Trajectory:
    return Trajectory(row["query"], tuple(row["actions"]), tuple(row["potentials"]))
