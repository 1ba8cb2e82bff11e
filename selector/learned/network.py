"""The pointer network: one score for each candidate and one for stopping, whatever the number of candidates.

It treats candidates alike (permuting them permutes their scores) and reads the chosen ones in order (Vinyals et al.,
2015, "Pointer Networks"). A learned weight on similarity lets an untrained policy start as the retriever it chooses
from. Used by training and serving; it knows nothing of environments or learners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PointerNetworkConfig:
    """Sizes of the network.

    Attributes:
        width: D, the length of an embedding.
        features: F, the number of candidate features.
        hidden: The width of the layers inside.
        similarity_weight: What the similarity of a candidate weighs before training, in nats per unit of cosine.
        stop_logit: The score of STOP before training, in nats.
        prompt_features: P, the number of features of the current prompt; 0 where the language model is not asked.
    """

    width: int
    features: int
    hidden: int = 64
    similarity_weight: float = 10.0
    stop_logit: float = -2.0
    prompt_features: int = 0


class PointerNetwork(nn.Module):
    """Scores candidates and values states.

    Args:
        config: The sizes.
    """

    def __init__(self, config: PointerNetworkConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.config = config
        self.query = nn.Linear(config.width, hidden)
        self.candidate = nn.Linear(config.width + config.features, hidden)
        self.reader = nn.GRU(hidden, hidden, batch_first=True)
        self.state = nn.Sequential(nn.Linear(3 * hidden + 1 + config.prompt_features, hidden), nn.Tanh())
        self.pointer_hidden = nn.Linear(3 * hidden, hidden)
        self.pointer = nn.Linear(hidden, 1)
        self.stop = nn.Linear(hidden, 1)
        self.value = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.similarity_weight = nn.Parameter(torch.tensor(config.similarity_weight))
        for last in (self.pointer, self.stop):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
        nn.init.constant_(self.stop.bias, config.stop_logit)

    def forward(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores all actions of a batch of states, valid or not.

        Args:
            observation: The arrays of `selector.learned.observation.observe` with a batch axis of B in front.

        Returns:
            (B, K + 1) logits, the last for STOP, and (B,) values in units of reward.
        """
        features = _rows(observation["features"], self.config.features)  # (B, K, F)
        embeddings = _rows(observation["candidates"], self.config.width)  # (B, K, D)
        chosen = _rows(observation["chosen"], features.shape[1])  # (B, H, K)
        query = self.query(observation["query"])  # (B, hidden)
        candidates = torch.tanh(self.candidate(torch.cat([embeddings, features], dim=-1)))  # (B, K, hidden)
        present = features.abs().sum(dim=-1, keepdim=True).gt(0).float()  # padding has no features
        mean = (candidates * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        known = [query, self._read(chosen, candidates), mean, observation["step"]]
        known += [observation["prompt"]] if self.config.prompt_features else []
        state = self.state(torch.cat(known, -1))
        spread = state[:, None, :].expand_as(candidates)
        joined = torch.cat([candidates, spread, candidates * query[:, None, :]], dim=-1)  # (B, K, 3 * hidden)
        scores = self.pointer(torch.tanh(self.pointer_hidden(joined))).squeeze(-1)
        scores = scores + self.similarity_weight * features[..., 0]
        return torch.cat([scores, self.stop(state)], dim=-1), self.value(state).squeeze(-1)

    def _read(self, chosen: Tensor, candidates: Tensor) -> Tensor:
        """(B, hidden) summary of the chosen candidates in their order; (B, H, K) one-hot rows select them."""
        steps, _ = self.reader(chosen @ candidates)  # (B, H, hidden)
        count = chosen.sum(dim=(1, 2)).long()  # (B,)
        at = (count - 1).clamp(min=0)[:, None, None].expand(-1, 1, steps.shape[-1])
        last: Tensor = steps.gather(1, at).squeeze(1)
        return last * count.gt(0).float()[:, None]


def _rows(flat: Tensor, width: int) -> Tensor:
    """(B, rows * width) to (B, rows, width)."""
    return flat.reshape(flat.shape[0], -1, width)
