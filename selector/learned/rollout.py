"""Choosing with the pointer network: greedily, or with a beam. Knows neither encoders nor language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from selector.errors import UsageError
from selector.learned.constraints import UNCONSTRAINED, Constraints
from selector.learned.lm_features import PromptReader
from selector.learned.network import PointerNetwork
from selector.learned.observation import Observation, observe
from selector.learned.shortlist import Shortlist
from selector.types import Selection


@dataclass(frozen=True)
class _Path:
    """A beginning of a selection: places chosen, the log-probability of each action, and whether it has ended."""

    query: int
    chosen: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    total: float = 0.0
    ended: bool = False


@dataclass(frozen=True)
class _Rules:
    shortlists: Sequence[Shortlist]
    size: int
    horizon: int
    may_stop: bool
    constraints: Constraints
    reader: PromptReader | None

    def observations(self, paths: Sequence[_Path]) -> list[Observation]:
        own = [self.shortlists[path.query] for path in paths]
        chosen = [path.chosen for path in paths]
        views = (
            [None] * len(paths)
            if self.reader is None
            else self.reader.read([path.query for path in paths], own, chosen)
        )
        return [
            observe(
                shortlist,
                places,
                size=self.size,
                horizon=self.horizon,
                may_stop=self.may_stop,
                constraints=self.constraints,
                view=view,
            )
            for shortlist, places, view in zip(own, chosen, views, strict=True)
        ]

    def moved(self, path: _Path, action: int, logprob: float) -> _Path:
        total = path.total + logprob
        if action == self.size:
            return _Path(path.query, path.chosen, path.scores, total, ended=True)
        chosen = (*path.chosen, action)
        full = len(chosen) == min(self.horizon, len(self.shortlists[path.query]))
        return _Path(path.query, chosen, (*path.scores, logprob), total, ended=full)


def greedy_rollout(
    network: PointerNetwork,
    shortlists: Sequence[Shortlist],
    *,
    size: int,
    horizon: int,
    may_stop: bool,
    constraints: Constraints = UNCONSTRAINED,
    reader: PromptReader | None = None,
) -> list[Selection]:
    """Chooses the best-scored valid action until every prompt is full or stopped.

    Args:
        network: The policy.
        shortlists: N shortlists.
        size: K, to which candidates are padded.
        horizon: How many demonstrations to choose at most.
        may_stop: Whether the policy may choose fewer.
        constraints: What a prompt may hold.
        reader: Looks at states with the language model, where the policy was trained so; query n is shortlist n.

    Returns:
        N selections in the order chosen; a score is the action's log-probability, nats.
    """
    return beam_rollout(
        network,
        shortlists,
        size=size,
        horizon=horizon,
        may_stop=may_stop,
        beams=1,
        constraints=constraints,
        reader=reader,
    )


def beam_rollout(
    network: PointerNetwork,
    shortlists: Sequence[Shortlist],
    *,
    size: int,
    horizon: int,
    may_stop: bool,
    beams: int,
    constraints: Constraints = UNCONSTRAINED,
    reader: PromptReader | None = None,
) -> list[Selection]:
    """Keeps the most probable beginnings of each prompt until all are full or stopped, and takes the best.

    Args:
        network: The policy.
        shortlists: N shortlists.
        size: K, to which candidates are padded.
        horizon: How many demonstrations to choose at most.
        may_stop: Whether the policy may choose fewer.
        beams: How many beginnings are kept for each query; 1 is greedy.
        constraints: What a prompt may hold.
        reader: Looks at states with the language model, where the policy was trained so; query n is shortlist n.

    Returns:
        N selections in the order chosen; a score is the action's log-probability, nats. The sum of the scores, and of
        that of STOP where it was taken, is the largest found.

    Raises:
        UsageError: When there is no beam.
    """
    if beams < 1:
        raise UsageError(f"beams is {beams}", expected="1 or more", remedy="Choose another number.")
    rules = _Rules(shortlists, size, horizon, may_stop, constraints, reader)
    kept = [[_Path(number, ended=not (horizon and len(own)))] for number, own in enumerate(shortlists)]
    while running := [path for paths in kept for path in paths if not path.ended]:
        rows = iter(_logprobs(network, rules.observations(running)))
        kept = [_best(rules, paths, [None if path.ended else next(rows) for path in paths], beams) for paths in kept]
    return [
        Selection(tuple(shortlist.indices[place] for place in best.chosen), best.scores)
        for shortlist, (best, *_) in zip(shortlists, kept, strict=True)
    ]


def _logprobs(network: PointerNetwork, states: Sequence[Observation]) -> npt.NDArray[np.float32]:
    """(B, K + 1) log-probabilities of the actions, -inf where they are not valid."""
    batch = {name: torch.from_numpy(np.stack([state[name] for state in states])) for name in states[0]}
    with torch.inference_mode():
        logits = network(batch)[0].masked_fill(batch["mask"] == 0, -torch.inf)
        logprobs: npt.NDArray[np.float32] = logits.log_softmax(dim=-1).numpy()
    return logprobs


def _best(
    rules: _Rules, paths: Sequence[_Path], rows: Sequence[npt.NDArray[np.float32] | None], beams: int
) -> list[_Path]:
    """The best `beams` of all continuations of one query's paths, the best first; equals go to the earlier one."""
    ends: list[tuple[_Path, int, float]] = []  # path, action, log-probability
    for path, row in zip(paths, rows, strict=True):
        if row is None:
            ends.append((path, -1, 0.0))
            continue
        likely = np.argsort(-row, kind="stable")[:beams]
        ends += [(path, int(action), float(row[action])) for action in likely if np.isfinite(row[action])]
    order = sorted(ends, key=lambda end: -(end[0].total + end[2]))[:beams]
    return [path if path.ended else rules.moved(path, action, logprob) for path, action, logprob in order]
