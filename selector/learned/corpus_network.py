"""The Q-network for one prompt per task: a value for each of any number of candidates, and one for stopping.

Architecture of Zhang, Feng & Tan (2022): state and candidate side by side, standardised by running statistics, two
small layers with dropout; stopping is a learned vector in a candidate's place. Candidates are valued one by one, so
permuting them permutes their values. Used by training and serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FARTHEST = 5.0  # standard deviations; a feature that never moved in training must not throw a new pool off


@dataclass(frozen=True)
class CorpusNetworkConfig:
    """Sizes of the network.

    Attributes:
        width: D, the length of an embedding.
        state: S, the number of state features.
        features: F, the number of candidate features.
        hidden: The width of the layers inside.
        dropout: The share of inputs and hidden units that is dropped in training.
    """

    width: int
    state: int
    features: int
    hidden: int = 16
    dropout: float = 0.25


class RunningNorm(nn.Module):
    """Standardises by the mean and variance of all rows it was shown (Chan, Golub & LeVeque, 1979).

    Args:
        width: The length of a row.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(width, dtype=torch.float64))

    @torch.no_grad()
    def show(self, rows: Tensor) -> None:
        """Takes rows into the statistics.

        Args:
            rows: (N, width).
        """
        if not len(rows):
            return
        rows = rows.double()
        mean = rows.mean(dim=0)
        difference, total = mean - self.mean, self.count + len(rows)
        self.squares += (rows - mean).square().sum(dim=0) + difference.square() * self.count * len(rows) / total
        self.mean += difference * len(rows) / total
        self.count.copy_(total)

    def forward(self, rows: Tensor) -> Tensor:
        """Standardises rows.

        Args:
            rows: (..., width).

        Returns:
            The same shape, in standard deviations.
        """
        deviation = (self.squares / self.count.clamp(min=1) + 1e-8).sqrt()
        return ((rows - self.mean) / deviation).clamp(-FARTHEST, FARTHEST).to(rows.dtype)


class CorpusQNetwork(nn.Module):
    """Values candidates and stopping.

    Args:
        config: The sizes.
    """

    task: Tensor

    def __init__(self, config: CorpusNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("task", torch.zeros(config.width))  # what stood for the task in training
        self.norm = RunningNorm(config.state + config.features)
        self.stop = nn.Parameter(torch.zeros(config.features))
        self.layers = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(config.state + config.features, config.hidden),
            nn.LeakyReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.LeakyReLU(),
            nn.Linear(config.hidden, 1),
        )
        nn.init.normal_(self.stop)

    def forward(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values all actions of a batch of states, valid or not.

        Args:
            observation: The arrays of `selector.learned.corpus_observation.observe_corpus` with a batch axis of B.

        Returns:
            (B, K + 1) values, the last for STOP, and (B,) the best valid one; both in the unit of the rewards that it
            was trained on.
        """
        state, mask = observation["state"], observation["mask"] > 0
        features = observation["features"].reshape(len(state), -1, self.config.features)  # (B, K, F)
        rows = torch.cat([state[:, None, :].expand(-1, features.shape[1], -1), features], dim=-1)  # (B, K, S + F)
        if self.training:
            self.norm.show(rows[mask[:, :-1]])
        rows = self.norm(rows)
        stop = torch.cat([rows[:, 0, : self.config.state], self.stop.expand(len(state), -1)], dim=-1)
        values = self.layers(torch.cat([rows, stop[:, None, :]], dim=1)).squeeze(-1)
        return values, values.masked_fill(~mask, -torch.inf).max(dim=-1).values
